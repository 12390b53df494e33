"""Latents in their own space: the average path of each condition, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import condition_averages
from nwb_rnn.plotting.style import PALETTE, given_or_new, tidy
from nwb_rnn.recordings.splits import conditions

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_ELLIPSES = 5  # along each path
_MOST = 12  # conditions that colours and line styles can tell apart


def state_space(
    inferred: xr.Dataset,
    by: str | Sequence[str] | None = None,
    dimensions: tuple[int, int] = (0, 1),
    ax: Axes | None = None,
) -> Axes:
    """Mean path of each condition in two latents; a dot where it starts, ellipses of two standard errors.

    The standard error at a bin is that of the mean over trials, from the scatter of the trials' posterior
    means; a condition of one trial has no ellipses.

    Parameters
    ----------
    inferred : what `LowRankRNN.infer` returns
    by : column, or columns, of the trials that make a condition; all trials together when None
    dimensions : the two latents, counted from 0

    Raises
    ------
    InputError : a latent that is not there, or more conditions than can be told apart
    """
    ax = given_or_new(ax)
    rank = inferred.sizes["latent"]
    if len(set(dimensions)) != 2 or not all(0 <= d < rank for d in dimensions):
        raise InputError(f"dimensions={dimensions} are not two different latents of 0 to {rank - 1}")
    averages = condition_averages(inferred, by, "latent_mean")
    names = condition_names(averages, by)
    if len(names) > _MOST:
        raise InputError(f"{len(names)} conditions cannot be told apart; group them into at most {_MOST}")
    number = conditions(inferred, by)
    paths = inferred["latent_mean"].transpose("trial", "time", "latent").values[..., list(dimensions)]
    for index, name in enumerate(names):
        colour, dash = PALETTE[index % len(PALETTE)], ("-", "--")[index // len(PALETTE) % 2]
        mean = averages.values[index][:, list(dimensions)]
        ax.plot(*mean.T, color=colour, linestyle=dash, linewidth=1.5, label=name)
        known = np.flatnonzero(np.isfinite(mean).all(axis=1))
        if len(known):
            ax.plot(*mean[known[0]], "o", color=colour, markersize=5)
            _ellipses(ax, mean, paths[number == index], known, colour)
    if by is not None:
        ax.legend(frameon=False, ncols=1 + len(names) // 7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    first, second = (f"z$_{{{d + 1}}}$" for d in dimensions)
    return tidy(ax, first, second, "mean of each condition" if by is not None else "mean over trials")


def condition_names(averages: xr.DataArray, by: str | Sequence[str] | None) -> list[str]:
    """What each condition of `condition_averages` is called in a legend."""
    columns = [] if by is None else [by] if isinstance(by, str) else list(by)
    return [
        ", ".join(str(averages[column].values[index]) for column in columns)
        for index in range(averages.sizes["condition"])
    ]


def _ellipses(ax: Axes, mean: np.ndarray, paths: np.ndarray, known: np.ndarray, colour: str) -> None:
    from matplotlib.patches import Ellipse

    for at in np.unique(known[np.linspace(0, len(known) - 1, _ELLIPSES).round().astype(int)]):
        here = paths[:, at][np.isfinite(paths[:, at]).all(axis=1)]
        if len(here) < 2:
            continue
        values, vectors = np.linalg.eigh(np.cov(here.T) / len(here))
        width, height = 4 * np.sqrt(np.maximum(values, 0))  # two standard errors to both sides
        angle = np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0]))
        ax.add_patch(Ellipse(mean[at], width, height, angle=angle, color=colour, alpha=0.25, linewidth=0))
