"""Recorded against modelled firing: averages over trials, and the mean rate of every unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.comparison import mean_rate_correlation
from nwb_rnn.metrics.comparison import mean_rates as mean_rates_of
from nwb_rnn.metrics.conditions import values_and_mask
from nwb_rnn.plotting.style import MODEL, QUIET, RECORDED, given_or_new, of_signal, tidy, time_label

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_FEWEST = 0.34  # share of the trials that must still run where an average is shown


def rates(
    trials: xr.Dataset,
    latents: xr.Dataset,
    unit=None,
    smoothing: float = 0.02,
    ax: Axes | None = None,
) -> Axes:
    """Average over trials of one unit (or of all), recorded and as the model expects it.

    Both are smoothed alike. Times that fewer than a third of the trials reach are not shown.

    Parameters
    ----------
    trials, latents : what `align` and `infer` return, of the same trials
    unit : id of a unit; the mean over all units when left out
    smoothing : standard deviation of the Gaussian that both are smoothed with, s
    """
    ax = given_or_new(ax)
    name = "counts" if "counts" in trials else "signal"
    size = float(trials.attrs["bin_size"])
    scale = size if name == "counts" else 1.0
    recorded, seen = average(trials, name, unit)
    modelled, _ = average(latents, "rates", unit)
    shown = seen >= max(1, _FEWEST * trials.sizes["trial"])
    time = trials["time"].values
    for values, colour, label in ((recorded, RECORDED, "recorded"), (modelled, MODEL, "model")):
        smooth = smoothed(np.where(shown, values, np.nan), smoothing / size) / scale
        ax.plot(time[shown], smooth[shown], color=colour, label=label, linewidth=1.5)
    ax.set_xlim(time[shown][0], time[shown][-1])
    ax.margins(y=0.1)
    quantity = "rate (spikes/s)" if name == "counts" else of_signal("signal", trials)
    what = "mean of all units" if unit is None else f"unit {unit}"
    return tidy(ax, time_label(trials.attrs.get("align_to", "")), quantity, f"average over trials, {what}")


def average(dataset: xr.Dataset, name: str, unit=None) -> tuple[np.ndarray, np.ndarray]:
    """(T,) average over the trials that run at each time, and (T,) how many those are."""
    if unit is not None and unit not in dataset["unit"].values:
        raise InputError(f"there is no unit {unit!r}; units are {dataset['unit'].values[:8].tolist()}…")
    values, known = values_and_mask(dataset, name)
    if unit is not None:
        values, known = (x[:, :, dataset["unit"].values == unit] for x in (values, known))
    total = np.where(known, values, 0.0).sum(axis=(0, 2))
    return total / np.maximum(known.sum(axis=(0, 2)), 1), known.any(axis=2).sum(axis=0)


def smoothed(values: np.ndarray, width: float) -> np.ndarray:
    """(T,) values under a Gaussian of standard deviation `width` bins, with the ends and NaN left out."""
    known = np.isfinite(values)
    if width <= 0:
        return values
    reach = int(np.ceil(4 * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="full")[reach:-reach]
    weight = np.convolve(known.astype(float), kernel, mode="full")[reach:-reach]
    return np.where(known, total / np.maximum(weight, 1e-12), np.nan)


def most_modulated(trials: xr.Dataset, latents: xr.Dataset, count: int = 3) -> list:
    """Ids of the units whose average over trials varies most, in standard deviations of its noise."""
    units, fewest = trials["unit"].values, max(1, _FEWEST * trials.sizes["trial"])
    (recorded, _), (modelled, seen) = _averages(trials), _averages(latents.sel(unit=units), "rates")
    found = []
    for unit in range(len(units)):
        shown = seen[:, unit] >= fewest
        level = abs(recorded[shown, unit].mean()) if shown.any() else 0.0
        found.append(modelled[shown, unit].std() / np.sqrt(level) if level > 0 else 0.0)
    return units[np.argsort(found)[::-1][:count]].tolist()


def _averages(dataset: xr.Dataset, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(T, D) average of each unit over the trials that run at each time, and how many those are."""
    values, known = values_and_mask(dataset, name)
    seen = known.sum(axis=0)
    return np.where(known, values, 0.0).sum(axis=0) / np.maximum(seen, 1), seen


def mean_rates(recorded: xr.Dataset, simulated: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Mean rate of each unit in trials simulated from the model against the recorded one.

    Parameters
    ----------
    recorded, simulated : what `align` and `simulate` return
    """
    ax = given_or_new(ax)
    first, second = mean_rates_of(recorded), mean_rates_of(simulated)
    correlation = mean_rate_correlation(recorded, simulated)
    counts = "counts" in recorded
    both = np.concatenate([first, second])
    both = both[np.isfinite(both)]
    low, high = float(both.min()), float(both.max())
    if counts and low > 0 and high > 20 * low:
        _plain_log(ax)
        low, high = low / 1.3, high * 1.3
    else:
        edge = 0.06 * (high - low or 1.0)
        low, high = low - edge, high + edge
    ax.plot([low, high], [low, high], color=QUIET, linewidth=1, zorder=1)
    ax.scatter(first, second, s=18, color=MODEL, edgecolor="white", linewidth=0.5, zorder=2)
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    title = f"mean of each unit, r = {correlation:.3f}" if np.isfinite(correlation) else "mean of each unit"
    labels = [f"{x} (spikes/s)" if counts else of_signal(x, recorded) for x in ("recorded", "simulated")]
    return tidy(ax, *labels, title)


def _plain_log(ax: Axes) -> None:
    """Logarithmic axes with plain numbers at the decades."""
    from matplotlib.ticker import StrMethodFormatter

    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
