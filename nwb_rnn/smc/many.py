"""Several models of one shape, filtered together: models × trials as one batch for a backend.

What comes before the time loop (proposal terms, encoder, filtered inputs) is done for all models in one
step each: in Triton where that knows how, else by `torch.func.vmap` over what is done for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, filtered_inputs
from nwb_rnn.smc.filter import FilterOptions, backend_for, prepare, triton_terms
from nwb_rnn.smc.sequence import ProposalTerms, SequenceInputs
from nwb_rnn.smc.trials import TrialTensors

Encoder = Callable[..., tuple[Tensor, Tensor]]
_OF_TRIALS = ("observed", "mask", "inputs", "lengths", "patterns", "pattern")


def stacked(trials: Sequence[TrialTensors]) -> TrialTensors:
    """Trials of M models, of equal shapes, with a leading axis of M."""
    return TrialTensors(**{name: torch.stack([getattr(t, name) for t in trials]) for name in _OF_TRIALS})


def log_likelihoods(
    parameters: LowRankParameters,
    config: LowRankConfig,
    trials: TrialTensors,
    options: FilterOptions,
    noise: Tensor,
    uniforms: Tensor,
    encoder: Encoder | None = None,
    encoder_state: dict[str, Tensor] | None = None,
    encoder_masks: Tensor | None = None,
) -> Tensor:
    """log p(y) of each model's trials, (M, B), differentiable, as `filter.log_likelihood` for each of them.

    Parameters
    ----------
    parameters, trials : with a leading axis of M
    noise, uniforms : as from `filter.draws`, with a leading axis of M
    encoder, encoder_state, encoder_masks : see `prepare_many`
    """
    inputs = prepare_many(
        parameters, config, trials, options.proposal, encoder, encoder_state, encoder_masks, options.backend
    )
    run = backend_for(options.backend, inputs, options.resampling)
    drawn = noise.flatten(0, 1), uniforms.flatten(0, 1)
    increments = run(inputs, *drawn, options.resampling, None, options.resampling_gradient).log_increments
    return increments.sum(-1).unflatten(0, noise.shape[:2])


def prepare_many(
    parameters: LowRankParameters,
    config: LowRankConfig,
    trials: TrialTensors,
    proposal: str,
    encoder: Encoder | None = None,
    encoder_state: dict[str, Tensor] | None = None,
    encoder_masks: Tensor | None = None,
    backend: str = "reference",
) -> SequenceInputs:
    """As `filter.prepare`, for M models.

    Parameters
    ----------
    parameters, trials : with a leading axis of M
    encoder : called with the state of one model, observations and mask
    encoder_state : tensors with a leading axis of M
    encoder_masks : (M, B, 1, D)
    """
    models, state = trials.observed.shape[0], encoder_state or {}
    source = triton_terms(parameters, backend)
    if source is None or proposal == "bootstrap":
        terms, filtered = _by_vmap(parameters, config, trials, proposal, encoder, state, encoder_masks)
    else:
        filtered = _filtered(parameters, config, trials)
        if proposal == "optimal":
            observed, pattern = trials.observed.flatten(0, 1), trials.pattern.flatten(0, 1)
            terms = source.optimal(parameters, observed, trials.patterns, pattern, models)
        else:
            mask = trials.mask if encoder_masks is None else trials.mask * encoder_masks
            read = _read(encoder, state, trials.observed, mask)
            terms = source.encoder(parameters, *(x.flatten(0, 1) for x in read), models)
    return SequenceInputs(
        parameters=parameters,
        activation=config.activation,
        observation=config.observation,
        link=config.link,
        observed=trials.observed.flatten(0, 1),
        mask=trials.mask.flatten(0, 1),
        filtered=filtered.flatten(0, 1),
        lengths=trials.lengths.flatten(),
        proposal=terms,
        models=models,
    )


def _read(encoder: Encoder, state: dict[str, Tensor], observed: Tensor, mask: Tensor):
    """What each model's encoder says; one alone is faster without vmap."""
    if observed.shape[0] > 1:
        return torch.func.vmap(encoder)(state, observed, mask)
    found = encoder({name: x[0] for name, x in state.items()}, observed[0], mask[0])
    return tuple(x[None] for x in found)


def _filtered(parameters: LowRankParameters, config: LowRankConfig, trials: TrialTensors) -> Tensor:
    if not config.filter_inputs or not trials.inputs.shape[-1]:
        return trials.inputs
    return torch.func.vmap(lambda u, decay: filtered_inputs(u, decay, True))(trials.inputs, parameters.decay)


def _by_vmap(parameters, config, trials, proposal, encoder, state, encoder_masks):
    """Proposal terms and filtered inputs from `filter.prepare`."""

    def one(own, of_trials, state, encoder_mask):
        def read(observed, mask):
            return encoder(state, observed, mask)

        made = prepare(
            LowRankParameters(**own), config, TrialTensors(**of_trials), proposal, read, encoder_mask
        )
        return {name: x for name, x in vars(made.proposal).items() if isinstance(x, Tensor)}, made.filtered

    masked = None if encoder_masks is None else 0
    terms, filtered = torch.func.vmap(one, in_dims=(0, 0, 0, masked))(
        parameters.present(), vars(trials), state, encoder_masks
    )
    first = terms["gain"].shape[1] * torch.arange(len(filtered), device=filtered.device)
    terms["kind"] = terms["kind"] + first[:, None, None]
    flat = {name: x.flatten(0, 1) for name, x in terms.items()}
    return ProposalTerms(adapted=proposal == "optimal", **flat), filtered
