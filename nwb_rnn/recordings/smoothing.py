"""Rates, smoothing and standardising of trials, each an explicit step that leaves a note in the attributes.

Masked bins neither give nor take: the smoothed value is ``sum_k w_k m_{t-k} x_{t-k} / sum_k w_k m_{t-k}``
with weights ``w`` and mask ``m``, so near an end or a gap the weights that fall on observed bins are
scaled up to a sum of 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError

if TYPE_CHECKING:
    import xarray

KERNELS = ("gaussian", "exponential", "hann")
_REACH = 4.0


def to_rates(trials: xarray.Dataset) -> xarray.Dataset:
    """Trials whose ``counts`` became a ``signal`` in spikes per second, 0 where masked."""
    if "counts" not in trials:
        raise InputError("rates are made from counts; these trials hold a signal")
    rates = trials["counts"] / np.float32(trials.attrs["bin_size"])
    result = trials.drop_vars("counts").assign(signal=rates)
    return result.assign_attrs(physical_unit="spikes/s")


def smooth(
    trials: xarray.Dataset, width: float, kernel: str = "gaussian", causal: bool = False
) -> xarray.Dataset:
    """Smooth counts or a signal over time within each trial.

    Parameters
    ----------
    trials : as `align` returns; counts become a ``signal``, since smoothed they are no counts any more
    width : s; standard deviation (gaussian), time constant (exponential) or whole length (hann)
    kernel : one of `KERNELS`; exponential is always causal
    causal : use only the present and past bins

    Returns
    -------
    xarray.Dataset : with ``signal`` (trial, time, unit) float32, 0 where masked, and a note in
        ``attrs["smoothing"]``

    Raises
    ------
    InputError : no such kernel, or a width that is not positive
    """
    size = float(trials.attrs["bin_size"])
    weights, before = kernel_weights(kernel, width, size, causal)
    name = "counts" if "counts" in trials else "signal"
    values = trials[name].values.astype(np.float64)
    mask = trials["mask"].values
    mask = np.broadcast_to(mask if mask.ndim == 3 else mask[:, :, None], values.shape)
    total, weight = _convolve(values * mask, weights, before), _convolve(mask.astype(float), weights, before)
    with np.errstate(invalid="ignore", divide="ignore"):
        smoothed = np.where(mask & (weight > 0), total / weight, 0.0).astype(np.float32)
    note = f"{kernel}, {width:g} s, {'causal' if causal or kernel == 'exponential' else 'centred'}"
    note = "; ".join(filter(None, [trials.attrs.get("smoothing", ""), note]))
    result = trials.drop_vars(name).assign(signal=(("trial", "time", "unit"), smoothed))
    return result.assign_attrs(smoothing=note)


def kernel_weights(kernel: str, width: float, bin_size: float, causal: bool) -> tuple[np.ndarray, int]:
    """Weights from the furthest future bin to the furthest past one, and the number of future bins."""
    if kernel not in KERNELS:
        raise InputError(f"kernel must be one of {', '.join(KERNELS)}, not {kernel!r}")
    if not (np.isfinite(width) and width > 0):
        raise InputError(f"the width of a kernel must be a positive number of seconds, not {width!r}")
    if kernel == "hann":
        length = max(1, round(width / bin_size))
        weights = np.sin(np.pi * np.arange(1, length + 1) / (length + 1)) ** 2
        return weights / weights.sum(), 0 if causal else length // 2
    bins = max(1, int(np.ceil((2 if kernel == "exponential" else 1) * _REACH * width / bin_size)))
    past = np.arange(bins + 1) * bin_size
    half = np.exp(-past / width) if kernel == "exponential" else np.exp(-0.5 * (past / width) ** 2)
    if causal or kernel == "exponential":
        return half / half.sum(), 0
    weights = np.concatenate([half[:0:-1], half])
    return weights / weights.sum(), bins


def _convolve(values: np.ndarray, weights: np.ndarray, future: int) -> np.ndarray:
    """Weighted sums along axis 1; weight number ``future`` falls on the present bin."""
    from scipy.signal import oaconvolve

    if values.size == 0:
        return values
    full = oaconvolve(values, weights[None, :, None], axes=1)
    return full[:, future : future + values.shape[1]]


def standardise(trials: xarray.Dataset, like: xarray.Dataset | None = None) -> xarray.Dataset:
    """Signal minus the mean, over the standard deviation, of each unit over all observed bins.

    Parameters
    ----------
    trials : with a ``signal``; smooth counts or take rates first
    like : trials that give the mean and deviation, such as the training set; `trials` itself when None

    Returns
    -------
    xarray.Dataset : with ``signal`` standardised, coordinates ``signal_mean`` and ``signal_sd`` on unit

    Raises
    ------
    InputError : no signal, or a unit that never changes
    """
    source = trials if like is None else like
    if "signal" not in trials or "signal" not in source:
        raise InputError("standardising needs a signal; take rates or smooth the counts first")
    mean, sd = _moments(source)
    if np.any(~(sd > 0)):
        ids = source["unit"].values[~(sd > 0)][:10].tolist()
        raise InputError(f"units {ids} never change, so they cannot be standardised; leave them out")
    mask = trials["mask"].values
    mask = mask if mask.ndim == 3 else mask[:, :, None]
    values = np.where(mask, (trials["signal"].values - mean) / sd, 0.0).astype(np.float32)
    result = trials.assign(signal=(("trial", "time", "unit"), values))
    result = result.assign_coords(signal_mean=("unit", mean), signal_sd=("unit", sd))
    return result.assign_attrs(standardised="mean 0 and standard deviation 1 of each unit")


def _moments(trials: xarray.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(D,) mean and standard deviation of each unit over its observed bins."""
    values = trials["signal"].values.astype(np.float64)
    mask = trials["mask"].values
    mask = np.broadcast_to(mask if mask.ndim == 3 else mask[:, :, None], values.shape)
    held = np.maximum(mask.sum(axis=(0, 1)), 1)
    mean = (values * mask).sum(axis=(0, 1)) / held
    return mean, np.sqrt((((values - mean) * mask) ** 2).sum(axis=(0, 1)) / held)
