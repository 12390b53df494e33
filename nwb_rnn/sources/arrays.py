"""Plain arrays, dicts of arrays and xarray objects become a `Recording`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Provenance, Recording, Spikes, Table, Traces

_FIELDS = (
    "spikes", "spike_times", "spike_offsets", "spike_units", "unit_ids", "units", "signals", "trials",
    "intervals", "events", "behaviour", "observed", "span", "description",
)  # fmt: skip


def read_arrays(
    source: Any,
    *,
    rate: float | None = None,
    start: float = 0.0,
    timestamps: Any = None,
    name: str = "signal",
    location: str = "",
) -> Recording:
    """Make a recording of arrays.

    Parameters
    ----------
    source : one of

        - a list of arrays of spike times (s), one per unit;
        - an array (T,) or (T, C), a signal of T samples, with `rate` or `timestamps`;
        - an `xarray.DataArray` with a dimension ``time`` whose coordinate is in seconds, and at most one
          other dimension for the channels;
        - a dict with any of: ``spikes`` (list of arrays), or ``spike_times`` (S,) with ``spike_offsets``
          (D + 1,) or with ``spike_units`` (S,), the id of the unit of each spike; ``unit_ids`` (D,);
          ``units``, a dict of columns; ``signals``, a dict of name -> DataArray, ``(values, timestamps)`` or
          dict with ``values``, ``timestamps`` or ``rate`` and ``start``, ``channels``, ``unit``;
          ``trials``, a dict or DataFrame of columns with start_time and stop_time; ``intervals``, a dict
          of such; ``events``, a dict of name -> times or columns with timestamp; ``behaviour``, like
          signals; ``observed``, intervals (k, 2) of all units or a list of them; ``span``; ``description``
    rate : samples per second of a plain array
    start : session time of its first sample, s
    timestamps : (T,) s, instead of `rate` and `start`
    name : of the signal of a plain array
    location : where the data came from, for the provenance

    Raises
    ------
    InputError : nothing of the above, or parts that do not fit
    """
    provenance = Provenance(kind="arrays", location=location)
    if isinstance(source, list | tuple):
        return Recording.build(spikes=list(source), provenance=provenance)
    if not isinstance(source, Mapping) or hasattr(source, "dims"):
        given = {"values": source, "rate": rate, "start": start, "timestamps": timestamps}
        signals = _dataset(source) if hasattr(source, "data_vars") else {name: _traces(name, given)}
        return Recording.build(signals=signals, provenance=provenance)
    unknown = [key for key in source if key not in _FIELDS]
    if unknown:
        raise InputError(f"unknown fields {unknown} in a dict of arrays; known are {', '.join(_FIELDS)}")
    spikes, units = _spikes_and_units(source)
    tables = {**({"trials": source["trials"]} if "trials" in source else {}), **source.get("intervals", {})}
    return Recording.build(
        units=units,
        spikes=spikes,
        signals={key: _traces(key, value) for key, value in source.get("signals", {}).items()},
        intervals={key: _table(key, value) for key, value in tables.items()},
        events={key: _events(key, value) for key, value in source.get("events", {}).items()},
        behaviour={key: _traces(key, value) for key, value in source.get("behaviour", {}).items()},
        observed=_observed(source.get("observed"), 0 if spikes is None else len(spikes.offsets) - 1),
        span=source.get("span"),
        description={key: str(value) for key, value in source.get("description", {}).items()},
        provenance=provenance,
    )


def _spikes_and_units(source: Mapping[str, Any]) -> tuple[Spikes | None, Table | None]:
    if "spikes" in source:
        trains = [np.asarray(train, dtype=np.float64).ravel() for train in source["spikes"]]
        offsets = np.concatenate([[0], np.cumsum([len(t) for t in trains])]).astype(np.int64)
        spikes, ids = (
            Spikes(np.concatenate(trains) if trains else np.zeros(0), offsets),
            np.arange(len(trains)),
        )
    elif "spike_units" in source:
        spikes, ids = _grouped(source)
    elif "spike_times" in source:
        if "spike_offsets" not in source:
            raise InputError("flat spike_times need spike_offsets (D + 1,) or spike_units (S,) beside them")
        spikes = Spikes(np.asarray(source["spike_times"]), np.asarray(source["spike_offsets"]))
        ids = np.arange(len(spikes.offsets) - 1)
    else:
        return None, None
    columns = _columns(source.get("units", {}))
    given = source.get("unit_ids", columns.pop("id", ids))
    return spikes, Table("units", np.asarray(given), columns)


def _grouped(source: Mapping[str, Any]) -> tuple[Spikes, np.ndarray]:
    """Spikes that each name their unit, sorted by unit and time."""
    times, owner = np.asarray(source["spike_times"], dtype=np.float64), np.asarray(source["spike_units"])
    if times.shape != owner.shape or times.ndim != 1:
        raise InputError(
            f"spike_times {times.shape} and spike_units {owner.shape} must be rows of one length"
        )
    ids = np.asarray(source["unit_ids"]) if "unit_ids" in source else np.unique(owner)
    order = np.argsort(ids, kind="stable")
    row = np.searchsorted(ids[order], owner)
    if len(ids) == 0 or np.any(row >= len(ids)) or np.any(ids[order][np.minimum(row, len(ids) - 1)] != owner):
        raise InputError("spike_units names units that are not in unit_ids")
    unit = order[row]
    by_unit = np.lexsort((times, unit))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(unit, minlength=len(ids)))]).astype(np.int64)
    return Spikes(times[by_unit], offsets), ids


def _columns(table: Any) -> dict[str, np.ndarray]:
    """Columns of a dict or a DataFrame."""
    if not hasattr(table, "items"):
        raise InputError(f"a table must be a dict of columns or a DataFrame, not {type(table).__name__}")
    return {str(key): np.asarray(value) for key, value in table.items()}


def _table(name: str, table: Any) -> Table:
    columns = _columns(table)
    rows = len(next(iter(columns.values()))) if columns else 0
    return Table(name, columns.pop("id", np.arange(rows)), columns)


def _events(name: str, value: Any) -> Table:
    if hasattr(value, "items"):
        return _table(name, value)
    stamps = np.asarray(value)
    return Table(name, np.arange(len(stamps)), {"timestamp": stamps})


def _observed(value: Any, units: int) -> Sequence[Any] | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == units and all(np.ndim(v) == 2 for v in value):
        return value
    return [np.asarray(value, dtype=float).reshape(-1, 2)] * units


def _dataset(dataset: Any) -> dict[str, Traces]:
    """Every variable of an `xarray.Dataset` that has a dimension ``time``."""
    found = {
        str(key): _traces(str(key), value) for key, value in dataset.data_vars.items() if "time" in value.dims
    }
    if not found:
        raise InputError(
            f"no variable of this Dataset has a dimension 'time'; it has {list(dataset.data_vars)}"
        )
    return found


def _traces(name: str, value: Any) -> Traces:
    if isinstance(value, Traces):
        return value
    if hasattr(value, "dims"):
        return _data_array(name, value)
    if isinstance(value, tuple):
        value = dict(zip(("values", "timestamps"), value, strict=True))
    if not isinstance(value, Mapping) or "values" not in value:
        raise InputError(f"signal {name!r} must be a DataArray, (values, timestamps) or a dict with 'values'")
    if hasattr(value["values"], "dims"):
        return _data_array(name, value["values"])
    values = np.asarray(value["values"])
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise InputError(
            f"signal {name!r} must have shape (samples,) or (samples, channels), not {values.shape}"
        )
    channels = value.get("channels")
    return Traces(
        name,
        values,
        _stamps(name, value, len(values)),
        np.arange(values.shape[1]) if channels is None else np.asarray(channels),
        str(value.get("unit", "unknown")),
    )


def _stamps(name: str, value: Mapping[str, Any], samples: int) -> np.ndarray:
    if value.get("timestamps") is not None:
        return np.asarray(value["timestamps"], dtype=np.float64)
    rate = value.get("rate")
    if rate is None or not np.isfinite(rate) or rate <= 0:
        raise InputError(f"signal {name!r} needs timestamps (s) or a positive rate (samples per second)")
    return float(value.get("start") or 0.0) + np.arange(samples) / float(rate)


def _data_array(name: str, array: Any) -> Traces:
    """Traces of an `xarray.DataArray` with dimensions time and, at most, one for the channels."""
    others = [dim for dim in array.dims if dim != "time"]
    if "time" not in array.dims or len(others) > 1 or "time" not in array.coords:
        raise InputError(
            f"{name!r} must have a dimension 'time' with a coordinate in seconds and at most one other; it "
            f"has {', '.join(str(d) for d in array.dims)}"
        )
    array = array.transpose("time", *others)
    values = np.asarray(array.values)
    channels = np.arange(1)
    columns: dict[str, np.ndarray] = {}
    if others:
        channels = np.asarray(array[others[0]].values)
        columns = {
            str(key): np.asarray(coord.values)
            for key, coord in array.coords.items()
            if coord.dims == (others[0],) and key != others[0]
        }
    return Traces(
        name,
        values[:, None] if values.ndim == 1 else values,
        np.asarray(array["time"].values, dtype=np.float64),
        channels,
        str(array.attrs.get("units", "unknown")),
        columns,
    )
