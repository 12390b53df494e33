"""Lyapunov exponents, input Jacobians, frequencies of simulations, saddle connections: known answers."""

import numpy as np
import pytest
import torch

from nwb_rnn.dynamics import LowRankMap, find_fixed_points
from nwb_rnn.dynamics.connections import heteroclinic_connections
from nwb_rnn.dynamics.linearisation import input_jacobian, lyapunov_exponents


def test_lyapunov_exponents_of_a_linear_map_are_its_log_moduli():
    matrix = np.diag([0.9, 0.5, 0.2])
    network = LowRankMap(0.0, np.eye(3), matrix, np.zeros(3), "identity", bin_size=0.1)
    exponents = lyapunov_exponents(network, np.ones(3), steps=500)
    np.testing.assert_allclose(exponents, np.log([0.9, 0.5, 0.2]) / 0.1, rtol=1e-3)


def test_lyapunov_exponents_of_the_henon_map():
    """a = 1.4, b = 0.3: λ₁ = 0.419 and λ₁ + λ₂ = ln 0.3 exactly (the map's area factor)."""

    def henon(z):
        return torch.stack([1 - 1.4 * z[:, 0] ** 2 + z[:, 1], 0.3 * z[:, 0]], dim=1)

    exponents = lyapunov_exponents(henon, np.array([0.1, 0.1]), steps=2500)
    assert exponents.sum() == pytest.approx(np.log(0.3), abs=1e-6)
    assert exponents[0] == pytest.approx(0.419, abs=0.03)


def test_exponents_of_a_diverging_orbit_are_not_numbers():
    network = LowRankMap(3.0, np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1))
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(lyapunov_exponents(network, np.ones(1), steps=2000, discard=0)).all()


def test_input_jacobian_of_a_step_function():
    weights = torch.tensor(np.random.default_rng(0).normal(size=(3, 2)))
    z, u = np.random.default_rng(1).normal(size=(4, 3)), np.array([0.3, -0.2])
    found = input_jacobian(lambda state, drive: torch.tanh(state + drive @ weights.T), z, u)
    slope = 1 - np.tanh(z + weights.numpy() @ u) ** 2
    np.testing.assert_allclose(found, slope[:, :, None] * weights.numpy(), atol=1e-12)


def test_frequency_of_the_linearisation_is_that_of_the_simulation():
    """A slowly decaying clipped oscillator at 8 Hz, its rates shifted back by two constant units."""
    angle, growth, bin_size = 2 * np.pi * 8.0 * 0.01, 0.999, 0.01
    turn = growth * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    left = np.concatenate([np.eye(2), np.zeros((2, 2))])
    right = np.concatenate([turn - 0.5 * np.eye(2), 0.5 * np.eye(2) - turn], axis=1)
    network = LowRankMap(0.5, left, right, np.full(4, 20.0), "clipped_relu", np.full(4, -10.0), bin_size)
    found = find_fixed_points(network)
    assert len(found) == 1 and found.kind[0] == "stable focus"
    orbit = network.simulate(found.location[0] + np.array([1.0, 0.0]), 2000)[:, 0]
    power = np.abs(np.fft.rfft(orbit - orbit.mean()))
    peak = np.fft.rfftfreq(len(orbit), bin_size)[power.argmax()]
    assert found.frequencies[0, 0] == pytest.approx(8.0, abs=1e-6)
    assert peak == pytest.approx(8.0, abs=1.0 / (len(orbit) * bin_size))


def test_saddles_lead_to_the_stable_points_beside_them():
    """z = 1.7 tanh z, two copies: the middle saddle leads to the stable points on either side."""
    network = LowRankMap(0.9, np.eye(2), 0.1 * np.diag([1.7, 0.5]), np.zeros(2), "tanh")
    points = find_fixed_points(network)
    saddle = int(np.flatnonzero(points.kind == "saddle")[0])
    ways = heteroclinic_connections(network, points)
    assert {way.source for way in ways} == {saddle} and len(ways) == 2
    assert {way.index for way in ways} == set(np.flatnonzero(points.stable))
    signs = {way.sign * np.sign(points.location[way.index, 0]) for way in ways}
    assert len(signs) == 1 and "fixed point" in str(ways[0])


def test_nothing_unstable_nothing_to_follow():
    network = LowRankMap(0.5, np.eye(1), np.zeros((1, 1)), np.zeros(1), "tanh")
    assert heteroclinic_connections(network, find_fixed_points(network)) == ()
