"""One trial as it was recorded, and as the model expects it: units in rows, time from left to right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.plotting.style import RECORDED, given_or_new, of_signal, tidy, time_label

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def raster(
    trials: xr.Dataset, trial: int = 0, order: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes:
    """Spikes of one trial, a tick in each bin that holds any; a signal is shown as an image.

    Parameters
    ----------
    trials : what `Recording.align` or `simulate` returns
    trial : position of the trial
    order : (D,) positions of the units from bottom to top; as they come when left out
    """
    ax = given_or_new(ax)
    name = "counts" if "counts" in trials else "signal"
    values, inside = _one(trials, name, trial), inside_of(trials, trial)
    rows = np.arange(values.shape[1]) if order is None else np.asarray(order)
    time = trials["time"].values
    if name == "signal":
        label = of_signal("recorded signal", trials)
        _image(ax, time, np.where(inside[:, None], values, np.nan)[:, rows], label, centred=True)
    else:
        bins, height = np.nonzero(values[:, rows] * inside[:, None])
        ax.vlines(time[bins], height - 0.4, height + 0.4, color=RECORDED, linewidth=0.7)
        ax.set_ylim(-0.7, len(rows) - 0.3)
    _to_trial(ax, time, inside)
    label = trials["trial"].values[trial]
    event = str(trials.attrs.get("align_to", ""))
    made = "simulated" if event == "simulated" else "recorded"
    return tidy(ax, time_label(event), "unit", f"{made}, trial {label}")


def expected(
    latents: xr.Dataset, trial: int = 0, order: Sequence[int] | None = None, ax: Axes | None = None
) -> Axes:
    """What the model expects of each unit in one trial, given what was recorded in it.

    Parameters
    ----------
    latents : what `LowRankRNN.infer` returns
    trial, order : see `raster`
    """
    ax = given_or_new(ax)
    values, inside = _one(latents, "rates", trial), inside_of(latents, trial)
    rows = np.arange(values.shape[1]) if order is None else np.asarray(order)
    counts = float(np.nanmin(values)) >= 0
    values = values / float(latents.attrs["bin_size"]) if counts else values
    label = "expected rate (spikes/s)" if counts else of_signal("expected signal", latents)
    _image(ax, latents["time"].values, values[:, rows], label, centred=not counts)
    _to_trial(ax, latents["time"].values, inside)
    name = latents["trial"].values[trial]
    return tidy(ax, time_label(latents.attrs.get("align_to", "")), "unit", f"model, trial {name}")


def unit_order(weights: np.ndarray) -> np.ndarray:
    """(D,) positions of units sorted by the angle of their readout weights (D, R) on the first two latents.

    Units that a rotation of the latents drives one after the other then lie next to each other.
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 2:
        raise InputError(f"readout weights have shape {weights.shape}; expected (units, latents)")
    if weights.shape[1] == 1:
        return np.argsort(weights[:, 0], kind="stable")
    return np.argsort(np.arctan2(weights[:, 1], weights[:, 0]), kind="stable")


def inside_of(dataset: xr.Dataset, trial: int) -> np.ndarray:
    """(T,) True in the observed bins of one trial."""
    if "mask" not in dataset:
        return np.ones(dataset.sizes["time"], dtype=bool)
    mask = dataset["mask"]
    mask = mask.any("unit") if "unit" in mask.dims else mask
    return mask.transpose("trial", "time").values[trial].astype(bool)


def longest_typical(dataset: xr.Dataset) -> int:
    """Position of the trial whose length is the median length, the first of several."""
    lengths = np.array([inside_of(dataset, i).sum() for i in range(dataset.sizes["trial"])])
    return int(np.argmin(np.abs(lengths - np.median(lengths))))


def _one(dataset: xr.Dataset, name: str, trial: int) -> np.ndarray:
    if not -dataset.sizes["trial"] <= trial < dataset.sizes["trial"]:
        raise InputError(f"trial {trial} was asked for; there are {dataset.sizes['trial']} (count from 0)")
    return dataset[name].transpose("trial", "time", "unit").values[trial].astype(float)


def _image(ax: Axes, time: np.ndarray, values: np.ndarray, label: str, centred: bool) -> None:
    half = 0.5 * (time[1] - time[0]) if len(time) > 1 else 0.5
    extent = (time[0] - half, time[-1] + half, -0.5, values.shape[1] - 0.5)
    high = np.nanpercentile(np.abs(values), 99) if np.isfinite(values).any() else 1.0
    limits = {"vmin": -high, "vmax": high, "cmap": "PuOr"} if centred else {"vmin": 0, "vmax": high}
    image = ax.imshow(
        values.T, aspect="auto", origin="lower", extent=extent, interpolation="nearest", **limits
    )
    ax.figure.colorbar(image, ax=ax, label=label, fraction=0.05, pad=0.02)


def _to_trial(ax: Axes, time: np.ndarray, inside: np.ndarray) -> None:
    """Limit the axis to the bins of this trial."""
    seen = time[inside]
    half = 0.5 * (time[1] - time[0]) if len(time) > 1 else 0.5
    if len(seen):
        ax.set_xlim(seen[0] - half, seen[-1] + half)
