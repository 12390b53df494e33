"""Scores against the number of latents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nwb_rnn.plotting.style import MODEL, PALETTE, QUIET, given_or_new, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def rank_curve(
    ranks: Sequence[int],
    means: Sequence[float],
    errors: Sequence[float],
    seeds: Sequence[tuple[int, float]],
    chosen: int,
    ax: Axes | None = None,
) -> Axes:
    """Held-out log-likelihood per bin of each rank, against the best.

    Parameters
    ----------
    ranks, means, errors : of each rank the mean and its standard error
    seeds : (rank, score) of every single fit
    chosen : the rank to mark
    """
    ax = given_or_new(ax)
    ax.plot(*zip(*seeds, strict=True), ".", color=QUIET, label="one fit")
    ax.errorbar(ranks, means, errors, color=PALETTE[0], marker="o", label="mean and standard error")
    ax.axvline(chosen, color=MODEL, linewidth=1, linestyle="--", label=f"chosen: {chosen}")
    ax.set_xticks(list(ranks))
    ax.legend(frameon=False)
    return tidy(ax, "rank", "held-out log p, best = 0 (nats/bin)", "how many latents")
