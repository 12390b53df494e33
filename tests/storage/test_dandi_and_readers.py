"""Other programs accept and read what is written: validators, DANDI, pynapple, plain pynwb."""

import os
import shutil
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import SourceError
from nwb_rnn.storage import derivative_name, validate
from nwb_rnn.storage.session_time import in_session_time


def everything(fitted):
    return {
        "model": fitted.model,
        "latents": fitted.latents,
        "fixed_points": fitted.fixed_points,
        "simulation": fitted.simulation,
    }


@pytest.fixture
def dandiset(tmp_path, session_path, fitted):
    """A dandiset folder with a derivative in the folder of its subject."""
    folder = tmp_path / "dandiset"
    (folder / "sub-m1").mkdir(parents=True)
    (folder / "dandiset.yaml").write_text("identifier: DANDI:000000\nname: test\ndescription: test\n")
    path = derivative_name(nr.read(session_path), folder / "sub-m1")
    nr.write(path, source=session_path, **everything(fitted))
    return folder, path


def run_dandi(folder, tmp_path):
    """`dandi validate`, which must not look anything up on the network."""
    environment = {**os.environ, "DANDI_NO_ET": "1", "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    environment |= {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTPS_PROXY")}
    start = "from dandi.cli.command import main; main()"
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        start,
        "validate",
        "--min-severity",
        "ERROR",
        str(folder),
    ]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_dandi_accepts_a_derivative_inside_a_dandiset(dandiset, tmp_path):
    run = run_dandi(dandiset[0], tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "No errors found" in run.stdout


def test_dandi_refuses_what_was_written_with_dandi_false(tmp_path, fitted, helpers):
    """So that the test above means something."""
    source = helpers.make_session(tmp_path / "bare.nwb", subject={"subject_id": "m1"})
    folder = tmp_path / "dandiset"
    (folder / "sub-m1").mkdir(parents=True)
    (folder / "dandiset.yaml").write_text("identifier: DANDI:000000\nname: test\ndescription: test\n")
    nr.write(folder / "sub-m1" / "sub-m1_desc-rnn_ecephys.nwb", fitted.model, source=source, dandi=False)
    run = run_dandi(folder, tmp_path)
    assert run.returncode != 0
    assert "sex" in run.stdout


def test_validators_find_nothing_severe(dandiset):
    findings = validate(dandiset[1])
    assert [str(f) for f in findings if f.is_severe] == []
    assert {f.tool for f in findings} <= {"pynwb", "nwbinspector"}


def test_validate_reports_what_is_wrong(tmp_path, fitted, helpers):
    source = helpers.make_session(tmp_path / "bare.nwb", subject={"subject_id": "m1"})
    path = nr.write(tmp_path / "a.nwb", fitted.model, source=source, dandi=False)
    severe = [f for f in validate(path) if f.is_severe]
    assert {"check_subject_sex", "check_subject_species_exists"} <= {f.check for f in severe}
    assert "check_subject_sex" in str(severe[0]) or len(severe) > 1
    text = tmp_path / "text.nwb"
    text.write_text("no HDF5")
    assert validate(text)[0].is_severe
    with pytest.raises(SourceError, match="no file"):
        validate(tmp_path / "none.nwb")


def test_plain_pynwb_opens_a_derivative_without_our_packages(dandiset):
    """A process in which importing our packages fails reads every result."""
    script = f"""
        import sys
        sys.modules["nwb_rnn"] = sys.modules["ndx_latent_dynamics"] = None
        from pynwb import NWBHDF5IO
        with NWBHDF5IO({str(dandiset[1])!r}, "r") as io:
            nwbfile = io.read()
            module = nwbfile.processing["ecephys"]
            model, latents = module["low_rank_rnn"], module["low_rank_rnn_latents"]
            print(type(model).__name__, model.left_vectors[:].shape, model.activation)
            print(latents.model is model, latents.latent_mean.shape[::2])
            print(latents.trials.to_dataframe()["direction"].tolist()[:2])
            print(len(module["low_rank_rnn_fixed_points"].to_dataframe()))
            print(module["low_rank_rnn_latents_session_time"].data.shape[1])
            print(sorted(model.proposal_network.parameter_arrays)[0])
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    lines = run.stdout.splitlines()
    assert lines[:3] == ["LowRankRNN (16, 2) clipped_relu", "True (8, 2)", "['right', 'left']"]
    assert lines[4:] == ["2", "encoder_basis"]


def test_pynapple_shows_the_latents_in_session_time(dandiset, fitted):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pynapple

        session = pynapple.load_file(str(dandiset[1]))
        frame = session["low_rank_rnn_latents_session_time"]
        stamps, values, _ = in_session_time(fitted.latents)
        np.testing.assert_allclose(frame.t, stamps)
        np.testing.assert_array_equal(np.asarray(frame.values), values)
        assert len(session["units"]) == 6


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("linear_track/sub-rat01_ses-lineartrack_behavior+ecephys.nwb", {}),
        ("pmd_reach/sub-monkey_ses-ex1_ecephys.nwb", {"subject": {"age": "P5Y", "sex": "U"}}),
    ],
)
def test_real_sessions_make_valid_derivatives_and_stay_untouched(tmp_path, recordings_folder, name, metadata):
    source = tmp_path / "source.nwb"
    shutil.copyfile(recordings_folder / name, source)
    before = source.read_bytes()
    recording = nr.read(source)
    trials = recording.align("start_time", window=(0.0, 0.4), bin_size=0.02)
    model = nr.LowRankRNN.from_arrays(
        left_vectors=np.eye(4, 2, dtype=np.float32),
        right_vectors=np.eye(2, 4, dtype=np.float32),
        readout_weights=np.ones((trials.sizes["unit"], 2), np.float32),
        bin_size=np.array(0.02),
        unit_ids=trials["unit"].values.tolist(),
    )
    latents = model.infer(trials.isel(trial=slice(0, 6)), particles=4, samples=2, backend="reference")
    path = nr.write(tmp_path, model, latents=latents, source=recording, **metadata)
    assert source.read_bytes() == before
    assert [str(f) for f in validate(path) if f.is_severe] == []
    loaded = nr.load(path)
    assert loaded.to_arrays()["left_vectors"].tobytes() == model.to_arrays()["left_vectors"].tobytes()
    again = nr.read(path)
    np.testing.assert_array_equal(again.spikes.times, recording.spikes.times)
    assert set(again.behaviour) == {*recording.behaviour, "low_rank_rnn_latents_session_time"}
