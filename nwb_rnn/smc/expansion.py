"""A Gaussian potential for the particles of counts, from what is known of the latents already.

Around a trajectory z* the likelihood of a bin is nearly exp(−½ zᵀ H z + bᵀ z) with, for the predictor η(z) of
Jacobian J, expected counts μ, their slope g' and variance s at z* (one step of Fisher scoring),

    H = Jᵀ diag(g'² / s) J,    b = Jᵀ (g' (y − μ) / s) + H z*

As a proposal (`proposals.encoder`) it needs no training and is exact for a linear Gaussian readout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nwb_rnn.models import observations
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, predictor, readout_features


def potential(
    config: LowRankConfig, parameters: LowRankParameters, around: Tensor, observed: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """H (B, T, R, R) and b (B, T, R) around latents (B, T, R), for a readout from the latents.

    observed (B, T, D), mask (B, T, D) or (B, T, 1), 1 where observed.
    """
    p = parameters
    eta = predictor(p, config.activation, around, None)
    expected = observations.mean(eta, config.observation, config.link)
    slope = observations.slope(eta, config.observation, config.link)
    share = mask * slope / observations.variance(expected, config.observation, p.spread)
    if p.readout_network_output is None:
        weights = p.readout_weights
        precision = torch.einsum("btd,dr,ds->btrs", share * slope, weights, weights)
        linear = (share * (observed - expected)) @ weights
    else:
        bend = 1 - readout_features(p, around) ** 2
        weights = p.readout_weights + torch.einsum(
            "dh,bth,hr->btdr", p.readout_network_output, bend, p.readout_network_input
        )
        precision = torch.einsum("btd,btdr,btds->btrs", share * slope, weights, weights)
        linear = torch.einsum("btd,btdr->btr", share * (observed - expected), weights)
    return precision, linear + (precision @ around[..., None])[..., 0]
