"""Cosine tuning gives known curves back."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.tuning import angle_between, cosine_tuning

DIRECTIONS = np.arange(8) * np.pi / 4


def test_known_curves_come_back():
    preferred, depth, baseline = (
        np.array([0.3, -2.0, 3.0]),
        np.array([5.0, 1.0, 0.2]),
        np.array([9.0, 4.0, 1.0]),
    )
    rates = baseline + depth * np.cos(DIRECTIONS[:, None] - preferred)
    found = cosine_tuning(rates, DIRECTIONS)
    np.testing.assert_allclose(angle_between(found.preferred, preferred), 0, atol=1e-7)
    np.testing.assert_allclose(found.depth, depth)
    np.testing.assert_allclose(found.baseline, baseline)
    np.testing.assert_allclose(found.r2, 1)


def test_what_is_no_cosine_has_no_depth():
    found = cosine_tuning(np.column_stack([np.cos(2 * DIRECTIONS), np.ones(8)]), DIRECTIONS)
    np.testing.assert_allclose(found.depth, 0, atol=1e-12)
    assert found.r2[0] == pytest.approx(0, abs=1e-12) and np.isnan(found.r2[1])


def test_angles_go_round():
    assert angle_between(np.pi - 0.1, -np.pi + 0.1) == pytest.approx(0.2)
    assert angle_between(0.0, np.pi) == pytest.approx(np.pi)


def test_two_directions_are_too_few():
    with pytest.raises(InputError, match="three different"):
        cosine_tuning(np.ones((2, 1)), np.array([0.0, np.pi]))
    with pytest.raises(InputError, match="expected"):
        cosine_tuning(np.ones((3, 1)), np.array([0.0, np.pi]))
