"""What is recorded, given the state: y ~ p(y | η), with a predictor η for each observed unit and bin.

| name | law | mean μ | variance | spread, one number for each unit |
|---|---|---|---|---|
| gaussian | N(η, s) | η | s | variance s |
| poisson | Poisson(μ), counts per bin | g(η) | μ | none |
| negative_binomial | Poisson(μ x), x ~ Gamma of mean 1 and shape k | g(η) | μ + μ² / k | dispersion k |

with g the link: ``softplus`` or ``exp``, for all units or one name for each of them, joined by commas. The
negative binomial becomes Poisson as k grows.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor

OBSERVATIONS = ("gaussian", "poisson", "negative_binomial")
LINKS = ("softplus", "exp", "identity")

SMALLEST_RATE = 1e-7  # counts per bin; keeps log(rate) finite in float32 where softplus underflows


def mean(predictor: Tensor, observation: str, link: str) -> Tensor:
    """Expected observation per bin, the same shape as `predictor`."""
    if observation == "gaussian":
        return predictor
    if link == "exp":
        return torch.exp(predictor)
    soft = torch.nn.functional.softplus(predictor) + SMALLEST_RATE
    if link == "softplus":
        return soft
    exponential = _exponential(link).to(predictor.device)
    return torch.where(exponential, torch.exp(torch.where(exponential, predictor, 0.0)), soft)


def slope(predictor: Tensor, observation: str, link: str) -> Tensor:
    """d mean / dη."""
    if observation == "gaussian":
        return torch.ones_like(predictor)
    if link == "softplus":
        return torch.sigmoid(predictor)
    if link == "exp":
        return torch.exp(predictor)
    exponential = _exponential(link).to(predictor.device)
    return torch.where(exponential, mean(predictor, observation, link), torch.sigmoid(predictor))


def variance(expected: Tensor, observation: str, spread: Tensor | None) -> Tensor:
    """Var(y | η) where the mean is `expected`."""
    if observation == "gaussian":
        return spread.expand_as(expected)
    if observation == "poisson":
        return expected
    return expected + expected**2 / spread


def log_likelihood(
    observed: Tensor, predictor: Tensor, observation: str, link: str, spread: Tensor | None
) -> Tensor:
    """log p(y | η) for every unit and bin; not summed.

    `observed` and `predictor` (..., D) broadcast against each other; `spread` (D,) is a variance (Gaussian)
    or the dispersion k (negative binomial):

        log NB(y; μ, k) = log Γ(y + k) / (Γ(k) kʸ) − log y! + y log μ − (y + k) log(1 + μ / k)
    """
    if observation == "gaussian":
        residual = observed - predictor
        return -0.5 * (residual**2 / spread + torch.log(spread) + math.log(2 * math.pi))
    free = -torch.lgamma(observed + 1)
    if observation == "negative_binomial":
        free = dispersion_terms(observed, spread) + free
    return count_terms(observed, predictor, observation, link, spread) + free


def count_terms(
    observed: Tensor, predictor: Tensor, observation: str, link: str, spread: Tensor | None
) -> Tensor:
    """The part of log p(y | η) of counts that depends on η."""
    rate = mean(predictor, observation, link)
    log_rate = predictor if link == "exp" else torch.log(rate)
    if observation == "poisson":
        return observed * log_rate - rate
    # log(1 + μ / k) from log μ, which stays finite where μ overflows
    excess = torch.nn.functional.softplus(log_rate - torch.log(spread))
    return observed * log_rate - (observed + spread) * excess


def dispersion_terms(observed: Tensor, dispersion: Tensor) -> Tensor:
    """log Γ(y + k) / (Γ(k) kʸ), the part of a negative binomial likelihood that knows no mean.

    Zero in the limit of large k; in float64 inside, as it is a small difference of large numbers.
    """
    y, k = observed.double(), dispersion.double()
    return (torch.lgamma(y + k) - torch.lgamma(k) - y * torch.log(k)).to(observed.dtype)


def sample(
    predictor: Tensor, observation: str, link: str, spread: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Draw observations with the shape of `predictor`."""
    expected = mean(predictor, observation, link)
    if observation == "gaussian":
        draws = torch.randn(
            expected.shape, generator=generator, dtype=expected.dtype, device=generator.device
        )
        return expected + torch.sqrt(spread) * draws.to(expected.device)
    if observation == "negative_binomial":
        expected = expected * _unit_gamma(spread, expected, generator)
    return torch.poisson(expected, generator=generator)


def _unit_gamma(shape: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
    """Gamma draws of mean 1 and the given shape, as many as `like`; torch has none with a generator."""
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    k = shape.detach().double().cpu().numpy()
    draws = np.random.default_rng(int(seed)).standard_gamma(k, tuple(like.shape)) / k
    return torch.as_tensor(draws, dtype=like.dtype, device=like.device)


@functools.lru_cache(maxsize=64)
def _exponential(links: str) -> Tensor:
    """(D,) True where a unit's link is exp."""
    return torch.tensor([name == "exp" for name in links.split(",")])
