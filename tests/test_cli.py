"""Every command does its work on a small file, and says in plain words when it cannot."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

sys.path.insert(0, str(Path(__file__).parent / "sources"))
from made_nwb import empty_file, saved, with_rois
from simulated_world import SMALL_FIT, run, small_session

import nwb_rnn as nr
from nwb_rnn.report import stored
from nwb_rnn.storage import load_fixed_points, load_latents
from nwb_rnn.storage.reading import contents

COMMANDS = ("inspect", "fit", "simulate", "fixed-points", "report", "validate", "demo")


@pytest.fixture(scope="module")
def session_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "session.nwb"
    small_session(path)
    return path


@pytest.fixture(scope="module")
def fitted(session_file):
    """(output of the command, NWB file it wrote)."""
    path = session_file.with_name("fitted.nwb")
    said = run("fit", session_file, "--align=start_time", "--bin-size=0.01", *SMALL_FIT, "--output", path)
    return said, path


def test_help_of_every_command():
    listed = run("--help")
    for command in COMMANDS:
        assert command in listed
        assert "Usage" in run(command, "--help")


def test_version():
    assert nr.__version__ in run("--version")


def test_inspect_says_what_could_be_aligned(session_file):
    said = run("inspect", session_file)
    for expected in ("10 units", "table 'trials': 8 rows", "start_time", "stop_time", "align("):
        assert expected in said


def test_fit_says_each_step_and_writes_a_valid_file_and_a_picture(fitted):
    said, path = fitted
    steps = [line.split()[0] for line in said.splitlines() if line and not line.startswith(" ")]
    assert steps == [
        "read",
        "aligned",
        "fitted",
        "inferred",
        "simulated",
        "dynamics",
        "wrote",
        "validated",
        "drew",
    ]
    assert "no errors" in said
    assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert "0 errors" in run("validate", path)


def test_what_was_fitted_comes_back(fitted):
    model = nr.load(fitted[1])
    assert model.config.rank == 2
    assert model.config.units == 12
    assert model.data_description["align_to"] == "start_time"
    assert {"bits_per_spike", "log_likelihood_per_bin"} <= set(model.scores)
    assert model.history[-1]["iteration"] == 3


def test_the_trials_of_a_report_are_those_of_the_fit(fitted, session_file):
    latents = load_latents(fitted[1])
    trials = stored.same_trials(nr.read(fitted[1]), latents)
    expected = nr.read(session_file).align("start_time", until="stop_time", bin_size=0.01)
    for name in ("counts", "mask"):
        np.testing.assert_array_equal(trials[name].values, expected[name].values)
    np.testing.assert_array_equal(trials["trial"].values, expected["trial"].values)


def test_report_of_a_stored_model(fitted, tmp_path):
    path = tmp_path / "report.svg"
    assert "drew" in run("report", fitted[1], "--output", path)
    assert "<svg" in path.read_text(encoding="utf-8")[:2000]
    assert "exists already" in run("report", fitted[1], "--output", path, code=1)


def test_fixed_points_as_a_table(fitted, tmp_path):
    path = tmp_path / "points.csv"
    said = run("fixed-points", fitted[1], "--table", path)
    assert "fixed point" in said
    assert "complete" in said
    rows = path.read_text(encoding="utf-8").splitlines()
    assert rows[0].startswith("point,z1,z2,kind,stable")
    assert len(rows) == 1 + len(nr.load(fitted[1]).fixed_points())


def test_where_a_proof_takes_too_long_a_search_goes_on_from_visited_states(fitted, monkeypatch):
    from nwb_rnn.cli import steps

    model, latents = nr.load(fitted[1]), load_latents(fitted[1])
    proved = steps.fixed_points(model, latents)
    assert proved.complete
    monkeypatch.setattr(steps, "_BOXES", 1)
    searched = steps.fixed_points(model, latents)
    assert searched.method == "newton" and not searched.complete
    known = np.linalg.norm(searched.location[:, None] - proved.location, axis=2).min(axis=1)
    assert len(searched) and known.max() < 1e-6
    assert "not proved" in steps.kinds(searched)
    assert "complete" in run("fixed-points", fitted[1], "--no-add", "--max-boxes=1")


def test_fixed_points_are_added_to_the_file_of_their_model(fitted, tmp_path):
    path = tmp_path / "model.nwb"
    nr.write(path, nr.load(fitted[1]), dandi=False, session_start_time="2024-03-01T10:30:00+01:00")
    before = nr.load(path).to_arrays()
    assert "added low_rank_rnn_fixed_points" in run("fixed-points", path)
    assert "holds low_rank_rnn_fixed_points already" in run("fixed-points", path)
    assert "added again" in run("fixed-points", path, "--method=newton", "--add-as=again")
    assert "added" not in run("fixed-points", path, "--no-add")
    assert contents(path)["fixed_points"] == ["again", "low_rank_rnn_fixed_points"]
    usual = load_fixed_points(path)
    np.testing.assert_array_equal(usual["location"], nr.load(path).fixed_points().location)
    assert load_fixed_points(path, "again")["method"] != usual["method"]
    for name, value in nr.load(path).to_arrays().items():
        np.testing.assert_array_equal(value, before[name])


def test_simulated_trials_as_a_dataset_are_the_models_own(fitted, tmp_path):
    path = tmp_path / "simulated.nc"
    run("simulate", fitted[1], "--trials=4", "--duration=0.2", "--seed=7", "--output", path)
    expected = nr.load(fitted[1]).simulate(trials=4, bins=20, seed=7)
    with xr.open_dataset(path, engine="h5netcdf") as found:
        np.testing.assert_array_equal(found["counts"].values, expected["counts"].values)
        np.testing.assert_array_equal(found["latents"].values, expected["latents"].values)


def test_simulated_trials_as_a_session_have_the_same_counts(fitted, tmp_path):
    path = tmp_path / "simulated.nwb"
    run("simulate", fitted[1], "--trials=4", "--duration=0.5", "--seed=7", "--output", path)
    expected = nr.load(fitted[1]).simulate(trials=4, bins=50, seed=7)["counts"].values
    found = nr.read(path).align("start_time", until="stop_time", bin_size=0.01)
    np.testing.assert_array_equal(found["counts"].values, expected[:, :, expected.any((0, 1))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--align=go_time", "--window", 0, 0.2], "go_time"),
        (["--align=start_time", "--window", 0, 100], "longer than every trial"),
        (["--align=start_time", "--table=nowhere"], "nowhere"),
        (["--align=start_time", "--where=nothing == 1"], "nothing"),
        (["--align=start_time", "--rank=0"], "rank"),
        (["--align=start_time", "--rank=13"], "rank"),
        (["--align=start_time", "--observation=gaussian", "--signal=lfp"], "lfp"),
    ],
)
def test_errors_of_a_fit_are_one_message(session_file, tmp_path, arguments, message):
    path = tmp_path / "never.nwb"
    said = run("fit", session_file, "--bin-size=0.01", *SMALL_FIT, *arguments, "--output", path, code=1)
    assert "Error: " in said
    assert message in said
    assert "Traceback" not in said
    assert not path.exists()


def test_a_recording_without_trials_is_cut_into_segments(tmp_path):
    values = np.cumsum(np.random.default_rng(0).normal(size=(300, 4)), axis=0)
    source = saved(with_rois(empty_file(), {"plane": (values, {})}), tmp_path)
    assert "--segments" in run("fit", source, code=2)
    refused = run("fit", source, "--align=start_time", "--no-dandi", "--output", tmp_path / "x.nwb", code=1)
    assert "--segments" in refused
    assert "only goes with --align" in run("fit", source, "--segments=4", "--until=stop_time", code=2)
    assert "either --align" in run("fit", source, "--segments=4", "--align=start_time", code=2)
    path = tmp_path / "fitted.nwb"
    said = run("fit", source, "--segments=4", *SMALL_FIT, "--no-dandi", "--no-report", "--output", path)
    assert "15 trials of 4 s, 4 channels, bins of 200 ms" in said
    assert "no errors" in said and "DANDI would not accept it: " in said and "CRITICAL" not in said
    latents = load_latents(path)
    assert dict(latents["latent_mean"].sizes) == {"trial": 15, "time": 20, "latent": 2}
    np.testing.assert_allclose(latents["event_time"].values, 4.0 * np.arange(15))


def test_an_output_that_is_no_nwb_is_refused_before_anything_is_fitted(session_file, tmp_path):
    path = tmp_path / "fitted.h5"
    said = run("fit", session_file, "--align=start_time", "--output", path, code=1)
    assert "ends in .nwb" in said and "aligned" not in said


def test_a_file_that_is_there_is_refused_before_anything_is_fitted(session_file, fitted):
    before = fitted[1].read_bytes()
    said = run("fit", session_file, "--align=start_time", "--output", fitted[1], code=1)
    assert "exists already" in said
    assert "fitted" not in said.split("Error")[0].replace("fitted.nwb", "")
    assert fitted[1].read_bytes() == before


def test_missing_metadata_is_named_before_anything_is_fitted_and_can_be_given(tmp_path):
    from dataclasses import replace

    from nwb_rnn.storage.session import write_session
    from nwb_rnn.teachers.oscillator import oscillator
    from nwb_rnn.teachers.session import simulate_session

    session = simulate_session(oscillator(observed=6, units=16), trials=5, shortest=0.2, longest=0.3)
    texts = {
        k: v for k, v in session.recording.description.items() if k not in ("subject_age", "subject_sex")
    }
    source = tmp_path / "bare.nwb"
    write_session(source, replace(session.recording, description=texts), dandi=False)
    common = ("fit", source, "--align=start_time", "--bin-size=0.01", *SMALL_FIT, "--no-report")
    refused = run(*common, "--output", tmp_path / "out.nwb", code=1)
    assert "subject sex" in refused
    assert "--age" in refused
    assert "aligned" not in refused
    run(*common, "--sex=F", "--age=P30D", "--output", tmp_path / "out.nwb")
    assert nr.read(tmp_path / "out.nwb").description["subject_age"] == "P30D"


def test_no_such_file_and_no_nwb(tmp_path):
    assert "there is no file" in run("inspect", tmp_path / "nothing.nwb", code=1)
    other = tmp_path / "other.nwb"
    other.write_text("not HDF5", encoding="utf-8")
    assert "Error: " in run("fit", other, "--align=start_time", code=1)
    assert "Error: " in run("report", other, code=1)


def test_a_file_without_a_model(session_file, tmp_path):
    said = run("simulate", session_file, "--output", tmp_path / "x.nc", code=1)
    assert "holds no fitted model" in said
    assert "holds no fitted model" in run("fixed-points", session_file, code=1)


def test_debug_keeps_the_traceback(tmp_path):
    with pytest.raises(nr.errors.SourceError):
        run("--debug", "inspect", tmp_path / "nothing.nwb")


def test_demo_on_an_own_file_needs_to_know_the_events(session_file, tmp_path):
    said = run("demo", session_file, "--output-folder", tmp_path, code=2)
    assert "--align" in said


def test_validate_reports_what_dandi_refuses(tmp_path):
    from dataclasses import replace

    from nwb_rnn.storage.session import write_session
    from nwb_rnn.teachers.session import simulate_session

    recording = simulate_session(trials=2, shortest=0.1, longest=0.1).recording
    texts = {k: v for k, v in recording.description.items() if not k.startswith("subject")}
    path = write_session(tmp_path / "bare.nwb", replace(recording, description=texts), dandi=False)
    said = run("validate", path, code=1)
    assert "subject" in said.lower()
