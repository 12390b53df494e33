"""Files written by earlier versions are read, and give the numbers that were put into them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

import nwb_rnn as nr
from nwb_rnn.dynamics import FixedPoints
from nwb_rnn.models import low_rank, observations
from nwb_rnn.storage import load_fixed_points, load_latents, validate

HERE = Path(__file__).resolve().parent / "back_compatibility"
SMALL = 100_000  # bytes
NAMES = sorted(path.name.removesuffix(".nwb.gz") for path in HERE.glob("*.nwb.gz"))


@pytest.fixture(params=NAMES)
def stored(request, tmp_path):
    """A file of an earlier version, and the arrays that belong to it: group -> name -> array."""
    path = tmp_path / f"{request.param}.nwb"
    path.write_bytes(gzip.decompress((HERE / f"{request.param}.nwb.gz").read_bytes()))
    groups: dict = {}
    with np.load(HERE / f"{request.param}.npz") as arrays:
        for key, value in arrays.items():
            group, name = key.split("/")
            groups.setdefault(group, {})[name] = value
    return path, groups


def assert_equal(found, expected):
    found = np.asarray(found)
    assert found.shape == expected.shape
    if expected.dtype.kind in "US":
        assert found.astype(str).tolist() == expected.tolist()
    else:
        np.testing.assert_array_equal(found, expected)


def test_there_are_files_of_the_first_version():
    assert {"0.1.0_spikes", "0.1.0_signals"} <= set(NAMES)


@pytest.mark.parametrize("path", sorted(HERE.glob("*.*z")), ids=lambda p: p.name)
def test_files_are_small(path):
    assert path.stat().st_size < SMALL


def test_weights_come_back_bit_for_bit(stored):
    path, groups = stored
    arrays = nr.load(path).to_arrays()
    assert set(groups["model"]) <= set(arrays)
    for name, expected in groups["model"].items():
        assert_equal(arrays[name], expected)


def test_one_step_and_the_expected_observation_are_the_same(stored):
    """By the model itself; the stored values were computed by the extension's numpy."""
    path, groups = stored
    model, step = nr.load(path), groups["step"]
    parameters = model.parameters.map(lambda p: p.double())
    state = torch.tensor(step["states"])
    inputs = torch.tensor(step["inputs"]) if "inputs" in step else None
    after = low_rank.transition_mean(parameters, model.config.activation, state, inputs)
    predictor = low_rank.predictor(parameters, model.config.activation, state, inputs)
    expected = observations.mean(predictor, model.config.observation, model.config.link)
    np.testing.assert_allclose(after.numpy(), step["after"], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(expected.numpy(), step["expected"], rtol=1e-6, atol=2e-7)


def test_latents_come_back(stored):
    path, groups = stored
    if "latents" not in groups:
        pytest.skip("the file holds no latents")
    latents = load_latents(path)
    for name, expected in groups["latents"].items():
        assert_equal(latents[name].values, expected)
    assert latents["direction"].values.tolist() == ["right", "left"] * 2


def test_fixed_points_come_back(stored):
    path, groups = stored
    points = load_fixed_points(path)
    for name, expected in groups["points"].items():
        assert_equal(points[name], expected)
    table = FixedPoints.from_dict(points)
    assert len(table.kind) == len(groups["points"]["kind"])


def test_scores_and_the_session_come_back(stored):
    path, groups = stored
    model = nr.load(path)
    for name, expected in groups.get("scores", {}).items():
        assert_equal(model.scores[name], expected)
    recording = nr.read(path)
    assert recording.units.ids.tolist() == [10, 11, 12, 13, 14]
    assert [str(f) for f in validate(path) if f.is_severe] == []


def test_the_script_still_makes_such_files(tmp_path):
    """So that the next release can run it as it is."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_files", HERE / "make_files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(str(tmp_path))
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {f"{nr.__version__}_{n}.{e}" for n in module.FILES for e in ("nwb.gz", "npz")}
