"""Trials as one `xarray.Dataset`: values, mask, and every column that is known of trials and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.events import Moments
from nwb_rnn.recordings.grid import Grid
from nwb_rnn.recordings.inputs import gather_inputs
from nwb_rnn.recordings.recording import Dropped, Recording, Traces
from nwb_rnn.recordings.report import dropped_as_json, provenance_as_json
from nwb_rnn.recordings.resampling import resample

if TYPE_CHECKING:
    import xarray

    from nwb_rnn.recordings.alignment import Values

_TAKEN = {"trial", "time", "unit", "counts", "signal", "mask", "event_time", "inputs", "input"}


def make_dataset(
    recording: Recording,
    traces: Traces | None,
    moments: Moments,
    grid: Grid,
    values: Values,
    notes: Sequence[Dropped],
    attributes: Mapping[str, Any],
    inputs: Sequence[str] | None,
    behaviour: Sequence[str] | bool | None,
) -> xarray.Dataset:
    """Put together what `align` and `segments` return; see there."""
    import xarray as xr

    array, mask, notes = values.array, values.mask, list(notes)
    variables: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    if inputs:
        made = gather_inputs(recording, moments, grid, inputs)
        extra["input"] = ("input", made.names)
        known = made.known if mask.ndim == 2 else made.known[:, :, None]
        if not known.all():
            mask = mask & known
            array = array * (mask if mask.ndim == 3 else mask[:, :, None])
        variables["inputs"] = (("trial", "time", "input"), made.values)
        notes += made.notes
    for traces_name in behaviour_names(recording, behaviour):
        dims, data, coordinate = _behaviour(recording.behaviour[traces_name], traces_name, grid)
        variables[_plain_name(traces_name)] = (dims, data)
        extra |= coordinate
    dims = ("trial", "time", "unit")
    main = {"signal" if traces is not None else "counts": (dims, array), "mask": (dims[: mask.ndim], mask)}
    coordinates = {
        "trial": moments.table.ids,
        "time": grid.centres,
        "unit": recording.units.ids,
        "event_time": ("trial", moments.times),
        **extra,
        **column_coordinates(moments.table.columns, recording.units.columns, set(variables) | set(extra)),
    }
    given = {
        "bin_size": float(grid.bin_size),
        "align_to": moments.name,
        "table": moments.table.name,
        "time_reference": f"{moments.clock} ({moments.found})",
        "source": provenance_as_json(recording.provenance),
        "dropped": dropped_as_json(notes),
        **attributes,
    }
    if traces is not None:
        given |= {"signal_name": traces.name, "physical_unit": traces.physical_unit}
    return xr.Dataset({**main, **variables}, coordinates, {k: v for k, v in given.items() if v is not None})


def column_coordinates(
    trial: Mapping[str, np.ndarray], unit: Mapping[str, np.ndarray], taken: set[str]
) -> dict[str, tuple[str, np.ndarray]]:
    """Columns as coordinates; one that clashes with another name is called ``trial_...`` or ``unit_...``."""
    clash = (set(trial) & set(unit)) | taken | _TAKEN
    result: dict[str, tuple[str, np.ndarray]] = {}
    for dimension, columns in (("trial", trial), ("unit", unit)):
        for name, column in columns.items():
            label = _plain_name(name)
            label = f"{dimension}_{label}" if label in clash or label in result else label
            result[label] = (dimension, column)
    return result


def behaviour_names(recording: Recording, behaviour: Sequence[str] | bool | None) -> list[str]:
    """Names of the behaviour to carry along."""
    if behaviour is None or behaviour is False:
        return []
    if behaviour is True:
        return list(recording.behaviour)
    names = [behaviour] if isinstance(behaviour, str) else list(behaviour)
    for name in names:
        if name not in recording.behaviour:
            has = ", ".join(repr(n) for n in recording.behaviour) or "none"
            raise InputError(f"there is no behaviour {name!r}; this recording has {has}")
    return names


def _behaviour(traces: Traces, name: str, grid: Grid) -> tuple[tuple[str, ...], np.ndarray, dict[str, Any]]:
    """Dimensions, values and the coordinate of the components of one behaviour."""
    values = resample(traces, grid)
    if values.shape[2] == 1:
        return ("trial", "time"), values[:, :, 0], {}
    component = f"{_plain_name(name)}_component"
    return ("trial", "time", component), values, {component: (component, traces.channels)}


def _plain_name(name: str) -> str:
    """A name that netCDF and HDF5 accept: without slashes."""
    return name.replace("/", "_")
