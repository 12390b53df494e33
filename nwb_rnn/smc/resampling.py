"""Which particles go on: ancestor indices drawn in proportion to weights.

Each resampler takes log weights (B, K), up to a constant, and uniforms in [0, 1), and returns ancestors
(B, K), int64. `systematic` uses one uniform per trial, (B, 1), and has the least variance; `multinomial`
uses K of them, (B, K). See Douc, Cappé & Moulines 2005 for a comparison.
"""

from __future__ import annotations

import torch
from torch import Tensor

RESAMPLINGS = ("systematic", "multinomial", "none")


def uniforms_per_trial(resampling: str, particles: int) -> int:
    """How many uniforms a resampler needs for each trial and bin."""
    return particles if resampling == "multinomial" else 1


def ancestors(log_weights: Tensor, uniforms: Tensor, resampling: str) -> Tensor:
    """Ancestor indices (B, K) by the named scheme; with "none" each particle is its own ancestor."""
    batch, particles = log_weights.shape
    index = torch.arange(particles, device=log_weights.device)
    if resampling == "none":
        return index.expand(batch, particles)
    weights = torch.exp(log_weights - log_weights.max(dim=1, keepdim=True).values)
    cumulative = torch.cumsum(weights, dim=1)
    if resampling == "systematic":
        positions = (index + uniforms) / particles
    else:
        positions = uniforms
    chosen = torch.searchsorted(cumulative, positions * cumulative[:, -1:], right=True)
    return chosen.clamp(max=particles - 1)
