"""RateRNN: teachers come back, constraints hold exactly, verbs, storage."""

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError, NotFittedError
from nwb_rnn.teachers.three_region import observed, random_teacher, three_region_teacher
from tests.estimators.rate_cases import trials_of

QUICK = {
    "ridge": {"penalty": 0.1},
    "convex": {"penalty": 0.1, "iterations": 5},
    "rls": {"passes": 2},
    "backprop": {"penalty": 0.1, "iterations": 5, "window": 10, "batch": 4},
    "auto": {"iterations": 5, "window": 10, "batch": 4},
}


@pytest.fixture(scope="module")
def teacher():
    return random_teacher(units=30, samples=1200, seed=1)


@pytest.fixture(scope="module")
def trials(teacher):
    return trials_of(teacher.activity, segments=6)


@pytest.mark.parametrize("method", ["ridge", "convex"])
def test_a_matched_teacher_comes_back(teacher, trials, method):
    model = nr.RateRNN(time_constant=teacher.time_constant).fit(trials, method, **QUICK[method])
    found = model.parameters.recurrent_weights
    assert np.corrcoef(found.ravel(), teacher.recurrent_weights.ravel())[0, 1] > 0.97
    np.testing.assert_allclose(model.parameters.noise, 0.1, rtol=0.15)


def test_without_noise_the_free_run_is_the_teacher():
    """A teacher without noise, fitted by ridge with hardly a penalty, goes on as the teacher does."""
    teacher = random_teacher(units=20, samples=800, noise=0.02, seed=2, gain=1.5, time_constant=0.1)
    trials = trials_of(teacher.activity)
    model = nr.RateRNN(zero_diagonal=True).fit(trials, "ridge", penalty=1e-9)
    exact = nr.RateRNN.from_arrays(
        recurrent_weights=teacher.recurrent_weights, time_constant=0.1, bin_size=0.01
    )
    some = trials.isel(time=slice(0, 30))
    ours, true = model.free_run(some), exact.free_run(some)
    assert np.abs(ours["rates"] - true["rates"]).max() < 0.15
    assert np.all(np.diag(model.parameters.recurrent_weights) == 0)


@pytest.mark.parametrize("method", list(QUICK))
@pytest.mark.parametrize("dale", [False, True])
def test_masks_and_signs_hold_exactly(trials, method, dale):
    rng = np.random.default_rng(0)
    mask = rng.random((32, 32)) < 0.6
    model = nr.RateRNN(unrecorded=2, mask=mask, zero_diagonal=True, dale=dale)
    model.fit(trials, method, **QUICK[method])
    weights = model.parameters.recurrent_weights
    assert np.all(weights[~mask] == 0) and np.all(np.diag(weights) == 0)
    assert np.count_nonzero(weights) > 100
    if dale:
        assert set(np.unique(model.constraints.sign)) == {-1, 1}
        assert np.all(weights * model.constraints.sign >= 0)


def test_a_low_rank_and_a_low_rank_plus_sparse_network(trials):
    model = nr.RateRNN(rank=3).fit(trials, "backprop", **QUICK["backprop"])
    assert np.linalg.matrix_rank(model.parameters.recurrent_weights, tol=1e-9) == 3
    model = nr.RateRNN(rank=2, sparse=1.0).fit(trials, "backprop", **QUICK["backprop"])
    p = model.parameters
    np.testing.assert_allclose(
        p.recurrent_weights, p.left_vectors @ p.right_vectors + p.sparse_weights, atol=1e-12
    )
    assert (p.sparse_weights == 0).mean() > 0.2


@pytest.mark.parametrize("sparse", [0.0, 1.0])
def test_dales_law_of_a_low_rank_network(trials, sparse):
    """Factors of one sign keep rank and law exactly; with a sparse part masks and the diagonal as well."""
    mask = None if sparse == 0 else np.random.default_rng(0).random((30, 30)) < 0.8
    model = nr.RateRNN(rank=3, sparse=sparse, dale=True, zero_diagonal=sparse > 0, mask=mask)
    model.fit(trials, "backprop", **QUICK["backprop"])
    p, sign = model.parameters, model.constraints.sign
    weights = p.recurrent_weights
    assert set(np.unique(sign)) == {-1, 1} and (weights * sign >= 0).all()
    assert np.linalg.matrix_rank(p.left_vectors @ p.right_vectors, tol=1e-9) == 3
    assert np.count_nonzero(weights) > 100
    if mask is None:
        assert np.linalg.matrix_rank(weights, tol=1e-9) == 3
        return
    assert (weights[~mask] == 0).all() and (np.diag(weights) == 0).all()
    np.testing.assert_allclose(weights, p.left_vectors @ p.right_vectors + p.sparse_weights, atol=1e-12)
    allowed = mask & ~np.eye(30, dtype=bool)
    assert (p.sparse_weights[allowed] == 0).mean() > 0.1


def test_factors_of_a_low_rank_matrix_under_dales_law_make_it_again():
    from nwb_rnn.fitting.backprop import factors

    rng = np.random.default_rng(0)
    sign = np.where(rng.permutation(20) < 10, 1, -1)
    truth = rng.random((20, 2)) @ (rng.random((2, 20)) * sign)
    left, right = factors(truth, 2, sign)
    assert (left >= 0).all() and (right * sign >= 0).all()
    assert np.linalg.norm(left @ right - truth) < 0.02 * np.linalg.norm(truth)


def test_a_forecast_goes_on_from_the_last_recorded_bin_and_knows_nothing_later():
    """A network that is known exactly, without noise: its forecasts are what it did next."""
    teacher = random_teacher(units=20, samples=200, noise=0.0, seed=2, gain=1.5, time_constant=0.1)
    exact = nr.RateRNN.from_arrays(
        recurrent_weights=teacher.recurrent_weights, time_constant=0.1, bin_size=0.01
    )
    trials = trials_of(teacher.activity.copy(), segments=2)
    trials["mask"][1, 60:] = False
    trials["signal"][1, 60:] = 0.9  # not recorded, so not looked at
    ahead = exact.forecast(trials, 30)
    np.testing.assert_allclose(ahead.signal[0], teacher.activity[100:130], atol=1e-6)
    np.testing.assert_allclose(ahead.signal[1], teacher.activity[160:190], atol=1e-6)
    assert ahead.mask.all() and ahead.sizes["time"] == 30
    with pytest.raises(InputError, match="inputs has shape"):
        exact.forecast(trials, 30, inputs=np.zeros((2, 30, 1)))
    with pytest.raises(InputError, match="at least 1"):
        exact.forecast(trials, 0)


def test_a_forecast_hears_its_inputs():
    exact = nr.RateRNN.from_arrays(
        recurrent_weights=np.zeros((1, 1)), input_weights=np.ones((1, 1)), time_constant=0.1, bin_size=0.01
    )
    trials = trials_of(np.zeros((5, 1)))
    trials["inputs"] = (("trial", "time", "input"), np.zeros((1, 5, 1)))
    inputs = np.array([1.0, 0.0, 2.0])[None, :, None]
    made = exact.forecast(trials, 3, inputs).latents.values[0, :, 0]
    np.testing.assert_allclose(made, [0.1, 0.09, 0.281])


def test_the_three_region_teacher_runs_on_in_time():
    teacher = three_region_teacher(seed=1)
    assert teacher.activity.shape == (1201, 300)
    whole = trials_of(teacher.activity)
    model = nr.RateRNN(regions=teacher.regions)
    model.fit(whole.isel(time=slice(0, 960)), "ridge")
    assert model.score(whole.isel(time=slice(959, None)))["noisy_free_run_explained_variance"] > 0.9
    currents = model.region_currents(whole)
    np.testing.assert_allclose(currents["share"].sum("source"), 1)
    assert currents["current"].dims == ("target", "source", "trial", "time")


def test_region_currents_of_a_known_network():
    """Two regions of one unit: the currents are products that can be written down."""
    weights = np.array([[0.0, 2.0], [-1.0, 0.5]])
    model = nr.RateRNN.from_arrays(recurrent_weights=weights, unit_region=np.array(["a", "b"]))
    rates = np.array([[0.5, 0.25], [0.1, -0.2]])
    found = model.region_currents(trials_of(rates))["current"].values[:, :, 0]
    np.testing.assert_allclose(found[0, 1], [0.5, 0.4])
    np.testing.assert_allclose(found[1, 0], [0.5, 0.1])
    np.testing.assert_allclose(found[1, 1], [0.125, 0.1])


def test_uncertainty_covers_the_truth(teacher, trials):
    model = nr.RateRNN(time_constant=0.02, regions=["a"] * 15 + ["b"] * 15).fit(trials, "ridge", penalty=0.01)
    spread = model.uncertainty(trials, resamples=20, penalty=0.01)
    z = (spread["recurrent_weights_mean"] - teacher.recurrent_weights) / spread["recurrent_weights_std"]
    # the mean of resampled fits is as far from the truth as the fit is: |z| < 3 for nearly all of 900
    assert 0.9 < float((np.abs(z) < 3).mean()) <= 1
    assert float(spread["share_std"].max()) < 0.1


def test_spikes_are_smoothed_only_when_asked():
    teacher = random_teacher(units=10, samples=1000, seed=3, gain=1.5, time_constant=0.1, noise=0.2)
    counts = trials_of(observed(teacher.activity, spikes=60, seed=0), segments=5, name="counts")
    with pytest.raises(InputError, match="smoothing"):
        nr.RateRNN().fit(counts)
    model = nr.RateRNN(smoothing=0.05, time_constant=0.02).fit(counts, "ridge")
    assert "0.05 s" in model.data_description["smoothing"]
    assert model.data_description["observed"] == "counts"
    correlation = np.corrcoef(
        model.infer(counts)["rates"].values.ravel(), 60 * (1 + teacher.activity.ravel())
    )
    assert correlation[0, 1] > 0.7


@pytest.mark.parametrize("activation", ["relu", "softplus"])
@pytest.mark.parametrize("method", ["ridge", "convex"])
def test_positive_activations_come_back(activation, method):
    weights = 0.6 / np.sqrt(20) * np.random.default_rng(4).standard_normal((20, 20)) - 0.05
    truth = nr.RateRNN.from_arrays(
        recurrent_weights=weights,
        unit_bias=np.full(20, 2.0),
        noise=np.full(20, 0.3),
        activation=activation,
        time_constant=0.02,
        bin_size=0.01,
    )
    data = truth.simulate(trials=10, bins=300, seed=1)
    model = nr.RateRNN(activation, time_constant=0.02, scaling="none").fit(data, method, penalty=0.1)
    assert np.corrcoef(model.parameters.recurrent_weights.ravel(), weights.ravel())[0, 1] > 0.9
    assert model.score(data)["one_step_r2"] > 0.3


def test_a_file_gives_the_same_model_back(tmp_path, trials):
    model = nr.RateRNN(zero_diagonal=True, dale=True, unrecorded=2, regions=["a"] * 10 + ["b"] * 20)
    model.fit(trials, "convex", penalty=0.1)
    model.score(trials)
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "m.nwb", model, session_start_time=start, dandi=False)
    loaded = nr.load(path)
    one, other = model.to_arrays(), loaded.to_arrays()
    assert set(one) == set(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype or array.dtype.kind == "U", name
        assert array.tobytes() == other[name].tobytes(), name
    assert loaded.config == model.config and loaded.scores == model.scores
    assert loaded.history == model.history and loaded.data_description == model.data_description
    again = loaded.free_run(trials, noise=True)
    assert again["rates"].values.tobytes() == model.free_run(trials, noise=True)["rates"].values.tobytes()
    latents = model.infer(trials)
    path = nr.write(tmp_path / "l.nwb", model, latents=latents, session_start_time=start, dandi=False)
    from nwb_rnn.storage import load_latents

    np.testing.assert_array_equal(load_latents(path)["latent_mean"].values, latents["latent_mean"].values)


def test_fixed_points_of_one_bistable_unit():
    """x = 2 tanh(x): 0 and ±1.91500805."""
    model = nr.RateRNN.from_arrays(recurrent_weights=[[2.0]], initial_state=[0.1])
    points = model.fixed_points()
    found = np.sort(points.location[:, 0])
    np.testing.assert_allclose(found[-1], 1.9150080481545466, atol=1e-9)


def test_what_does_not_go_together_is_refused(trials):
    with pytest.raises(NotFittedError, match="fit"):
        nr.RateRNN().simulate(bins=3)
    with pytest.raises(InputError, match="full rank in general"):
        nr.RateRNN(rank=2, zero_diagonal=True).fit(trials, "backprop", **QUICK["backprop"])
    with pytest.raises(InputError, match="does not know"):
        nr.RateRNN(colour="red")
    with pytest.raises(InputError, match="method"):
        nr.RateRNN().fit(trials, "magic")
    with pytest.raises(InputError, match="penalty"):
        nr.RateRNN().fit(trials, "ridge", passes=3)
    with pytest.raises(InputError, match="overshoot"):
        nr.RateRNN(time_constant=0.005).fit(trials)
    with pytest.raises(InputError, match="unrecorded"):
        nr.RateRNN().fit(trials, "full_force")
