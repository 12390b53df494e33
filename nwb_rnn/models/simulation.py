"""Draw trials from a low-rank RNN."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.models import indicator, observations
from nwb_rnn.models.low_rank import (
    LowRankConfig,
    LowRankParameters,
    filtered_inputs,
    predictor,
    transition_mean,
)


@torch.inference_mode()
def simulate(
    config: LowRankConfig,
    parameters: LowRankParameters,
    inputs: Tensor,
    generator: torch.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw latents (B, T, R) and observations (B, T, D) for inputs (B, T, U)."""
    batch, bins, _ = inputs.shape
    filtered = filtered_inputs(inputs, parameters.decay, config.filter_inputs)
    draw = dict(generator=generator, device=generator.device, dtype=parameters.decay.dtype)
    first = torch.randn(batch, config.rank, **draw)
    latents = parameters.initial_mean + first @ parameters.initial_cholesky.T
    path, seen, drive = [], [], []
    for t in range(bins):
        eta = predictor(parameters, config.activation, latents, filtered[:, t])
        path.append(latents)
        drive.append(eta)
        seen.append(observations.sample(eta, config.observation, config.link, parameters.spread, generator))
        noise = torch.randn(batch, config.rank, **draw) @ parameters.transition_cholesky.T
        latents = transition_mean(parameters, config.activation, latents, filtered[:, t]) + noise
    observed = torch.stack(seen, 1)
    if parameters.indicator_decay is not None:
        observed = indicator.drawn_trace(torch.stack(drive, 1), observed, parameters.indicator_decay)
    return torch.stack(path, 1).cpu().numpy(), observed.cpu().numpy()
