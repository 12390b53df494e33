"""A small session on disk, and a model fitted to it with everything that can be written."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

TRIALS, UNITS = 8, 6
SUBJECT = {"subject_id": "m1", "species": "Mus musculus", "sex": "F", "age": "P90D"}


def make_session(
    path: Path, *, subject: dict | None = None, identifier: str = "session-1", **arguments
) -> Path:
    """An NWB file with units, electrodes, trials, behaviour and signals that a derivative leaves out."""
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.behavior import Position, SpatialSeries
    from pynwb.file import Subject

    arguments = {"session_start_time": datetime(2024, 1, 1, tzinfo=UTC), "session_id": "s1", **arguments}
    nwbfile = NWBFile("a small session", identifier, **arguments)
    nwbfile.subject = Subject(**(SUBJECT if subject is None else subject))
    random = np.random.default_rng(0)
    device = nwbfile.create_device(name="probe")
    group = nwbfile.create_electrode_group("shank", "one shank", "M1", device)
    for _ in range(4):
        nwbfile.add_electrode(location="M1", group=group)
    nwbfile.add_unit_column("quality", "good or poor")
    for unit in range(UNITS):
        times = np.sort(random.uniform(0, TRIALS, 12 * TRIALS))
        nwbfile.add_unit(
            spike_times=times,
            id=10 + unit,
            quality="good",
            electrodes=[unit % 4],
            obs_intervals=[[0.0, float(TRIALS)]],
        )
    nwbfile.add_trial_column("direction", "left or right")
    for trial in range(TRIALS):
        stop = trial + (0.8 if trial % 2 else 0.6)
        nwbfile.add_trial(start_time=float(trial), stop_time=stop, direction="left" if trial % 2 else "right")
    signal = TimeSeries(name="raw", data=np.zeros((5000, 4)), unit="V", rate=1000.0)
    nwbfile.add_acquisition(signal)
    position = SpatialSeries(
        name="hand", data=np.zeros((800, 2)), reference_frame="table", rate=100.0, unit="m"
    )
    module = nwbfile.create_processing_module("behavior", "movement")
    module.add(Position(spatial_series=position))
    path.parent.mkdir(parents=True, exist_ok=True)
    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwbfile)
    return path


@pytest.fixture(scope="session")
def made_session(tmp_path_factory) -> Path:
    """The small session, only to be copied."""
    return make_session(tmp_path_factory.mktemp("made") / "session.nwb")


@pytest.fixture
def session_path(tmp_path: Path, made_session: Path) -> Path:
    """The small session as a file of its own."""
    path = tmp_path / "source" / "session.nwb"
    path.parent.mkdir()
    return Path(shutil.copy(made_session, path))


@pytest.fixture(scope="session")
def fitted(tmp_path_factory) -> SimpleNamespace:
    """A model fitted for two iterations, with trials, latents, fixed points, simulation and scores."""
    import nwb_rnn as nr

    path = make_session(tmp_path_factory.mktemp("fitted") / "session.nwb")
    recording = nr.read(path)
    trials = recording.align("start_time", until="stop_time", bin_size=0.05)
    model = nr.LowRankRNN(rank=2, units=16, encoder_channels=4, encoder_kernels=(3, 1), seed=1)
    model.fit(
        trials, iterations=2, batch_size=4, particles=4, progress=False, backend="reference", device="cpu"
    )
    quick = {"particles": 8, "samples": 4, "backend": "reference", "device": "cpu"}
    model.score(trials, **quick)
    return SimpleNamespace(
        model=model,
        trials=trials,
        quick=quick,
        latents=model.infer(trials, **quick),
        fixed_points=model.fixed_points(),
        simulation=model.simulate(trials=3, like=trials),
    )


def same_arrays(one: dict, other: dict) -> bool:
    """Whether two dicts of arrays are equal bit for bit."""
    return set(one) == set(other) and all(
        one[k].dtype == other[k].dtype
        and one[k].shape == other[k].shape
        and one[k].tobytes() == other[k].tobytes()
        for k in one
    )


@pytest.fixture(scope="session")
def helpers() -> SimpleNamespace:
    """Functions that several test files use."""
    return SimpleNamespace(make_session=make_session, same_arrays=same_arrays, subject=SUBJECT)
