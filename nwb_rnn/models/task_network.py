"""A network of rate units driven by a task, with its gradient written out.

    x_t = (1 − α) x_{t−1} + α (J r_{t−1} + W u_t + b) + σ ξ_t,    r_t = φ(x_t),    α = Δ / τ
    y_t = R r_t + c

φ is tanh, relu or softplus. `run` keeps x of every step; backwards, with G_t the derivative by x_t and g_t
the part of it that comes from outside,

    G_t = g_t + (1 − α) G_{t+1} + φ'(x_t) (α G_{t+1} J)        ∂/∂J = α Σ_t G_tᵀ r_{t−1}

so that all weight gradients are one matrix product over time and trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.errors import InputError

ACTIVATIONS = ("tanh", "relu", "softplus")
_SIGNS = 0x51675  # of the generator that draws signs, so that it is not that of the trials


@dataclass(frozen=True)
class TaskConfig:
    """
    Attributes
    ----------
    units : N
    activation : tanh, relu or softplus
    time_constant : τ, s
    input_noise : standard deviation of noise on the inputs, in each bin
    noise : σ, standard deviation of noise on x, in each bin
    rate_penalty : times the mean of r² over units, bins and trials
    weight_penalty : times the mean of the squares of J, W and R
    gain : spectral radius of J at the start
    dale : every unit excites or inhibits all others, throughout training; which, is drawn
    excitatory : share of excitatory units with `dale`
    zero_diagonal : no connection from a unit to itself
    seed : of weights, trials and noise
    """

    units: int = 100
    activation: str = "tanh"
    time_constant: float = 0.1
    input_noise: float = 0.02
    noise: float = 0.02
    rate_penalty: float = 1e-3
    weight_penalty: float = 1e-3
    gain: float = 1.1
    dale: bool = False
    excitatory: float = 0.8
    zero_diagonal: bool = False
    seed: int = 0

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation={self.activation!r} is not one of {', '.join(ACTIVATIONS)}")
        if int(self.units) < 1 or not self.time_constant > 0:
            raise InputError(f"units={self.units}, time_constant={self.time_constant}: both must be positive")
        for name in ("input_noise", "noise", "rate_penalty", "weight_penalty", "gain"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}={getattr(self, name)}; expected zero or more")
        if not 0 < self.excitatory < 1:
            raise InputError(f"excitatory={self.excitatory!r} is a share of units between 0 and 1")

    @property
    def unit_sign(self) -> np.ndarray | None:
        """(N,) int8, 1 excitatory and −1 inhibitory; None without Dale's law."""
        if not self.dale:
            return None
        drawn = np.random.default_rng([self.seed, _SIGNS]).permutation(self.units)
        return np.where(drawn < round(self.excitatory * self.units), 1, -1).astype(np.int8)


@dataclass(frozen=True)
class TaskParameters:
    """J (N, N), W (N, U), b (N,), R (O, N), c (O,) and x before the first step (1, N)."""

    recurrent_weights: Tensor
    input_weights: Tensor
    unit_bias: Tensor
    readout_weights: Tensor
    readout_bias: Tensor
    initial_state: Tensor

    def tensors(self) -> list[Tensor]:
        return [getattr(self, name) for name in self.__dataclass_fields__]


def activate(name: str, x: Tensor) -> Tensor:
    """r = φ(x)."""
    return {"tanh": torch.tanh, "relu": torch.relu, "softplus": torch.nn.functional.softplus}[name](x)


def slope(name: str, x: Tensor, rates: Tensor) -> Tensor:
    """φ'(x), where φ(x) is known."""
    if name == "tanh":
        return 1 - rates.square()
    return (x > 0).to(x) if name == "relu" else torch.sigmoid(x)


def start_parameters(config: TaskConfig, inputs: int, outputs: int) -> TaskParameters:
    """Random J of spectral radius `gain`, W with variance 1/U, a small readout, and no bias."""
    generator = torch.Generator().manual_seed(config.seed)
    n = config.units
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return TaskParameters(
        _recurrent(config, draw(n, n)),
        draw(n, inputs) / max(inputs, 1) ** 0.5,
        torch.zeros(n),
        0.1 / n**0.5 * draw(outputs, n),
        torch.zeros(outputs),
        torch.zeros(1, n),
    )


@torch.no_grad()
def keep_signs(weights: Tensor, config: TaskConfig) -> None:
    """J moved in place to the nearest that keeps Dale's law and the zero diagonal of the configuration."""
    sign = config.unit_sign
    if sign is not None:
        way = torch.as_tensor(sign, dtype=weights.dtype)
        weights.copy_(torch.clamp(weights * way, min=0) * way)
    if config.zero_diagonal:
        weights.fill_diagonal_(0)


def _recurrent(config: TaskConfig, drawn: Tensor) -> Tensor:
    """J of spectral radius about `gain`; exactly that under Dale's law, where inhibition balances."""
    if not (config.dale or config.zero_diagonal):
        return config.gain / config.units**0.5 * drawn
    weights = drawn.clone()
    sign = config.unit_sign
    if sign is not None:
        excites, inhibits = int((sign > 0).sum()), int((sign < 0).sum())
        strength = np.where(sign > 0, 1.0, -excites / max(inhibits, 1))
        weights = weights.abs() * torch.as_tensor(strength, dtype=drawn.dtype)
    keep_signs(weights, config)
    radius = torch.linalg.eigvals(weights.double()).abs().max()
    return weights * float(config.gain / radius) if radius > 0 else weights


def run(p: TaskParameters, config: TaskConfig, share: float, inputs: Tensor, noise: Tensor | None) -> Tensor:
    """x (T, B, N) for inputs (T, B, U) and noise (T, B, N) as it is added; share is α."""
    drive = inputs @ p.input_weights.T + p.unit_bias
    start = p.initial_state.expand(inputs.shape[1], -1)
    found: Any = _Run.apply(p.recurrent_weights, drive, start, noise, share, config.activation)
    return found


class _Run(torch.autograd.Function):
    """The time loop and its gradient; see the module."""

    @staticmethod
    def forward(ctx, weights, drive, start, noise, share, activation):
        steps = share * drive if noise is None else share * drive + noise
        turned = share * weights.T
        path = torch.empty_like(drive)
        rates = torch.empty_like(drive)
        x, r = start, activate(activation, start)
        first = r
        for t in range(len(drive)):
            x = torch.addmm(steps[t] + (1 - share) * x, r, turned)
            r = activate(activation, x)
            path[t], rates[t] = x, r
        ctx.save_for_backward(weights, path, rates, start, first)
        ctx.share, ctx.activation = share, activation
        return path

    @staticmethod
    def backward(ctx, *gradients):  # type: ignore[override]
        weights, path, rates, start, first = ctx.saved_tensors
        share = ctx.share
        slopes = share * slope(ctx.activation, path, rates)
        total = gradients[0].clone()
        for t in range(len(path) - 1, 0, -1):
            after = total[t]
            total[t - 1].add_(after, alpha=1 - share).addcmul_(after @ weights, slopes[t - 1])
        before = torch.cat([first[None], rates[:-1]]).flatten(0, 1)
        recurrent = share * total.flatten(0, 1).T @ before
        begin = (1 - share) * total[0] + share * slope(ctx.activation, start, first) * (total[0] @ weights)
        return recurrent, share * total, begin, None, None, None
