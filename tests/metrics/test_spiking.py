"""Statistics of spiking against the same statistics counted by hand, and their known limits."""

import numpy as np
import pytest
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.spiking import (
    above_diagonal,
    interval_variability,
    pairwise_correlations,
    population_autocorrelation,
)


def trials_of(counts, mask=None):
    counts = np.asarray(counts)
    mask = np.ones(counts.shape, bool) if mask is None else mask
    order = ("trial", "time", "unit")
    return xr.Dataset({"counts": (order, counts), "mask": (order, mask)}, attrs={"bin_size": 0.01})


def random_trials(seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.gamma(2.0, 0.3, (5, 40, 1))
    return trials_of(rng.poisson(shared, (5, 40, 3)), rng.random((5, 40, 3)) < 0.85)


def test_a_clock_has_no_variability():
    counts = np.zeros((2, 60, 1), int)
    counts[:, ::6] = 1
    np.testing.assert_allclose(interval_variability(trials_of(counts)), [0.0], atol=1e-12)


def test_intervals_by_hand_within_trials_and_without_gaps():
    trials = random_trials()
    counts, mask = trials["counts"].values, trials["mask"].values
    expected = []
    for unit in range(3):
        intervals = []
        for trial in range(5):
            last = None
            for k in range(40):
                if not mask[trial, k, unit]:
                    last = None
                    continue
                number = counts[trial, k, unit]
                for spike in range(number):
                    now = k + (spike + 0.5) / number
                    if last is not None:
                        intervals.append(now - last)
                    last = now
        expected.append(np.std(intervals) / np.mean(intervals))
    np.testing.assert_allclose(interval_variability(trials), expected)


def test_a_poisson_process_varies_as_much_as_its_mean():
    """Bernoulli bins of p = 0.05: CV = √(1 − p) = 0.975; 10,000 intervals, so 5 s.e. are about 0.05."""
    counts = (np.random.default_rng(1).random((1, 200_000, 1)) < 0.05).astype(int)
    assert interval_variability(trials_of(counts))[0] == pytest.approx(np.sqrt(0.95), abs=0.05)


def test_too_few_intervals_are_not_known():
    counts = np.zeros((1, 50, 1), int)
    counts[0, [3, 9, 20]] = 1
    assert np.isnan(interval_variability(trials_of(counts))[0])


def test_correlations_are_those_of_numpy_over_bins_seen_in_both():
    trials = random_trials()
    counts, mask = trials["counts"].values.reshape(-1, 3), trials["mask"].values.reshape(-1, 3)
    found = pairwise_correlations(trials)
    for i in range(3):
        for j in range(3):
            both = mask[:, i] & mask[:, j]
            assert found[i, j] == pytest.approx(np.corrcoef(counts[both, i], counts[both, j])[0, 1])
    assert above_diagonal(found).tolist() == [found[0, 1], found[0, 2], found[1, 2]]


def test_correlation_of_equal_opposite_and_silent_units():
    first = np.random.default_rng(2).integers(0, 3, (2, 30))
    found = pairwise_correlations(trials_of(np.stack([first, first, 2 - first, 0 * first], axis=-1)))
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 2] == pytest.approx(-1.0)
    assert np.isnan(found[3]).all()


def test_autocorrelation_by_its_definition():
    trials = random_trials()
    counts, mask = trials["counts"].values, trials["mask"].values
    inside = mask.any(2)
    total = (counts * mask).sum(2).astype(float)
    centred = total - total[inside].mean()
    variance = (centred[inside] ** 2).mean()
    lags, found = population_autocorrelation(trials, longest=0.05)
    np.testing.assert_allclose(lags, [0.01, 0.02, 0.03, 0.04, 0.05])
    for lag in range(1, 6):
        pairs = [
            centred[b, t] * centred[b, t + lag]
            for b in range(5)
            for t in range(40 - lag)
            if inside[b, t] and inside[b, t + lag]
        ]
        assert found[lag - 1] == pytest.approx(np.mean(pairs) / variance)


def test_a_wave_is_correlated_with_itself_one_period_on():
    wave = 5 + np.round(4 * np.sin(2 * np.pi * np.arange(200) / 20)).astype(int)
    _, found = population_autocorrelation(trials_of(wave[None, :, None]), longest=0.2)
    assert found[19] == pytest.approx(1.0, abs=1e-6)
    assert found[9] == pytest.approx(-1.0, abs=1e-6)


def test_independent_counts_are_not_correlated():
    """n = 20,000: a correlation of 0.04 is 5.7 standard errors; one false alarm in 10⁷."""
    counts = np.random.default_rng(3).poisson(1.0, (1, 20_000, 2))
    assert abs(above_diagonal(pairwise_correlations(trials_of(counts)))[0]) < 0.04
    assert np.abs(population_autocorrelation(trials_of(counts), 0.05)[1]).max() < 0.04


def test_what_has_no_statistics_is_refused():
    with pytest.raises(InputError, match="need counts"):
        pairwise_correlations(random_trials().rename(counts="signal"))
    with pytest.raises(InputError, match="changes"):
        population_autocorrelation(trials_of(np.ones((1, 20, 1), int)))
