"""The body of ``nwb-rnn inspect``: what a recording holds and what could be aligned."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from nwb_rnn.recordings.recording import Recording, Table, Traces

_IDS_SHOWN = 12
_TEXTS_SHOWN = 6
_WIDEST = 100


def describe(source: Recording | str | os.PathLike | Any, **options: Any) -> str:
    """What a recording holds, as text: units, signals, tables, columns, and what could be aligned.

    Parameters
    ----------
    source : a `Recording`, or anything that `nwb_rnn.read` accepts
    options : for `nwb_rnn.read`

    Raises
    ------
    SourceError, InputError : as `nwb_rnn.read` does
    """
    from nwb_rnn.sources import read

    recording = read(source, **options)
    lines: list[str] = []
    for part in (_head, _units, _signals, _intervals, _events, _behaviour, _advice):
        lines += part(recording)
    lines += ["", "left out", *(f"  {line}" for line in recording.report().splitlines())]
    return "\n".join(lines)


def _head(recording: Recording) -> Iterator[str]:
    origin, about = recording.provenance, recording.description
    yield origin.location or f"data made in memory ({origin.kind})"
    start, stop = recording.span
    yield f"  recorded from {start:.6g} to {stop:.6g} s ({stop - start:.6g} s)"
    if about.get("session_start_time"):
        yield f"  session started {about['session_start_time']}"
    subject = [
        f"{key.removeprefix('subject_')} {_short(about[key])}" for key in about if key.startswith("subject_")
    ]
    yield f"  subject: {', '.join(subject) or 'not described'}"
    if about.get("session_description"):
        yield f"  {_short(about['session_description'])}"


def _units(recording: Recording) -> Iterator[str]:
    from nwb_rnn.recordings.selection import mean_rates

    yield ""
    if recording.spikes is None:
        yield "no sorted units with spike times"
        return
    counts, rates = recording.spikes.counts(), mean_rates(recording)
    yield f"{len(recording.units)} units, {int(counts.sum())} spikes"
    if len(rates):
        yield f"  mean rate {rates.min():.3g} to {rates.max():.3g} spikes/s"
    silent = recording.units.ids[counts == 0]
    if len(silent):
        yield f"  silent, left out when aligned: {_some(silent)}"
    if recording.observed is not None:
        yield f"  {len(recording.observed.intervals)} intervals of observation over all units"
    yield from _columns(recording.units)


def _signals(recording: Recording) -> Iterator[str]:
    for name, traces in recording.signals.items():
        mark = (
            " (aligned when no signal= is named)"
            if traces is recording.traces and recording.spikes is None
            else ""
        )
        yield ""
        yield f"signal {name!r}{mark}: {_sampling(traces)}"
        yield from _columns(traces.channel_table())


def _sampling(traces: Traces) -> str:
    samples, channels = traces.values.shape
    if samples < 2:
        return f"{samples} samples x {channels} channels"
    gaps = _gaps(traces)
    missing = f", {gaps} gaps" if gaps else ""
    return (
        f"{samples} samples x {channels} channels, {1 / traces.period:.6g} per s, "
        f"{traces.timestamps[0]:.6g} to {traces.timestamps[-1]:.6g} s{missing}, in {traces.physical_unit}"
    )


def _gaps(traces: Traces) -> int:
    import numpy as np

    from nwb_rnn.recordings.resampling import GAP

    return int((np.diff(traces.timestamps) > GAP * traces.period).sum())


def _intervals(recording: Recording) -> Iterator[str]:
    import numpy as np

    for name, table in recording.intervals.items():
        lengths = table.columns["stop_time"] - table.columns["start_time"]
        known = lengths[np.isfinite(lengths)]
        yield ""
        yield f"table {name!r}: {len(table)} rows" + (
            f", {known.min():.4g} to {known.max():.4g} s long (median {np.median(known):.4g} s)"
            if len(known)
            else ""
        )
        if len(known) < len(lengths):
            yield f"  length unknown in {len(lengths) - len(known)} rows"
        yield from _columns(table)


def _events(recording: Recording) -> Iterator[str]:
    for name, table in recording.events.items():
        yield ""
        yield f"events {name!r}: {len(table)}"
        yield from _columns(table)


def _behaviour(recording: Recording) -> Iterator[str]:
    for name, traces in recording.behaviour.items():
        yield ""
        yield f"behaviour {name!r}: {_sampling(traces)}"


def _columns(table: Table) -> Iterator[str]:
    for name, values in table.columns.items():
        yield f"  {name}: {_column(table, name, values)}"


def _column(table: Table, name: str, values: np.ndarray) -> str:
    import numpy as np

    if values.dtype.kind == "U":
        different, counts = np.unique(values, return_counts=True)
        shown = ", ".join(
            f"{_short(t)!r} ({c})" for t, c in zip(different[:_TEXTS_SHOWN], counts, strict=False)
        )
        more = f", ... {len(different)} in all" if len(different) > _TEXTS_SHOWN else ""
        return (
            shown + more
            if len(different) < len(values) or len(values) < 2
            else f"{len(different)} different texts"
        )
    if values.dtype.kind == "b":
        return f"true in {int(values.sum())} of {len(values)}"
    finite = values[np.isfinite(values)]
    if not len(finite):
        return f"NaN in all {len(values)} rows" if len(values) else "no rows"
    missing = f", NaN in {len(values) - len(finite)} rows" if len(finite) < len(values) else ""
    return f"{finite.min():.6g} to {finite.max():.6g}{missing}{_clock(table, name, values)}"


def _clock(table: Table, name: str, values: np.ndarray) -> str:
    """On which clock a column of times counts, where that can be told."""
    from nwb_rnn.errors import InputError
    from nwb_rnn.recordings.events import column_times

    if "start_time" not in table.columns or not name.endswith(("_time", "_times")):
        return ""
    try:
        _, clock, _ = column_times(table, name, "auto")
    except InputError:
        return ", session seconds or from start_time: unclear, say so with time_reference="
    return ", s from each start_time" if clock == "start" else ", s in the session"


def _advice(recording: Recording) -> Iterator[str]:
    from nwb_rnn.recordings.events import time_columns

    yield ""
    yield "what could be aligned"
    for name, table in recording.intervals.items():
        times = [c for c in time_columns(table) if c.endswith(("_time", "_times"))]
        if times:
            chosen = "" if name == "trials" else f", table={name!r}"
            yield f"  align({' | '.join(repr(c) for c in times)}, window=(before, after){chosen})"
    if recording.events:
        yield f"  align({' | '.join(repr(n) for n in recording.events)}, window=(before, after))"
    yield "  segments(length=seconds) for equal pieces of the whole recording"
    yield "  (on the command line --align COLUMN --window A B --table NAME, or --segments SECONDS)"


def _some(values: Iterable[Any]) -> str:
    listed = [str(v) for v in values]
    more = f", ... ({len(listed)} in all)" if len(listed) > _IDS_SHOWN else ""
    return ", ".join(listed[:_IDS_SHOWN]) + more


def _short(text: Any) -> str:
    """One line of printable characters."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    return line if len(line) <= _WIDEST else line[: _WIDEST - 3] + "..."
