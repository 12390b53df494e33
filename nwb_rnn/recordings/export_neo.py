"""A recording as neo objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.recordings.recording import Recording, Table, Traces

if TYPE_CHECKING:
    import neo

_REGULAR = 1e-9  # s; samples this close to a regular grid are written as one
_UNITS = {"volts": "V", "volt": "V", "meters": "m", "meter": "m", "radians": "rad", "seconds": "s"}


def to_neo(recording: Recording) -> neo.Block:
    """The recording as a `neo.Block` of one Segment, times in s.

    Spike trains carry unit ids and columns as annotations; tables of intervals become Epochs and tables
    of events become Events, with their columns as array annotations; signals and behaviour become
    AnalogSignals, or IrregularlySampledSignals where samples are not evenly spaced. Of intervals of
    observation a spike train holds only the first start and the last stop.
    """
    import neo

    segment = neo.Segment(name=recording.provenance.session_id or "recording")
    segment.spiketrains.extend(_trains(recording))
    for table in recording.intervals.values():
        segment.epochs.append(_epoch(table))
    for table in recording.events.values():
        segment.events.append(_event(table))
    for role, held in (("signal", recording.signals), ("behaviour", recording.behaviour)):
        for name, traces in held.items():
            signal = _signal(name, traces, role)
            regular = isinstance(signal, neo.AnalogSignal)
            (segment.analogsignals if regular else segment.irregularlysampledsignals).append(signal)
    block = neo.Block(name=recording.provenance.identifier, file_origin=recording.provenance.location)
    block.segments.append(segment)
    return block


def _trains(recording: Recording) -> list[Any]:
    if recording.spikes is None:
        return []
    import neo

    trains = []
    names = recording.units.columns.get("name", np.full(len(recording.units), ""))
    for i, identifier in enumerate(recording.units.ids.tolist()):
        times = recording.spikes.of(i)
        start, stop = _ends(recording, i, times)
        facts = {k: v[i].item() for k, v in recording.units.columns.items() if k not in ("name", "unit_id")}
        train = neo.SpikeTrain(
            times, units="s", t_start=start, t_stop=stop, name=str(names[i]) or None, unit_id=identifier
        )
        train.annotate(**facts)
        trains.append(train)
    return trains


def _ends(recording: Recording, unit: int, times: np.ndarray) -> tuple[float, float]:
    """When the unit was observed, widened to hold every spike, as neo asks."""
    start, stop = recording.span
    if recording.observed is not None and len(recording.observed.of(unit)):
        intervals = recording.observed.of(unit)
        start, stop = float(intervals.min()), float(intervals.max())
    if len(times):
        start, stop = min(start, float(times[0])), max(stop, float(times[-1]))
    return start, stop


def _epoch(table: Table) -> Any:
    import neo
    import quantities

    start, stop = table.columns["start_time"], table.columns["stop_time"]
    return neo.Epoch(
        times=start * quantities.s,
        durations=(stop - start) * quantities.s,
        labels=_labels(table),
        name=table.name,
        array_annotations=_annotations(table, ("start_time", "stop_time", "label")),
    )


def _event(table: Table) -> Any:
    import neo
    import quantities

    return neo.Event(
        times=table.columns["timestamp"] * quantities.s,
        labels=_labels(table),
        name=table.name,
        array_annotations=_annotations(table, ("timestamp", "label")),
    )


def _labels(table: Table) -> np.ndarray:
    return np.asarray(table.columns.get("label", np.full(len(table), ""))).astype(str)


def _annotations(table: Table, skip: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {"id": table.ids, **{k: v for k, v in table.columns.items() if k not in skip}}


def _signal(name: str, traces: Traces, role: str) -> Any:
    import neo
    import quantities

    values = np.asarray(traces.values)
    unit = _known_unit(traces.physical_unit)
    shared = {
        "units": unit,
        "name": name,
        "array_annotations": {"channel_id": traces.channels, **traces.columns},
        "nwb_rnn_role": role,
        "physical_unit": traces.physical_unit,
    }
    stamps = traces.timestamps
    if len(stamps) > 1:
        period = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
        grid = stamps[0] + np.arange(len(stamps)) * period
        if period > 0 and np.abs(stamps - grid).max() <= _REGULAR:
            return neo.AnalogSignal(
                values, t_start=stamps[0] * quantities.s, sampling_period=period * quantities.s, **shared
            )
    return neo.IrregularlySampledSignal(stamps * quantities.s, values, **shared)


def _known_unit(stated: str) -> str:
    """The unit as quantities knows it; text that is no plain word is not shown to its parser."""
    import quantities

    unit = _UNITS.get(stated, stated)
    if re.fullmatch(r"[A-Za-z]{1,20}", unit) is None:
        return "dimensionless"
    try:
        known = isinstance(quantities.unit_registry[unit], quantities.UnitQuantity)
    except (LookupError, SyntaxError):
        return "dimensionless"
    return unit if known else "dimensionless"
