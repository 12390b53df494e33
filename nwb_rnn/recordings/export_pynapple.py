"""A recording as pynapple objects."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from nwb_rnn.recordings.recording import Recording, Table, Traces

_MICROSECOND = 1e-6


def to_pynapple(recording: Recording) -> dict[str, Any]:
    """The recording as a dict of pynapple objects, named as in the recording.

    ``units`` is a TsGroup whose time support is the span of the recording, with unit columns as
    metadata; its keys are the unit ids where those are whole numbers, else 0, 1, 2, ... with the ids as
    metadata ``unit_id``. Signals and behaviour become TsdFrames and events become Ts.

    An IntervalSet holds only finished intervals that follow each other without overlap. A table of
    intervals with others in it loses rows that lack a start or stop; where rows overlap, it becomes a Ts
    of their start times. Where one interval ends as the next begins, pynapple takes 1 µs off its end.
    """
    made: dict[str, Any] = {}
    if recording.spikes is not None:
        made["units"] = _group(recording)
    for held in (recording.signals, recording.behaviour):
        for name, traces in held.items():
            made[_free(name, made)] = _frame(traces)
    for name, table in recording.intervals.items():
        made[_free(name, made)] = _intervals(table)
    for name, table in recording.events.items():
        made[_free(name, made)] = _timestamps(table.columns["timestamp"])
    return made


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """The name, with ``_2`` and so on where a thing of another kind has it."""
    key, number = name, 2
    while key in taken:
        key, number = f"{name}_{number}", number + 1
    return key


def _group(recording: Recording) -> Any:
    import pynapple

    ids = recording.units.ids
    whole = ids.dtype.kind in "iu"
    times = recording.spikes.times
    start, stop = recording.span
    support = pynapple.IntervalSet(times.min(initial=start), times.max(initial=stop))
    columns = {k: v for k, v in recording.units.columns.items() if k != "rate"}  # pynapple's own
    if not whole:
        columns["unit_id"] = ids
    keys = ids.tolist() if whole else range(len(ids))
    trains = {key: pynapple.Ts(recording.spikes.of(i), time_support=support) for i, key in enumerate(keys)}
    with _names_allowed():
        return pynapple.TsGroup(trains, time_support=support, metadata=columns)


def _frame(traces: Traces) -> Any:
    import pynapple

    texts = [str(channel) for channel in traces.channels.tolist()]
    columns = traces.channels if traces.channels.dtype.kind in "iu" else texts
    facts = {k: v for k, v in traces.columns.items() if k not in texts}
    with _names_allowed():
        return pynapple.TsdFrame(
            t=traces.timestamps, d=np.asarray(traces.values), columns=columns, metadata=facts
        )


def _intervals(table: Table) -> Any:
    import pynapple

    start, stop = table.columns["start_time"], table.columns["stop_time"]
    kept = np.isfinite(start) & np.isfinite(stop) & (stop > start)
    kept = np.flatnonzero(kept)[np.argsort(start[kept], kind="stable")]
    start, stop = start[kept], stop[kept]
    if np.any(start[1:] < stop[:-1]):
        return _timestamps(table.columns["start_time"])
    touching = np.append(start[1:] - stop[:-1] < _MICROSECOND, False)
    stop = np.where(touching, stop - _MICROSECOND, stop)
    facts = {k: v[kept] for k, v in table.columns.items() if k not in ("start_time", "stop_time")}
    with _names_allowed():
        return pynapple.IntervalSet(start, stop, metadata={"id": table.ids[kept], **facts})


def _timestamps(times: np.ndarray) -> Any:
    import pynapple

    return pynapple.Ts(np.sort(times[np.isfinite(times)]))


@contextmanager
def _names_allowed() -> Iterator[None]:
    """Metadata whose name can't be used as an attribute is still there: no need to warn of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metadata name")
        yield
