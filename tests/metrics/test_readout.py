"""Ridge and Poisson regressions against scikit-learn's, nested cross-validation without a leak."""

import numpy as np
import pytest
from sklearn.linear_model import PoissonRegressor, Ridge

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.decoding import decode, folds_of, r2_of, rate_of_change
from nwb_rnn.metrics.readout import fit_readout


def samples(seed=0, count=300):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, 3)) * [1.0, 5.0, 0.1] + [0.0, 2.0, -1.0]
    linear = (features - [0, 2, -1]) / [1, 5, 0.1] @ rng.normal(size=(3, 2)) * 0.5
    return rng, features, linear, np.arange(count) // 20


@pytest.mark.parametrize("penalty", [1e-4, 0.1, 1.0])
def test_ridge_is_that_of_scikit_learn(penalty):
    rng, features, linear, trial = samples()
    values = linear + rng.normal(size=linear.shape)
    readout = fit_readout(features, values, trial, False, (penalty,))
    scaled = (features - features.mean(0)) / features.std(0)
    expected = Ridge(alpha=penalty * len(scaled)).fit(scaled, values).predict(scaled)
    np.testing.assert_allclose(readout.predict(features), expected, atol=1e-10)


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_poisson_is_that_of_scikit_learn(penalty):
    rng, features, linear, trial = samples()
    counts = rng.poisson(np.exp(linear))
    readout = fit_readout(features, counts, trial, True, (penalty,))
    scaled = (features - features.mean(0)) / features.std(0)
    for unit in range(2):
        peer = PoissonRegressor(alpha=penalty, tol=1e-9, max_iter=2000).fit(scaled, counts[:, unit])
        np.testing.assert_allclose(readout.predict(features)[:, unit], peer.predict(scaled), rtol=2e-4)


def test_the_penalty_is_the_best_on_trials_that_were_left_out():
    rng, features, linear, trial = samples(count=80)
    values = linear + 3 * rng.normal(size=linear.shape)
    penalties = (1e-4, 0.03, 1.0, 30.0)
    losses = []
    for penalty in penalties:
        total = 0.0
        for fold in range(4):
            kept = trial % 4 != fold
            centre, spread = features[kept].mean(0), features[kept].std(0)
            x, y = (features[kept] - centre) / spread, values[kept]
            gram = x.T @ x + penalty * len(x) * np.eye(3)
            weights = np.linalg.solve(gram, x.T @ (y - y.mean(0)))
            held = (features[~kept] - centre) / spread @ weights + y.mean(0)
            total += np.square(held - values[~kept]).sum()
        losses.append(total)
    assert fit_readout(features, values, trial, False, penalties).penalty == penalties[np.argmin(losses)]


def test_a_silent_unit_gets_a_low_finite_rate():
    _, features, _, trial = samples()
    counts = np.zeros((len(features), 1))
    predicted = fit_readout(features, counts, trial, True).predict(features)
    assert (predicted > 0).all()
    assert predicted.max() <= 0.5 / len(features) * 1.01


def test_decoding_a_linear_map_is_perfect_and_noise_is_worth_nothing():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(20, 15, 3))
    latents[3, 10:] = np.nan
    hand = latents @ rng.normal(size=(3, 2)) + 4.0
    fold = folds_of(np.arange(20) % 2, 5, seed=0)
    found = decode(latents, hand, fold)
    np.testing.assert_allclose(found.r2, 1.0, atol=1e-6)
    np.testing.assert_allclose(found.predicted[np.isfinite(hand)], hand[np.isfinite(hand)], atol=1e-2)
    assert np.isnan(found.predicted[3, 10:]).all()
    noise = decode(rng.normal(size=(20, 15, 3)), hand, fold).r2
    assert (noise < 0.05).all()


def test_predictions_of_a_fold_do_not_depend_on_its_targets():
    rng = np.random.default_rng(1)
    latents, hand = rng.normal(size=(12, 10, 2)), rng.normal(size=(12, 10, 1))
    fold = folds_of(np.zeros(12, int), 4, seed=1)
    before = decode(latents, hand, fold).predicted
    changed = hand.copy()
    changed[fold == 2] += 100.0
    after = decode(latents, changed, fold).predicted
    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert not np.allclose(before[fold == 1], after[fold == 1])


def test_r2_limits():
    values = np.random.default_rng(0).normal(size=(50, 2))
    np.testing.assert_allclose(r2_of(values, values), 1.0)
    np.testing.assert_allclose(r2_of(values, np.broadcast_to(values.mean(0), values.shape)), 0.0, atol=1e-12)
    assert np.isnan(r2_of(np.ones((5, 1)), np.zeros((5, 1)))[0])


def test_folds_share_conditions_evenly():
    condition = np.repeat([0, 1], [15, 10])
    fold = folds_of(condition, 5, seed=3)
    for k in range(5):
        assert np.bincount(condition[fold == k], minlength=2).tolist() == [3, 2]
    with pytest.raises(InputError, match="folds=1"):
        folds_of(condition, 1, 0)


def test_rate_of_change_is_numpys_gradient_where_all_is_known():
    values = np.random.default_rng(0).normal(size=(3, 12, 2))
    np.testing.assert_allclose(rate_of_change(values, 0.02), np.gradient(values, 0.02, axis=1))
    values[0, 5] = np.nan
    change = rate_of_change(values, 0.02)
    np.testing.assert_allclose(change[0, 4], (values[0, 4] - values[0, 3]) / 0.02)
    np.testing.assert_allclose(change[0, 6], (values[0, 7] - values[0, 6]) / 0.02)
    assert np.isnan(change[0, 5]).all()


@pytest.mark.parametrize(
    ("features", "values", "counts", "message"),
    [
        (np.ones((3, 1)), np.ones((2, 1)), False, "expected"),
        (np.array([[np.nan]]), np.ones((1, 1)), False, "NaN"),
        (np.ones((2, 1)), -np.ones((2, 1)), True, "negative"),
    ],
)
def test_what_cannot_be_fitted_is_refused(features, values, counts, message):
    with pytest.raises(InputError, match=message):
        fit_readout(features, values, np.arange(len(features)), counts)
