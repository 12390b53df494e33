"""The definition: the particle filter in plain torch, one bin after the other.

Pals et al. 2024, section 3, with the closed form of the optimal proposal. The objective
L = Σ_t log (1/K Σ_k w_t^k) is differentiated through the reparametrised draws. That alone leaves out how the
choice of ancestors depends on the parameters (as variational sequential Monte Carlo does) and is no gradient
of log p(y), however many particles there are. So each particle keeps, after resampling, the weight
w / stop_gradient(w) of the one it was copied from (Ścibior & Wood 2021): no value changes, and the gradient
becomes consistent. Its variance grows with the bins over which this adds up; to the power γ, with γ from 0 to
1 (`resampling_gradient`), an influence n bins back counts γⁿ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nwb_rnn.models import observations
from nwb_rnn.models.low_rank import predictor, transition_mean
from nwb_rnn.smc.resampling import ancestors as draw_ancestors
from nwb_rnn.smc.sequence import SequenceInputs, SequenceResult, run_each


def run(
    inputs: SequenceInputs,
    noise: Tensor,
    uniforms: Tensor,
    resampling: str = "systematic",
    ancestors: Tensor | None = None,
    resampling_gradient: float = 0.0,
) -> SequenceResult:
    """Filter a batch.

    Parameters
    ----------
    noise : (B, T, K, R) standard normal draws
    uniforms : (B, T, 1) or (B, T, K) in [0, 1), see `resampling`
    resampling : systematic, multinomial or none
    ancestors : (B, T, K), use these instead of drawing them (for exact comparisons)
    resampling_gradient : γ of the module's docstring
    """
    if inputs.models is not None:
        return run_each(run, inputs, noise, uniforms, resampling, ancestors)
    batch, bins, particles, rank = noise.shape
    step = _adapted_step if inputs.proposal.adapted else _weighted_step
    log_weights = noise.new_full((batch, particles), -math.log(particles))
    latents = None
    history: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    for t in range(bins):
        if t == 0:
            mean = inputs.parameters.initial_mean.expand(batch, particles, rank)
        else:
            mean = transition_mean(
                inputs.parameters, inputs.activation, latents, inputs.filtered[:, t - 1, None]
            )
        chosen = None if ancestors is None else ancestors[:, t]
        increment, latents, log_weights, chosen = step(
            inputs, t, mean, log_weights, noise[:, t], uniforms[:, t], resampling, chosen, resampling_gradient
        )
        increment = torch.where(t < inputs.lengths, increment, torch.zeros_like(increment))
        history.append((increment, latents, log_weights, chosen))
    return SequenceResult(*(torch.stack(parts, dim=1) for parts in zip(*history, strict=True)))


def _adapted_step(inputs, t, mean, log_weights, noise, uniforms, resampling, chosen, share):
    """Optimal proposal: the weight is known before the draw, so resampling comes first."""
    weighted = log_weights + adapted_log_weight(inputs, t, mean)
    increment = torch.logsumexp(weighted, dim=1)
    if chosen is None:
        chosen = draw_ancestors(weighted.detach(), uniforms, resampling)
    latents = _draw(inputs, t, _gather(mean, chosen), noise)
    log_weights = weighted - increment[:, None]
    if resampling != "none":
        log_weights = _resampled(log_weights, chosen, share)
    return increment, latents, log_weights, chosen


def _weighted_step(inputs, t, mean, log_weights, noise, uniforms, resampling, chosen, share):
    """Bootstrap and encoder proposals: resample by the last weights, draw, then weigh."""
    if chosen is None:
        chosen = draw_ancestors(log_weights.detach(), uniforms, resampling)
    if resampling != "none":
        log_weights = _resampled(log_weights, chosen, share)
    mean = _gather(mean, chosen)
    latents = _draw(inputs, t, mean, noise)
    weighted = log_weights + _log_weight(inputs, t, mean, latents, noise)
    increment = torch.logsumexp(weighted, dim=1)
    return increment, latents, weighted - increment[:, None], chosen


def _resampled(log_weights: Tensor, chosen: Tensor, share: float) -> Tensor:
    """Log weights after resampling: all −log K, with `share` of the gradient of what was chosen by."""
    equal = torch.full_like(log_weights, -math.log(log_weights.shape[1]))
    if share == 0:
        return equal
    kept = torch.gather(log_weights, 1, chosen)
    return equal + share * (kept - kept.detach())


def _gather(mean: Tensor, chosen: Tensor) -> Tensor:
    return torch.gather(mean, 1, chosen[..., None].expand(-1, -1, mean.shape[-1]))


def _draw(inputs: SequenceInputs, t: int, mean: Tensor, noise: Tensor) -> Tensor:
    """z = A μ + g + L ε for the bin's kind."""
    proposal, kind = inputs.proposal, inputs.proposal.kind[:, t]
    moved = torch.einsum("brs,bks->bkr", proposal.gain[kind], mean)
    return moved + proposal.offset[:, t, None] + torch.einsum("brs,bks->bkr", proposal.scale[kind], noise)


def adapted_log_weight(inputs: SequenceInputs, t: int | slice, mean: Tensor) -> Tensor:
    """log w (B, K) of the optimal proposal for particles whose transition has the given mean (B, K, R).

    With a slice of bins S, (B, S, K) for means (B, S, K, R).
    """
    proposal, kind = inputs.proposal, inputs.proposal.kind[:, t]
    quadratic = torch.einsum("...kr,...rs,...ks->...k", mean, proposal.weight_quadratic[kind], mean)
    linear = torch.einsum("...kr,...r->...k", mean, proposal.weight_linear[:, t])
    return proposal.weight_constant[:, t, None] + linear - 0.5 * quadratic


def _log_weight(inputs: SequenceInputs, t: int, mean: Tensor, latents: Tensor, noise: Tensor) -> Tensor:
    proposal, kind = inputs.proposal, inputs.proposal.kind[:, t]
    whitened = torch.einsum("brs,bks->bkr", proposal.whitener[kind], latents - mean)
    ratio = 0.5 * (noise**2 - whitened**2).sum(-1) + proposal.log_ratio[kind, None]
    p = inputs.parameters
    predicted = predictor(p, inputs.activation, latents, inputs.filtered[:, t, None])
    likelihood = observations.log_likelihood(
        inputs.observed[:, t, None], predicted, inputs.observation, inputs.link, p.spread
    )
    return ratio + (likelihood * inputs.mask[:, t, None]).sum(-1)
