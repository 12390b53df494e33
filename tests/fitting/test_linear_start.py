"""The linear start: exact likelihood, EM that climbs, and dynamics found from lagged covariances."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from nwb_rnn.fitting.factor_analysis import factor_dynamics
from nwb_rnn.fitting.linear_gaussian import expectation_maximisation, smooth
from nwb_rnn.fitting.subspace import LinearSystem, subspace_identification

TURN = 2 * np.pi * 0.05
ROTATION = 0.97 * np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])


def oscillating(trials=40, bins=150, units=20, seed=0):
    """The true system and trials drawn from it."""
    rng = np.random.default_rng(seed)
    system = LinearSystem(
        ROTATION, 0.06 * np.eye(2), rng.normal(size=(units, 2)), np.ones(units), np.full(units, 4.0),
        np.zeros(2), np.eye(2),
    )  # fmt: skip
    z = np.zeros((trials, bins, 2))
    z[:, 0] = rng.normal(size=(trials, 2))
    for t in range(1, bins):
        z[:, t] = z[:, t - 1] @ ROTATION.T + np.sqrt(0.06) * rng.normal(size=(trials, 2))
    return system, z @ system.readout.T + 1 + 2 * rng.normal(size=(trials, bins, units))


def test_the_likelihood_and_smoothed_means_equal_the_joint_gaussian():
    system, observed = oscillating(trials=1, bins=5, units=3)
    seen = np.ones(observed.shape, dtype=bool)
    seen[0, 2] = seen[0, 3, 1] = False
    blocks = np.zeros((5, 2, 10))
    for t in range(5):
        blocks[t, :, 2 * t : 2 * t + 2] = np.eye(2) if t == 0 else np.sqrt(0.06) * np.eye(2)
        if t:
            blocks[t, :, : 2 * t] = ROTATION @ blocks[t - 1, :, : 2 * t]
    prior = blocks.reshape(10, 10) @ blocks.reshape(10, 10).T
    kept = seen[0].ravel()
    readout = np.kron(np.eye(5), system.readout)[kept]
    covariance = readout @ prior @ readout.T + 4 * np.eye(kept.sum())
    residual = (observed[0] - 1).ravel()[kept]
    found = smooth(system, observed, seen)
    exact = multivariate_normal(np.zeros(kept.sum()), covariance).logpdf(residual)
    assert found.log_likelihood[0] == pytest.approx(exact)
    means = prior @ readout.T @ np.linalg.solve(covariance, residual)
    np.testing.assert_allclose(found.mean[0].ravel(), means, atol=1e-10)


def test_lagged_covariances_show_the_rotation_and_em_climbs():
    _, observed = oscillating()
    mask = np.ones((*observed.shape[:2], 1))
    system = subspace_identification(observed, mask, 2)
    values = np.linalg.eigvals(system.transition)
    assert np.abs(np.angle(values)) / TURN == pytest.approx(1, abs=0.05)
    assert np.abs(values) == pytest.approx(0.97, abs=0.02)
    totals = [
        expectation_maximisation(system, observed, mask, n)[1].log_likelihood.sum() for n in (0, 1, 2, 4)
    ]
    assert np.all(np.diff(totals) > 0)


def test_factor_analysis_finds_a_weak_latent_that_forgets_soon_and_long_lags_miss():
    rng = np.random.default_rng(1)
    transition, spread = np.array([0.98, 0.4]), np.array([1.0, 0.12])
    noise = spread * np.sqrt(1 - transition**2)
    z = np.zeros((60, 100, 2))
    z[:, 0] = spread * rng.normal(size=(60, 2))
    for t in range(1, 100):
        z[:, t] = transition * z[:, t - 1] + noise * rng.normal(size=(60, 2))
    readout = 1.2 * rng.normal(size=(30, 2))
    observed = z @ readout.T + rng.normal(size=(60, 100, 30))
    mask = np.ones((60, 100, 1))

    def sizes(system):
        """Standard deviations of the latents along the true axes."""
        return np.linalg.norm(np.linalg.pinv(readout) @ system.readout, axis=1)

    found = factor_dynamics(observed, mask, 2)
    assert sizes(found) == pytest.approx(spread, rel=0.2)
    assert np.sort(np.linalg.eigvals(found.transition).real) == pytest.approx([0.4, 0.98], abs=0.1)
    assert sizes(subspace_identification(observed, mask, 2))[1] < 0.06


def test_the_floor_under_the_noise_holds_and_a_lower_one_is_likelier():
    rng = np.random.default_rng(5)
    latents = np.zeros((10, 100))
    for t in range(1, 100):
        latents[:, t] = 0.9 * latents[:, t - 1] + rng.standard_normal(10)
    observed = latents[..., None] * np.ones(6) + 0.05 * rng.standard_normal((10, 100, 6))
    mask = np.ones((10, 100, 1))
    system = subspace_identification(observed, mask, 1)
    floored, before = expectation_maximisation(system, observed, mask, 20)
    free, after = expectation_maximisation(system, observed, mask, 20, least_noise=1e-6)
    np.testing.assert_allclose(floored.noise, 0.05 * observed.var((0, 1)))
    np.testing.assert_allclose(free.noise, 0.05**2, rtol=0.3)
    assert after.log_likelihood.sum() > before.log_likelihood.sum()
