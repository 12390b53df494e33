"""Averages over the trials of each condition, the form in which recordings and models are compared.

Every measure of populations takes plain arrays (condition, time, unit), in which NaN marks what no trial saw.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.splits import conditions
from nwb_rnn.smc.trials import observed_name


def values_and_mask(trials: xr.Dataset, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(trial, time, unit) values of a variable, float, and which of them were observed.

    Parameters
    ----------
    name : "counts" or "signal", whichever is there, by default
    """
    variable = trials[name or observed_name(trials)].transpose("trial", "time", ...)
    values = variable.values.astype(float)
    if "mask" not in trials:
        return values, np.isfinite(values)
    mask = trials["mask"]
    if "unit" in mask.dims and "unit" not in variable.dims:
        mask = mask.any("unit")
    mask = mask.broadcast_like(variable).transpose(*variable.dims).values.astype(bool)
    return values, mask & np.isfinite(values)


def condition_averages(
    trials: xr.Dataset, by: str | Sequence[str] | None, name: str | None = None
) -> xr.DataArray:
    """Mean over the trials of each condition, in each bin over the trials that were observed there.

    Parameters
    ----------
    trials : what `Recording.align`, `infer` or `simulate` return
    by : coordinate or coordinates of trials whose values are the conditions; None takes all as one
    name : variable (trial, time, unit); by default `counts`, per second then, or `signal`

    Returns
    -------
    (condition, time, unit), NaN where no trial was observed; spikes/s for counts. The coordinates of
    `by` come along on `condition`, and `trials` says how many trials each has.

    Raises
    ------
    InputError : no such coordinate
    """
    name = name or observed_name(trials)
    values, mask = values_and_mask(trials, name)
    number = conditions(trials, by)
    groups = [number == c for c in range(number.max() + 1)]
    total = np.stack([np.where(mask[g], values[g], 0.0).sum(axis=0) for g in groups])
    seen = np.stack([mask[g].sum(axis=0) for g in groups])
    mean = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
    names = [] if by is None else [by] if isinstance(by, str) else list(by)
    first = [int(np.flatnonzero(g)[0]) for g in groups]
    coordinates = {n: ("condition", trials[n].values[first]) for n in names}
    last = trials[name].transpose("trial", "time", ...).dims[2]
    return xr.DataArray(
        mean / float(trials.attrs["bin_size"]) if name == "counts" else mean,
        dims=("condition", "time", last),
        coords={"time": trials["time"].values, "trials": ("condition", [int(g.sum()) for g in groups])}
        | ({last: trials[last].values} if last in trials.coords else {})
        | coordinates,
    )


def checked(rates, name: str = "rates") -> np.ndarray:
    """(condition, time, unit) float64, or an error that says what is wrong with it."""
    rates = np.asarray(rates, dtype=float)
    if rates.ndim != 3 or 0 in rates.shape:
        raise InputError(f"{name} has shape {rates.shape}; expected (condition, time, unit)")
    return rates


def complete(rates, name: str = "rates") -> np.ndarray:
    """The same, without the bins in which a condition or unit is missing.

    Raises
    ------
    InputError : no bin was observed for every condition and unit
    """
    rates = checked(rates, name)
    whole = np.isfinite(rates).all(axis=(0, 2))
    if not whole.any():
        raise InputError(
            f"no bin of {name} was observed in every condition and unit: leave out the conditions or units "
            "that are missing"
        )
    return rates[:, whole]


def alike(first, second) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of one shape (condition, time, unit)."""
    first, second = checked(first, "first"), checked(second, "second")
    if first.shape != second.shape:
        raise InputError(
            f"shapes {first.shape} and {second.shape} differ; expected the same conditions, bins and units"
        )
    return first, second
