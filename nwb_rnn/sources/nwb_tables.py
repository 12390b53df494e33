"""Tables of an NWB file: units, intervals, events, ROIs; whole columns at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.building import plain_column
from nwb_rnn.recordings.recording import Dropped, Observed, Spikes, Table

LONGEST_TEXT = 100_000
_NOT_CARRIED = ("waveform", "spike_amplitudes", "pixel_mask", "voxel_mask", "image_mask")


def read_array(data: Any) -> np.ndarray:
    """All of a dataset, whatever pynwb wraps it in."""
    return np.asarray(data[:] if hasattr(data, "shape") or hasattr(data, "__getitem__") else data)


def read_table(table: Any, notes: list[Dropped], skip: Sequence[str] = (), name: str | None = None) -> Table:
    """A DynamicTable with those columns that hold one number, boolean or text per row.

    Columns of another kind (several values per row, references) are listed in `notes`.
    """
    name = name or str(table.name)
    ids = read_array(table.id.data)
    columns: dict[str, np.ndarray] = {}
    lost = []
    for label in table.colnames:
        if label in skip:
            continue
        values = read_column(table, label)
        if values is None or values.shape != ids.shape:
            lost.append(label)
        else:
            columns[label] = values
    if lost:
        reason = f"table {name!r}: not one number or text per row, or too long, so not carried"
        notes.append(Dropped("column", tuple(lost), reason))
    return Table(name, ids, columns)


def read_column(table: Any, label: str) -> np.ndarray | None:
    """One column as numbers, booleans or text; None where it holds something else."""
    column = table[label]
    kind = type(column).__name__
    if kind.endswith("Index") or kind.startswith(("DynamicTableRegion", "TimeSeriesReference")):
        return None
    if label.startswith(_NOT_CARRIED):
        return None
    if kind == "EnumData":
        elements = plain_column(read_array(column.elements.data))
        return None if elements is None else elements[read_array(column.data).astype(int)]
    if len(getattr(column.data, "shape", (0,))) > 1:
        return None
    values = plain_column(read_array(column.data))
    if values is not None and values.dtype.kind == "U" and values.dtype.itemsize // 4 > LONGEST_TEXT:
        return None
    return values


def read_ragged(table: Any, label: str, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Flat values and offsets of a ragged column, in one read, or for some rows only.

    Returns
    -------
    values : (S, ...) the values of all rows one after the other
    offsets : (rows + 1,) int64
    """
    index = table[label]
    offsets = _offsets(table, label)
    if rows is None:
        return read_array(index.target.data), offsets
    parts = [np.asarray(index.target.data[offsets[r] : offsets[r + 1]]) for r in rows]
    flat = np.concatenate(parts) if parts else np.asarray(index.target.data[:0])
    return flat, np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)


def _offsets(table: Any, label: str) -> np.ndarray:
    """(rows + 1,) begin and end of the values of each row of a ragged column."""
    ends = read_array(table[label].data)
    if ends.dtype.kind not in "iu" or ends.ndim != 1:
        raise InputError(
            f"the index of column {label!r} of table {table.name!r} must be one row of integers, not "
            f"{ends.dtype} of shape {ends.shape}; the file is damaged or was written wrongly"
        )
    return np.concatenate([[0], ends.astype(np.int64)])


def read_spikes(units: Any, rows: np.ndarray | None, span: tuple[float, float] | None) -> Spikes:
    """Spike times of all units in one read; of some units, or within a span, only what is needed.

    Parameters
    ----------
    units : the table of units
    rows : positions of the units to read, all when None
    span : (start, stop) s; in long trains its place is found by bisection in the file
    """
    if span is None:
        times, offsets = read_ragged(units, "spike_times", rows)
        return Spikes(np.asarray(times, dtype=np.float64) if times.dtype.kind in "iu" else times, offsets)
    index = units["spike_times"]
    ends = _offsets(units, "spike_times")
    chosen = np.arange(len(ends) - 1) if rows is None else rows
    parts = [_between(index.target.data, int(ends[r]), int(ends[r + 1]), span) for r in chosen]
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)
    return Spikes(np.concatenate(parts) if parts else np.zeros(0), offsets)


_BLOCK = 16_384


def _between(data: Any, low: int, high: int, span: tuple[float, float]) -> np.ndarray:
    """Times of one ascending train (entries low to high of a dataset) that lie in a span."""
    first = _first_at_least(data, low, high, span[0])
    last = _first_at_least(data, first, high, np.nextafter(span[1], np.inf))
    return np.asarray(data[first:last], dtype=np.float64)


def _first_at_least(data: Any, low: int, high: int, value: float) -> int:
    """Entry of the first time that is not before `value`; bisection, then one block."""
    while high - low > _BLOCK:
        middle = (low + high) // 2
        if float(data[middle]) < value:
            low = middle + 1
        else:
            high = middle
    block = np.asarray(data[low:high])
    return low + int(np.searchsorted(block, value))


def read_observed(units: Any, rows: np.ndarray | None) -> Observed | None:
    """Intervals of observation, or None where the file does not say."""
    if "obs_intervals" not in units.colnames:
        return None
    intervals, offsets = read_ragged(units, "obs_intervals", rows)
    return Observed(np.asarray(intervals, dtype=np.float64).reshape(-1, 2), offsets)


def electrode_columns(units: Any) -> dict[str, np.ndarray]:
    """Of each unit the first electrode's id, the regions and the groups of its electrodes."""
    if "electrodes" not in units.colnames:
        return {}
    column = units["electrodes"]
    region = column.target if hasattr(column, "target") else column
    picked = read_array(region.data).astype(np.int64)
    if picked.ndim != 1:
        return {}
    ends = (
        read_array(column.data).astype(np.int64)
        if hasattr(column, "target")
        else np.arange(1, len(picked) + 1)
    )
    table = region.table
    if table is None or (len(picked) and (picked.min() < 0 or picked.max() >= len(table.id))):
        return {}
    bounds = np.concatenate([[0], ends])
    result: dict[str, np.ndarray] = {}
    ids = read_array(table.id.data)
    if np.all(np.diff(bounds) > 0):
        result["electrode"] = ids[picked[bounds[:-1]]]
    for source, target in (("location", "region"), ("group_name", "electrode_group")):
        values = read_column(table, source) if source in table.colnames else None
        if values is not None and values.dtype.kind == "U":
            result[target] = _joined(values, picked, bounds)
    return result


def _joined(values: np.ndarray, picked: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Different values of the entries of each row, joined by commas."""
    rows = [dict.fromkeys(values[picked[a:b]].tolist()) for a, b in pairwise(bounds)]
    return np.array([", ".join(row) for row in rows], dtype=str)


def read_units(units: Any, notes: list[Dropped]) -> Table:
    """The table of units without its spikes, with what is known of the electrodes of each."""
    table = read_table(units, notes, skip=("spike_times", "obs_intervals", "electrodes"), name="units")
    extra = {k: v for k, v in electrode_columns(units).items() if k not in table.columns}
    return Table("units", table.ids, {**table.columns, **extra})
