"""Dynamical similarity: what must not change it, closed forms, and brute force over two-dimensional bases."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.dynamical_similarity import dynamical_similarity, linear_operator, operator_distance


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def trajectories(frequency=0.12, twist=0.5, conditions=6, bins=60, seed=0):
    """A nonlinear oscillator with an amplitude-dependent frequency, from random starts; (C, T, 2)."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(conditions, 2))
    path = [state]
    for _ in range(bins - 1):
        radius = np.square(state).sum(axis=1, keepdims=True)
        angle = frequency * (1 + twist * np.tanh(radius - 1))
        c, s = np.cos(angle), np.sin(angle)
        turned = np.concatenate(
            [c * state[:, :1] - s * state[:, 1:], s * state[:, :1] + c * state[:, 1:]], axis=1
        )
        state = turned * (1 + 0.03 * np.clip(1 - radius, -1, 1))
        path.append(state)
    return np.stack(path, axis=1)


@pytest.mark.parametrize("angles", [(0.3, 0.5), (0.3, 1.2), (1.0, 2.9), (0.0, np.pi)])
def test_plane_rotations_differ_by_their_angles(angles):
    first, second = 0.9 * turn(angles[0]), 0.5 * turn(angles[1])
    closest = min(abs(angles[0] - angles[1]), 2 * np.pi - abs(angles[0] - angles[1]))
    assert operator_distance(first, second) == pytest.approx(closest)
    assert operator_distance(first, second.T) == pytest.approx(closest)  # a reflection turns it round


def test_two_dimensions_by_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(3):
        first, second = rng.normal(size=(2, 2, 2))
        bases = [turn(a) @ np.diag([1, s]) for a in np.linspace(0, 2 * np.pi, 4001) for s in (1, -1)]
        brute = min(np.linalg.norm(first - c @ second @ c.T) for c in bases)
        found = operator_distance(first, second, metric="euclidean")
        assert found == pytest.approx(brute, abs=1e-5) and found <= brute + 1e-12


def test_normal_matrices_are_matched_by_their_eigenvalues():
    """For symmetric matrices the best basis pairs the sorted eigenvalues (Hoffman and Wielandt 1953)."""
    rng = np.random.default_rng(1)
    first, second = (x + x.T for x in rng.normal(size=(2, 6, 6)))
    expected = np.linalg.norm(np.linalg.eigvalsh(first) - np.linalg.eigvalsh(second))
    assert operator_distance(first, second, metric="euclidean") == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_change_of_basis_costs_nothing(size):
    rng = np.random.default_rng(size)
    first = rng.normal(size=(size, size))
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    assert operator_distance(first, basis @ first @ basis.T) == pytest.approx(0, abs=1e-7)
    assert operator_distance(first, 3 * first) == pytest.approx(0, abs=1e-7)
    assert operator_distance(first, -first) > 0.1


def test_the_linear_operator_of_a_linear_system_has_its_eigenvalues():
    rng = np.random.default_rng(0)
    matrix = 0.98 * turn(0.4)
    states = [rng.normal(size=(5, 2))]
    for _ in range(40):
        states.append(states[-1] @ matrix.T)
    states = np.concatenate([np.stack(states, axis=1)] * 2)
    states[5:] *= -1  # the mean is zero, as it would be taken away
    found = linear_operator(states @ rng.normal(size=(2, 7)), delays=4, rank=2)
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(found)), 0.98 * np.exp([-0.4j, 0.4j]))


def test_geometry_does_not_matter_and_dynamics_do():
    rng = np.random.default_rng(3)
    first = trajectories()
    lifted = 4.0 * first @ np.linalg.qr(rng.normal(size=(9, 2)))[0].T + rng.normal(size=9)
    options = {"delays": 8, "rank": 6}
    assert dynamical_similarity(first, lifted, **options) == pytest.approx(0, abs=1e-6)
    again = dynamical_similarity(first, trajectories(seed=5), **options)
    near = dynamical_similarity(first, trajectories(frequency=0.2), **options)
    far = dynamical_similarity(first, trajectories(frequency=0.4), **options)
    assert again < near < far


def test_order_does_not_matter():
    first, second = trajectories(), trajectories(0.3)
    options = {"delays": 6, "rank": 4}
    assert dynamical_similarity(first, second, **options) == pytest.approx(
        dynamical_similarity(second, first, **options), abs=1e-6
    )


def test_refusals():
    states = trajectories(bins=12)
    with pytest.raises(InputError, match="delays=12"):
        linear_operator(states, delays=12)
    with pytest.raises(InputError, match="rank=9"):
        linear_operator(states, delays=2, rank=9)
    with pytest.raises(InputError, match="square"):
        operator_distance(np.eye(2), np.eye(3))
    with pytest.raises(InputError, match="metric"):
        operator_distance(np.eye(2), np.eye(2), metric="other")
    with pytest.raises(InputError, match="zeros"):
        operator_distance(np.eye(2), np.zeros((2, 2)))
