"""Run the particle filter on trials: proposal terms, random draws, and the choice of a backend."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from nwb_rnn.errors import InputError
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, filtered_inputs
from nwb_rnn.smc import proposals
from nwb_rnn.smc.backends import reference
from nwb_rnn.smc.resampling import RESAMPLINGS, uniforms_per_trial
from nwb_rnn.smc.sequence import ProposalTerms, SequenceInputs, SequenceResult
from nwb_rnn.smc.trials import TrialTensors

BACKENDS = ("auto", "reference", "cpu", "cuda")

_logger = logging.getLogger("nwb_rnn")
_said: set[str] = set()


@dataclass(frozen=True)
class FilterOptions:
    """How to filter: `particles` K, `proposal` and `backend` by name, `resampling` scheme.

    `resampling_gradient` γ in [0, 1] says how much of the gradient through resampling is kept, see
    `backends.reference`.
    """

    particles: int
    proposal: str
    backend: str = "auto"
    resampling: str = "systematic"
    resampling_gradient: float = 0.0

    def __post_init__(self):
        if self.particles < 1:
            raise InputError(f"particles={self.particles} must be at least 1")
        if not 0 <= self.resampling_gradient <= 1:
            raise InputError(f"resampling_gradient={self.resampling_gradient} must lie in [0, 1]")
        for name, allowed in (("backend", BACKENDS), ("resampling", RESAMPLINGS)):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is not known; choose from {', '.join(allowed)}"
                )


def prepare(
    parameters: LowRankParameters,
    config: LowRankConfig,
    trials: TrialTensors,
    proposal: str,
    encoder: ConvEncoder | None = None,
    encoder_mask: Tensor | None = None,
    backend: str = "reference",
) -> SequenceInputs:
    """Everything that can be computed before the time loop.

    `encoder_mask` (B, 1, D) hides further units from the encoder only (1 where visible). With `backend`
    auto, cpu or cuda the terms of the proposal come from compiled code where it can be used.
    """
    batch, bins, _ = trials.observed.shape
    source = _terms(parameters, backend)
    if proposal == "bootstrap":
        terms = proposals.bootstrap(parameters, batch, bins)
    elif proposal == "optimal":
        terms = source.optimal(parameters, trials.observed, trials.patterns, trials.pattern)
    else:
        mask = trials.mask if encoder_mask is None else trials.mask * encoder_mask
        terms = source.encoder(parameters, *encoder(trials.observed, mask))
    return _inputs(parameters, config, trials, terms)


def _inputs(
    parameters: LowRankParameters, config: LowRankConfig, trials: TrialTensors, terms: ProposalTerms
) -> SequenceInputs:
    return SequenceInputs(
        parameters=parameters,
        activation=config.activation,
        observation=config.observation,
        link=config.link,
        observed=trials.observed,
        mask=trials.mask,
        filtered=filtered_inputs(trials.inputs, parameters.decay, config.filter_inputs),
        lengths=trials.lengths,
        proposal=terms,
    )


def _terms(parameters: LowRankParameters, backend: str):
    """The module whose `optimal` and `encoder` make the terms of the proposal."""
    found = triton_terms(parameters, backend)
    if found is not None:
        return found
    return _compiled_terms(parameters) if backend in ("auto", "cpu") else proposals


def triton_terms(parameters: LowRankParameters, backend: str):
    """The module of proposal terms in Triton, or None where the backend or the model has no use for it."""
    like = parameters.initial_mean
    wanted = backend == "cuda" or (backend == "auto" and like.device.type == "cuda")
    if not wanted or importlib.util.find_spec("triton") is None:
        return None
    from nwb_rnn.smc.backends import cuda

    if cuda.supports_tensors(like) is not None:
        return None
    from nwb_rnn.smc.backends import cuda_terms

    return cuda_terms


def _compiled_terms(parameters: LowRankParameters):
    """The module of compiled proposal terms, or `proposals` where that cannot be used."""
    like = parameters.initial_mean
    known = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    if not known or importlib.util.find_spec("numba") is None:
        return proposals
    from nwb_rnn.smc.backends import cpu_terms

    return cpu_terms


def log_likelihood(
    parameters: LowRankParameters,
    config: LowRankConfig,
    trials: TrialTensors,
    options: FilterOptions,
    generator: torch.Generator,
    encoder: ConvEncoder | None = None,
    encoder_mask: Tensor | None = None,
) -> Tensor:
    """log p(y) of each trial by the filter, (B,), differentiable; arguments as for `prepare`."""
    if options.proposal == "optimal" and options.backend in ("auto", "cpu"):
        found = _optimal_in_one(parameters, config, trials, options, generator)
        if found is not None:
            return found
    inputs = prepare(parameters, config, trials, options.proposal, encoder, encoder_mask, options.backend)
    return run_filter(inputs, options, generator).log_increments.sum(1)


def _optimal_in_one(parameters, config, trials, options, generator) -> Tensor | None:
    """`log_likelihood` as one compiled step; None where there is none for this model."""
    source = _compiled_terms(parameters)
    if source is proposals:
        return None
    from nwb_rnn.smc.backends import cpu

    terms = source.optimal_terms(parameters, trials.observed, trials.patterns, trials.pattern)
    inputs = _inputs(parameters, config, trials, terms.named(terms.found))
    if cpu.supports(inputs, options.resampling) is not None:
        return None
    return cpu.log_likelihood(
        inputs,
        terms,
        *_draws(inputs, options, generator),
        options.resampling,
        options.resampling_gradient,
    )


def run_filter(inputs: SequenceInputs, options: FilterOptions, generator: torch.Generator) -> SequenceResult:
    """Draw the random numbers and run the chosen backend."""
    noise, uniforms = _draws(inputs, options, generator)
    run = backend_for(options.backend, inputs, options.resampling)
    return run(inputs, noise, uniforms, options.resampling, None, options.resampling_gradient)


def _draws(
    inputs: SequenceInputs, options: FilterOptions, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    like = inputs.parameters.initial_mean
    return draws(inputs.observed.shape[0], inputs.observed.shape[1], like, options, generator)


def draws(
    batch: int, bins: int, like: Tensor, options: FilterOptions, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Noise (B, T, K, R) and uniforms (B, T, 1 or K), for a model whose initial mean is `like` (…, R)."""
    how = {"generator": generator, "device": generator.device, "dtype": like.dtype}
    noise = torch.randn(batch, bins, options.particles, like.shape[-1], **how).to(like.device)
    width = uniforms_per_trial(options.resampling, options.particles)
    return noise, torch.rand(batch, bins, width, **how).to(like.device)


def backend_for(name: str, inputs: SequenceInputs, resampling: str) -> Callable[..., SequenceResult]:
    """The `run` of the named backend, or the reference, said once, where it cannot do this model."""
    on_gpu = inputs.parameters.initial_mean.device.type == "cuda"
    if name == "auto":
        name = "cuda" if on_gpu else "cpu"
        needed = "triton" if on_gpu else "numba"
        if importlib.util.find_spec(needed) is None:
            _say(f"{needed} is not installed: fitting runs on the slower reference backend")
            return reference.run
    if name == "reference":
        return reference.run
    if name == "cuda":
        from nwb_rnn.smc.backends import cuda as backend
    else:
        from nwb_rnn.smc.backends import cpu as backend
    reason = backend.supports(inputs, resampling)
    if reason is None:
        return backend.run
    _say(f"the {name} backend cannot run this model ({reason}): using the slower reference backend")
    return reference.run


def _say(message: str) -> None:
    if message not in _said:
        _said.add(message)
        _logger.warning(message)
