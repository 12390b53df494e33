"""Write the files that every later version must read: `python tests/back_compatibility/make_files.py`.

Run once for each release; files of earlier versions are never made again. Each file is kept compressed (most
of it is the text of the cached specification), beside the arrays that must come out of it.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import nwb_rnn as nr

HERE = Path(__file__).resolve().parent
SUBJECT = {"subject_id": "m1", "species": "Mus musculus", "sex": "F", "age": "P90D"}
TRIALS, UNITS = 4, 5


def make_session(path: Path) -> Path:
    """Spikes of five units and one signal of three channels in four trials."""
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.file import Subject

    start = datetime(2024, 1, 1, tzinfo=UTC)
    nwbfile = NWBFile("a small session", "session-1", start, session_id="s1")
    nwbfile.subject = Subject(**SUBJECT)
    random = np.random.default_rng(0)
    nwbfile.add_unit_column("quality", "good or poor")
    for unit in range(UNITS):
        times = np.sort(random.uniform(0, TRIALS, 30 * TRIALS))
        nwbfile.add_unit(
            spike_times=times, id=10 + unit, quality="good", obs_intervals=[[0.0, float(TRIALS)]]
        )
    nwbfile.add_trial_column("direction", "left or right")
    for trial in range(TRIALS):
        stop = trial + (0.8 if trial % 2 else 0.6)
        nwbfile.add_trial(start_time=float(trial), stop_time=stop, direction="left" if trial % 2 else "right")
    field = TimeSeries(
        name="field", data=random.normal(size=(20 * TRIALS, 3)), unit="V", rate=20.0, starting_time=0.0
    )
    nwbfile.add_acquisition(field)
    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwbfile)
    return path


def low_rank_arrays() -> dict[str, np.ndarray]:
    """A rank-2 network of ten ReLU units with one input, read out one to one by three channels."""
    random = np.random.default_rng(3)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    return {
        "left_vectors": draw(10, 2),
        "right_vectors": draw(2, 10) / 10,
        "input_weights": draw(10, 1),
        "unit_bias": draw(10),
        "decay": np.float32(0.8),
        "readout_gain": draw(3),
        "readout_bias": draw(3),
        "observation_noise": np.ones(3, np.float32),
        "bin_size": np.array(0.05),
        "activation": np.array("relu"),
        "observation": np.array("gaussian"),
        "readout": np.array("one_to_one"),
        "link": np.array("identity"),
    }


def step_of(path: Path, name: str, states: np.ndarray, inputs: np.ndarray | None) -> dict[str, np.ndarray]:
    """One step and the expected observations, by the extension's numpy."""
    import ndx_latent_dynamics  # noqa: F401
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "r") as io:
        model = next(item for item in io.read().objects.values() if item.name == name)
        return {
            "states": states,
            "after": model.step(states, inputs),
            "expected": model.expected_observation(states, inputs),
        }


def fitted_to_spikes(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A Poisson network fitted for two iterations, its latents and its fixed points."""
    recording = nr.read(make_session(folder / "session.nwb"))
    trials = recording.align("start_time", until="stop_time", bin_size=0.05)
    quick = {"particles": 4, "progress": False, "backend": "reference", "device": "cpu"}
    model = nr.LowRankRNN(rank=2, units=10, encoder_channels=2, encoder_kernels=(3, 1), seed=1)
    model.fit(trials, iterations=2, batch_size=4, **quick)
    model.score(trials, particles=4, samples=2, backend="reference", device="cpu")
    latents = model.infer(trials, particles=4, samples=2, backend="reference", device="cpu")
    points = model.fixed_points()
    path = nr.write(folder / "spikes.nwb", model, latents=latents, fixed_points=points, source=recording)
    states = np.random.default_rng(4).normal(size=(7, 2))
    expected = {f"model/{k}": np.asarray(v) for k, v in model.to_arrays().items()}
    expected |= {f"latents/{k}": v.values for k, v in latents.data_vars.items()}
    expected |= {f"points/{k}": np.asarray(v) for k, v in points.to_dict().items()}
    expected |= {f"step/{k}": v for k, v in step_of(path, "low_rank_rnn", states, None).items()}
    expected |= {"scores/" + k: np.asarray(v) for k, v in model.scores.items()}
    return path, expected


def known_with_inputs(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A Gaussian network of known weights with an input, appended to a copy of the session."""
    source = make_session(folder / "session.nwb")
    model = nr.LowRankRNN.from_arrays(**low_rank_arrays())
    points = model.fixed_points(inputs=np.array([0.5], np.float32))
    path = nr.write(
        folder / "signals.nwb", model, fixed_points=points, source=source, mode="append", name="known"
    )
    random = np.random.default_rng(5)
    states, inputs = random.normal(size=(7, 2)), random.normal(size=(7, 1))
    expected = {f"model/{k}": np.asarray(v) for k, v in model.to_arrays().items()}
    expected |= {f"points/{k}": np.asarray(v) for k, v in points.to_dict().items()}
    expected |= {f"step/{k}": v for k, v in step_of(path, "known", states, inputs).items()}
    return path, expected | {"step/inputs": inputs}


FILES = {"spikes": fitted_to_spikes, "signals": known_with_inputs}


def main(folder: str | None = None) -> None:
    """Write `<version>_<name>.nwb.gz` and `.npz`, none of which may exist."""
    target = HERE if folder is None else Path(folder)
    for name, make in FILES.items():
        stem = target / f"{nr.__version__}_{name}"
        if stem.with_name(stem.name + ".nwb.gz").exists():
            raise SystemExit(f"{stem}.nwb.gz exists; files of a version are made once")
        with tempfile.TemporaryDirectory() as temporary:
            path, expected = make(Path(temporary))
            stem.with_name(stem.name + ".nwb.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        np.savez_compressed(stem.with_name(stem.name + ".npz"), **expected)


if __name__ == "__main__":
    main(*sys.argv[1:])
