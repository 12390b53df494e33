"""RateRNN with outputs: behaviour out of an NWB file, both optimisers, constraints, what comes back."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Table
from nwb_rnn.storage import load_latents
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.reach_circuit import reach_circuit, simulate_reaches
from nwb_rnn.teachers.three_region import random_teacher
from tests.estimators.rate_cases import trials_of

QUICK = {
    "backprop": {"optimiser": "backprop", "iterations": 300, "learning_rate": 0.01},
    "rls": {"optimiser": "rls"},
}


def with_outputs(seed: int = 1, trials: int = 24) -> xr.Dataset:
    """15 of 30 units of a network without noise, and two behaviours that all of its units make."""
    weights = 1.4 / np.sqrt(30) * np.random.default_rng(5).standard_normal((30, 30))
    truth = nr.RateRNN.from_arrays(
        recurrent_weights=weights,
        input_weights=np.random.default_rng(6).standard_normal((30, 2)),
        readout_weights=30 * np.random.default_rng(7).standard_normal((3, 30)) / np.sqrt(30),
        readout_bias=np.array([100.0, 0.0, -5.0]),
        time_constant=0.1,
        bin_size=0.02,
    )
    inputs = np.repeat(np.random.default_rng(seed).standard_normal((trials, 1, 2)), 40, axis=1)
    made = truth.simulate(trials, inputs=inputs, noise=False)
    made = made.isel(unit=slice(0, 15)).assign_attrs(window=[0.0, 0.8])
    muscles = ("trial", "time", "muscles_component")
    return made.drop_vars(["outputs", "latents"]).assign(
        muscles=(muscles, made["outputs"].values[..., :2]),
        speed=(muscles[:2], made["outputs"].values[..., 2]),
    )


@pytest.fixture(scope="module")
def trials():
    return with_outputs()


@pytest.fixture(scope="module", params=list(QUICK))
def fitted(request, trials):
    model = nr.RateRNN(unrecorded=25, gain=1.2, seed=0)
    return model.fit(trials, "performance", targets=["muscles", "speed"], **QUICK[request.param])


def test_outputs_and_recorded_units_are_learned(fitted, trials):
    scores = fitted.score(trials)
    assert scores["free_run_output_r2"] > 0.98 and scores["free_run_r2"] > 0.98
    assert fitted.output_names == ["muscles:0", "muscles:1", "speed"]
    new = fitted.score(with_outputs(9))
    assert new["free_run_r2"] > 0.7 and new["output_r2"] > 0.5
    assert fitted.history[-1]["outputs"] < 0.02 < fitted.history[0]["outputs"]
    assert len(fitted.parameters.unit_bias) == 40
    assert fitted.data_description["targets"] == ["muscles", "speed"]


def test_runs_carry_outputs_in_the_units_of_the_targets(fitted, trials):
    wanted = np.concatenate([trials["muscles"].values, trials["speed"].values[..., None]], axis=2)
    free = fitted.free_run(trials)
    assert free["outputs"].dims == ("trial", "time", "output")
    missed = np.mean((free["outputs"].values - wanted) ** 2, axis=(0, 1)) / wanted.var(axis=(0, 1))
    assert 1 - missed.mean() == pytest.approx(fitted.score(trials)["free_run_output_r2"], abs=0.02)
    p = fitted.parameters
    by_hand = np.tanh(free["latent_mean"].values) @ p.readout_weights.T + p.readout_bias
    np.testing.assert_allclose(free["outputs"].values, by_hand, rtol=1e-9)
    drawn = fitted.simulate(trials=24, like=trials, noise=False)
    np.testing.assert_allclose(drawn["outputs"].values, by_hand, rtol=1e-6)
    assert drawn["output"].values.tolist() == fitted.output_names
    held = fitted.infer(trials)["outputs"].values
    assert 1 - np.mean((held - wanted) ** 2) / np.mean((wanted - wanted.mean((0, 1))) ** 2) > 0.9


def test_a_score_on_trials_that_miss_the_behaviour_leaves_it_out(fitted, trials):
    bare = trials.drop_vars(["muscles", "speed"])
    assert "output_r2" not in fitted.score(bare)
    array = np.concatenate([trials["muscles"].values, trials["speed"].values[..., None]], axis=2)
    given, own = fitted.score(bare, targets=array), fitted.score(trials)
    assert given["output_r2"] == own["output_r2"]
    with pytest.raises(InputError, match="makes 2 outputs"):
        fitted.score(trials, targets="muscles")
    with pytest.raises(InputError, match="has no outputs"):
        nr.RateRNN().fit(trials, "ridge", penalty=1.0).score(trials, targets="speed")


@pytest.mark.parametrize("optimiser", list(QUICK))
def test_dale_masks_and_zero_diagonal_hold_exactly(trials, optimiser):
    mask = np.random.default_rng(0).random((40, 40)) < 0.8
    model = nr.RateRNN(unrecorded=25, gain=1.2, mask=mask, dale=True, zero_diagonal=True)
    model.fit(trials, "performance", targets="muscles", **QUICK[optimiser])
    weights, sign = model.parameters.recurrent_weights, model.constraints.sign
    assert (weights[~mask] == 0).all() and (np.diag(weights) == 0).all()
    assert set(np.unique(sign)) == {-1, 1} and (weights * sign >= 0).all()
    assert np.count_nonzero(weights) > 500
    scores = model.score(trials)
    assert scores["free_run_output_r2"] > 0.95 and scores["free_run_r2"] > 0.95


def test_the_start_from_recorded_units_needs_few_steps(trials):
    """15 of 30 units without noise: what 300 steps reach from a random network (above) is there after 30."""
    how = {"targets": ["muscles", "speed"], "iterations": 30, "learning_rate": 0.003}
    scores = {
        start: nr.RateRNN(unrecorded=25, seed=0).fit(trials, "performance", start=start, **how).score(trials)
        for start in ("recorded", "random")
    }
    assert scores["recorded"]["free_run_output_r2"] > 0.98 and scores["recorded"]["free_run_r2"] > 0.98
    assert scores["random"]["free_run_output_r2"] < 0.9


def test_dale_and_masks_hold_exactly_from_the_recorded_start(trials):
    mask = np.random.default_rng(0).random((40, 40)) < 0.8
    model = nr.RateRNN(unrecorded=25, mask=mask, dale=True, zero_diagonal=True)
    how = {"start": "recorded", "iterations": 10, "state_noise": 0.02, "learning_rate": 0.003}
    model.fit(trials, "performance", targets="muscles", **how)
    weights, sign = model.parameters.recurrent_weights, model.constraints.sign
    assert (weights[~mask] == 0).all() and (np.diag(weights) == 0).all() and (weights * sign >= 0).all()
    assert np.count_nonzero(weights) > 100


def test_random_input_weights_have_the_size_that_was_asked_for(trials):
    how = {"targets": "muscles", "iterations": 1, "learning_rate": 1e-9}
    strong, weak = (
        nr.RateRNN(unrecorded=25).fit(trials, "performance", input_gain=g, **how).parameters.input_weights
        for g in (1.0, 0.3)
    )
    np.testing.assert_allclose(weak, 0.3 * strong, atol=1e-7)


def test_bins_without_behaviour_do_not_count(trials):
    """The fit is the same for anything that stands where one of the targets is missing."""
    holes = trials.copy(deep=True)
    holes["speed"].values[2, 7:15] = np.nan
    other = holes.copy(deep=True)
    other["muscles"].values[2, 7:15] = 1e6
    found = [
        nr.RateRNN(unrecorded=5).fit(t, "performance", targets="behaviour", optimiser="rls", passes=2)
        for t in (holes, other)
    ]
    assert found[0].output_names == ["muscles:0", "muscles:1", "speed"]
    np.testing.assert_array_equal(*(m.parameters.readout_weights for m in found))
    assert np.isfinite(found[0].score(holes)["free_run_output_r2"])


def test_weights_of_the_terms_and_the_learned_starting_state(trials):
    heavy = nr.RateRNN(unrecorded=25, seed=0)
    heavy.fit(trials, "performance", targets="speed", output_weight=0.0, iterations=20)
    assert (heavy.parameters.readout_weights == 0).all()
    np.testing.assert_allclose(heavy.parameters.readout_bias, trials["speed"].values.mean(), rtol=1e-5)
    start = heavy.parameters.initial_state
    assert (start[15:] != 0).all()
    np.testing.assert_allclose(start[:15], np.arctanh(trials["signal"].values[:, 0]).mean(axis=0), atol=1e-5)


def test_a_session_of_reaches_goes_from_nwb_to_muscles(tmp_path):
    """The muscles come out of the file; cues are a column of the trials. Five repeats of eight reaches."""
    teacher = reach_circuit(60, conditions=8, seed=0)
    recording = simulate_reaches(teacher, repeats=5, noise=0.0, observed=range(30), seed=1).recording
    table = recording.intervals["trials"]
    reach = np.array([f"to{c}" for c in table.columns["condition"]])
    named = Table("trials", table.ids, {**table.columns, "reach": reach})
    recording = replace(recording, intervals={"trials": named})
    path = write_session(tmp_path / "reaches.nwb", recording, dandi=False)
    trials = nr.read(path).align(
        "go_time", window=(-0.1, 0.6), bin_size=0.02, behaviour=["muscles"], inputs=["reach"]
    )
    fit, test = trials.isel(trial=slice(0, 32)), trials.isel(trial=slice(32, None))
    model = nr.RateRNN(unrecorded=20, smoothing=0.04, gain=1.2, seed=0)
    model.fit(fit, "performance", targets="muscles", iterations=200, learning_rate=0.01)
    assert model.output_names == [f"muscles:{m}" for m in range(6)]
    assert model.score(fit)["free_run_output_r2"] > 0.9
    assert model.score(test)["free_run_output_r2"] > 0.3


def test_what_does_not_go_together_is_refused(trials):
    with pytest.raises(InputError, match="go together"):
        nr.RateRNN().fit(trials, "ridge", targets="speed")
    with pytest.raises(InputError, match="go together"):
        nr.RateRNN().fit(trials, "performance")
    with pytest.raises(InputError, match="start='ridge' is not known"):
        nr.RateRNN().fit(trials, "performance", targets="speed", start="ridge")
    with pytest.raises(InputError, match=r"does not know start; with optimiser='rls'"):
        nr.RateRNN().fit(trials, "performance", targets="speed", optimiser="rls", start="recorded")
    with pytest.raises(InputError, match=r"no 'velocity'.*muscles, speed"):
        nr.RateRNN().fit(trials, "performance", targets="velocity")
    with pytest.raises(InputError, match="carry no behaviour"):
        nr.RateRNN().fit(trials.drop_vars(["muscles", "speed"]), "performance", targets="behaviour")
    with pytest.raises(InputError, match=r"\(3, 40\) trials and bins; these trials have \(24, 40\)"):
        nr.RateRNN().fit(trials, "performance", targets=np.zeros((3, 40, 2)))
    turned = trials["speed"].isel(trial=slice(None, None, -1))
    with pytest.raises(InputError, match="other trials"):
        nr.RateRNN().fit(trials, "performance", targets=turned)
    with pytest.raises(InputError, match="missing in every bin"):
        nr.RateRNN().fit(trials, "performance", targets=np.full((24, 40), np.nan))
    for options, word in (
        ({"optimiser": "sgd"}, "backprop, rls"),
        ({"optimiser": "rls", "output_weight": 2.0}, "none is weighed"),
        ({"optimiser": "rls", "iterations": 2}, "passes"),
        ({"passes": 2}, "learning_rate"),
    ):
        with pytest.raises(InputError, match=word):
            nr.RateRNN().fit(trials, "performance", targets="speed", **options)
    with pytest.raises(InputError, match="rank="):
        nr.RateRNN(rank=2).fit(trials, "performance", targets="speed")


def test_noise_of_a_network_with_trained_unrecorded_units_is_that_of_its_own_run():
    """Residuals of the network held at the recording, by hand."""
    teacher = random_teacher(units=20, samples=600, seed=1, gain=1.5, time_constant=0.1)
    trials = trials_of(teacher.activity[:, :12], segments=6)
    model = nr.RateRNN(unrecorded=8).fit(trials, "backprop", penalty=1.0, iterations=5, window=20)
    held = model.infer(trials)["latent_mean"].values
    p = model.parameters
    ahead = held + p.alpha * (np.tanh(held) @ p.recurrent_weights.T + p.unit_bias - held)
    missed = (held[:, 1:] - ahead[:, :-1])[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(p.noise[:12], missed.std(axis=0), rtol=1e-6)
    assert (p.noise[12:] == 0).all()


def test_position_on_a_linear_track_is_followed_by_both_optimisers(recordings_folder):
    """Head position of a rat out of its NWB file, the first ten laps cut to 3 s; direction is the input."""
    path = recordings_folder / "linear_track" / "sub-rat01_ses-lineartrack_behavior+ecephys.nwb"
    trials = nr.read(path).align(
        "start_time", window=(0.0, 3.0), bin_size=0.05, past_stop=True, behaviour=True, inputs=["direction"]
    )
    trials = trials.isel(trial=slice(0, 10))
    trials = trials.isel(unit=trials["counts"].values.any(axis=(0, 1)))
    mean = trials["head_position"].values.mean(axis=0)
    for optimiser, options in QUICK.items():
        model = nr.RateRNN(time_constant=0.2, unrecorded=30, smoothing=0.15, gain=1.2, seed=0)
        model.fit(trials, "performance", targets="behaviour", **options)
        assert model.output_names == ["head_position:0", "head_position:1"]
        # the outputs are in the units of the file
        made = model.free_run(trials)["outputs"].values
        assert np.abs(made.mean(axis=(0, 1)) - mean.mean(axis=0)).max() < 0.1 * np.ptp(mean)
        assert model.score(trials)["free_run_output_r2"] > 0.8, optimiser


def test_units_that_never_fire_are_named(trials):
    silent = trials.copy(deep=True)
    silent["signal"].values[..., [2, 5]] = 0.0
    silent["signal"].values[...] *= 3.0
    with pytest.raises(InputError, match="the units 2, 5 never change"):
        nr.RateRNN().fit(silent, "performance", targets="speed")


@pytest.fixture(scope="module")
def file_of(tmp_path_factory, fitted, trials):
    """A fitted network with what it predicts, written with nothing but a date."""
    path = tmp_path_factory.mktemp("outputs") / "outputs.nwb"
    found, free = fitted.infer(trials), fitted.simulate(like=trials, trials=4, noise=False)
    start = "2024-01-01T00:00:00+00:00"
    nr.write(path, fitted, latents=found, simulation=free, session_start_time=start, dandi=False)
    return path, found


def test_outputs_come_back_from_a_file(fitted, file_of, trials):
    path, found = file_of
    loaded = nr.load(path)
    one, other = fitted.to_arrays(), loaded.to_arrays()
    assert set(one) == set(other) >= {"readout_weights", "readout_bias", "output_names"}
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name
    assert loaded.output_names == fitted.output_names
    assert loaded.history == fitted.history and loaded.data_description == fitted.data_description
    for name in ("outputs", "rates"):
        np.testing.assert_array_equal(
            loaded.free_run(trials)[name].values, fitted.free_run(trials)[name].values
        )
    assert loaded.score(trials) == fitted.score(trials)
    again = load_latents(path)
    np.testing.assert_array_equal(again["outputs"].values, found["outputs"].values)
    assert again["outputs"].dims == ("trial", "time", "output")
    assert again["output"].values.tolist() == fitted.output_names


def test_a_reader_with_numpy_alone_makes_the_outputs_again(file_of, trials):
    """h5py and the equations in the file: from the stored currents, and one step ahead."""
    import h5py

    path, found = file_of
    with h5py.File(path) as file:
        model, latents = (file["processing/ecephys"][n] for n in ("rate_rnn", "rate_rnn_latents"))
        equations = model["equations"][()].decode()
        assert "output = readout_weights r + readout_bias" in equations
        assert "recorded = rate_offset + rate_gain r[observed_index]" in equations
        assert model.attrs["activation"] == "tanh"
        held = {n: v[()] for n, v in model.items() if isinstance(v, h5py.Dataset)}
        x, outputs = latents["latent_mean"][()], latents["outputs"][()]
        names = [n.decode() for n in latents["output_names"][()]]
    assert names == [n.decode() for n in held["output_names"]] == found["output"].values.tolist()
    rates = np.tanh(x)
    np.testing.assert_allclose(rates @ held["readout_weights"].T + held["readout_bias"], outputs, rtol=1e-9)
    share = held["bin_size"] / held["time_constant"][0]
    drive = rates @ held["recurrent_weights"].T + trials["inputs"].values @ held["input_weights"].T
    ahead = np.tanh(x + share * (drive + held["unit_bias"] - x))[..., held["observed_index"]]
    predicted = held["rate_offset"] + held["rate_gain"] * ahead
    np.testing.assert_allclose(predicted[:, :-1], found["rates"].values[:, 1:], rtol=1e-9)


def test_a_readout_of_recorded_units_that_was_stored_as_one_of_outputs_is_read_as_what_it_is():
    """Files of before the extension's version 0.2, of method="full_force"."""
    teacher = random_teacher(units=6, samples=200, seed=3, gain=1.5, time_constant=0.1)
    trials = trials_of(teacher.activity)
    model = nr.RateRNN(unrecorded=20).fit(trials, "full_force", passes=1, settle=5)
    arrays = model.to_arrays()
    assert {"observed_weights", "observed_bias"} <= set(arrays) and "readout_weights" not in arrays
    old = {n.replace("observed_weights", "readout_weights"): v for n, v in arrays.items()}
    old = {n.replace("observed_bias", "readout_bias"): v for n, v in old.items()}
    about = (model.configuration, model.history, model.data_description, model.software, model.scores)
    again = nr.RateRNN.restore(old, *about)
    assert again.output_names == [] and again.parameters.readout_weights is None
    np.testing.assert_array_equal(again.infer(trials)["rates"].values, model.infer(trials)["rates"].values)


def test_a_network_of_known_weights_has_outputs_with_names():
    weights = {"recurrent_weights": np.eye(3), "readout_weights": np.ones((2, 3))}
    model = nr.RateRNN.from_arrays(**weights)
    assert model.output_names == ["output0", "output1"]
    named = nr.RateRNN.from_arrays(**weights, output_names=["x", "y"])
    assert named.simulate(2, bins=4)["output"].values.tolist() == ["x", "y"]
    with pytest.raises(InputError, match="output_names holds 1 names"):
        nr.RateRNN.from_arrays(**weights, output_names=["x"])
    with pytest.raises(InputError, match="readout_bias has shape"):
        nr.RateRNN.from_arrays(**weights, readout_bias=np.zeros(3))
