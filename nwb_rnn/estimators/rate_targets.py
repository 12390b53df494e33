"""What the outputs of a rate network shall be: behaviour that trials carry along, or an array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.rate_data import Targets

ALL = ("behaviour", "behavior")
_OTHERS = {"counts", "signal", "mask", "inputs", "latents", "rates"}


def behaviour_of(trials: xr.Dataset) -> list[str]:
    """Names of the variables of trials that may be targets: numbers over trial, time, and a component."""
    return [
        str(name)
        for name, variable in trials.data_vars.items()
        if name not in _OTHERS
        and {"trial", "time"} <= set(variable.dims)
        and variable.ndim <= 3
        and "unit" not in variable.dims
        and variable.dtype.kind in "fiub"
    ]


def targets_of(trials: xr.Dataset, targets: Any) -> tuple[Targets, list[str]]:
    """Targets, and the variables that they come from (none for an array).

    Parameters
    ----------
    targets : name of a variable of `trials`, several names, "behaviour" for all that may be one, a DataArray
        with trial and time, or an array (trial, time) or (trial, time, output)

    Raises
    ------
    InputError : no such variable, or one of another shape
    """
    if isinstance(targets, str) or (
        isinstance(targets, Sequence) and len(targets) and all(isinstance(name, str) for name in targets)
    ):
        chosen = _names(trials, [targets] if isinstance(targets, str) else list(targets))
        parts = [_variable(trials[name], trials) for name in chosen]
    elif isinstance(targets, xr.DataArray):
        chosen, parts = [], [_variable(targets, trials)]
    else:
        values = np.asarray(targets, dtype=float)
        values = values[..., None] if values.ndim == 2 else values
        if values.ndim != 3:
            raise InputError(f"targets has shape {values.shape}; expected (trial, time, output)")
        chosen, parts = [], [(values, [f"output{m}" for m in range(values.shape[2])])]
    expected = (trials.sizes["trial"], trials.sizes["time"])
    for values, _ in parts:
        if values.shape[:2] != expected:
            raise InputError(f"targets has {values.shape[:2]} trials and bins; these trials have {expected}")
    values = np.concatenate([values for values, _ in parts], axis=2)
    if values.shape[2] == 0:
        raise InputError("targets has no outputs")
    names = tuple(name for _, names in parts for name in names)
    return Targets(values, np.isfinite(values).all(axis=2), names), chosen


def _names(trials: xr.Dataset, wanted: list[str]) -> list[str]:
    known = behaviour_of(trials)
    chosen: list[str] = []
    for name in wanted:
        chosen += known if name in ALL and name not in known else [name]
    lacking = [name for name in chosen if name not in known]
    if lacking or not chosen:
        what = f"no {lacking[0]!r} that can be a target" if lacking else "no behaviour"
        raise InputError(
            f"these trials carry {what}; they have {', '.join(known) or 'none'}: align with "
            "behaviour=[…] (or True for all) to carry it along"
        )
    return list(dict.fromkeys(chosen))


def _variable(variable: xr.DataArray, trials: xr.Dataset) -> tuple[np.ndarray, list[str]]:
    """(B, T, m) values and names of the outputs that one variable makes."""
    name = str(variable.name or "output")
    if not {"trial", "time"} <= set(variable.dims) or variable.ndim > 3:
        raise InputError(
            f"targets {name!r} has dimensions {variable.dims}; expected trial, time and one more"
        )
    if "trial" in variable.coords and not np.array_equal(variable["trial"].values, trials["trial"].values):
        raise InputError(f"targets {name!r} belongs to other trials than these")
    more = [d for d in variable.dims if d not in ("trial", "time")]
    values = variable.transpose("trial", "time", *more).values.astype(float)
    if not more:
        return values[..., None], [name]
    labels = variable[more[0]].values if more[0] in variable.coords else range(values.shape[2])
    return values, [f"{name}:{label}" for label in labels]
