"""Averages over the trials of each condition, recorded and as the model expects them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import condition_averages
from nwb_rnn.plotting.rates import smoothed
from nwb_rnn.plotting.state_space import condition_names
from nwb_rnn.plotting.style import PALETTE, given_or_new, of_signal, tidy, time_label

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def psth(
    trials: xr.Dataset,
    latents: xr.Dataset,
    unit,
    by: str | Sequence[str],
    smoothing: float = 0.02,
    ax: Axes | None = None,
) -> Axes:
    """Peristimulus time histogram of one unit for each condition: recorded lines, modelled dashes.

    Parameters
    ----------
    trials, latents : what `align` and `infer` return, of the same trials
    unit : its id
    by : column, or columns, of the trials that make a condition
    smoothing : standard deviation of the Gaussian that both are smoothed with, s

    Raises
    ------
    InputError : no such unit or column, or more conditions than there are colours
    """
    from matplotlib.lines import Line2D

    if unit not in trials["unit"].values:
        raise InputError(f"there is no unit {unit!r}; units are {trials['unit'].values[:8].tolist()}…")
    size = float(trials.attrs["bin_size"])
    counts = "counts" in trials
    recorded = condition_averages(trials, by).sel(unit=unit)
    expected = condition_averages(latents.assign_coords({n: trials[n] for n in _columns(by)}), by, "rates")
    expected = expected.sel(unit=unit) / (size if counts else 1.0)
    names = condition_names(recorded, by)
    if len(names) > len(PALETTE):
        raise InputError(f"{len(names)} conditions, and {len(PALETTE)} colours that stay apart; select some")
    ax = given_or_new(ax)
    time = trials["time"].values
    for index, name in enumerate(names):
        for values, dash in ((recorded.values[index], "-"), (expected.values[index], "--")):
            shown = smoothed(values, smoothing / size)
            ax.plot(
                time, shown, dash, color=PALETTE[index], linewidth=1.3, label=name if dash == "-" else None
            )
    lines, labels = ax.get_legend_handles_labels()
    lines.append(Line2D([], [], color="black", linestyle="--"))
    ax.legend(lines, [*labels, "model"], frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    ax.set_xlim(time[0], time[-1])
    quantity = "rate (spikes/s)" if counts else of_signal("signal", trials)
    return tidy(ax, time_label(trials.attrs.get("align_to", "")), quantity, f"unit {unit}")


def _columns(by: str | Sequence[str]) -> list[str]:
    return [by] if isinstance(by, str) else list(by)
