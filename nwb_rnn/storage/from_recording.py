"""A small NWB file for recordings that did not come from one."""

from __future__ import annotations

from typing import Any

import numpy as np

from nwb_rnn.recordings.recording import Observed, Recording, Spikes, Table
from nwb_rnn.storage.copying import compressed, plain_name
from nwb_rnn.storage.derivative import new_file
from nwb_rnn.storage.metadata import Metadata, check_dandi, check_start

_FROM_DESCRIPTION = ("session_description", "session_id", "experiment_description", "institution", "lab")


def file_of_recording(
    recording: Recording | None, metadata: Metadata, dandi: bool, software: dict[str, str]
) -> Any:
    """An NWB file in memory with the units and tables of a recording, or with nothing but metadata.

    Raises
    ------
    StorageError : metadata that DANDI or NWB demands was not given
    """
    from pynwb.file import Subject

    said = dict(recording.description) if recording is not None else {}
    subject = _subject_fields(recording, said) | (metadata.subject or {})
    start = metadata.session_start_time or _start(said)
    if dandi:
        check_dandi(subject, start)
    arguments = {name: said[name] for name in _FROM_DESCRIPTION if name in said} | metadata.given()
    nwbfile = new_file(
        **arguments | {"session_start_time": check_start(start)},
        subject=Subject(**subject) if subject else None,
        software=software,
    )
    if recording is not None:
        if recording.spikes is not None:
            nwbfile.units = units_table(recording.units, recording.spikes, recording.observed)
        for name, table in recording.intervals.items():
            made = interval_table(name, table)
            if name == "trials":
                nwbfile.trials = made
            else:
                nwbfile.add_time_intervals(made)
    return nwbfile


def _subject_fields(recording: Recording | None, said: dict[str, str]) -> dict[str, Any]:
    """What a recording says of its subject."""
    if recording is None:
        return {}
    names = ("species", "sex", "age", "genotype", "strain", "description", "weight")
    fields = {name: said.get(f"subject_{name}") or "" for name in names}
    fields["subject_id"] = recording.provenance.subject_id or said.get("subject_id", "")
    return {name: value for name, value in fields.items() if value}


def _start(said: dict[str, str]) -> Any:
    text = said.get("session_start_time")
    return Metadata(session_start_time=text).session_start_time if text else None


def units_table(units: Table, spikes: Spikes, observed: Observed | None) -> Any:
    """Units with their spike times, intervals of observation and columns."""
    from pynwb.core import VectorData, VectorIndex
    from pynwb.misc import Units

    ids, extra = numbered(units)
    parts = [("spike_times", "spike times, s", spikes.times, spikes.offsets)]
    if observed is not None:
        parts.append(("obs_intervals", "intervals of observation, s", observed.intervals, observed.offsets))
    columns, names = [], []
    for name, text, flat, offsets in parts:
        data = VectorData(name=name, description=text, data=compressed(flat))
        columns += [VectorIndex(name=f"{name}_index", data=offsets[1:], target=data), data]
        names.append(name)
    reserved = {column["name"] for column in Units.__columns__}
    for name, values in {**units.columns, **extra}.items():
        label = plain_name(f"{name}_name" if name in reserved else name)
        columns.append(VectorData(name=label, description=name, data=column_data(values)))
        names.append(label)
    return Units(name="units", description="units of the recording", id=ids, columns=columns, colnames=names)


def interval_table(name: str, table: Table) -> Any:
    """A table of intervals with all of its columns."""
    from pynwb.core import VectorData
    from pynwb.epoch import TimeIntervals

    ids, extra = numbered(table)
    columns = {**table.columns, **extra}
    made = [VectorData(name=plain_name(n), description=n, data=column_data(v)) for n, v in columns.items()]
    return TimeIntervals(
        name=plain_name(name),
        description=f"{name} of the recording",
        id=ids,
        columns=made,
        colnames=[c.name for c in made],
    )


def numbered(table: Table) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Ids that NWB accepts, and a further column ``original_id`` where they are not whole numbers."""
    if table.ids.dtype.kind in "iu":
        return table.ids.astype(np.int64), {}
    return np.arange(len(table)), {"original_id": table.ids}


def column_data(values: np.ndarray) -> Any:
    """Values of a column as pynwb wants them: texts as a list."""
    return values.tolist() if values.dtype.kind in "US" else compressed(values)
