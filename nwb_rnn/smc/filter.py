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
from nwb_rnn.smc.sequence import SequenceInputs, SequenceResult
from nwb_rnn.smc.trials import TrialTensors

BACKENDS = ("auto", "reference", "cpu", "cuda")

_logger = logging.getLogger("nwb_rnn")
_said: set[str] = set()


@dataclass(frozen=True)
class FilterOptions:
    """How to filter: `particles` K, `proposal` and `backend` by name, `resampling` scheme."""

    particles: int
    proposal: str
    backend: str = "auto"
    resampling: str = "systematic"

    def __post_init__(self):
        if self.particles < 1:
            raise InputError(f"particles={self.particles} must be at least 1")
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
    auto or cpu the terms of the proposal come from compiled code where it can be used.
    """
    batch, bins, _ = trials.observed.shape
    source = _compiled_terms(parameters) if backend in ("auto", "cpu") else proposals
    if proposal == "bootstrap":
        terms = proposals.bootstrap(parameters, batch, bins)
    elif proposal == "optimal":
        terms = source.optimal(parameters, trials.observed, trials.patterns, trials.pattern)
    else:
        mask = trials.mask if encoder_mask is None else trials.mask * encoder_mask
        terms = source.encoder(parameters, *encoder(trials.observed, mask))
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


def _compiled_terms(parameters: LowRankParameters):
    """The module of compiled proposal terms, or `proposals` where that cannot be used."""
    like = parameters.initial_mean
    known = like.device.type == "cpu" and like.dtype in (torch.float32, torch.float64)
    if not known or importlib.util.find_spec("numba") is None:
        return proposals
    from nwb_rnn.smc.backends import cpu_terms

    return cpu_terms


def run_filter(inputs: SequenceInputs, options: FilterOptions, generator: torch.Generator) -> SequenceResult:
    """Draw the random numbers and run the chosen backend."""
    batch, bins, _ = inputs.observed.shape
    like = inputs.parameters.initial_mean
    rank, particles = like.shape[0], options.particles
    draws = {"generator": generator, "device": generator.device, "dtype": like.dtype}
    noise = torch.randn(batch, bins, particles, rank, **draws).to(like.device)
    width = uniforms_per_trial(options.resampling, particles)
    uniforms = torch.rand(batch, bins, width, **draws).to(like.device)
    run = backend_for(options.backend, inputs, options.resampling)
    return run(inputs, noise, uniforms, options.resampling)


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
