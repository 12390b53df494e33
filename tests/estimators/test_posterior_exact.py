"""What `infer` returns, against the exact answers of a linear Gaussian network (a Kalman smoother)."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.fitting.linear_gaussian import smooth
from nwb_rnn.fitting.subspace import LinearSystem

TRIALS, BINS, STOP = 4, 10, 6
HELD = [1, 4]


@pytest.fixture(scope="module")
def world():
    """A stable network with φ = identity, its linear system, and trials drawn from it."""
    rng = np.random.default_rng(2)
    left = rng.standard_normal((6, 2))
    right = 0.08 * np.array([[0.0, -1.0], [1.0, 0.0]]) @ left.T  # the latents turn and decay
    arrays = dict(
        left_vectors=left,
        right_vectors=right,
        decay=np.array(0.7),
        transition_cholesky=np.array([[0.5, 0.0], [0.2, 0.4]]),
        initial_mean=np.array([0.5, -1.0]),
        initial_cholesky=np.array([[1.0, 0.0], [-0.3, 0.8]]),
        readout_weights=rng.standard_normal((5, 2)),
        readout_bias=rng.standard_normal(5),
        observation_noise=rng.uniform(0.3, 0.8, 5),
        activation=np.array("identity"),
    )
    model = LowRankRNN.from_arrays(**arrays)
    system = LinearSystem(
        transition=0.7 * np.eye(2) + right @ left,
        transition_covariance=arrays["transition_cholesky"] @ arrays["transition_cholesky"].T,
        readout=arrays["readout_weights"],
        bias=arrays["readout_bias"],
        noise=arrays["observation_noise"],
        initial_mean=arrays["initial_mean"],
        initial_covariance=arrays["initial_cholesky"] @ arrays["initial_cholesky"].T,
    )
    return model, system, model.simulate(trials=TRIALS, bins=BINS, seed=3)


def exact(system, trials, units=None, until=None):
    mask = np.ones((TRIALS, BINS, 5), dtype=bool)
    if units is not None:
        mask[..., units] = False
    if until is not None:
        mask[:, until:] = False
    return smooth(system, trials.signal.values.astype(float), mask)


@pytest.mark.parametrize("proposal", ["optimal", "bootstrap"])
@pytest.mark.parametrize("kind", ["smoothed", "filtered"])
def test_moments_and_likelihood(world, kind, proposal):
    """4,000 particles and 1,000 draws: a Monte Carlo error of about 0.02 (optimal) and 0.05 (bootstrap)."""
    model, system, trials = world
    close = 0.1 if proposal == "optimal" else 0.25
    found = model.infer(
        trials, kind=kind, particles=4_000, samples=1_000, proposal=proposal, return_samples=True
    )
    whole = exact(system, trials)
    mean, spread = whole.mean, np.sqrt(np.diagonal(whole.covariance, axis1=2, axis2=3))
    if kind == "filtered":
        until = [exact(system, trials, until=t + 1) for t in range(BINS)]
        mean = np.stack([p.mean[:, t] for t, p in enumerate(until)], 1)
        variance = [np.diagonal(p.covariance[:, t], axis1=1, axis2=2) for t, p in enumerate(until)]
        spread = np.sqrt(np.stack(variance, 1))
    np.testing.assert_allclose(found.latent_mean, mean, atol=close)
    np.testing.assert_allclose(found.latent_std, spread, atol=close)
    off = 0.15 if proposal == "optimal" else 0.6
    np.testing.assert_allclose(found.log_likelihood, whole.log_likelihood, atol=off)
    np.testing.assert_allclose(found.rates, mean @ system.readout.T + system.bias, atol=2 * close)
    draws = found.latent_samples
    assert draws.dims == ("trial", "sample", "time", "latent")
    np.testing.assert_allclose(draws.mean("sample"), mean, atol=close)
    np.testing.assert_allclose(draws.std("sample"), spread, atol=close)


def test_smoothed_draws_are_trajectories(world):
    """Cov(z_{t+1}, z_t | y) of the draws against the smoother's lagged covariance."""
    model, system, trials = world
    draws = model.infer(trials, particles=2_000, samples=2_000, return_samples=True).latent_samples.values
    centred = draws - draws.mean(1, keepdims=True)
    lagged = np.einsum("bstr,bstq->btrq", centred[:, :, 1:], centred[:, :, :-1]) / draws.shape[1]
    np.testing.assert_allclose(lagged, exact(system, trials).lagged, atol=0.05)


def test_held_out_units_and_the_future_are_predicted(world):
    model, system, trials = world
    until = float(trials.time[STOP])
    found = model.infer(trials, held_out_units=HELD, until=until, particles=4_000, samples=1_000)
    posterior = exact(system, trials, HELD, STOP)
    np.testing.assert_allclose(found.rates, posterior.mean @ system.readout.T + system.bias, atol=0.25)
    np.testing.assert_allclose(found.latent_mean, posterior.mean, atol=0.1)
    np.testing.assert_allclose(found.log_likelihood, posterior.log_likelihood, atol=0.15)


def test_effective_sample_size_of_the_optimal_proposal(world):
    """Of the weights N(y; C μ + d, C Q Cᵀ + R) before resampling: below K, and K where nothing is seen."""
    model, system, trials = world
    found = model.infer(trials, until=float(trials.time[STOP]), particles=5_000, seed=1)
    size = found.effective_sample_size.values / 5_000
    np.testing.assert_allclose(size[:, 0], 1, rtol=1e-4)
    np.testing.assert_allclose(size[:, STOP:], 1, rtol=1e-3)
    assert (size[:, 1:STOP] < 0.999).all()
    t, trial = 3, 0
    before = exact(system, trials, until=t)
    spread = before.covariance[trial, t] - system.transition_covariance
    s = system.readout @ system.transition_covariance @ system.readout.T + np.diag(system.noise)
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(before.mean[trial, t], spread, 200_000)
    off = trials.signal.values[trial, t] - drawn @ system.readout.T - system.bias
    log_weight = -0.5 * np.einsum("ki,ij,kj->k", off, np.linalg.inv(s), off)
    weight = np.exp(log_weight - log_weight.max())
    expected = weight.sum() ** 2 / (weight**2).sum() / len(weight)
    assert size[trial, t] == pytest.approx(expected, rel=0.1)


def test_the_number_of_samples_is_checked(world):
    model, _, trials = world
    with pytest.raises(InputError, match="samples=0"):
        model.infer(trials, samples=0)
    found = model.infer(trials, samples=3, particles=8, return_samples=True, kind="filtered")
    assert found.latent_samples.shape == (TRIALS, 3, BINS, 2)
    assert "latent_samples" not in model.infer(trials, samples=3, particles=8)
