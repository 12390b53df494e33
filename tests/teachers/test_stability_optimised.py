"""Stability-optimised circuits: the abscissa is reached, Dale's law holds, the gradient is right."""

import numpy as np
import pytest

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.teachers.stability_optimised import (
    gramians,
    random_balanced,
    smoothed_abscissa,
    smoothed_abscissa_gradient,
    spectral_abscissa,
    stability_optimised_circuit,
)


@pytest.fixture(scope="module")
def circuit():
    return stability_optimised_circuit(seed=1)


def test_the_abscissa_falls_from_about_ten_to_what_was_asked_for(circuit):
    assert 8 < circuit.abscissa[0] < 13
    assert spectral_abscissa(circuit.weights) <= 0.15
    assert circuit.abscissa[-1] == spectral_abscissa(circuit.weights)


def test_dales_law_density_and_balance_hold(circuit):
    weights, excitatory = circuit.weights, circuit.unit_sign > 0
    assert excitatory.sum() == 100
    assert (weights[:, excitatory] >= 0).all()
    assert (weights[:, ~excitatory] <= 0).all()
    assert (np.diag(weights) == 0).all()
    assert np.count_nonzero(weights[:, ~excitatory]) <= 0.4 * 200 * 100
    assert weights[:, ~excitatory].mean() == pytest.approx(-3 * weights[:, excitatory].mean())
    first = random_balanced(200, 0.1, 10.0, np.random.default_rng(1))
    np.testing.assert_array_equal(weights[:, excitatory], first[:, excitatory])


def test_gramians_solve_their_equations():
    matrix = np.random.default_rng(0).standard_normal((12, 12)) / 4 - 2 * np.eye(12)
    reachable, observable = gramians(matrix)
    np.testing.assert_allclose(matrix @ reachable + reachable @ matrix.T, -np.eye(12), atol=1e-12)
    np.testing.assert_allclose(matrix.T @ observable + observable @ matrix, -np.eye(12), atol=1e-12)


def test_smoothed_abscissa_of_a_scalar_is_known():
    """W = w: Q = 1 / (2 (s − w)), so s = w + ε / 2."""
    assert smoothed_abscissa(np.array([[0.7]]), 0.1) == pytest.approx(0.75, abs=1e-10)


def test_gradient_of_the_smoothed_abscissa_by_finite_differences():
    rng = np.random.default_rng(2)
    weights = random_balanced(14, 0.5, 2.0, rng)
    epsilon = 0.03
    level = smoothed_abscissa(weights, epsilon)
    assert level > spectral_abscissa(weights)
    assert np.trace(gramians(weights - level * np.eye(14))[0]) == pytest.approx(1 / epsilon)
    gradient = smoothed_abscissa_gradient(weights, level)
    for _ in range(5):
        direction = rng.standard_normal((14, 14))
        ends = [smoothed_abscissa(weights + h * direction, epsilon) for h in (1e-5, -1e-5)]
        assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(np.sum(gradient * direction), rel=1e-5)


def test_what_cannot_be_built_is_refused():
    with pytest.raises(InputError, match="even number"):
        stability_optimised_circuit(units=21)
    with pytest.raises(DivergenceError, match="allow more steps"):
        stability_optimised_circuit(units=40, abscissa=-0.9, steps=3)
    with pytest.raises(InputError, match="positive"):
        smoothed_abscissa(np.eye(3), 0.0)
