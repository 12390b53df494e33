"""The checks that every recording passes when it is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import (
    Dropped,
    Observed,
    Provenance,
    Recording,
    Spikes,
    Table,
    Traces,
)


def build(
    *,
    units: Table | None,
    spikes: Spikes | Sequence[Any] | None,
    traces: Traces | None,
    signals: Mapping[str, Traces],
    intervals: Mapping[str, Table],
    events: Mapping[str, Table],
    behaviour: Mapping[str, Traces],
    observed: Observed | Sequence[Any] | None,
    provenance: Provenance,
    dropped: tuple[Dropped, ...],
    span: tuple[float, float] | None,
    description: Mapping[str, str],
    preferred: str,
) -> Recording:
    """Check the parts of a recording and put them together; see `Recording.build`."""
    notes = list(dropped)
    signals = {name: check_traces(t, notes) for name, t in signals.items()}
    if traces is None:
        traces = next(iter(signals.values()), None)
    elif traces.name in signals and traces.values is not signals[traces.name].values:
        traces = check_traces(traces, notes)
    if traces is not None:
        traces = signals.setdefault(
            traces.name, traces if traces.name in signals else check_traces(traces, notes)
        )
    if spikes is not None:
        spikes = check_spikes(spikes)
        units = check_units(units, len(spikes.offsets) - 1)
        units = unique_ids(units, notes)
        spikes = clean_spikes(spikes, units, notes)
    elif traces is not None:
        units = traces.channel_table() if units is None else check_units(units, traces.values.shape[1])
    else:
        raise InputError(
            "a recording needs `spikes` or a signal (`traces` or `signals`); neither was given. "
            "Check that the source holds sorted units, ROI responses or electrical series."
        )
    if span is not None:
        span = check_span(span)
        observed = [[span]] * len(units) if observed is None else observed
    recording = Recording(
        units=units,
        spikes=spikes,
        traces=traces,
        signals=signals,
        intervals={k: check_intervals(k, t, notes) for k, t in intervals.items()},
        events={k: check_events(k, t, notes) for k, t in events.items()},
        behaviour={k: check_traces(t, notes) for k, t in behaviour.items()},
        observed=check_observed(observed, len(units)) if spikes is not None else None,
        provenance=provenance,
        dropped=tuple(notes),
        span=(0.0, 0.0),
        description=dict(description),
        preferred=preferred,
    )
    return replace(recording, span=span or extent(recording))


def check_spikes(spikes: Spikes | Sequence[Any]) -> Spikes:
    """Flat spike times with offsets that fit them."""
    if not isinstance(spikes, Spikes):
        trains = [times_array(train, f"spike times of unit number {i}") for i, train in enumerate(spikes)]
        offsets = np.concatenate([[0], np.cumsum([len(t) for t in trains])]).astype(np.int64)
        return Spikes(np.concatenate(trains) if trains else np.zeros(0), offsets)
    times = times_array(spikes.times, "spike times")
    offsets = np.asarray(spikes.offsets)
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype.kind not in "iu":
        raise InputError("the offsets of spikes must be one row of integers, one more than there are units")
    offsets = offsets.astype(np.int64)
    if offsets[0] != 0 or offsets[-1] != len(times) or np.any(np.diff(offsets) < 0):
        raise InputError(
            f"the offsets of spikes must rise from 0 to the number of spikes ({len(times)}); they run "
            f"from {offsets[0]} to {offsets[-1]}. The index column of the source does not fit its data."
        )
    return Spikes(times, offsets)


def clean_spikes(spikes: Spikes, units: Table, notes: list[Dropped]) -> Spikes:
    """Drop spike times that are not finite, and sort the rest within each unit; both are reported."""
    times, offsets = spikes.times, spikes.offsets
    with np.errstate(over="ignore", invalid="ignore"):
        suspect = not np.isfinite(times.sum())  # no copy of all times unless something is wrong
    if suspect:
        finite = np.isfinite(times)
        owner = np.repeat(np.arange(len(units)), np.diff(offsets))
        losers = np.unique(owner[~finite])
        if len(losers):
            reason = f"{int((~finite).sum())} spike times are NaN or infinite"
            notes.append(Dropped("sample", tuple(units.ids[losers].tolist()), reason))
        counts = np.bincount(owner[finite], minlength=len(units))
        times, offsets = times[finite], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    steps = times[1:] < times[:-1]
    steps[offsets[1:-1][(offsets[1:-1] > 0) & (offsets[1:-1] < len(times))] - 1] = False
    if steps.any():
        late = np.searchsorted(offsets, np.flatnonzero(steps), side="right") - 1
        notes.append(
            Dropped("sample", tuple(units.ids[np.unique(late)].tolist()), "spike times not in order: sorted")
        )
        times = np.concatenate([np.sort(times[a:b], kind="stable") for a, b in pairwise(offsets)])
    return Spikes(times, offsets)


def check_units(units: Table | None, count: int) -> Table:
    """A table with one row per unit."""
    if units is None:
        return Table("units", np.arange(count))
    if len(units) != count:
        raise InputError(
            f"the table of units has {len(units)} rows, but there are {count} spike trains or channels; "
            "give one row for each"
        )
    return check_table("units", units)


def unique_ids(table: Table, notes: list[Dropped]) -> Table:
    """Row numbers in place of ids that occur twice, and a line in the report about it."""
    values, counts = np.unique(table.ids, return_counts=True)
    if np.all(counts == 1):
        return table
    twice = tuple(values[counts > 1].tolist())
    notes.append(
        Dropped(
            "column", twice, f"these ids occur more than once in {table.name!r}; rows are numbered 0, 1, ..."
        )
    )
    return replace(table, ids=np.arange(len(table)))


def check_table(name: str, table: Table) -> Table:
    """A table whose columns are one-dimensional and as long as its ids."""
    ids = np.asarray(table.ids)
    if ids.ndim != 1:
        raise InputError(
            f"the ids of table {name!r} must be one row of numbers or texts, not shape {ids.shape}"
        )
    columns = {str(k): plain_column(v) for k, v in table.columns.items()}
    for key, column in columns.items():
        if column is None:
            raise InputError(f"column {key!r} of table {name!r} must hold numbers, booleans or texts")
        if column.shape != ids.shape:
            raise InputError(
                f"column {key!r} of table {name!r} has shape {column.shape}; expected ({len(ids)},), "
                "one value per row"
            )
    return replace(table, ids=ids, columns=columns)


def plain_column(values: Any) -> np.ndarray | None:
    """Numbers, booleans or text of a column, byte strings decoded; None for anything else.

    Text of mixed kinds stays text; missing values (None) among numbers become NaN.
    """
    array = np.asarray(values)
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind != "O":
        return array if array.dtype.kind in "fiubU" else None
    held = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in array.ravel()]
    if all(isinstance(v, str) for v in held):
        return np.array(held, dtype=str).reshape(array.shape)
    if all(isinstance(v, bool | np.bool_) for v in held):
        return np.array(held, dtype=bool).reshape(array.shape)
    if all(v is None or isinstance(v, int | float | np.number | np.bool_) for v in held):
        return np.array([np.nan if v is None else float(v) for v in held]).reshape(array.shape)
    return None


def check_intervals(name: str, table: Table, notes: list[Dropped]) -> Table:
    """A table of intervals with start and stop times in seconds."""
    table = unique_ids(check_table(name, table), notes)
    columns = dict(table.columns)
    for key in ("start_time", "stop_time"):
        if key not in columns:
            raise InputError(
                f"table of intervals {name!r} has no column {key!r}; it has {', '.join(columns)}"
            )
        columns[key] = times_array(columns[key], f"column {key!r} of table {name!r}")
    return replace(table, columns=columns)


def check_events(name: str, table: Table, notes: list[Dropped]) -> Table:
    """A table of events with their times in seconds."""
    table = unique_ids(check_table(name, table), notes)
    if "timestamp" not in table.columns:
        has = ", ".join(table.columns) or "no column"
        raise InputError(f"table of events {name!r} has no column 'timestamp'; it has {has}")
    stamps = times_array(table.columns["timestamp"], f"column 'timestamp' of table {name!r}")
    return replace(table, columns={**table.columns, "timestamp": stamps})


def check_traces(traces: Traces, notes: list[Dropped]) -> Traces:
    """A signal of shape (samples, channels) whose finite timestamps ascend."""
    values = traces.values if not isinstance(traces.values, list | tuple) else np.asarray(traces.values)
    if isinstance(values, np.ndarray):
        if values.dtype.kind not in "fiub":
            raise InputError(f"signal {traces.name!r} must hold numbers, not {values.dtype}")
        values = values[:, None] if values.ndim == 1 else values
        values = values if values.dtype.kind == "f" else values.astype(np.float32)
    stamps = times_array(traces.timestamps, f"timestamps of signal {traces.name!r}")
    channels = np.asarray(traces.channels)
    expected = (len(stamps), len(channels))
    if tuple(values.shape) != expected:
        raise InputError(
            f"signal {traces.name!r} has values of shape {tuple(values.shape)}; {len(stamps)} timestamps "
            f"and {len(channels)} channels ask for {expected}"
        )
    columns = check_table(traces.name, traces.channel_table()).columns
    traces = replace(traces, values=values, timestamps=stamps, channels=channels, columns=columns)
    return _in_order(traces, notes)


def _in_order(traces: Traces, notes: list[Dropped]) -> Traces:
    stamps = traces.timestamps
    finite = np.isfinite(stamps)
    if finite.all() and np.all(np.diff(stamps) >= 0):
        return traces
    if not finite.all():
        reason = f"{int((~finite).sum())} samples of signal {traces.name!r} have no finite timestamp"
        notes.append(Dropped("sample", tuple(np.flatnonzero(~finite)[:1000].tolist()), reason))
    kept = np.flatnonzero(finite)
    kept = kept[np.argsort(stamps[kept], kind="stable")]
    return replace(traces, values=np.asarray(traces.values)[kept], timestamps=stamps[kept])


def check_observed(observed: Observed | Sequence[Any] | None, count: int) -> Observed | None:
    """Intervals of observation that fit the units, ascending within each."""
    if observed is None:
        return None
    if not isinstance(observed, Observed):
        parts = [np.asarray(part, dtype=float).reshape(-1, 2) for part in observed]
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)
        observed = Observed(np.concatenate(parts) if parts else np.zeros((0, 2)), offsets)
    intervals, offsets = (
        np.asarray(observed.intervals, dtype=float),
        np.asarray(observed.offsets, dtype=np.int64),
    )
    fits = len(offsets) == count + 1 and offsets[0] == 0 and offsets[-1] == len(intervals)
    if intervals.ndim != 2 or intervals.shape[1] != 2 or not fits or np.any(np.diff(offsets) < 0):
        raise InputError(
            f"the intervals of observation have shape {intervals.shape} and {len(offsets)} offsets; expected "
            f"(k, 2) and {count + 1}, one offset more than there are units"
        )
    owner = np.repeat(np.arange(count), np.diff(offsets))
    order = np.lexsort((intervals[:, 0], owner))
    return Observed(intervals[order], offsets)


def check_span(span: tuple[float, float]) -> tuple[float, float]:
    """(start, stop) of a recording, s, in this order."""
    start, stop = (float(v) for v in span)
    if not (np.isfinite(start) and np.isfinite(stop) and stop > start):
        raise InputError(
            f"the span of a recording must be (start, stop) in seconds with stop > start, not {span}"
        )
    return start, stop


def times_array(values: Any, what: str) -> np.ndarray:
    """(n,) float64 seconds."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu" and array.size:
            raise TypeError(f"they are {array.dtype}")
        array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {what} must be numbers in seconds; {error}") from error
    if array.ndim != 1:
        raise InputError(f"the {what} must be one row of numbers in seconds, not shape {array.shape}")
    return array


def extent(recording: Recording) -> tuple[float, float]:
    """(first, last) second of what was recorded, s.

    Spikes and intervals of observation tell, where there are any intervals; else spikes, signals and
    behaviour together.
    """
    ends: list[np.ndarray] = []
    if recording.spikes is not None:
        times, counts = recording.spikes.times, recording.spikes.counts()
        ends += [
            times[recording.spikes.offsets[:-1][counts > 0]],
            times[recording.spikes.offsets[1:][counts > 0] - 1],
        ]
    if recording.observed is not None and len(recording.observed.intervals):
        ends.append(recording.observed.intervals.ravel())
    else:
        ends += [_reach(t) for t in [*recording.signals.values(), *recording.behaviour.values()]]
    finite = [part[np.isfinite(part)] for part in ends]
    finite = [part for part in finite if len(part)]
    if not finite:
        return 0.0, 0.0
    return float(min(p.min() for p in finite)), float(max(p.max() for p in finite))


def _reach(traces: Traces) -> np.ndarray:
    """First sample, and one period after the last."""
    stamps = traces.timestamps
    period = traces.period if len(stamps) > 1 else 0.0
    return np.array([stamps[0], stamps[-1] + period]) if len(stamps) else np.zeros(0)
