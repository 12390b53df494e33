"""Alignment and canonical correlations for spaces whose relation is known."""

import numpy as np
import pytest
from scipy.linalg import eigh

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.subspaces import alignment_index, canonical_correlations

RNG = np.random.default_rng


def samples(axes, seed, count=400):
    """Samples with equal variance along these axes of six units."""
    scores = np.linalg.qr(RNG(seed).normal(size=(count, len(axes))) - 0.0)[0]
    scores -= scores.mean(0)
    return np.linalg.qr(scores)[0] @ np.eye(6)[axes]


def test_same_and_orthogonal_spaces():
    first = samples([0, 1], 0)
    assert alignment_index(first, samples([0, 1], 1), 2).index == pytest.approx(1)
    assert alignment_index(first, samples([2, 3], 1), 2).index == pytest.approx(0, abs=1e-12)
    assert alignment_index(first, samples([1, 2], 1), 2).index == pytest.approx(0.5)


def test_equals_its_definition():
    first, second = (
        RNG(0).normal(size=(50, 6)) * np.arange(1, 7),
        RNG(1).normal(size=(60, 6)) * [6, 1, 5, 2, 4, 3],
    )
    axes = np.linalg.eigh(np.cov(first.T))[1][:, ::-1][:, :3]
    covariance = np.cov(second.T)
    expected = np.trace(axes.T @ covariance @ axes) / np.sort(np.linalg.eigvalsh(covariance))[::-1][:3].sum()
    assert alignment_index(first, second, 3).index == pytest.approx(expected)


def test_random_axes_find_their_expected_share():
    """Both sets together are white, so axes are drawn evenly and hold d/n of the second set's variance.

    The mean of 400 draws has a standard error below 0.007; a false alarm once in 10⁶.
    """
    strong = np.sqrt(np.array([3.0, 3, 1, 1, 1, 1]))
    second = RNG(0).normal(size=(20000, 6)) * strong
    first = RNG(1).normal(size=(20000, 6)) * np.sqrt(4 - strong**2)
    chance = alignment_index(first, second, 2, draws=400).chance
    assert len(chance) == 400
    assert chance.mean() == pytest.approx(2 / 6 * 10 / 6, abs=0.035)


def test_canonical_correlations_solve_their_eigenproblem():
    first, second = RNG(0).normal(size=(80, 3)), RNG(1).normal(size=(80, 4))
    second[:, 0] += first[:, 1]
    joint = np.cov(first.T, second.T)
    cross, one, two = joint[:3, 3:], joint[:3, :3], joint[3:, 3:]
    values = eigh(cross @ np.linalg.solve(two, cross.T), one, eigvals_only=True)[::-1]
    np.testing.assert_allclose(canonical_correlations(first, second), np.sqrt(values))


def test_canonical_correlations_know_no_basis():
    first = RNG(0).normal(size=(4, 20, 3))
    np.testing.assert_allclose(canonical_correlations(first, first @ RNG(1).normal(size=(3, 3)) + 2), 1)
    noise = canonical_correlations(RNG(2).normal(size=(5000, 3)), RNG(3).normal(size=(5000, 3)))
    assert noise.max() < 0.08  # about sqrt(9 / 5000); passed once in 10⁵
    assert len(canonical_correlations(first[..., [0, 0]], first)) == 1


def test_refusals():
    with pytest.raises(InputError, match="units"):
        alignment_index(np.zeros((4, 3)), np.zeros((4, 2)), 1)
    with pytest.raises(InputError, match="never changes"):
        alignment_index(RNG(0).normal(size=(4, 3)), np.ones((4, 3)), 1)
    with pytest.raises(InputError, match="dimensions=5"):
        alignment_index(np.zeros((4, 3)), np.zeros((4, 3)), 5)
    with pytest.raises(InputError, match="samples"):
        canonical_correlations(np.zeros((4, 3)), np.zeros((5, 3)))
