"""Read neo objects: spike trains, analog signals, epochs and events, in a Segment, a Block or a list.

Times of any unit become seconds. A spike train says from when to when it was observed (``t_start``,
``t_stop``), and that becomes the unit's interval of observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Provenance, Recording, Table, Traces
from nwb_rnn.sources.attached_tables import event_tables, interval_tables, plain_column, scalar_columns

ROLE = "nwb_rnn_role"  # annotation that `to_neo` writes, so that behaviour comes back as behaviour
_UNIT_KEYS = ("unit_id", "id")
_ROUNDING = 1e-6  # s; segments that touch may overlap by the rounding of their ends


def read_neo(
    source: Any,
    *,
    segment: int | None = None,
    layout: str = "own_clocks",
    gap: float = 1.0,
    behaviour: Sequence[str] = (),
    intervals: Mapping[str, Any] | None = None,
    events: Mapping[str, Any] | None = None,
) -> Recording:
    """Read neo spike trains, a Segment or a Block.

    Parameters
    ----------
    source : a Block, a Segment, one spike train or signal, or a list of them
    segment : which segment of a block; all of them when left out
    layout : with several segments, ``"own_clocks"`` takes their times as they are, on one clock;
        ``"end_to_end"`` is for segments that each start anew: they follow each other, `gap` s apart.
        Either way a table of intervals ``segments`` holds one row per segment
    behaviour : names of signals that are behaviour, not something to fit
    intervals, events : further tables, such as ``{"trials": DataFrame}`` (see `Recording`)

    Returns
    -------
    Recording whose units keep the annotation ``unit_id`` (or ``id``) of the trains as their ids where
    each has one of its own, else are numbered; annotations and names become columns

    Raises
    ------
    InputError : nothing to read, segments whose clocks overlap, or segments with different units
    """
    if layout not in ("own_clocks", "end_to_end"):
        raise InputError(f"layout={layout!r}: expected 'own_clocks' or 'end_to_end'")
    pieces = [_piece(part) for part in _parts(source, segment)]
    shifts = _shifts(pieces, layout, gap)
    pieces = [_shifted(piece, shift) for piece, shift in zip(pieces, shifts, strict=True)]
    tables = _joined_tables([piece.intervals for piece in pieces])
    if len(pieces) > 1:
        tables["segments"] = _segments_table(pieces, shifts)
    signals = _joined_signals(pieces)
    covariates = {name: s for name, (s, role) in signals.items() if name in behaviour or role == "behaviour"}
    units, spikes, observed = _joined_units(pieces)
    return Recording.build(
        units=units,
        spikes=spikes,
        observed=observed,
        signals={name: s for name, (s, _) in signals.items() if name not in covariates},
        behaviour=covariates,
        intervals={**tables, **interval_tables(intervals)},
        events={**_joined_tables([piece.events for piece in pieces]), **event_tables(events)},
        provenance=_provenance(source),
    )


@dataclass(frozen=True)
class _Train:
    times: np.ndarray
    start: float
    stop: float
    name: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class _Piece:
    """One segment in plain numpy, times in s."""

    trains: tuple[_Train, ...]
    signals: Mapping[str, tuple[Traces, str]]
    intervals: Mapping[str, Table]
    events: Mapping[str, Table]

    @property
    def ends(self) -> tuple[float, float]:
        edges = [(t.start, t.stop) for t in self.trains]
        for signal, _ in self.signals.values():
            if len(signal.timestamps):
                period = signal.period if len(signal.timestamps) > 1 else 0.0
                edges.append((signal.timestamps[0], signal.timestamps[-1] + period))
        if not edges:
            raise InputError("a neo segment holds neither spike trains nor signals; nothing to read in it")
        return float(min(e[0] for e in edges)), float(max(e[1] for e in edges))


def _parts(source: Any, segment: int | None) -> list[Any]:
    """Segments, or lists of neo objects, in order."""
    import neo

    if isinstance(source, neo.Block):
        found = list(source.segments)
    elif isinstance(source, neo.Segment):
        found = [source]
    elif isinstance(source, list | tuple) and source and all(isinstance(s, neo.Segment) for s in source):
        found = list(source)
    else:
        found = [[source] if isinstance(source, neo.core.dataobject.DataObject) else list(source)]
    if not found:
        raise InputError("the neo block has no segments; expected spike trains or signals in at least one")
    if segment is None:
        return found
    if not -len(found) <= segment < len(found):
        raise InputError(f"segment={segment}, but there are {len(found)} segments (counted from 0)")
    return [found[segment]]


def _piece(part: Any) -> _Piece:
    import neo

    if isinstance(part, neo.Segment):
        held = [*part.spiketrains, *part.analogsignals, *part.irregularlysampledsignals]
        held += [*part.epochs, *part.events]
    else:
        held = list(part)
    known = (neo.SpikeTrain, neo.AnalogSignal, neo.IrregularlySampledSignal, neo.Epoch, neo.Event)
    for item in held:
        if not isinstance(item, known):
            raise InputError(
                f"a {type(item).__name__} among the neo objects; expected SpikeTrain, AnalogSignal, "
                "IrregularlySampledSignal, Epoch or Event"
            )
    return _Piece(
        tuple(_train(item) for item in held if isinstance(item, neo.SpikeTrain)),
        _named([_signal(item) for item in held if isinstance(item, known[1:3])], "signal"),
        _named([_epoch(item) for item in held if isinstance(item, neo.Epoch)], "epochs"),
        _named([_event(item) for item in held if isinstance(item, neo.Event)], "events"),
    )


def _named(made: Iterable[tuple[str, Any]], fallback: str) -> dict[str, Any]:
    """By name; without a name, and when a name comes again, numbered."""
    named: dict[str, Any] = {}
    for name, item in made:
        key, number = name or fallback, 1
        while key in named:
            key, number = f"{name or fallback}_{number}", number + 1
        named[key] = item
    return {key: _renamed(item, key) for key, item in named.items()}


def _renamed(item: Any, name: str) -> Any:
    if isinstance(item, tuple):
        return replace(item[0], name=name), item[1]
    return replace(item, name=name)


def _seconds(quantity: Any) -> Any:
    return np.asarray(quantity.rescale("s").magnitude, dtype=float)


def _train(train: Any) -> _Train:
    facts = dict(train.annotations)
    start, stop = float(_seconds(train.t_start)), float(_seconds(train.t_stop))
    return _Train(_seconds(train).ravel(), start, stop, train.name or "", facts)


def _signal(signal: Any) -> tuple[str, tuple[Traces, str]]:
    values = np.asarray(signal.magnitude)
    values = values.reshape(len(values), -1)
    columns = {name: plain_column(v) for name, v in signal.array_annotations.items()}
    channels = columns.pop("channel_id", None)
    if channels is None:
        channels = columns.pop("channel_names", np.arange(values.shape[1]))
    stated = signal.annotations.get("physical_unit")
    unit = str(stated or signal.dimensionality.string)
    role = str(signal.annotations.get(ROLE, "signal"))
    made = Traces(signal.name or "", values, _seconds(signal.times), channels, unit, columns)
    return signal.name or "", (made, role)


def _epoch(epoch: Any) -> tuple[str, Table]:
    start = _seconds(epoch.times)
    columns = {"start_time": start, "stop_time": start + _seconds(epoch.durations)}
    return epoch.name or "", _annotated(epoch, columns)


def _event(event: Any) -> tuple[str, Table]:
    return event.name or "", _annotated(event, {"timestamp": _seconds(event.times)})


def _annotated(item: Any, columns: dict[str, np.ndarray]) -> Table:
    """Times, labels and array annotations as one table; the annotation ``id`` gives the row ids."""
    rows = len(next(iter(columns.values())))
    labels = plain_column(item.labels) if item.labels is not None else np.array([])
    if len(labels) == rows and np.any(labels != ""):
        columns["label"] = labels
    for name, values in item.array_annotations.items():
        columns.setdefault(name, plain_column(values))
    ids = columns.pop("id", np.arange(rows))
    return Table(item.name or "", ids, columns)


def _shifts(pieces: Sequence[_Piece], layout: str, gap: float) -> list[float]:
    """Seconds to add to the times of each piece."""
    ends = [piece.ends for piece in pieces]
    if layout == "own_clocks":
        for i, (before, after) in enumerate(pairwise(ends)):
            if after[0] < before[1] - _ROUNDING:
                raise InputError(
                    f"segment {i + 1} starts at {after[0]:g} s, before segment {i} stops at {before[1]:g} s, "
                    "so their clocks are not one. Pass segment= to read one of them, or "
                    "layout='end_to_end' to lay them one after another"
                )
        return [0.0] * len(pieces)
    shifts, stop = [], None
    for start, end in ends:
        shifts.append(0.0 if stop is None else stop + gap - start)
        stop = end + shifts[-1]
    return shifts


def _shifted(piece: _Piece, shift: float) -> _Piece:
    if shift == 0.0:
        return piece
    moved = ("start_time", "stop_time", "timestamp")

    def later(table: Table) -> Table:
        return replace(table, columns={k: v + shift if k in moved else v for k, v in table.columns.items()})

    return _Piece(
        tuple(
            replace(t, times=t.times + shift, start=t.start + shift, stop=t.stop + shift)
            for t in piece.trains
        ),
        {k: (replace(s, timestamps=s.timestamps + shift), r) for k, (s, r) in piece.signals.items()},
        {k: later(t) for k, t in piece.intervals.items()},
        {k: later(t) for k, t in piece.events.items()},
    )


def _segments_table(pieces: Sequence[_Piece], shifts: Sequence[float]) -> Table:
    ends = np.array([piece.ends for piece in pieces])
    columns = {"start_time": ends[:, 0], "stop_time": ends[:, 1], "shift": np.array(shifts)}
    return Table("segments", np.arange(len(pieces)), columns)


def _joined_units(pieces: Sequence[_Piece]):
    """Units table, spike times per unit and intervals of observation per unit, over all pieces."""
    counts = {len(piece.trains) for piece in pieces}
    if len(counts) > 1:
        raise InputError(
            f"the neo segments have {sorted(counts)} spike trains; every segment needs the same units in the "
            "same order. Pass segment= to read one of them"
        )
    count = counts.pop()
    if count == 0:
        return None, None, None
    names = [[train.name for train in piece.trains] for piece in pieces]
    if any(row != names[0] for row in names) or any(_ids(p.trains) != _ids(pieces[0].trains) for p in pieces):
        raise InputError(
            "the spike trains of the neo segments differ in name, id or order, so that they can't be joined "
            "into units. Pass segment= to read one of them"
        )
    units = _units(pieces[0].trains)
    spikes = [np.concatenate([piece.trains[i].times for piece in pieces]) for i in range(count)]
    return units, spikes, _observed(pieces)


def _observed(pieces: Sequence[_Piece]) -> list[np.ndarray] | None:
    """(k, 2) intervals, s, of each unit; None where the trains stop at their last spike.

    neo asks for a ``t_stop``, and who does not know it gives the last spike: that says nothing.
    """
    trains = [train for piece in pieces for train in piece.trains]
    last = max((train.times.max() for train in trains if len(train.times)), default=-np.inf)
    if len(pieces) == 1 and last == max(train.stop for train in trains):
        return None
    per_unit = zip(*(piece.trains for piece in pieces), strict=True)
    return [np.array([(train.start, train.stop) for train in unit]) for unit in per_unit]


def _ids(trains: Sequence[_Train]) -> list | None:
    """The trains' own ids, or None where not each has one that no other has."""
    for key in _UNIT_KEYS:
        values = [train.facts.get(key) for train in trains]
        if all(isinstance(v, int | str | np.integer) for v in values) and len(set(values)) == len(values):
            return values
    return None


def _units(trains: Sequence[_Train]) -> Table:
    ids = _ids(trains)
    columns = scalar_columns([train.facts for train in trains], skip=_UNIT_KEYS if ids else ())
    if any(train.name for train in trains):
        columns.setdefault("name", np.array([train.name for train in trains]))
    return Table("units", np.arange(len(trains)) if ids is None else plain_column(ids), columns)


def _joined_tables(pieces: Sequence[Mapping[str, Table]]) -> dict[str, Table]:
    """Rows of tables of the same name, one after another, with the columns that all of them have."""
    joined = {}
    for name in dict.fromkeys(key for tables in pieces for key in tables):
        found = [(i, tables[name]) for i, tables in enumerate(pieces) if name in tables]
        common = [c for c in found[0][1].columns if all(c in table.columns for _, table in found)]
        columns = {c: np.concatenate([table.columns[c] for _, table in found]) for c in common}
        if len(pieces) == 1:
            joined[name] = found[0][1]
            continue
        columns["segment"] = np.concatenate([np.full(len(table), i) for i, table in found])
        joined[name] = Table(name, np.arange(len(columns["segment"])), columns)
    return joined


def _joined_signals(pieces: Sequence[_Piece]) -> dict[str, tuple[Traces, str]]:
    joined = {}
    for name in dict.fromkeys(key for piece in pieces for key in piece.signals):
        found = [piece.signals[name] for piece in pieces if name in piece.signals]
        first, role = found[0]
        if any(signal.values.shape[1] != first.values.shape[1] for signal, _ in found):
            raise InputError(
                f"signal {name!r} has different numbers of channels in the segments; pass segment="
            )
        values = np.concatenate([signal.values for signal, _ in found])
        stamps = np.concatenate([signal.timestamps for signal, _ in found])
        joined[name] = (replace(first, values=values, timestamps=stamps), role)
    return joined


def _provenance(source: Any) -> Provenance:
    location = getattr(source, "file_origin", None) or ""
    name = getattr(source, "name", None) or ""
    return Provenance("neo", location=str(location), identifier=str(name), tables=(type(source).__name__,))
