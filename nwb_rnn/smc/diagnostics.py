"""What a run of the filter says about itself, and draws from the law it found at each bin."""

from __future__ import annotations

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import transition_mean
from nwb_rnn.smc.backends.reference import adapted_log_weight
from nwb_rnn.smc.sequence import SequenceInputs, SequenceResult


def effective_sample_size(inputs: SequenceInputs, result: SequenceResult, resampling: str) -> Tensor:
    """1 / Σ_k w_k² of the normalised weights of each bin before resampling, (B, T), between 1 and K.

    The optimal proposal resamples before it draws, so that the weights of its particles are equal: its
    weights are made anew, from the particles of the bin before.
    """
    log_weights = result.log_weights
    if inputs.proposal.adapted and resampling != "none":
        log_weights = torch.stack([_before(inputs, result, t) for t in range(log_weights.shape[1])], dim=1)
    return 1 / torch.softmax(log_weights, dim=-1).square().sum(-1)


def _before(inputs: SequenceInputs, result: SequenceResult, t: int) -> Tensor:
    """Log weights (B, K) at bin t up to a constant; equal at the first bin, where all have one mean."""
    if t == 0:
        return torch.zeros_like(result.log_weights[:, 0])
    filtered = inputs.filtered[:, t - 1, None]
    mean = transition_mean(inputs.parameters, inputs.activation, result.latents[:, t - 1], filtered)
    return adapted_log_weight(inputs, t, mean)


def filtering_draws(result: SequenceResult, samples: int, generator: torch.Generator) -> Tensor:
    """S draws from the filtering law of each bin (B, T, S, R); draws of two bins are independent."""
    batch, bins, particles, rank = result.latents.shape
    weights = torch.exp(result.log_weights).reshape(batch * bins, particles)
    chosen = torch.multinomial(weights.to(generator.device), samples, replacement=True, generator=generator)
    chosen = chosen.reshape(batch, bins, samples, 1).to(result.latents.device)
    return torch.gather(result.latents, 2, chosen.expand(-1, -1, -1, rank))
