"""Laws of the observations against scipy, their limits, their links, and draws from them."""

import numpy as np
import pytest
import scipy.stats
import torch

from nwb_rnn.errors import InputError
from nwb_rnn.models import observations
from nwb_rnn.models.low_rank import LowRankConfig

ETA = torch.linspace(-3, 4, 15, dtype=torch.float64)[:, None].expand(15, 4)
COUNTS = torch.arange(15, dtype=torch.float64)[:, None].expand(15, 4)
DISPERSION = torch.tensor([0.1, 1.0, 7.5, 300.0], dtype=torch.float64)


@pytest.mark.parametrize("link", ["softplus", "exp", "exp,softplus,softplus,exp"])
def test_negative_binomial_is_that_of_scipy(link):
    found = observations.log_likelihood(COUNTS, ETA, "negative_binomial", link, DISPERSION)
    mean, k = observations.mean(ETA, "negative_binomial", link).numpy(), DISPERSION.numpy()
    expected = scipy.stats.nbinom.logpmf(COUNTS.numpy(), k, k / (k + mean))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("link", ["softplus", "exp"])
def test_negative_binomial_becomes_poisson_as_the_dispersion_grows(link):
    poisson = observations.log_likelihood(COUNTS, ETA, "poisson", link, None)
    gaps = [
        observations.log_likelihood(COUNTS, ETA, "negative_binomial", link, torch.full((4,), k).double())
        for k in (1e4, 1e5, 1e8)
    ]
    gaps = [float((gap - poisson).abs().max()) for gap in gaps]
    assert gaps[1] < gaps[0] / 9 and gaps[2] < 1e-4
    single = observations.log_likelihood(
        COUNTS.float(), ETA.float(), "negative_binomial", link, torch.full((4,), 1e6)
    )
    assert float((single - poisson).abs().max()) < 5e-3


@pytest.mark.parametrize("link", ["softplus", "exp", "exp,softplus,softplus,exp"])
def test_gradients_of_the_negative_binomial(link):
    eta, k = ETA.clone().requires_grad_(), DISPERSION.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda e, s: observations.log_likelihood(COUNTS, e, "negative_binomial", link, s), (eta, k)
    )


@pytest.mark.parametrize(
    ("observation", "link"),
    [("gaussian", "identity"), ("poisson", "softplus"), ("poisson", "exp,softplus,softplus,exp")],
)
def test_slope_is_the_derivative_of_the_mean(observation, link):
    eta = ETA.clone().requires_grad_()
    (expected,) = torch.autograd.grad(observations.mean(eta, observation, link).sum(), eta)
    torch.testing.assert_close(observations.slope(ETA, observation, link), expected)


def test_a_mean_that_overflows_keeps_the_likelihood_finite():
    eta = torch.tensor([120.0], requires_grad=True)
    value = observations.log_likelihood(
        torch.tensor([3.0]), eta, "negative_binomial", "exp", torch.tensor([2.0])
    )
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(eta.grad).all()


@pytest.mark.parametrize("observation", observations.OBSERVATIONS)
def test_draws_have_the_mean_and_the_variance_of_their_law(observation):
    """200,000 draws: false alarm about 1 in 10,000 (4.5 standard errors of mean and variance)."""
    link = "identity" if observation == "gaussian" else "softplus"
    spread = None if observation == "poisson" else torch.tensor([0.5, 4.0])
    eta = torch.tensor([0.3, 3.0]).expand(200_000, 2)
    drawn = observations.sample(eta, observation, link, spread, torch.Generator().manual_seed(1)).double()
    mean = observations.mean(eta[0], observation, link)
    variance = observations.variance(mean, observation, spread)
    error = torch.sqrt(variance / len(drawn))
    assert ((drawn.mean(0) - mean).abs() < 4.5 * error).all()
    fourth = ((drawn - drawn.mean(0)) ** 4).mean(0)
    assert ((drawn.var(0) - variance).abs() < 4.5 * torch.sqrt(fourth / len(drawn))).all()


def test_draws_depend_on_the_generator_alone():
    eta, k = torch.zeros(50, 3), torch.ones(3)
    draws = [
        observations.sample(eta, "negative_binomial", "exp", k, torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_a_link_for_each_unit_is_kept_and_counted():
    config = LowRankConfig(2, 4, observation="negative_binomial", link=["exp", "softplus", "exp"])
    assert config.link == "exp,softplus,exp"
    assert LowRankConfig(2, 4, link=["exp"] * 9).link == "exp"
    config.check_observed(3)
    with pytest.raises(InputError, match="names 3 units and 5"):
        config.check_observed(5)
    with pytest.raises(InputError, match="does not go with"):
        LowRankConfig(2, 4, link=["exp", "identity"])
