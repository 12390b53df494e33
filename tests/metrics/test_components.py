"""Principal components against scikit-learn and against the definition."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.components import principal_components, soft_normalised

RATES = np.random.default_rng(0).gamma(2.0, 3.0, (4, 20, 6))


def test_equals_scikit_learn():
    found = principal_components(RATES, 3)
    other = PCA(3).fit(RATES.reshape(-1, 6))
    np.testing.assert_allclose(found.share[:3], other.explained_variance_ratio_)
    np.testing.assert_allclose(np.abs(found.axes.T @ other.components_.T), np.eye(3), atol=1e-10)
    assert found.scores.shape == (4, 20, 3)


def test_what_conditions_share_can_be_taken_away():
    shared = np.random.default_rng(1).normal(size=(20, 6)) * 50
    found, other = (principal_components(x, 4, "conditions") for x in (RATES, RATES + shared))
    np.testing.assert_allclose(found.scores, other.scores, atol=1e-9)


def test_numbers_of_dimensions():
    """Three orthogonal directions of equal variance have a participation ratio of three."""
    wave = np.arange(60) * 2 * np.pi / 60
    states = np.stack([np.cos(wave), np.sin(wave), np.cos(2 * wave)], axis=-1)[None]
    found = principal_components(states, 2)
    assert found.participation == pytest.approx(3)
    assert found.needed(0.9) == 3 and found.needed(0.6) == 2


def test_soft_normalisation_is_its_definition():
    expected = RATES / (RATES.max((0, 1)) - RATES.min((0, 1)) + 5)
    np.testing.assert_allclose(soft_normalised(RATES), expected)


def test_refusals():
    with pytest.raises(InputError, match="never change"):
        principal_components(np.ones((2, 5, 3)), 1)
    with pytest.raises(InputError, match="count=9"):
        principal_components(RATES, 9)
    with pytest.raises(InputError, match="centre"):
        principal_components(RATES, 2, "time")
