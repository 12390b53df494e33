"""`nwb-rnn fit --model=rate`: what it says, writes and refuses."""

import numpy as np
import pytest
from simulated_world import run, small_session

import nwb_rnn as nr
from nwb_rnn.storage import load_fixed_points, load_latents

RLS = ("--model=rate", "--smoothing=0.03", "--targets=hand_velocity", "--optimiser=rls")
COMMON = ("--align=start_time", "--bin-size=0.01", "--smoothing=0.03", "--model=rate")


@pytest.fixture(scope="module")
def session_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli_rate") / "session.nwb"
    small_session(path)
    return path


@pytest.mark.parametrize("smoothing", [0.03, "auto"])
def test_a_network_of_the_recorded_units_is_fitted_and_written(session_file, tmp_path, smoothing):
    path = tmp_path / "rates.nwb"
    arguments = (
        f"--smoothing={smoothing}",
        "--method=ridge",
        "--zero-diagonal",
        "--time-constant=0.05",
        "--seed=3",
        "--output",
        path,
    )
    said = run("fit", session_file, *COMMON, *arguments)
    steps = [line.split()[0] for line in said.splitlines() if line and not line.startswith(" ")]
    assert steps == ["read", "aligned", "fitted", "inferred", "dynamics", "wrote", "validated"]
    assert "no errors" in said and "free run explained variance" in said
    model = nr.load(path)
    assert isinstance(model, nr.RateRNN)
    assert (np.diag(model.parameters.recurrent_weights) == 0).all()
    assert model.config.smoothing == smoothing
    assert model.config.activation == "tanh" and model.config.seed == 3
    assert model.config.time_constant == 0.05 and model.data_description["method"] == "ridge"
    trials = nr.read(session_file).align("start_time", until="stop_time", bin_size=0.01)
    expected = model.infer(trials)["latent_mean"].values
    np.testing.assert_allclose(load_latents(path)["latent_mean"].values, expected)
    assert load_fixed_points(path)["location"].shape[1] == 10


@pytest.mark.parametrize("optimiser", ["backprop", "rls"])
def test_outputs_match_behaviour_of_the_file(session_file, tmp_path, optimiser):
    path = tmp_path / "outputs.nwb"
    begun = ("--start=recorded", "--state-noise=0.02")
    quick = ("--iterations=30", *begun) if optimiser == "backprop" else ()
    arguments = ("--targets=hand_velocity", f"--optimiser={optimiser}", "--unrecorded=10", "--dale", *quick)
    said = run("fit", session_file, *COMMON, *arguments, "--output", path)
    assert "free run output r2" in said
    model = nr.load(path)
    assert model.output_names == ["hand_velocity:0", "hand_velocity:1"]
    assert load_latents(path)["outputs"].dims == ("trial", "time", "output")
    signs, weights = model.constraints.sign, model.parameters.recurrent_weights
    assert set(np.unique(signs)) == {-1, 1} and (weights * signs >= 0).all()
    assert "0 errors" in run("validate", path)


def test_all_behaviour_and_units_that_never_change(session_file, tmp_path):
    """A unit that is silent in the fitted trials is left out and named, in what is said and in the file."""
    trials = nr.read(session_file).align("start_time", window=(0.0, 0.05), bin_size=0.01)
    from nwb_rnn.cli.rate_job import steady

    blank = trials.copy(deep=True)
    blank["counts"].values[..., 4] = 0
    blank["counts"].values[..., 7] = 2
    assert {4, 7} <= set(steady(blank)) and len(steady(blank)) == len(steady(trials)) + 2
    path = tmp_path / "all.nwb"
    short = ("--window", 0.0, 0.02)
    said = run(
        "fit", session_file, *COMMON, *short, "--targets=behaviour", "--optimiser=rls", "--output", path
    )
    assert "left out: units" in said
    model = nr.load(path)
    reasons = [note["reason"] for note in model.data_description["dropped"]]
    assert "never changes in the fitted trials" in reasons
    assert len(model.unit_ids) < 10 and len(model.output_names) == 2


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("--model=rate", "--rank=3"), "--rank only goes with --model=low-rank", 2),
        (("--method=ridge",), "--method only goes with --model=rate", 2),
        (("--model=rate",), "--smoothing", 1),
        (("--model=rate", "--smoothing=wide"), "neither a number", 2),
        (("--model=rate", "--smoothing=0.03", "--targets=nothing"), "nothing", 1),
        (("--model=rate", "--targets=hand_velocity", "--method=ridge"), "means --method=performance", 1),
        (("--model=rate", "--smoothing=0.03", "--method=performance"), "targets=", 1),
        (("--model=rate", "--smoothing=0.03", "--activation=identity"), "identity", 1),
        (("--model=rate", "--smoothing=0.03", "--method=ridge", "--iterations=3"), "iterations", 1),
        (("--model=rate", "--smoothing=0.03", "--method=ridge", "--state-noise=0.1"), "state_noise", 1),
        ((*RLS, "--start=recorded"), "does not know start", 1),
    ],
)
def test_what_does_not_go_together_is_one_message(session_file, tmp_path, arguments, message, code):
    path = tmp_path / "never.nwb"
    said = run(
        "fit",
        session_file,
        "--align=start_time",
        "--bin-size=0.01",
        *arguments,
        "--output",
        path,
        code=code,
    )
    assert message in said and "Traceback" not in said
    assert not path.exists()
