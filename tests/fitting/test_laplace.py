"""Linear dynamics seen through counts: mode, evidence, and EM that climbs and finds the dynamics again."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.stats import norm, poisson

from nwb_rnn.fitting.count_law import CountLaw
from nwb_rnn.fitting.laplace import count_expectation_maximisation, smooth_counts
from nwb_rnn.fitting.subspace import LinearSystem
from nwb_rnn.models import observations

TURN = 2 * np.pi * 0.05
ROTATION = 0.95 * np.array([[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]])
LAWS = [
    CountLaw("poisson", "exp"),
    CountLaw("poisson", "softplus"),
    CountLaw("poisson", "exp,softplus,exp,softplus"),
    CountLaw("negative_binomial", "exp", np.array([0.5, 2.0, 5.0, 50.0])),
]


def system(units, seed=0, depth=0.8, transition=ROTATION, noise=0.1, bias=-0.5):
    rng = np.random.default_rng(seed)
    return LinearSystem(
        transition, noise * np.eye(2), depth * rng.normal(size=(units, 2)), np.full(units, bias),
        np.ones(units), np.array([0.3, -0.2]), np.array([[1.0, 0.2], [0.2, 0.7]]),
    )  # fmt: skip


def drawn(true, trials, bins, seed=0):
    """Poisson counts with an exponential link, (B, T, D)."""
    rng = np.random.default_rng(seed)
    z = np.zeros((trials, bins, 2))
    z[:, 0] = rng.multivariate_normal(true.initial_mean, true.initial_covariance, trials)
    for t in range(1, bins):
        noise = rng.multivariate_normal(np.zeros(2), true.transition_covariance, trials)
        z[:, t] = z[:, t - 1] @ true.transition.T + noise
    return rng.poisson(np.exp(z @ true.readout.T + true.bias)).astype(float)


def prior(true, bins):
    """Mean and covariance of a whole path, flat (T R)."""
    mean, blocks = np.zeros((bins, 2)), np.zeros((bins, 2, 2 * bins))
    mean[0] = true.initial_mean
    blocks[0, :, :2] = np.linalg.cholesky(true.initial_covariance)
    for t in range(1, bins):
        mean[t] = true.transition @ mean[t - 1]
        blocks[t] = true.transition @ blocks[t - 1]
        blocks[t, :, 2 * t : 2 * t + 2] = np.linalg.cholesky(true.transition_covariance)
    root = blocks.reshape(2 * bins, 2 * bins)
    return mean.ravel(), root @ root.T


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.observation} {law.link}")
def test_mode_covariance_and_evidence_equal_those_of_the_whole_path_at_once(law, monkeypatch):
    monkeypatch.setattr("nwb_rnn.fitting.laplace._TOLERANCE", 1e-12)
    true = system(4)
    observed = drawn(true, 2, 5)
    seen = np.ones(observed.shape, dtype=bool)
    seen[0, 1] = seen[0, 3, 2] = seen[1, 3:] = False
    found = smooth_counts(true, law, observed, seen)
    mean, covariance = prior(true, 5)
    for trial in range(2):

        def log_likelihood(flat, trial=trial):
            eta = flat.reshape(5, 2) @ true.readout.T + true.bias
            return (law.log_likelihood(observed[trial], eta) * seen[trial]).sum()

        def negative(flat, value=log_likelihood):
            return 0.5 * (flat - mean) @ np.linalg.solve(covariance, flat - mean) - value(flat)

        best = minimize(negative, mean, method="BFGS", options={"gtol": 1e-8})
        np.testing.assert_allclose(found.mean[trial].ravel(), best.x, atol=1e-5)
        eta = best.x.reshape(5, 2) @ true.readout.T + true.bias
        information = (law.score(observed[trial], eta)[1] * seen[trial]).ravel()
        readout = np.kron(np.eye(5), true.readout)
        hessian = np.linalg.inv(covariance) + readout.T @ (information[:, None] * readout)
        inverse = np.linalg.inv(hessian).reshape(5, 2, 5, 2)
        np.testing.assert_allclose(found.covariance[trial], [inverse[t, :, t] for t in range(5)], atol=1e-5)
        np.testing.assert_allclose(found.lagged[trial], [inverse[t + 1, :, t] for t in range(4)], atol=1e-5)
        determinants = np.linalg.slogdet(hessian)[1] + np.linalg.slogdet(covariance)[1]
        assert found.log_likelihood[trial] == pytest.approx(-best.fun - 0.5 * determinants, abs=1e-5)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.observation} {law.link}")
def test_the_score_is_a_derivative_and_its_mean_square_the_information(law):
    eta = torch.tensor([[-1.0, 0.3, 0.8, 1.5]], dtype=torch.float64)
    counts = torch.arange(3000, dtype=torch.float64)[:, None].expand(-1, 4)
    spread = None if law.dispersion is None else torch.as_tensor(law.dispersion)
    copies = eta.repeat(3000, 1).requires_grad_()
    value = observations.log_likelihood(counts, copies, law.observation, law.link, spread)
    (slope,) = torch.autograd.grad(value.sum(), copies)
    score, information = law.score(counts.numpy(), copies.detach().numpy())
    np.testing.assert_allclose(score, slope.numpy(), rtol=1e-6, atol=1e-9)
    square = (np.exp(value.detach().numpy()) * score**2).sum(0)
    np.testing.assert_allclose(information[0], square, rtol=1e-4)


def test_the_evidence_is_near_the_integral_where_the_posterior_is_narrow():
    one = LinearSystem(
        np.array([[0.9]]), np.array([[0.1]]), np.array([[0.7]]), np.array([4.0]), np.ones(1),
        np.array([0.2]), np.array([[0.5]]),
    )  # fmt: skip

    def integrand(z):
        return norm.pdf(z, 0.2, np.sqrt(0.5)) * poisson.pmf(75, np.exp(0.7 * z + 4.0))

    exact = np.log(quad(integrand, -2, 3, points=[0.45])[0])
    found = smooth_counts(one, CountLaw("poisson", "exp"), np.full((1, 1, 1), 75.0), np.ones((1, 1, 1)))
    assert found.log_likelihood[0] == pytest.approx(exact, abs=0.003)


def test_em_raises_the_evidence_and_finds_the_rotation():
    true = system(20, noise=0.06)
    observed, mask = drawn(true, 60, 100), np.ones((60, 100, 1))
    wrong = LinearSystem(
        0.5 * np.eye(2), np.eye(2), 0.3 * np.random.default_rng(9).normal(size=(20, 2)), true.bias,
        true.noise, np.zeros(2), np.eye(2),
    )  # fmt: skip
    law, totals = CountLaw("poisson", "exp"), []
    for steps in (0, 2, 2, 4, 8):
        wrong, law, posterior = count_expectation_maximisation(wrong, law, observed, mask, steps)
        totals.append(posterior.log_likelihood.sum())
    assert np.all(np.diff(totals) > 1)
    wrong, law, posterior = count_expectation_maximisation(wrong, law, observed, mask, 16)
    values = np.linalg.eigvals(wrong.transition)
    assert np.abs(np.angle(values)) / TURN == pytest.approx(1, abs=0.05)
    assert np.abs(values) == pytest.approx(0.95, abs=0.02)
    assert posterior.log_likelihood.sum() > smooth_counts(true, law, observed, mask).log_likelihood.sum()


def test_em_finds_a_weak_latent_that_forgets_soon():
    transition = np.diag([0.98, 0.4])
    spread = np.array([1.0, 0.2])
    noise = np.diag(spread**2 * (1 - np.diag(transition) ** 2))
    rng = np.random.default_rng(3)
    true = LinearSystem(
        transition, noise, 1.5 * rng.normal(size=(30, 2)), np.zeros(30), np.ones(30), np.zeros(2),
        np.diag(spread**2),
    )  # fmt: skip
    observed, mask = drawn(true, 60, 100), np.ones((60, 100, 1))
    start = LinearSystem(
        0.9 * np.eye(2), 0.1 * np.eye(2), true.readout @ np.diag([1, 0.1]), true.bias, true.noise,
        np.zeros(2), np.eye(2),
    )  # fmt: skip
    law = CountLaw("poisson", "exp")
    found, *_ = count_expectation_maximisation(start, law, observed, mask, 20)
    assert np.sort(np.linalg.eigvals(found.transition).real) == pytest.approx([0.4, 0.98], abs=0.1)
    back = np.linalg.pinv(true.readout) @ found.readout
    assert np.sqrt(np.diag(back @ found.transition_covariance @ back.T)) == pytest.approx(
        np.sqrt(np.diag(noise)), rel=0.25
    )


def test_dispersion_is_found_and_a_silent_unit_stays_finite():
    true = system(12, bias=0.5)
    counts = drawn(true, 40, 60)
    rng = np.random.default_rng(5)
    rates = rng.gamma(2.0, 0.5, counts.shape)
    z = np.zeros((40, 60, 2))
    for t in range(1, 60):
        z[:, t] = z[:, t - 1] @ true.transition.T + rng.multivariate_normal(
            np.zeros(2), true.transition_covariance, 40
        )
    observed = rng.poisson(np.exp(z @ true.readout.T + true.bias) * rates).astype(float)
    observed[:, :, 0] = 0
    law = CountLaw("negative_binomial", "exp")
    found, law, posterior = count_expectation_maximisation(true, law, observed, np.ones((40, 60, 1)), 6)
    assert np.median(law.dispersion[1:]) == pytest.approx(2.0, rel=0.25)
    assert np.isfinite(found.readout).all() and found.bias[0] < -4
    assert np.isfinite(posterior.log_likelihood).all()


def test_the_mode_is_found_where_rates_span_orders_of_magnitude():
    true = system(30, seed=3, depth=2.0, noise=0.3)
    observed, mask = drawn(true, 5, 40), np.ones((5, 40, 1))
    assert observed.max() > 1000
    found = smooth_counts(true, CountLaw("poisson", "exp"), observed, mask)
    eta = found.mean @ true.readout.T + true.bias
    gradient = (observed - np.exp(eta)) @ true.readout
    noise = np.diff(found.mean, axis=1) - found.mean[:, :-1] @ (true.transition - np.eye(2)).T
    noise = noise @ np.linalg.inv(true.transition_covariance)
    gradient[:, 1:] -= noise
    gradient[:, :-1] += noise @ true.transition
    gradient[:, 0] -= (found.mean[:, 0] - true.initial_mean) @ np.linalg.inv(true.initial_covariance)
    step = (found.covariance @ gradient[..., None])[..., 0]
    assert np.abs(step).max() < 0.01


def test_the_law_of_some_units_has_their_links_and_dispersions():
    law = CountLaw("negative_binomial", "exp,softplus,exp", np.array([1.0, 2.0, 3.0]))
    some = law.select(np.array([0, 1]))
    assert some.link == "exp,softplus" and some.dispersion.tolist() == [1.0, 2.0]
    assert CountLaw("poisson", "exp").select(np.array([2])).link == "exp"
