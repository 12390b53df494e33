"""A `Recording` with units and trials as an NWB file of its own: simulated sessions, examples, tests."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.recordings.recording import Recording, Table

if TYPE_CHECKING:
    from pynwb import NWBFile

_TEXTS = ("experiment_description", "institution", "lab", "session_id", "notes")
_SUBJECT = ("subject_id", "species", "sex", "age", "genotype", "strain", "description", "weight")
_TIMES = ("start_time", "stop_time")


def write_session(path: str | os.PathLike, recording: Recording, *, overwrite: bool = False) -> Path:
    """Write spikes, units and tables of intervals as a new NWB file, whole or not at all.

    Session and subject come from `recording.description`, under the names that `nwb_rnn.read` gives them
    (``session_description``, ``session_start_time`` as ISO text with a time zone, ``subject_id``,
    ``subject_species``, …; ``experimenter`` and ``keywords`` as text, several separated by semicolons and
    commas). Nothing is made up: what is not there is not written. Signals and behaviour are not written.

    Parameters
    ----------
    path : of the new file
    recording : with spikes
    overwrite : replace a file that is there

    Raises
    ------
    InputError : no spikes, or no session_description or session_start_time
    StorageError : the file exists, or cannot be written
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise StorageError(f"{path} exists already; give another path, or overwrite=True to replace it")
    nwbfile = as_nwbfile(recording)
    from pynwb import NWBHDF5IO

    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part.nwb")
    try:
        with NWBHDF5IO(temporary, "w") as io:
            io.write(nwbfile)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}; check the folder and the free space") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def as_nwbfile(recording: Recording) -> NWBFile:
    """The recording as a `pynwb.NWBFile` in memory; see `write_session`."""
    from pynwb import NWBFile
    from pynwb.file import Subject

    if recording.spikes is None:
        raise InputError("write_session writes spikes, and this recording has none")
    texts = recording.description
    nwbfile = NWBFile(
        session_description=_required(texts, "session_description"),
        session_start_time=_start(_required(texts, "session_start_time")),
        identifier=str(uuid.uuid4()),
        experimenter=_several(texts, "experimenter", ";"),
        keywords=_several(texts, "keywords", ","),
        **{name: texts[name] for name in _TEXTS if name in texts},
    )
    fields = {name: texts.get(f"subject_{name.removeprefix('subject_')}") for name in _SUBJECT}
    fields = {name: text for name, text in fields.items() if text is not None}
    if fields:
        nwbfile.subject = Subject(**fields)
    _add_units(nwbfile, recording)
    for name, table in recording.intervals.items():
        _add_intervals(nwbfile, name, table)
    return nwbfile


def _add_units(nwbfile: NWBFile, recording: Recording) -> None:
    """One row for each unit: its columns, spike times and intervals of observation."""
    table = recording.units
    for name in table.columns:
        nwbfile.add_unit_column(name, f"{name} of the unit")
    whole = np.issubdtype(table.ids.dtype, np.integer)
    if not whole:
        nwbfile.add_unit_column("unit_name", "name of the unit in the source")
    for row in range(len(table)):
        values = {name: column[row].item() for name, column in table.columns.items()}
        if not whole:
            values["unit_name"] = str(table.ids[row])
        if recording.observed is not None:
            values["obs_intervals"] = recording.observed.of(row)
        nwbfile.add_unit(
            spike_times=recording.spikes.of(row), id=int(table.ids[row]) if whole else row, **values
        )


def _add_intervals(nwbfile: NWBFile, name: str, table: Table) -> None:
    from pynwb.epoch import TimeIntervals

    description = "Trials of the session." if name == "trials" else f"Intervals {name!r}."
    made = TimeIntervals(name=name, description=description)
    for column in table.columns:
        if column not in _TIMES:
            made.add_column(column, f"{column} of the interval")
    whole = np.issubdtype(table.ids.dtype, np.integer)
    for row in range(len(table)):
        values = {column: data[row].item() for column, data in table.columns.items()}
        made.add_row(id=int(table.ids[row]) if whole else row, **values)
    if name == "trials":
        nwbfile.trials = made
    else:
        nwbfile.add_time_intervals(made)


def _required(texts: Mapping[str, str], name: str) -> str:
    if not texts.get(name):
        raise InputError(
            f"an NWB file needs {name!r}; recording.description has {', '.join(texts) or 'nothing'}: "
            f"build the recording with description={{{name!r}: …}}"
        )
    return texts[name]


def _start(text: str) -> datetime:
    try:
        start = datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"session_start_time={text!r} is not a date and time; expected such as 2024-01-31T09:00:00+00:00"
        ) from error
    if start.tzinfo is None:
        raise InputError(f"session_start_time={text!r} has no time zone; add one, such as +00:00 for UTC")
    return start


def _several(texts: Mapping[str, str], name: str, mark: str) -> list[str] | None:
    parts = [part.strip() for part in texts.get(name, "").split(mark) if part.strip()]
    return parts or None
