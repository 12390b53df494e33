"""The Gaussian potential of counts against derivatives of the likelihood by automatic differentiation."""

from dataclasses import replace

import pytest
import torch

from nwb_rnn.models import observations
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, predictor
from nwb_rnn.smc.expansion import potential, within_reach

RANK, OBSERVED = 3, 7


def model(observation: str, link: str) -> tuple[LowRankConfig, LowRankParameters]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    config = LowRankConfig(rank=RANK, units=8, observation=observation, link=link)
    p = LowRankParameters(
        left_vectors=draw(8, RANK),
        right_vectors=draw(RANK, 8),
        input_weights=draw(8, 0),
        unit_bias=draw(8),
        decay=torch.tensor(0.9, dtype=torch.float64),
        transition_cholesky=torch.eye(RANK, dtype=torch.float64),
        initial_mean=draw(RANK),
        initial_cholesky=torch.eye(RANK, dtype=torch.float64),
        readout_weights=0.5 * draw(OBSERVED, RANK),
        readout_bias=draw(OBSERVED),
    )
    if observation == "negative_binomial":
        p = replace(p, dispersion=torch.full((OBSERVED,), 2.0, dtype=torch.float64))
    if observation == "gaussian":
        p = replace(p, observation_noise=torch.rand(OBSERVED, generator=generator).double() + 0.5)
    return config, p


def data() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents (2, 5, R), counts (2, 5, D), and a mask with holes."""
    generator = torch.Generator().manual_seed(1)
    around = torch.randn(2, 5, RANK, generator=generator, dtype=torch.float64)
    observed = torch.randint(0, 4, (2, 5, OBSERVED), generator=generator).double()
    mask = (torch.rand(2, 5, OBSERVED, generator=generator) < 0.7).double()
    return around, observed, mask


@pytest.mark.parametrize("observation", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("link", ["exp", "softplus"])
def test_its_slope_is_that_of_the_likelihood(observation, link):
    config, p = model(observation, link)
    around, observed, mask = data()
    precision, linear = potential(config, p, around, observed, mask)
    z = around.clone().requires_grad_()
    values = observations.log_likelihood(
        observed, predictor(p, config.activation, z, None), observation, link, p.spread
    )
    (wanted,) = torch.autograd.grad((mask * values).sum(), z)
    found = linear - (precision @ around[..., None])[..., 0]
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)  # softplus adds 1e-7 to the rate
    assert (torch.linalg.eigvalsh(precision) > -1e-10).all()


@pytest.mark.parametrize(("observation", "link"), [("poisson", "exp"), ("gaussian", "identity")])
def test_its_curvature_is_that_of_the_likelihood_where_information_is_certain(observation, link):
    """For a natural link and an affine readout observed and expected information agree."""
    config, p = model(observation, link)
    around, observed, mask = data()
    precision, _ = potential(config, p, around, observed, mask)

    def minus(z):
        eta = predictor(p, config.activation, z, None)
        values = observations.log_likelihood(observed[1, 2], eta, observation, link, p.spread)
        return -(mask[1, 2] * values).sum()

    wanted = torch.autograd.functional.hessian(minus, around[1, 2])
    torch.testing.assert_close(precision[1, 2], wanted, rtol=1e-10, atol=1e-12)


def test_a_wrong_place_sends_particles_a_short_way_only():
    config, p = model("poisson", "exp")
    around, observed, mask = data()
    around[0, 0] -= 4 * p.readout_weights.sum(0)  # rates next to nothing, and so hardly any curvature
    # and a bin whose counts are just what is expected there
    observed[0, 1] = torch.exp(around[0, 1] @ p.readout_weights.T + p.readout_bias)
    precision, linear = potential(config, p, around, observed, mask)
    shorter = within_reach(p, around, precision, linear)

    def moves(b):
        slope = b - (precision @ around[..., None])[..., 0]
        eye = torch.eye(RANK, dtype=torch.float64)
        step = torch.linalg.solve(precision + eye, slope[..., None])[..., 0]  # Q and Q_0 are 1
        return step, (step @ p.readout_weights.T).abs().amax(-1)

    (step, size), (cut, cut_size) = moves(linear), moves(shorter)
    assert size[0, 0] > 3
    torch.testing.assert_close(cut_size, size.clamp(max=1.0), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(cut * size[..., None], step * cut_size[..., None], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(shorter[0, 1], linear[0, 1])
