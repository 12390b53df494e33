"""What a backend gets and returns: one pass of the particle filter over whole trials.

Axes are named (B trial, T bin, K particle, R latent, N unit, D observed unit, U input, J proposal kind).
The readable backend in `backends/reference.py` defines the mathematics; every other backend must return
the same values and gradients for the same `noise` and `uniforms`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters

_TABLES = ("gain", "scale", "weight_quadratic", "whitener", "log_ratio")


@dataclass(frozen=True)
class ProposalTerms:
    """The proposal r(z_t | z_{t−1}, y) = N(A μ + g_t, L Lᵀ), where μ is the mean of the transition.

    Matrices that repeat are stored once in tables of J kinds; `kind` (B, T) says which one a bin uses
    (bin 0 has kinds of its own, made with the initial covariance).

    Attributes
    ----------
    kind : (B, T) int64
    gain : (J, R, R), A
    offset : (B, T, R), g_t
    scale : (J, R, R), L, any square root of the proposal covariance
    adapted : True where the weight depends on μ alone (optimal proposal); resampling then comes before
        the draw, and log w = weight_constant + μᵀ weight_linear − ½ μᵀ weight_quadratic μ
    weight_constant, weight_linear, weight_quadratic : (B, T), (B, T, R), (J, R, R); None unless adapted
    whitener : (J, R, R), inverse Cholesky factor of the transition (initial) covariance; None if adapted
    log_ratio : (J,), log det L − log det Cholesky(Q); None if adapted. With z = A μ + g + L ε,
        log w = log p(y | z) − ½ |whitener (z − μ)|² + ½ |ε|² + log_ratio
    ordered : True where every bin has a kind of its own, and `kind` counts them up
    """

    kind: Tensor
    gain: Tensor
    offset: Tensor
    scale: Tensor
    adapted: bool
    weight_constant: Tensor | None = None
    weight_linear: Tensor | None = None
    weight_quadratic: Tensor | None = None
    whitener: Tensor | None = None
    log_ratio: Tensor | None = None
    ordered: bool = False


@dataclass(frozen=True)
class SequenceInputs:
    """One batch of trials, ready for a backend.

    Attributes
    ----------
    parameters : natural parameters of the model
    activation, observation, link : names, see `models`
    observed : (B, T, D), 0 where not observed
    mask : (B, T, D) or (B, T, 1), 1 where observed, else 0
    filtered : (B, T, U), filtered inputs v_t; U may be 0
    lengths : (B,) int64, bins of each trial up to the last observed one; later bins add nothing
    proposal : see above
    models : M, or None for a single model. With M models every parameter has a leading axis of M, model m has
        the trials from m · B / M on, and the proposal's tables hold the kinds of one model after the other
    """

    parameters: LowRankParameters
    activation: str
    observation: str
    link: str
    observed: Tensor
    mask: Tensor
    filtered: Tensor
    lengths: Tensor
    proposal: ProposalTerms
    models: int | None = None

    def of_model(self, m: int) -> SequenceInputs:
        """The inputs of one of M models."""
        each = self.observed.shape[0] // self.models
        trials = slice(m * each, (m + 1) * each)
        kinds = self.proposal.gain.shape[0] // self.models
        tables = slice(m * kinds, (m + 1) * kinds)
        proposal = {
            name: None if value is None else value[tables if name in _TABLES else trials]
            for name, value in vars(self.proposal).items()
            if name not in ("adapted", "ordered")
        }
        proposal["kind"] = proposal["kind"] - m * kinds
        own = {name: getattr(self, name)[trials] for name in ("observed", "mask", "filtered", "lengths")}
        parameters = self.parameters.map(lambda x: x[m])
        return replace(
            self, parameters=parameters, proposal=replace(self.proposal, **proposal), models=None, **own
        )

    def of_trials(self, parameter: Tensor) -> Tensor:
        """A parameter (…) or (M, …), to go with tensors (B, T, …)."""
        if self.models is None:
            return parameter
        each = self.observed.shape[0] // self.models
        return parameter[:, None].expand(-1, each, *parameter.shape[1:]).flatten(0, 1)[:, None]


@dataclass(frozen=True)
class SequenceResult:
    """
    Attributes
    ----------
    log_increments : (B, T), log of the mean weight of each bin; their sum estimates log p(y), differentiable
    latents : (B, T, K, R), particles after bin t
    log_weights : (B, T, K), normalised log weights that go with `latents`
    ancestors : (B, T, K) int64, index at t − 1 of the particle that each one came from
    """

    log_increments: Tensor
    latents: Tensor
    log_weights: Tensor
    ancestors: Tensor


def run_each(
    run: Callable[..., SequenceResult],
    inputs: SequenceInputs,
    noise: Tensor,
    uniforms: Tensor,
    resampling: str,
    ancestors: Tensor | None,
) -> SequenceResult:
    """M models by a backend's `run`, one after the other."""
    parts = [noise.chunk(inputs.models), uniforms.chunk(inputs.models)]
    given = [None] * inputs.models if ancestors is None else ancestors.chunk(inputs.models)
    found = [
        run(inputs.of_model(m), n, u, resampling, a)
        for m, (n, u, a) in enumerate(zip(*parts, given, strict=True))
    ]
    return SequenceResult(
        *(torch.cat(parts) for parts in zip(*(vars(x).values() for x in found), strict=True))
    )
