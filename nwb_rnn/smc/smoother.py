"""Smoothed latents by backward simulation (Godsill, Doucet & West 2004).

Going back from the last bin, a trajectory at z_{t+1} takes particle k of bin t with probability
proportional to w_t^k N(z_{t+1}; F(z_t^k, v_t), Q): the transition into t + 1 uses the input at t.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters, transition_mean
from nwb_rnn.smc.sequence import SequenceResult


def backward_simulation(
    parameters: LowRankParameters,
    activation: str,
    filtered: Tensor,
    result: SequenceResult,
    samples: int,
    generator: torch.Generator,
) -> Tensor:
    """Draw `samples` whole trajectories S per trial from the smoothing law: (B, T, S, R)."""
    latents = result.latents
    batch, bins, _, rank = latents.shape
    inverse = torch.linalg.solve_triangular(
        parameters.transition_cholesky,
        torch.eye(rank, dtype=latents.dtype, device=latents.device),
        upper=False,
    )
    uniforms = torch.rand(
        bins, batch, samples, 1, generator=generator, device=generator.device, dtype=latents.dtype
    ).to(latents.device)
    if _compiled(parameters, activation, latents):
        from nwb_rnn.smc.backends import cpu_smoother

        return cpu_smoother.backward_simulation(parameters, activation, inverse, filtered, result, uniforms)
    return _simulate(parameters, activation, inverse, filtered, result, uniforms)


def _compiled(parameters: LowRankParameters, activation: str, latents: Tensor) -> bool:
    """Whether there is compiled code for this model."""
    if latents.dtype != parameters.left_vectors.dtype or importlib.util.find_spec("numba") is None:
        return False
    from nwb_rnn.smc.backends import cpu

    return cpu.supports_network(parameters.left_vectors, activation, "none") is None


def _simulate(parameters, activation, inverse, filtered, result, uniforms) -> Tensor:
    """The definition: from the inverse (R, R) of the transition's factor and uniforms (T, B, S, 1)."""
    latents, log_weights = result.latents, result.log_weights
    bins, _, samples, _ = uniforms.shape
    following = _pick(latents[:, -1], log_weights[:, -1, None].expand(-1, samples, -1), uniforms[-1])
    path = [following]
    for t in range(bins - 2, -1, -1):
        mean = transition_mean(parameters, activation, latents[:, t], filtered[:, t, None])
        distance = torch.cdist(
            following @ inverse.T, mean @ inverse.T, compute_mode="donot_use_mm_for_euclid_dist"
        )
        following = _pick(latents[:, t], log_weights[:, t, None] - 0.5 * distance**2, uniforms[t])
        path.append(following)
    return torch.stack(path[::-1], dim=1)


def _pick(particles: Tensor, log_weights: Tensor, uniforms: Tensor) -> Tensor:
    """Particles (B, K, R) chosen with log weights (B, S, K), up to a constant, by uniforms (B, S, 1)."""
    weights = torch.exp(log_weights - log_weights.amax(-1, keepdim=True))
    cumulative = torch.cumsum(weights, dim=-1)
    chosen = torch.searchsorted(cumulative, uniforms * cumulative[..., -1:], right=True)
    chosen = chosen.clamp(max=particles.shape[1] - 1)
    return torch.gather(particles, 1, chosen.expand(-1, -1, particles.shape[-1]))
