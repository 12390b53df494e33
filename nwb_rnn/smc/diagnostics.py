"""What a run of the filter says about itself, and draws from the law it found at each bin."""

from __future__ import annotations

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import transition_mean
from nwb_rnn.smc.backends.reference import adapted_log_weight
from nwb_rnn.smc.sequence import SequenceInputs, SequenceResult

_ROOM = 1_000_000  # currents of units at once, what the cache has room for


def effective_sample_size(inputs: SequenceInputs, result: SequenceResult, resampling: str) -> Tensor:
    """1 / Σ_k w_k² of the normalised weights of each bin before resampling, (B, T), between 1 and K.

    The optimal proposal resamples before it draws, so that the weights of its particles are equal: its
    weights are made anew, from the particles of the bin before.
    """
    log_weights = result.log_weights
    if inputs.proposal.adapted and resampling != "none":
        log_weights = _before(inputs, result)
    return 1 / torch.softmax(log_weights, dim=-1).square().sum(-1)


def _before(inputs: SequenceInputs, result: SequenceResult) -> Tensor:
    """Log weights (B, T, K) up to a constant; equal at the first bin, where all have one mean."""
    batch, bins, particles, _ = result.latents.shape
    found = torch.zeros_like(result.log_weights)
    size = max(1, _ROOM // (batch * particles * inputs.parameters.left_vectors.shape[0]))
    for first in range(0, bins - 1, size):
        here = slice(first, min(first + size, bins - 1))
        after = slice(here.start + 1, here.stop + 1)
        mean = transition_mean(
            inputs.parameters, inputs.activation, result.latents[:, here], inputs.filtered[:, here, None]
        )
        found[:, after] = adapted_log_weight(inputs, after, mean)
    return found


def filtering_draws(result: SequenceResult, samples: int, generator: torch.Generator) -> Tensor:
    """S draws from the filtering law of each bin (B, T, S, R); draws of two bins are independent."""
    batch, bins, particles, rank = result.latents.shape
    weights = torch.exp(result.log_weights).reshape(batch * bins, particles)
    chosen = torch.multinomial(weights.to(generator.device), samples, replacement=True, generator=generator)
    chosen = chosen.reshape(batch, bins, samples, 1).to(result.latents.device)
    return torch.gather(result.latents, 2, chosen.expand(-1, -1, -1, rank))
