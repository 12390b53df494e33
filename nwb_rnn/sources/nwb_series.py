"""Signals of an NWB file: ROI responses, electrical series, one series per neuron, behaviour."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from nwb_rnn.recordings.on_demand import OnDemand
from nwb_rnn.recordings.recording import Dropped, Traces
from nwb_rnn.sources.nwb_contents import Contents, kinds, path_of, stamps_of
from nwb_rnn.sources.nwb_open import open_nwb, quiet
from nwb_rnn.sources.nwb_tables import read_array, read_column, read_table

LARGE = 200_000_000
_FEWEST_NEURONS = 4
_ACCEPTED = ("accepted", "is_cell", "iscell", "Accepted")
_DERIVED = ("neuropil", "deconv", "background")
_REJECTED = ("rejected", "Rejected")
_NUMBERED = re.compile(r"(.*?)[ _-]*\d+$")


def read_signals(
    contents: Contents, location: str, wanted: str | None, keep_rejected: bool, notes: list[Dropped]
) -> dict[str, Traces]:
    """Every signal that can be fitted, the one a reader would choose first in front.

    The order is: relative fluorescence, other ROI responses, series of single neurons, LFP, other
    electrical series, and last any other series of numbers, if it is the one wanted.
    """
    signals: dict[str, Traces] = {}
    for name, series in sorted(contents.rois.items(), key=lambda kv: _preference(kv[1])):
        traces = _bounded(name, series, location, wanted, notes)
        if traces is not None:
            signals[name] = with_rois(traces, series, keep_rejected, notes)
    signals |= planes_together(signals, contents)
    signals |= neurons_together(contents, notes)
    for name, series in sorted(contents.electrical.items(), key=lambda kv: _preference(kv[1])):
        traces = _bounded(name, series, location, wanted, notes)
        if traces is not None:
            signals[name] = with_electrodes(traces, series)
    for name in [n for n in contents.series if wanted in _names(n, contents.series[n])]:
        traces = _bounded(name, contents.series.pop(name), location, wanted, notes)
        if traces is not None:
            signals[name] = traces
    return signals


def _names(name: str, series: Any) -> tuple[str, ...]:
    """What a series may be called: its name here, its path, its own name."""
    return name, path_of(series), str(series.name)


def _preference(series: Any) -> tuple[int, int]:
    """Sorts relative fluorescence before the rest, and what was derived from a signal after it."""
    above = kinds(series.parent)
    order = ("DfOverF", "Fluorescence", "LFP", "FilteredEphys")
    derived = any(word in path_of(series).lower() for word in _DERIVED)
    return int(derived), next((i for i, kind in enumerate(order) if kind in above), len(order))


def read_traces(contents: Contents, location: str, notes: list[Dropped]) -> dict[str, Traces]:
    """Position, speed and other series of numbers, by name."""
    found = {}
    for name, series in contents.series.items():
        traces = _bounded(name, series, location, None, notes)
        if traces is not None:
            found[name] = traces
    return found


def _bounded(
    name: str, series: Any, location: str, wanted: str | None, notes: list[Dropped]
) -> Traces | None:
    """A series read at once if it is small, by stretches if it is large and wanted, else not at all."""
    shape, dtype = getattr(series.data, "shape", np.shape(series.data)), getattr(series.data, "dtype", None)
    if dtype is not None and dtype.kind not in "fiub":
        notes.append(Dropped("signal", (name,), f"holds {dtype}, not numbers"))
        return None
    size = int(np.prod(shape)) * (dtype.itemsize if dtype is not None else 8)
    large = size > LARGE
    if large and wanted not in _names(name, series):
        reason = f"{size / 1e9:.2g} GB, not read unasked; name it with signal={name!r} when reading"
        notes.append(Dropped("signal", (name,), reason))
        return None
    stamps = stamps_of(series)
    if len(stamps) != shape[0]:
        if len(shape) == 2 and shape[1] == len(stamps):
            return _traces(name, series, read_array(series.data).T, stamps)
        reason = f"holds {shape[0]} samples but {len(stamps)} timestamps, so their times are unknown"
        notes.append(Dropped("signal", (name,), reason))
        return None
    if not large:
        return _traces(name, series, read_array(series.data), stamps)
    return _traces(name, series, None, stamps, _on_demand(series, location))


def _traces(
    name: str, series: Any, data: np.ndarray | None, stamps: np.ndarray, values: OnDemand | None = None
) -> Traces:
    scale = _scaling(series)
    filled = values if data is None else scale(data.reshape(len(data), -1) if data.ndim != 2 else data)
    return Traces(
        name=name,
        values=filled,
        timestamps=stamps,
        channels=np.arange(filled.shape[1]),
        physical_unit=str(series.unit or "unknown"),
    )


def _scaling(series: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Function from stored numbers to physical ones: data * conversion * channel_conversion + offset."""
    factor = float(series.conversion if series.conversion is not None else 1.0)
    factor = factor if np.isfinite(factor) and factor != 0 else 1.0
    offset = float(getattr(series, "offset", None) or 0.0)
    each = getattr(series, "channel_conversion", None)
    channels = None if each is None else read_array(each)

    def scale(data: np.ndarray) -> np.ndarray:
        if data.dtype.kind == "f" and factor == 1.0 and offset == 0.0 and channels is None:
            return data
        scaled = data * np.float64(factor) + offset
        return scaled if channels is None else data * factor * channels + offset

    return scale


def _on_demand(series: Any, location: str) -> OnDemand:
    """Values read by stretches: from the file opened again, or from a file that the user holds open."""
    shape = tuple(series.data.shape)
    shape = shape if len(shape) == 2 else (shape[0], 1)
    scale, path = _scaling(series), path_of(series)
    if not location:
        held = series.data
        return OnDemand(shape, lambda first, last: scale(np.asarray(held[first:last]).reshape(-1, shape[1])))

    def read(first: int, last: int) -> np.ndarray:
        with open_nwb(location) as nwbfile, quiet():
            again = next(item for item in nwbfile.objects.values() if path_of(item) == path)
            return scale(np.asarray(again.data[first:last]).reshape(-1, shape[1]))

    return OnDemand(shape, read)


def with_rois(traces: Traces, series: Any, keep_rejected: bool, notes: list[Dropped]) -> Traces:
    """Channels named and described by the segmentation, without the cells it rejects."""
    region = series.rois
    rows = read_array(region.data).astype(np.int64)
    values = traces.values
    if values.shape[1] != len(rows) and isinstance(values, np.ndarray) and values.shape[0] == len(rows):
        values = values.T
    table = read_table(region.table, [], name=str(region.table.name))
    if values.shape[1] != len(rows) or (len(rows) and rows.max() >= len(table)):
        reason = (
            f"signal {traces.name!r} has {values.shape[1]} columns, but names {len(rows)} ROIs; ROIs not used"
        )
        notes.append(Dropped("column", (traces.name,), reason))
        return traces
    picked = table.take(rows)
    columns = {**picked.columns, "plane": np.full(len(rows), str(region.table.name))}
    traces = replace(traces, values=values, channels=picked.ids, columns=columns)
    kept = None if keep_rejected else accepted_rois(region.table, rows)
    if kept is None or kept.all() or not kept.any():
        return traces
    notes.append(
        Dropped("unit", tuple(traces.channels[~kept].tolist()), f"ROIs of {traces.name!r} marked as rejected")
    )
    return traces.take(np.flatnonzero(kept))


def accepted_rois(table: Any, rows: np.ndarray) -> np.ndarray | None:
    """(n,) bool from a column that accepts or rejects cells; None where there is no such column."""
    for label in (*_ACCEPTED, *_REJECTED):
        if label not in table.colnames:
            continue
        values = read_column(table, label)
        if values is None:
            data = read_array(table[label].data)
            values = data[:, 0] if data.ndim == 2 else None
        if values is not None and values.dtype.kind in "fiub":
            marked = np.nan_to_num(values[rows].astype(float)) > 0.5
            return ~marked if label in _REJECTED else marked
    return None


def planes_together(signals: dict[str, Traces], contents: Contents) -> dict[str, Traces]:
    """Planes of one container joined into one signal, where they were imaged frame by frame together.

    The planes must have equally many frames, less than one frame apart; the times are those of the
    first plane. Where ROI ids repeat over planes the channels are called ``plane:id``.
    """
    families: dict[str, list[Traces]] = {}
    for name, series in contents.rois.items():
        if name in signals:
            families.setdefault(path_of(series.parent), []).append(signals[name])
    joined = {}
    for path, planes in families.items():
        if len(planes) > 1 and _in_step(planes) and all(isinstance(p.values, np.ndarray) for p in planes):
            joined[path.split("/")[-1]] = _side_by_side(path.split("/")[-1], planes)
    if not joined:
        return {}
    rest = dict(signals)
    signals.clear()
    return {**joined, **rest}


def _in_step(planes: list[Traces]) -> bool:
    first = planes[0]
    return all(
        len(p.timestamps) == len(first.timestamps)
        and len(first.timestamps) > 1
        and bool(np.all(np.abs(p.timestamps - first.timestamps) < first.period))
        for p in planes[1:]
    )


def _side_by_side(name: str, planes: list[Traces]) -> Traces:
    channels = np.concatenate([p.channels for p in planes])
    if len(np.unique(channels)) < len(channels):
        channels = np.array([f"{p.columns['plane'][0]}:{c}" for p in planes for c in p.channels])
    shared = [k for k in planes[0].columns if all(k in p.columns for p in planes)]
    columns = {k: np.concatenate([p.columns[k] for p in planes]) for k in shared}
    values = np.concatenate([p.values for p in planes], axis=1)
    return replace(planes[0], name=name, values=values, channels=channels, columns=columns)


def neurons_together(contents: Contents, notes: list[Dropped]) -> dict[str, Traces]:
    """Series that differ only by a number in their name and share their times: one neuron each."""
    families: dict[tuple[str, str, str], list[str]] = {}
    for name, series in sorted(contents.series.items(), key=_number):
        numbered = _NUMBERED.fullmatch(series.name)
        if (
            numbered
            and numbered[1]
            and len(getattr(series.data, "shape", ())) == 1
            and type(series).__name__ == "TimeSeries"
        ):
            parent = path_of(series.parent) if "NWBFile" not in kinds(series.parent) else ""
            families.setdefault((parent, numbered[1], str(series.unit)), []).append(name)
    found = {}
    for (_, stem, _unit), names in families.items():
        members = [contents.series[n] for n in names]
        if len(names) < _FEWEST_NEURONS or len({m.data.shape for m in members}) > 1:
            continue
        stamps = stamps_of(members[0])
        if not all(np.array_equal(stamps, stamps_of(m)) for m in members[1:]):
            continue
        values = np.column_stack([_scaling(m)(read_array(m.data)) for m in members])
        found[stem] = Traces(stem, values, stamps, np.array([m.name for m in members]), str(members[0].unit))
        for n in names:
            del contents.series[n]
    return found


def _number(item: tuple[str, Any]) -> tuple[str, int]:
    """Sorts names by the number that they end in."""
    name = item[0]
    digits = name[len(name.rstrip("0123456789")) :]
    return name.rstrip("0123456789"), int(digits or 0)


def with_electrodes(traces: Traces, series: Any) -> Traces:
    """Channels named and described by the table of electrodes."""
    region = getattr(series, "electrodes", None)
    if region is None or not hasattr(region, "table"):
        return traces
    rows = read_array(region.data).astype(np.int64)
    table = read_table(region.table, [], name="electrodes")
    if len(rows) != traces.values.shape[1] or (len(rows) and rows.max() >= len(table)):
        return traces
    picked = table.take(rows)
    columns = dict(picked.columns)
    if "location" in columns:
        columns["region"] = columns.pop("location")
    return replace(traces, channels=picked.ids, columns=columns)
