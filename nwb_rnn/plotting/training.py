"""How a fit went."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nwb_rnn.errors import InputError
from nwb_rnn.plotting.style import PALETTE, RECORDED, given_or_new, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def training_curve(history: Sequence[dict], ax: Axes | None = None) -> Axes:
    """Objective and validation score at each check of the fit.

    Parameters
    ----------
    history : `model.history`; each entry has iteration, objective and validation (None without any)

    Raises
    ------
    InputError : there is no history, as for a model made from known weights
    """
    if not history:
        raise InputError("this model has no training history: it was made from known weights, not fitted")
    ax = given_or_new(ax)
    iteration = [entry["iteration"] for entry in history]
    mark = "o" if len(history) < 30 else ""
    style = {"linewidth": 1.4, "marker": mark, "markersize": 3}
    ax.plot(
        iteration,
        [entry["objective"] for entry in history],
        color=RECORDED,
        label="one batch",
        **style,
    )
    held = [(entry["iteration"], entry["validation"]) for entry in history if entry["validation"] is not None]
    if held:
        ax.plot(*zip(*held, strict=True), color=PALETTE[0], label="validation", **style)
        ax.legend(
            loc="lower right",
            bbox_to_anchor=(1.0, 1.0),
            ncols=2,
            frameon=False,
            borderaxespad=0,
            handlelength=1.2,
            columnspacing=1.0,
        )
    return tidy(ax, "iteration", "log-likelihood bound (nats/bin)", "training")
