"""Statistics of spiking, simulated against recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics import spiking
from nwb_rnn.plotting.style import MODEL, QUIET, RECORDED, given_or_new, tidy

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_SCATTERED = {
    "interval_variability": ("CV of intervals", spiking.interval_variability),
    "correlations": (
        "correlation of two units",
        lambda trials: spiking.above_diagonal(spiking.pairwise_correlations(trials)),
    ),
}
STATISTICS = (*_SCATTERED, "autocorrelation")


def spike_statistics(
    recorded: xr.Dataset,
    simulated: xr.Dataset,
    statistic: str = "correlations",
    ax: Axes | None = None,
) -> Axes:
    """One statistic of spiking in trials simulated from a model, against the recorded one.

    Parameters
    ----------
    recorded, simulated : what `align` and `simulate` return, with counts of the same units
    statistic : interval_variability (a dot for each unit), correlations (a dot for each pair), or
        autocorrelation (of the summed count, two curves); see `nwb_rnn.metrics.spiking`

    Raises
    ------
    InputError : another statistic, other units, or trials without counts
    """
    if statistic not in STATISTICS:
        raise InputError(f"statistic={statistic!r} is not known; choose from {', '.join(STATISTICS)}")
    if recorded["unit"].values.tolist() != simulated["unit"].values.tolist():
        raise InputError("recorded and simulated trials hold different units; select the same ones")
    ax = given_or_new(ax)
    if statistic == "autocorrelation":
        for trials, colour, label in ((recorded, RECORDED, "recorded"), (simulated, MODEL, "simulated")):
            lags, values = spiking.population_autocorrelation(trials)
            ax.plot(1e3 * lags, values, color=colour, linewidth=1.5, label=label)
        ax.axhline(0, color=QUIET, linewidth=0.8, zorder=0)
        ax.legend(frameon=False)
        return tidy(ax, "lag (ms)", "autocorrelation of all spikes")
    name, measure = _SCATTERED[statistic]
    first, second = measure(recorded), measure(simulated)
    known = np.isfinite(first) & np.isfinite(second)
    if not known.any():
        raise InputError(f"too few spikes to compare the {name}")
    both = np.concatenate([first[known], second[known]])
    edge = 0.06 * (np.ptp(both) or 1.0)
    ends = both.min() - edge, both.max() + edge
    ax.plot(ends, ends, color=QUIET, linewidth=1, zorder=1)
    ax.scatter(first[known], second[known], s=12, color=MODEL, alpha=0.6, linewidth=0, zorder=2)
    ax.set(xlim=ends, ylim=ends, aspect="equal")
    return tidy(ax, "recorded", "simulated", name)
