"""Several models of one shape, filtered together: models × trials as one batch for a backend.

What comes before the time loop (proposal terms, encoder, filtered inputs) is done for all models in one
step each, by `torch.func.vmap` over what is done for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.filter import FilterOptions, backend_for, draws, prepare
from nwb_rnn.smc.sequence import ProposalTerms, SequenceInputs
from nwb_rnn.smc.trials import TrialTensors

_OF_TRIALS = ("observed", "mask", "inputs", "lengths", "patterns", "pattern")


def log_likelihoods(
    parameters: LowRankParameters,
    config: LowRankConfig,
    trials: Sequence[TrialTensors],
    options: FilterOptions,
    generators: Sequence[torch.Generator],
    encoder: Callable[..., tuple[Tensor, Tensor]] | None = None,
    encoder_state: dict[str, Tensor] | None = None,
    encoder_masks: Tensor | None = None,
) -> Tensor:
    """log p(y) of each model's trials, (M, B), differentiable, as `filter.log_likelihood` for each of them.

    Parameters
    ----------
    parameters : each with a leading axis of M
    trials : those of each model; equal shapes, but for the number of bins
    generators : of each model
    encoder, encoder_state, encoder_masks : see `prepare_many`
    """
    own = [t.observed.shape[1] for t in trials]
    longest, batch = max(own), trials[0].observed.shape[0]
    filled = [_filled(t, longest) for t in trials]
    inputs = prepare_many(parameters, config, filled, options.proposal, encoder, encoder_state, encoder_masks)
    like = parameters.initial_mean
    drawn = [draws(batch, t, like, options, g) for t, g in zip(own, generators, strict=True)]
    noise = torch.cat([pad(x, (0, 0, 0, 0, 0, longest - x.shape[1])) for x, _ in drawn])
    uniforms = torch.cat([pad(x, (0, 0, 0, longest - x.shape[1])) for _, x in drawn])
    run = backend_for(options.backend, inputs, options.resampling)
    increments = run(
        inputs, noise, uniforms, options.resampling, None, options.resampling_gradient
    ).log_increments
    ends = torch.tensor(own, device=like.device)[:, None, None]
    inside = torch.arange(longest, device=like.device) < ends
    return torch.where(inside, increments.unflatten(0, (len(trials), batch)), 0).sum(-1)


def prepare_many(
    parameters: LowRankParameters,
    config: LowRankConfig,
    trials: Sequence[TrialTensors],
    proposal: str,
    encoder: Callable[..., tuple[Tensor, Tensor]] | None = None,
    encoder_state: dict[str, Tensor] | None = None,
    encoder_masks: Tensor | None = None,
) -> SequenceInputs:
    """As `filter.prepare`, for M models.

    Parameters
    ----------
    parameters : each with a leading axis of M
    trials : those of each model, of equal shapes
    encoder : called with the state of one model, observations and mask
    encoder_state : tensors with a leading axis of M
    encoder_masks : (M, B, 1, D)
    """
    stacked = {name: torch.stack([getattr(t, name) for t in trials]) for name in _OF_TRIALS}

    def one(own, of_trials, state, encoder_mask):
        def read(observed, mask):
            return encoder(state, observed, mask)

        made = prepare(
            LowRankParameters(**own), config, TrialTensors(**of_trials), proposal, read, encoder_mask
        )
        return {name: x for name, x in vars(made.proposal).items() if isinstance(x, Tensor)}, made.filtered

    masked = None if encoder_masks is None else 0
    terms, filtered = torch.func.vmap(one, in_dims=(0, 0, 0, masked))(
        parameters.present(), stacked, encoder_state or {}, encoder_masks
    )
    first = terms["gain"].shape[1] * torch.arange(len(trials), device=filtered.device)
    terms["kind"] = terms["kind"] + first[:, None, None]
    flat = {name: x.flatten(0, 1) for name, x in terms.items()}
    return SequenceInputs(
        parameters=parameters,
        activation=config.activation,
        observation=config.observation,
        link=config.link,
        observed=stacked["observed"].flatten(0, 1),
        mask=stacked["mask"].flatten(0, 1),
        filtered=filtered.flatten(0, 1),
        lengths=stacked["lengths"].flatten(),
        proposal=ProposalTerms(adapted=proposal == "optimal", **flat),
        models=len(trials),
    )


def _filled(trials: TrialTensors, bins: int) -> TrialTensors:
    """The same trials with bins that nobody observed at the end."""
    missing = bins - trials.observed.shape[1]
    if not missing:
        return trials
    rows = {name: pad(getattr(trials, name), (0, 0, 0, missing)) for name in ("observed", "mask", "inputs")}
    return replace(trials, pattern=pad(trials.pattern, (0, missing)), **rows)
