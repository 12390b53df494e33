"""What is recorded, given the state: y ~ p(y | η), with a predictor η for each observed unit and bin.

| name | law | mean |
|---|---|---|
| gaussian | N(η, noise), one variance per unit | η |
| poisson | Poisson(g(η)), counts per bin | g(η) |

with g the link: ``softplus`` or ``exp``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

OBSERVATIONS = ("gaussian", "poisson")
LINKS = ("softplus", "exp", "identity")

SMALLEST_RATE = 1e-7  # counts per bin; keeps log(rate) finite in float32 where softplus underflows


def mean(predictor: Tensor, observation: str, link: str) -> Tensor:
    """Expected observation per bin, the same shape as `predictor`."""
    if observation == "gaussian":
        return predictor
    if link == "exp":
        return torch.exp(predictor)
    return torch.nn.functional.softplus(predictor) + SMALLEST_RATE


def log_likelihood(
    observed: Tensor, predictor: Tensor, observation: str, link: str, noise: Tensor | None
) -> Tensor:
    """log p(y | η) for every unit and bin; not summed.

    `observed` and `predictor` (..., D) broadcast against each other; `noise` (D,) is a variance.
    """
    if observation == "gaussian":
        residual = observed - predictor
        return -0.5 * (residual**2 / noise + torch.log(noise) + math.log(2 * math.pi))
    rate = mean(predictor, observation, link)
    log_rate = predictor if link == "exp" else torch.log(rate)
    return observed * log_rate - rate - torch.lgamma(observed + 1)


def sample(
    predictor: Tensor, observation: str, link: str, noise: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Draw observations with the shape of `predictor`."""
    expected = mean(predictor, observation, link)
    if observation == "gaussian":
        draws = torch.randn(
            expected.shape, generator=generator, dtype=expected.dtype, device=generator.device
        )
        return expected + torch.sqrt(noise) * draws.to(expected.device)
    return torch.poisson(expected, generator=generator)
