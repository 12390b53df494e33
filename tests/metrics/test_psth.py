"""Scores of single units against scipy, scikit-learn and brute force, and at their limits."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import r2_score

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.psth import best_matches, psth_correlation, psth_r2


@pytest.fixture
def rates():
    return np.random.default_rng(0).gamma(2.0, 4.0, (3, 8, 5))


def test_both_equal_other_packages(rates):
    other = rates + np.random.default_rng(1).normal(size=rates.shape)
    flat, flat_other = rates.reshape(-1, 5), other.reshape(-1, 5)
    np.testing.assert_allclose(
        psth_correlation(rates, other), [pearsonr(flat[:, i], flat_other[:, i])[0] for i in range(5)]
    )
    np.testing.assert_allclose(psth_r2(rates, other), r2_score(flat, flat_other, multioutput="raw_values"))


def test_limits(rates):
    np.testing.assert_allclose(psth_r2(rates, rates), 1)
    np.testing.assert_allclose(
        psth_r2(rates, np.broadcast_to(rates.mean((0, 1)), rates.shape)), 0, atol=1e-12
    )
    np.testing.assert_allclose(psth_correlation(rates, 3 - 2 * rates), -1)
    assert np.isnan(psth_correlation(rates, np.ones_like(rates))).all()
    assert np.isnan(psth_r2(np.ones_like(rates), rates)).all()
    order = np.random.default_rng(2).permutation(24)
    shuffled = rates.reshape(24, 5)[order].reshape(rates.shape)
    assert psth_r2(rates, shuffled).max() < 0


def test_missing_entries_are_left_out(rates):
    holed = rates.copy()
    holed[0, 0] = np.nan
    np.testing.assert_allclose(
        psth_r2(holed, rates + 1), psth_r2(rates.reshape(1, 24, 5)[:, 1:], rates.reshape(1, 24, 5)[:, 1:] + 1)
    )


def test_best_matches_are_found_among_other_units(rates):
    modelled = np.concatenate(
        [np.random.default_rng(3).normal(size=(3, 8, 4)), 2 * rates[..., 2:3] + 1], axis=2
    )
    correlation, best = best_matches(rates, modelled)
    assert best[2] == 4 and correlation[2] == pytest.approx(1)
    table = np.corrcoef(rates.reshape(-1, 5).T, modelled.reshape(-1, 5).T)[:5, 5:]
    np.testing.assert_allclose(correlation, table.max(axis=1))
    np.testing.assert_array_equal(best, table.argmax(axis=1))
    flat = rates.copy()
    flat[..., 0] = 3.0
    correlation, best = best_matches(flat, modelled)
    assert np.isnan(correlation[0]) and best[0] == -1


def test_shapes_must_agree(rates):
    with pytest.raises(InputError, match="differ"):
        psth_r2(rates, rates[:2])
    with pytest.raises(InputError, match="conditions and bins"):
        best_matches(rates, rates[:, :4])
