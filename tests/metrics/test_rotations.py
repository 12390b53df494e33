"""jPCA on a known rotation, against a brute-force fit, and its control."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import minimize

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.rotations import fit_rotation, jpca, rotation_planes

BIN = 0.01


def turning(frequencies, conditions=6, bins=30, decay=0.0, units=None, seed=0):
    """Trajectories of ẋ = M x with rotations at these frequencies, Hz, from random starts."""
    rng = np.random.default_rng(seed)
    size = 2 * len(frequencies)
    matrix = np.zeros((size, size))
    for i, f in enumerate(frequencies):
        matrix[2 * i, 2 * i + 1], matrix[2 * i + 1, 2 * i] = -2 * np.pi * f, 2 * np.pi * f
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = basis @ (matrix - decay * np.eye(size)) @ basis.T
    states = [rng.normal(size=(conditions, size))]
    for _ in range(bins - 1):
        states.append(states[-1] @ expm(BIN * matrix).T)
    states = np.stack(states, axis=1)
    states -= states.mean(axis=0)
    if units is not None:
        states = states @ np.linalg.qr(rng.normal(size=(units, size)))[0].T
    return states, matrix


def test_a_pure_rotation_is_found_exactly():
    states, _ = turning([3.0, 1.0])
    matrix, r2, r2_any = fit_rotation(states, BIN)
    assert r2 == pytest.approx(1) and r2_any == pytest.approx(1)
    np.testing.assert_allclose(matrix, -matrix.T, atol=1e-9)
    frequency, planes = rotation_planes(matrix, BIN)
    np.testing.assert_allclose(frequency, [3.0, 1.0])
    np.testing.assert_allclose(planes[0].T @ planes[0], np.eye(2), atol=1e-12)
    path = states[0] @ planes[0]
    angle = np.unwrap(np.arctan2(path[:, 1], path[:, 0]))
    np.testing.assert_allclose(np.diff(angle) / BIN, 2 * np.pi * 3.0)


def test_pure_decay_has_no_rotation():
    rng = np.random.default_rng(1)
    start = rng.normal(size=(40, 4))
    states = start[:, None] * np.exp(-np.arange(20) * BIN * 5.0)[None, :, None]
    _, r2, r2_any = fit_rotation(states, BIN)
    assert r2_any == pytest.approx(1) and abs(r2) < 1e-10


def test_the_closed_form_is_the_least_squares_fit():
    states, _ = turning([2.0, 0.5], decay=3.0)
    states = states + 0.05 * np.random.default_rng(2).normal(size=states.shape)
    rows, columns = np.triu_indices(4, 1)
    change = (np.diff(states, axis=1) / BIN).reshape(-1, 4)
    place = ((states[:, 1:] + states[:, :-1]) / 2).reshape(-1, 4)

    def loss(free):
        matrix = np.zeros((4, 4))
        matrix[rows, columns], matrix[columns, rows] = free, -free
        return np.square(change - place @ matrix.T).sum()

    brute = minimize(loss, np.zeros(6))
    matrix, r2, _ = fit_rotation(states, BIN)
    assert loss(matrix[rows, columns]) <= brute.fun * (1 + 1e-9)
    np.testing.assert_allclose(matrix[rows, columns], brute.x, rtol=1e-3, atol=1e-3)
    assert r2 == pytest.approx(1 - brute.fun / np.square(change).sum(), abs=1e-6)


def test_populations_that_turn_beat_their_shuffles():
    states, _ = turning([2.5, 1.0], conditions=8, units=30)
    found = jpca(states, BIN, components=4, shuffles=19, seed=0)
    assert found.ratio == pytest.approx(1)
    np.testing.assert_allclose(found.frequency, [2.5, 1.0])
    assert found.p_value == pytest.approx(1 / 20) and found.shuffled.max() < 0.98
    assert found.projections.shape == (8, 30, 2) and 0 < found.plane_share < 1


def test_the_control_keeps_the_responses_of_each_unit():
    from nwb_rnn.metrics.rotations import _shuffled

    rates = np.random.default_rng(3).normal(size=(5, 7, 4))
    other = _shuffled(rates, np.random.default_rng(4))
    np.testing.assert_array_equal(np.sort(rates, axis=0), np.sort(other, axis=0))
    whole = {tuple(rates[c, :, u]) for c in range(5) for u in range(4)}
    assert {tuple(other[c, :, u]) for c in range(5) for u in range(4)} == whole


def test_units_that_go_their_own_way_do_not_beat_their_shuffles():
    """The ratio of independent units is one more draw of its control; p ≤ 0.05 once in 20 seeds."""
    rng = np.random.default_rng(5)
    rates = np.cumsum(rng.normal(size=(8, 20, 40)), axis=1)
    assert jpca(rates, BIN, shuffles=39, seed=1).p_value > 0.05


def test_refusals():
    with pytest.raises(InputError, match="even number"):
        jpca(np.ones((3, 5, 4)), BIN, components=3)
    with pytest.raises(InputError, match="two conditions"):
        jpca(np.ones((1, 5, 4)), BIN, components=2)
    with pytest.raises(InputError, match="never change"):
        fit_rotation(np.ones((2, 5, 4)), BIN)
