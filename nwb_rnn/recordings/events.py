"""Which moments a recording is aligned to: table, column, and the clock that the column counts on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.building import times_array
from nwb_rnn.recordings.expressions import evaluate
from nwb_rnn.recordings.recording import Dropped, Recording, Table

CLOCKS = ("auto", "session", "start")
_MAJORITY = 0.75


@dataclass(frozen=True, eq=False)
class Moments:
    """Rows of a table and the moment of each.

    Attributes
    ----------
    name : what they are called, such as ``"move_onset_time"``
    table : the rows kept
    times : (N,) session seconds
    clock : ``"session"``, or ``"start"`` where the column counts from each row's start_time
    found : how the clock is known: ``"given"``, ``"detected"`` or ``"by definition"``
    dropped : rows left out, and why
    """

    name: str
    table: Table
    times: np.ndarray
    clock: str
    found: str
    dropped: list[Dropped] = field(default_factory=list)

    def keep(self, rows: np.ndarray, reason: str) -> Moments:
        """The same without the rows where `rows` is False, with a line in the report."""
        if rows.all():
            return self
        lost = Dropped("trial", tuple(self.table.ids[~rows].tolist()), reason)
        return replace(
            self, table=self.table.take(rows), times=self.times[rows], dropped=[*self.dropped, lost]
        )


def find_moments(
    recording: Recording,
    event: str | Sequence[float] | np.ndarray,
    table: str | None,
    where: str | None,
    time_reference: str,
) -> Moments:
    """The moments to align to, NaN ones and rows that fail `where` left out and reported.

    Parameters
    ----------
    event : a column of a table of intervals, the name of a table of events, or session seconds
    table : table that holds the column; found by the column when None
    where : condition over the columns of the table
    time_reference : ``"session"``, ``"start"`` (counted from the row's start_time) or ``"auto"``

    Raises
    ------
    InputError : no such table or column, no row left, all NaN, or a clock that cannot be told
    """
    if time_reference not in CLOCKS:
        raise InputError(f"time_reference must be one of {', '.join(CLOCKS)}, not {time_reference!r}")
    if not isinstance(event, str):
        rows, times = _given_moments(event)
        moments = Moments("given times", rows, times, "session", "by definition")
    else:
        rows = find_table(recording, event, table)
        column = event if event in rows.columns else "timestamp"
        if len(rows) == 0:
            raise InputError(f"table {rows.name!r} is empty, so nothing can be aligned to {event!r}")
        times, clock, found = column_times(rows, column, time_reference)
        moments = Moments(event, rows, times, clock, found)
    if where is not None:
        moments = _choose(moments, where)
    return _without_nan(moments)


def _given_moments(event: Any) -> tuple[Table, np.ndarray]:
    times = times_array(event, "times to align to")
    if len(times) == 0:
        raise InputError("no times to align to were given")
    return Table("given times", np.arange(len(times)), {"timestamp": times}), times


def _choose(moments: Moments, where: str) -> Moments:
    chosen = evaluate(where, {"id": moments.table.ids, **moments.table.columns}, moments.table.name)
    if not chosen.any():
        raise InputError(
            f"no row of table {moments.table.name!r} fulfils where={where!r}; loosen the condition"
        )
    return moments.keep(chosen, f"not chosen by where={where!r}")


def _without_nan(moments: Moments) -> Moments:
    finite = np.isfinite(moments.times)
    if not finite.any():
        raise InputError(
            f"the event {moments.name!r} is NaN in all {len(finite)} rows of table {moments.table.name!r}; "
            f"align to another column: {', '.join(time_columns(moments.table)) or 'none holds times'}"
        )
    return moments.keep(finite, f"the event {moments.name!r} is NaN")


def find_table(recording: Recording, event: str, table: str | None) -> Table:
    """The table of intervals or events that `event` belongs to."""
    every: dict[str, Table] = {**recording.events, **recording.intervals}
    if table is not None:
        if table not in every:
            raise InputError(f"there is no table {table!r}; {what_can_be_aligned(recording)}")
        rows = every[table]
        if event in rows.columns or (table in recording.events and event == table):
            return rows
        raise InputError(f"table {table!r} has no column {event!r}; it has {', '.join(rows.columns)}")
    if "trials" in recording.intervals and event in recording.intervals["trials"].columns:
        return recording.intervals["trials"]
    holders = [t for t in recording.intervals.values() if event in t.columns]
    if not holders and event in recording.events:
        return recording.events[event]
    if len(holders) == 1:
        return holders[0]
    if holders:
        names = ", ".join(repr(t.name) for t in holders)
        raise InputError(f"the column {event!r} is in several tables ({names}); choose one with table=")
    raise InputError(f"there is no event {event!r}; {what_can_be_aligned(recording)}")


def what_can_be_aligned(recording: Recording) -> str:
    """The tables and columns of a recording, as the end of an error message."""
    lines = [f"{name!r} with columns {', '.join(t.columns)}" for name, t in recording.intervals.items()]
    if recording.events:
        lines.append("events " + ", ".join(repr(name) for name in list(recording.events)[:40]))
    if not lines:
        return (
            "this recording has no table of intervals or events; give times (s), or cut equal pieces with "
            "recording.segments(length=…) (--segments on the command line)"
        )
    return "this recording has " + "; ".join(lines)


def time_columns(table: Table) -> list[str]:
    """Columns that may hold times: floats that are not all NaN."""
    return [k for k, v in table.columns.items() if v.dtype.kind == "f" and np.isfinite(v).any()]


def column_times(table: Table, column: str, time_reference: str) -> tuple[np.ndarray, str, str]:
    """Session seconds of a column, the clock it counts on, and how that is known."""
    values = table.columns[column]
    if values.dtype.kind not in "fiu":
        others = ", ".join(time_columns(table)) or "none"
        raise InputError(
            f"column {column!r} of table {table.name!r} holds {_kind(values)}, not times in seconds; "
            f"columns that could: {others}"
        )
    values = values.astype(np.float64)
    if column in ("start_time", "stop_time", "timestamp") or "start_time" not in table.columns:
        return values, "session", "by definition"
    if time_reference != "auto":
        clock, found = time_reference, "given"
    else:
        clock, found = detect_clock(table, column, values), "detected"
    return (values + table.columns["start_time"] if clock == "start" else values), clock, found


def _kind(values: np.ndarray) -> str:
    return {"U": "text", "b": "booleans"}.get(values.dtype.kind, str(values.dtype))


def detect_clock(table: Table, column: str, values: np.ndarray) -> str:
    """Whether a column counts in session seconds or from each row's start_time.

    For each row, the distance of the value to ``[start_time, stop_time]`` is compared with its distance
    to ``[0, stop_time - start_time]``; the nearer one has the row's vote. Rows where both are equal (a
    trial that starts at 0) do not vote. A missing stop_time is replaced by the next start_time.

    Raises
    ------
    InputError : fewer than three votes in four agree
    """
    start = table.columns["start_time"]
    stop = _known_stops(start, table.columns["stop_time"])
    known = np.isfinite(values) & np.isfinite(start)
    value, start, stop = values[known], start[known], stop[known]
    to_session = np.maximum(start - value, 0) + np.maximum(value - stop, 0)
    to_start = np.maximum(-value, 0) + np.maximum(value - (stop - start), 0)
    session, relative = int((to_session < to_start).sum()), int((to_start < to_session).sum())
    if max(session, relative) < _MAJORITY * (session + relative):
        raise InputError(
            f"cannot tell whether {column!r} of table {table.name!r} counts in session seconds ({session} "
            f"rows agree) or from each start_time ({relative} rows); say so with time_reference='session' "
            "or time_reference='start'"
        )
    return "start" if relative > session else "session"


def _known_stops(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Stop times, a missing one replaced by the next start_time, the last by the median length."""
    order = np.argsort(start, kind="stable")
    following = np.full(len(start), np.inf)
    following[order[:-1]] = start[order[1:]]
    lengths = (following - start)[np.isfinite(following - start)]
    typical = float(np.median(lengths)) if len(lengths) else np.inf
    following = np.where(np.isfinite(following), following, start + typical)
    return np.where(np.isfinite(stop), stop, following)


def columns_as_text(tables: Mapping[str, Table]) -> str:
    """Names of tables with their columns, for messages."""
    return "; ".join(f"{name!r}: {', '.join(t.columns)}" for name, t in tables.items())
