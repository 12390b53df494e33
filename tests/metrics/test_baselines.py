"""Baselines against the same thing written out, and that none of them sees what it predicts."""

import numpy as np
import pytest
from oracle_model import session
from scipy.ndimage import gaussian_filter1d

from nwb_rnn.errors import InputError
from nwb_rnn.metrics import baselines


def test_mean_rate_counts_observed_bins_only():
    trials, _ = session()
    seen = trials["mask"].values
    np.testing.assert_allclose(baselines.mean_rate(trials), trials["counts"].values[seen].mean(0))


def test_smoothing_is_scipys_away_from_the_edges():
    trials, _ = session(bins=80, mask=False)
    found = baselines.smoothed_values(trials, 0.04)
    expected = gaussian_filter1d(trials["counts"].values.astype(float), 2.0, axis=1, truncate=6)
    np.testing.assert_allclose(found[:, 20:60], expected[:, 20:60], rtol=2e-3, atol=2e-3)


def test_condition_average_is_the_mean_of_smoothed_training_trials():
    trials, _ = session()
    train, test = trials.isel(trial=slice(0, 16)), trials.isel(trial=slice(16, None))
    found = baselines.condition_average(train, test, "condition", 0.04)
    smooth = baselines.smoothed_values(train, 0.04)
    mean = np.nanmean(smooth[train["condition"].values == 1][:, :25], axis=0)
    row = int(np.flatnonzero(test["condition"].values == 1)[0])
    np.testing.assert_allclose(found[row, :25], np.maximum(mean, baselines.LEAST))


def test_a_condition_that_was_not_trained_gets_the_mean():
    trials, _ = session()
    rows = trials["condition"].values == 0
    train, test = trials.isel(trial=np.flatnonzero(rows)), trials.isel(trial=np.flatnonzero(~rows))
    found = baselines.condition_average(train, test, "condition", 0.04)
    np.testing.assert_allclose(found[0, 0], baselines.mean_rate(train))


def test_a_forecast_sees_nothing_after_its_start():
    trials, _ = session()
    changed = trials.copy(deep=True)
    changed["counts"].values[:, 20:] += 50
    first, second = (baselines.persistence(trials, test, 20, 0.04) for test in (trials, changed))
    np.testing.assert_array_equal(first, second)


def test_regression_never_sees_the_units_it_predicts():
    trials, _ = session()
    held = np.arange(6) == 2
    changed = trials.copy(deep=True)
    changed["counts"].values[..., 2] += 50
    first, second = (baselines.regression_from_units(trials, x, held, 0.04) for x in (trials, changed))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (24, 30, 1)


def test_permuted_trials_leave_none_in_place():
    values = np.arange(5.0)[:, None, None] * np.ones((1, 3, 2))
    found = baselines.permuted_trials(values, np.random.default_rng(0))
    assert sorted(found[:, 0, 0]) == [0, 1, 2, 3, 4]
    assert (found[:, 0, 0] != np.arange(5)).all()


def test_shuffled_bins_keep_every_count_of_each_trial_and_unit():
    trials, _ = session()
    drawn = baselines.null_trials(trials, "shuffle", None, 0.04, np.random.default_rng(0))
    seen = trials["mask"].values
    for trial in range(24):
        for unit in range(6):
            before = trials["counts"].values[trial, seen[trial], unit]
            after = drawn["counts"].values[trial, seen[trial], unit]
            assert sorted(before) == sorted(after)
    assert not drawn["counts"].values[~seen].any()


def test_draws_have_the_moments_they_are_drawn_from():
    """Means of 20,000 Poisson counts: 6 standard errors."""
    trials, _ = session(trials=400, bins=50, mask=False)
    drawn = baselines.null_trials(trials, "mean_rate", None, 0.04, np.random.default_rng(0))
    mean, found = baselines.mean_rate(trials), drawn["counts"].values.reshape(-1, 6)
    np.testing.assert_array_less(np.abs(found.mean(0) - mean), 6 * np.sqrt(mean / len(found)))
    average = baselines.null_trials(trials, "condition_average", "condition", 0.04, np.random.default_rng(0))
    rows = trials["condition"].values == 0
    goal = trials["counts"].values[rows].mean(0)
    assert np.corrcoef(average["counts"].values[rows].mean(0).ravel(), goal.ravel())[0, 1] > 0.9


def test_linear_draws_have_the_variance_of_the_recording():
    trials, _ = session(trials=100, bins=60, mask=False)
    drawn = baselines.null_trials(trials, "linear", None, 0.04, np.random.default_rng(0), rank=2)
    ratio = drawn["counts"].values.var((0, 1)) / trials["counts"].values.var((0, 1))
    assert (np.abs(np.log(ratio)) < 0.25).all()


def test_an_unknown_baseline_is_refused():
    with pytest.raises(InputError, match="mean_rate"):
        baselines.null_trials(session()[0], "magic", None, 0.04, np.random.default_rng(0))
