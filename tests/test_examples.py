"""The examples run on simulated data, and on the recordings where they are there, and leave what they say."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.dynamics.branch_and_bound import exact_fixed_points

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
FEW = "2"  # iterations
OUTPUTS = {
    "known_network": {"known_network.png"},
    "session_to_model": {"session.nwb", "session_desc-rnn.nwb", "session_desc-rnn.png"},
    "linear_track_theta": {"session.nwb", "linear_track_desc-rnn.nwb", "linear_track_desc-rnn.png"},
    "reach_cosmoothing": {"session.nwb", "reach_desc-rnn.nwb", "reach_desc-rnn.png"},
    "eeg": {"eeg_desc-rnn.nwb", "eeg_desc-rnn.png"},
    "zebrafish_calcium": {"calcium_desc-rnn.nwb", "calcium_desc-rnn.png"},
    "m1_data_constrained": {"m1_desc-rnn.nwb", "m1_desc-rnn.png"},
    "delayed_reach": {"delayed_reach_desc-rnn.nwb", "delayed_reach_desc-rnn.png", "comparison.png"},
}
RECORDINGS = {
    "linear_track_theta": "linear_track/sub-rat01_ses-lineartrack_behavior+ecephys.nwb",
    "reach_cosmoothing": "pmd_reach/sub-monkey_ses-ex1_ecephys.nwb",
    "eeg": "eeg/sub-S001_ses-R01_ecephys.nwb",
    "zebrafish_calcium": "zebrafish/sub-zf_ses-20151104f1_ophys.nwb",
    "m1_data_constrained": "m1_reach/m1_rates_hatsopoulos2007.npz",
    "delayed_reach": "m1_reach/m1_rates_hatsopoulos2007.npz",
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", OUTPUTS)
def test_example(name, tmp_path, capsys):
    load(name).main(str(tmp_path), *() if name == "known_network" else (FEW,))
    assert made(tmp_path) == OUTPUTS[name]
    assert capsys.readouterr().out.strip()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_example_on_a_recording(name, tmp_path, recordings_folder, capsys, monkeypatch):
    # a network of six latents after two iterations would keep the search busy for half a minute
    monkeypatch.setitem(exact_fixed_points.__kwdefaults__, "max_boxes", 1_000_000)
    load(name).main(str(tmp_path), FEW, str(recordings_folder / RECORDINGS[name]))
    assert made(tmp_path) == OUTPUTS[name] - {"session.nwb"}
    (output,) = tmp_path.glob("*.nwb")
    model = nr.load(output)
    assert all(np.isfinite(v).all() for v in model.to_arrays().values() if v.dtype.kind == "f")
    assert "nan" not in capsys.readouterr().out


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(OUTPUTS)
