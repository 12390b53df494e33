"""A `Recording` with units, tables and behaviour as an NWB file of its own: simulations, examples, tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording, Traces
from nwb_rnn.sources.nwb_open import quiet
from nwb_rnn.storage.atomic import check_target, replacing
from nwb_rnn.storage.copying import compressed, plain_name
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
    """Write spikes, units, tables of intervals and behaviour as a new NWB file, whole or not at all.

    Session and subject come from `recording.description`, under the names that `nwb_rnn.read` gives them,
    such as ``session_start_time`` (ISO text with a time zone) and ``subject_species``, and from `metadata`.
    Nothing is made up. Behaviour goes into the processing module ``behavior``, one TimeSeries each, whose
    description names the channels; other signals are not written.

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
    for traces in recording.behaviour.values():
        _add_behaviour(nwbfile, traces)
    with replacing(path, overwrite) as temporary, quiet(), NWBHDF5IO(str(temporary), "w") as io:
        io.write(nwbfile)
    return path


def _add_behaviour(nwbfile: Any, traces: Traces) -> None:
    """Traces as a TimeSeries of the module ``behavior``, with the time of every sample."""
    import numpy as np
    from pynwb import TimeSeries

    module = nwbfile.processing.get("behavior") or nwbfile.create_processing_module(
        name="behavior", description="Behaviour beside the recorded units."
    )
    channels = ", ".join(str(channel) for channel in traces.channels)
    module.add(
        TimeSeries(
            name=plain_name(traces.name),
            description=f"{traces.name}: {channels}",
            data=compressed(np.asarray(traces.values)),
            timestamps=compressed(traces.timestamps),
            unit=traces.physical_unit,
        )
    )
