"""Inferred latents of one trial, with their uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.plotting.style import PALETTE, given_or_new, tidy, time_label

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_MOST = 12  # lines that one panel can hold


def latents(inferred: xr.Dataset, trial: int = 0, ax: Axes | None = None) -> Axes:
    """Posterior mean of each latent, with a band of one standard deviation to both sides where that is known.

    Of more than twelve, such as the currents of a `RateRNN`, those that vary most in the trial are drawn.

    Parameters
    ----------
    inferred : what `infer` of a model returns
    trial : position of the trial
    """
    ax = given_or_new(ax)
    if not -inferred.sizes["trial"] <= trial < inferred.sizes["trial"]:
        raise InputError(f"trial {trial} was asked for; there are {inferred.sizes['trial']} (count from 0)")
    time = inferred["time"].values
    mean = inferred["latent_mean"].transpose("trial", "time", "latent").values[trial]
    known = "latent_std" in inferred
    spread = inferred["latent_std"].transpose("trial", "time", "latent").values[trial] if known else 0 * mean
    varied = np.argsort(-np.nan_to_num(np.nanvar(mean, axis=0)), kind="stable")
    for place, index in enumerate(np.sort(varied[:_MOST])):
        colour = PALETTE[place % len(PALETTE)]
        ax.plot(time, mean[:, index], color=colour, linewidth=1.5, label=f"z$_{{{index + 1}}}$")
        if known:
            low, high = mean[:, index] - spread[:, index], mean[:, index] + spread[:, index]
            ax.fill_between(time, low, high, color=colour, alpha=0.25, linewidth=0)
    seen = time[np.isfinite(mean[:, 0])]
    if len(seen):
        ax.set_xlim(seen[0], seen[-1])
    ax.legend(
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=6, frameon=False, borderaxespad=0, handlelength=1.2
    )
    return tidy(
        ax, time_label(inferred.attrs.get("align_to", "")), "latent (mean ± s.d.)" if known else "latent"
    )
