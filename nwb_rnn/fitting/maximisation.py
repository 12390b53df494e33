"""M steps of particle expectation maximisation, from trajectories drawn from the smoothing law.

Four parts of the model have one in closed form or by one Fisher-scoring step (Schön, Wills & Ninness 2011):

    V       ridge regression of z_{t+1} − a z_t on φ(M z_t + W v_t; h), drawn towards the old V
    Q       mean outer product of the residuals
    m_0, Q_0  moments of the first bin
    C, B, d regression of the observations on z and the hidden units (one Fisher-scoring step for counts)

M, W, h, a, hidden weights and dispersions have none and stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nwb_rnn.fitting.readout_sums import readout_sums
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, rates, readout_features

_MOST_PAIRS = 60_000  # of the regression of V
_RIDGE = 1e-3  # of the mean squared rate
_DEPTH = 2.0  # of modulation, in the units of η: of log rate for the exponential link
_BLOCK = 1_000  # pairs at once
_HALVINGS = 5  # of a step of Fisher scoring


@dataclass(frozen=True)
class Draws:
    """Trajectories drawn from the smoothing law, with what belongs to them, one row per trial and sample.

    latents (P, T, R), filtered (P, T, U), observed and mask (P, T, D), inside (P, T) up to the last bin;
    `samples` rows follow each other for every trial.
    """

    latents: Tensor
    filtered: Tensor
    observed: Tensor
    mask: Tensor
    inside: Tensor
    samples: int


def starts_wanted(config: LowRankConfig) -> int:
    """Trials that it takes to say where trials start, which m_0 and Q_0 do."""
    return 5 * config.rank


def maximise_dynamics(config, p: LowRankParameters, draws: Draws, generator) -> LowRankParameters:
    pairs = draws.inside[:, 1:].nonzero()
    if not len(pairs):
        return p
    if len(pairs) > _MOST_PAIRS:
        order = torch.randperm(len(pairs), generator=generator, device=generator.device)
        pairs = pairs[order[:_MOST_PAIRS]]
    gram, products, squares = _moments(config.activation, p, draws, pairs)
    ridge = _RIDGE * gram.diagonal().mean() + 1e-9
    drawn = products + ridge * p.right_vectors.T.double()
    right = torch.linalg.solve(gram + ridge * torch.eye(len(gram)).to(gram), drawn).T
    explained = right @ products
    covariance = (squares - explained - explained.T + right @ gram @ right.T) / len(pairs)
    if config.noise == "diagonal":
        covariance = torch.diag(torch.diagonal(covariance))
    dtype = p.decay.dtype
    better = replace(p, right_vectors=right.to(dtype), transition_cholesky=_factor(covariance).to(dtype))
    first = draws.latents[:, 0].double()
    if len(first) < starts_wanted(config) * draws.samples:
        return better
    mean = first.mean(0)
    spread = _factor((first - mean).T @ (first - mean) / len(first))
    return replace(better, initial_mean=mean.to(dtype), initial_cholesky=spread.to(dtype))


def _moments(activation: str, p: LowRankParameters, draws: Draws, pairs: Tensor):
    """Σ r rᵀ (N, N), Σ r xᵀ (N, R) and Σ x xᵀ (R, R) in float64, of rates r at t and x = z_{t+1} − a z_t.

    `pairs` (P, 2) are rows and t; their rates are made a block at a time, which the cache has room for.
    """
    found = (0.0, 0.0, 0.0)
    for row, t in (block.unbind(1) for block in pairs.split(_BLOCK)):
        now = draws.latents[row, t]
        r = rates(p, activation, now, draws.filtered[row, t]).double()
        x = (draws.latents[row, t + 1] - p.decay * now).double()
        found = tuple(a + b for a, b in zip(found, (r.T @ r, r.T @ x, x.T @ x), strict=True))
    return found


def _factor(covariance: Tensor) -> Tensor:
    """Lower Cholesky factor, with a floor under the eigenvalues so that it always exists."""
    floor = 1e-6 * covariance.diagonal().mean() + 1e-12
    return torch.linalg.cholesky(covariance + floor * torch.eye(len(covariance)).to(covariance))


def maximise_readout(config, p: LowRankParameters, draws: Draws) -> LowRankParameters:
    """One Fisher-scoring step per unit from the current C, d; exact for Gaussian observations."""
    trials = slice(None, None, draws.samples)
    inside = draws.inside[trials]
    z = draws.latents.unflatten(0, (-1, draws.samples)).transpose(0, 1)[:, inside]  # (samples, bins, R)
    y, seen = (x[trials][inside].double() for x in (draws.observed, draws.mask))
    columns, weights = [z.double()], [p.readout_weights]
    if p.readout_network_output is not None:
        columns.append(readout_features(p, z).double())
        weights.append(p.readout_network_output)
    design = torch.cat([*columns, torch.ones_like(columns[0][..., :1])], -1)
    theta = torch.cat([*weights, p.readout_bias[:, None]], 1).double()
    spread = None if p.spread is None else p.spread.double()
    sums = readout_sums(config.observation, config.link, spread, design, y, seen)
    score, information = sums.derivatives(theta)
    counts, rows = config.observation != "gaussian", design.flatten(0, 1)
    prior = _prior(rows, draws.samples) if counts else torch.zeros_like(rows.T @ rows)
    score, information = score - theta @ prior, information + prior
    size = torch.diagonal(information, dim1=1, dim2=2).mean(1)[:, None, None]
    information = information + (1e-4 * size + 1e-9) * torch.eye(design.shape[-1]).to(design)
    step = torch.linalg.solve(information, score[..., None])[..., 0].clamp(-1, 1)

    def worth(theta: Tensor) -> Tensor:  # (D,), up to a constant
        return sums.value(theta) - 0.5 * ((theta @ prior) * theta).sum(1)

    theta = _climb(worth, theta, step) if counts else theta + step
    dtype = p.decay.dtype
    rank = config.rank
    changed = dict(readout_weights=theta[:, :rank].to(dtype), readout_bias=theta[:, -1].to(dtype))
    if p.readout_network_output is not None:
        changed["readout_network_output"] = theta[:, rank:-1].to(dtype)
    if config.observation == "gaussian":
        count = draws.samples * seen.sum(0)
        squared = (seen * (y - design @ theta.T) ** 2).sum((0, 1)) / count.clamp(min=1)
        noise = torch.where(count > 0, squared.clamp(min=1e-8), p.observation_noise)
        changed["observation_noise"] = noise.to(dtype)
    return replace(p, **changed)


def _prior(design: Tensor, samples: int) -> Tensor:
    """Precision (I, I) of the weights on `design` (P, I), in which every trial counts `samples` times.

    What a unit's predictor does with the latents has a standard deviation of about _DEPTH, in any basis:
    enough for a unit that is silent in most states; without it one of hardly any spikes runs off to infinity.
    """
    centred = design - design.mean(0)  # the column of the bias becomes 0
    return samples / _DEPTH**2 * (centred.T @ centred) / len(design)


def _climb(worth: Callable[[Tensor], Tensor], theta: Tensor, step: Tensor) -> Tensor:
    """theta (D, I) after the longest of a few halves of `step` that is worth no less, for each row alone."""
    now, left = worth(theta), torch.ones(len(theta), dtype=torch.bool, device=theta.device)
    for halves in range(_HALVINGS):
        ahead = torch.where(left[:, None], theta + 0.5**halves * step, theta)
        taken = left & (worth(ahead) >= now)
        theta = torch.where(taken[:, None], ahead, theta)
        left = left & ~taken
        if not left.any():
            break
    return theta
