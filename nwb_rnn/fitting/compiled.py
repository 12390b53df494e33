"""The gradient of a training step from compiled code, for models that the CPU backend filters in one step.

These are Gaussian models with an affine readout under the optimal proposal. The way from what an optimiser
moves to natural parameters and back is that of `trainable.TrainableLowRank.natural`, in arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.fitting.options import TrainingOptions
from nwb_rnn.fitting.trainable import TrainableLowRank
from nwb_rnn.smc.backends import cpu
from nwb_rnn.smc.backends.cpu_steps import allocating_loop
from nwb_rnn.smc.backends.cpu_training import Natural, TrainingPass
from nwb_rnn.smc.resampling import uniforms_per_trial
from nwb_rnn.smc.trials import TrialTensors

_RAW = ("decay_logit", "transition_raw", "initial_raw", "log_observation_noise")


class _Raw(NamedTuple):
    """Parameters other than natural ones, or their gradients: logit (1,), factors (R, R), log noise (D,)."""

    logit: np.ndarray
    transition: np.ndarray
    initial: np.ndarray
    log_noise: np.ndarray


class CompiledGradient:
    """Arrays and kernels for one module; its parameters and gradients stay where they are in memory.

    Parameters
    ----------
    gradients : for each parameter of the module by name, where its gradient is written
    """

    def __init__(self, module: TrainableLowRank, options: TrainingOptions, gradients: dict[str, Tensor]):
        self._config, self._options = module.config, options
        parameters = {name: value.detach() for name, value in module.named_parameters()}
        self._raw, self._on_raw = _raw(parameters), _raw(gradients)
        self._natural, self._on_natural = _natural(parameters), _natural(gradients)
        self._pass: TrainingPass | None = None
        self._trials: TrialTensors | None = None

    @classmethod
    def of(
        cls, module: TrainableLowRank, options: TrainingOptions, gradients: dict[str, Tensor]
    ) -> CompiledGradient | None:
        """None where the CPU backend has no kernel for the module."""
        like = module.left_vectors
        known = cpu.supports_network(like, module.config.activation, options.resampling) is None
        return cls(module, options, gradients) if known else None

    def __call__(self, trials: TrialTensors, generator: torch.Generator) -> float:
        """Mean log p(y) per observed bin; the gradient of minus that is written."""
        _to_natural(self._raw, self._natural)
        if trials is not self._trials:
            self._take(trials)
        noise, uniforms = self._draws
        torch.randn(noise.shape, generator=generator, out=noise)
        torch.rand(uniforms.shape, generator=generator, out=uniforms)
        value = self._pass(-1 / self._bins, self._on_natural)
        diagonal = self._config.noise == "diagonal"
        _from_natural(self._natural, self._on_natural, diagonal, self._on_raw)
        return value / self._bins

    def _take(self, trials: TrialTensors) -> None:
        options, before, self._trials = self._options, self._trials, trials
        self._bins = int((trials.mask.amax(-1) > 0).sum())
        if before is not None and _shapes(before) == _shapes(trials):
            self._pass.take(trials)
            return
        batch, bins, _ = trials.observed.shape
        rank, like = self._config.rank, trials.observed
        width = uniforms_per_trial(options.resampling, options.particles)
        self._draws = like.new_empty(batch, bins, options.particles, rank), like.new_empty(batch, bins, width)
        self._pass = TrainingPass(
            self._config,
            self._natural,
            trials,
            self._draws,
            options.resampling,
            options.resampling_gradient,
        )


def _shapes(trials: TrialTensors) -> tuple[torch.Size, ...]:
    return trials.observed.shape, trials.inputs.shape, trials.patterns.shape


def _raw(tensors: dict[str, Tensor]) -> _Raw:
    logit, *others = (tensors[name].numpy() for name in _RAW)
    return _Raw(logit.reshape(1), *others)


def _natural(tensors: dict[str, Tensor]) -> Natural:
    """Arrays in the memory of `tensors` where a parameter is a natural one, and room for the others."""
    made = {
        "decay": tensors["decay_logit"].reshape(1),
        "transition_cholesky": tensors["transition_raw"],
        "initial_cholesky": tensors["initial_raw"],
        "observation_noise": tensors["log_observation_noise"],
    }
    made = {name: torch.zeros_like(value) for name, value in made.items()}
    found = {name: made[name] if name in made else tensors[name] for name in Natural._fields}
    return Natural(**{name: value.numpy() for name, value in found.items()})


@allocating_loop
def _to_natural(raw, natural):
    natural.decay[0] = 1 / (1 + np.exp(-raw.logit[0]))
    natural.observation_noise[:] = np.exp(raw.log_noise)
    _factor(raw.transition, natural.transition_cholesky)
    _factor(raw.initial, natural.initial_cholesky)


@allocating_loop
def _factor(raw, factor):
    for r in range(raw.shape[0]):
        factor[r, :r] = raw[r, :r]
        factor[r, r] = np.exp(raw[r, r])


@allocating_loop
def _from_natural(natural, on, diagonal, on_raw):
    """Adjoint of `_to_natural`; with `diagonal` only the diagonal of the transition factor gets one."""
    decay = natural.decay[0]
    on_raw.logit[0] = on.decay[0] * decay * (1 - decay)
    on_raw.log_noise[:] = on.observation_noise * natural.observation_noise
    _pull_factor(natural.transition_cholesky, on.transition_cholesky, diagonal, on_raw.transition)
    _pull_factor(natural.initial_cholesky, on.initial_cholesky, False, on_raw.initial)


@allocating_loop
def _pull_factor(factor, on_factor, diagonal, on_raw):
    for r in range(factor.shape[0]):
        if not diagonal:
            on_raw[r, :r] = on_factor[r, :r]
        on_raw[r, r] = on_factor[r, r] * factor[r, r]
