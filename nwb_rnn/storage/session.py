"""A `Recording` with units and tables as an NWB file of its own: simulated sessions, examples, tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording
from nwb_rnn.sources.nwb_open import quiet
from nwb_rnn.storage.atomic import check_target, replacing
from nwb_rnn.storage.from_recording import file_of_recording
from nwb_rnn.storage.metadata import Metadata


def write_session(
    path: str | os.PathLike,
    recording: Recording,
    *,
    overwrite: bool = False,
    dandi: bool = True,
    **metadata: Any,
) -> Path:
    """Write spikes, units and tables of intervals as a new NWB file, whole or not at all.

    Session and subject come from `recording.description`, under the names that `nwb_rnn.read` gives them,
    such as ``session_start_time`` (ISO text with a time zone) and ``subject_species``, and from `metadata`.
    Nothing is made up. Signals and behaviour are not written.

    Parameters
    ----------
    path : of the new file
    recording : with spikes
    overwrite : replace a file that is there
    dandi : refuse a file that a DANDI archive would refuse
    metadata : as for `nwb_rnn.write`: subject, session_start_time, experimenter, keywords, …

    Raises
    ------
    InputError : no spikes
    StorageError : the file exists or cannot be written, or metadata is missing
    """
    from pynwb import NWBHDF5IO

    from nwb_rnn import __version__

    if recording.spikes is None:
        raise InputError("write_session writes spikes, and this recording has none")
    path = check_target(Path(path), overwrite)
    nwbfile = file_of_recording(recording, Metadata(**metadata), dandi, {"nwb_rnn": __version__})
    with replacing(path, overwrite) as temporary, quiet(), NWBHDF5IO(str(temporary), "w") as io:
        io.write(nwbfile)
    return path
