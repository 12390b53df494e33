"""The expansion proposal: a Gaussian potential for the particles of counts, without training.

Around a trajectory z* the likelihood of a bin is nearly exp(−½ zᵀ H z + bᵀ z) with, for η = C z + d,
expected counts μ, their slope g' and variance s at z* (one step of Fisher scoring),

    H = Cᵀ diag(g'² / s) C,    b = Cᵀ (g' (y − μ) / s) + H z*

and particles are drawn as those of an encoder are (`proposals.encoder`); weights make up for the rest. z* is
the mean of trajectories drawn from the smoothing law by a first pass with another proposal, or from before.
Where z* is so wrong that particles would be sent far off, they are sent a shorter way.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nwb_rnn.models import observations
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.filter import FilterOptions, prepare, run_filter
from nwb_rnn.smc.sequence import SequenceInputs
from nwb_rnn.smc.smoother import backward_simulation
from nwb_rnn.smc.trials import TrialTensors

_SAMPLES = 16  # trajectories whose mean is z*
_FURTHEST = 1.0  # change of η that an expansion is good for


def expandable(config: LowRankConfig) -> bool:
    """Counts with an affine readout: their likelihood has one peak, which a Gaussian can stand for."""
    return config.observation != "gaussian" and config.readout == "affine"


def potential(
    config: LowRankConfig, parameters: LowRankParameters, around: Tensor, observed: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """H (B, T, R, R) and b (B, T, R) around latents z* (B, T, R).

    observed (B, T, D), mask (B, T, D) or (B, T, 1), 1 where observed.
    """
    weights = parameters.readout_weights
    eta = around @ weights.T + parameters.readout_bias
    expected = observations.mean(eta, config.observation, config.link)
    slope = observations.slope(eta, config.observation, config.link)
    share = mask * slope / observations.variance(expected, config.observation, parameters.spread)
    precision = torch.einsum("btd,drs->btrs", share * slope, weights[:, :, None] * weights[:, None, :])
    linear = (share * (observed - expected)) @ weights
    return precision, linear + (precision @ around[..., None])[..., 0]


def within_reach(parameters: LowRankParameters, around: Tensor, precision: Tensor, linear: Tensor) -> Tensor:
    """b (B, T, R) with a smaller slope at z* where it would move some unit's η by more than _FURTHEST.

    The move is that of the potential times what the transition alone says of a bin (P = Q⁻¹ or Q_0⁻¹),
    (H + P)⁻¹ times the slope. Far from the data an exponential link has no curvature to slow it down.
    """
    curvature = (precision @ around[..., None])[..., 0]
    slope = (linear - curvature)[..., None]
    later = torch.cholesky_inverse(parameters.transition_cholesky)
    known = later.repeat(around.shape[1], 1, 1)
    known[0] = torch.cholesky_inverse(parameters.initial_cholesky)
    move = parameters.readout_weights @ torch.linalg.solve(precision + known, slope)
    share = (_FURTHEST / move.abs().amax((2, 3))).clamp(max=1)
    return curvature + share[..., None] * slope[..., 0]


def prepare_around(
    config: LowRankConfig, parameters: LowRankParameters, trials: TrialTensors, around: Tensor
) -> SequenceInputs:
    """As `filter.prepare`, with the likelihood expanded around latents (B, T, R)."""

    def read(observed: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        precision, linear = potential(config, parameters, around, observed, mask)
        return precision, within_reach(parameters, around, precision, linear)

    return prepare(parameters, config, trials, "encoder", read)


def prepare_expanded(
    config: LowRankConfig,
    parameters: LowRankParameters,
    trials: TrialTensors,
    options: FilterOptions,
    generator: torch.Generator,
    encoder: ConvEncoder | None = None,
) -> SequenceInputs:
    """As `filter.prepare`, with the likelihood expanded around what a first pass finds.

    The first pass has the particles of `options`, drawn with the `encoder` or from the transition.
    """
    first = replace(options, proposal="bootstrap" if encoder is None else "encoder")
    inputs = prepare(parameters, config, trials, first.proposal, encoder)
    result = run_filter(inputs, first, generator)
    path = backward_simulation(parameters, config.activation, inputs.filtered, result, _SAMPLES, generator)
    return prepare_around(config, parameters, trials, path.mean(2))
