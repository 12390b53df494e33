"""Backpropagation through time with generalised teacher forcing, for rate networks.

Between bins the state is drawn towards the recording (Hess et al. 2023),

    x̃_t = (1 − f) x_t + f x^data_t        for the recorded units,

and the loss is the mean squared error of the rates, over windows of the trials. Weights start from a
closed-form fit. Masks and Dale's law hold in every step: weights are projected after each change. With
`rank`, J = M V, or M V + S where the entries of S pay an L1 price (proximal steps leave exact zeros). Dale's
law of M V is M ≥ 0 with every column of V of its unit's sign; S cancels masked connections, at no price.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.rate_data import RateData
from nwb_rnn.models.rate import RateParameters, currents_of


@dataclass(frozen=True)
class BackpropOptions:
    """
    Attributes
    ----------
    iterations : gradient steps
    learning_rate : of Adam; it falls to a tenth along a cosine
    window : bins of a window
    batch : windows in a step
    forcing : f at the start; it falls to `final_forcing` along the iterations
    price : of the squared distance to the weights at the start, per weight
    rank, sparse : see `RateConfig`
    seed : of the windows
    """

    iterations: int = 100
    learning_rate: float = 1e-3
    window: int = 40
    batch: int = 16
    forcing: float = 0.1
    final_forcing: float = 0.0
    price: float = 0.0
    rank: int | None = None
    sparse: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name in ("iterations", "window", "batch"):
            if int(getattr(self, name)) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1")
        if not (0 <= self.final_forcing <= 1 and 0 <= self.forcing <= 1):
            raise InputError("forcing and final_forcing are shares between 0 and 1")


class TrainableRate(torch.nn.Module):
    """The weights of a rate network as torch parameters."""

    def __init__(self, start: RateParameters, constraints: Constraints, rank: int | None, sparse: bool):
        super().__init__()
        low, high = constraints.bounds(len(start.unit_bias))
        self.register_buffer("low", torch.tensor(low))
        self.register_buffer("high", torch.tensor(high))
        self.sign = torch.tensor(constraints.sign, dtype=torch.float64)
        self.left = self.right = self.full = None
        weights = start.recurrent_weights
        if rank is None:
            self.full = torch.nn.Parameter(torch.tensor(weights))
        else:
            left, right = factors(weights, rank, constraints.sign)
            self.left = torch.nn.Parameter(torch.tensor(left))
            self.right = torch.nn.Parameter(torch.tensor(right))
            if sparse:
                self.full = torch.nn.Parameter(torch.zeros_like(torch.tensor(weights)))
        self.inputs = torch.nn.Parameter(torch.tensor(start.input_weights))
        self.bias = torch.nn.Parameter(torch.tensor(start.unit_bias))

    def recurrent(self) -> torch.Tensor:
        """J, (N, N), with masks applied."""
        parts = [] if self.left is None else [self.left @ self.right]
        parts += [] if self.full is None else [self.full]
        total = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return total if self.left is None else torch.clamp(total, self.low, self.high)

    @torch.no_grad()
    def project(self, shrink: float = 0.0) -> None:
        """Back to the allowed weights; with a low-rank part, S moves towards 0 by `shrink`."""
        if self.left is not None and self.right is not None and bool(self.sign.any()):
            self.left.clamp_(min=0)
            turned = torch.clamp(self.right * self.sign, min=0) * self.sign
            self.right.copy_(torch.where(self.sign == 0, self.right, turned))
        if self.full is None:
            return
        if self.left is None:
            torch.clamp(self.full, self.low, self.high, out=self.full)
        else:
            self.full.copy_(torch.sign(self.full) * torch.relu(self.full.abs() - shrink))


def factors(weights: np.ndarray, rank: int, sign: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M (N, R) and V (R, N) of the best M V, or under Dale's law of a good one.

    With signs, |J| is factored into numbers of at least 0 by the multiplicative steps of Lee and Seung (2001)
    from the absolute singular vectors, and V takes the signs.
    """
    u, s, v = np.linalg.svd(weights if not sign.any() else np.abs(weights))
    root = np.sqrt(s[:rank])
    left, right = u[:, :rank] * root, root[:, None] * v[:rank]
    if not sign.any():
        return left, right
    left, right, target = np.abs(left) + 1e-6, np.abs(right) + 1e-6, np.abs(weights)
    for _ in range(1000):
        right *= (left.T @ target) / (left.T @ left @ right + 1e-12)
        left *= (target @ right.T) / (left @ right @ right.T + 1e-12)
    return left, right * np.where(sign == 0, 1, sign)


def activation_of(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """φ in torch."""
    return {"tanh": torch.tanh, "relu": torch.relu, "softplus": torch.nn.functional.softplus}[name]


def roll_out(
    module: TrainableRate,
    start: torch.Tensor,
    data: torch.Tensor,
    present: torch.Tensor,
    inputs: torch.Tensor,
    alpha: float,
    phi: Callable[[torch.Tensor], torch.Tensor],
    forcing: float,
) -> torch.Tensor:
    """Currents (B, T, N) of bins 0 … T−1, each before it is drawn towards the recording.

    Parameters
    ----------
    start : (B, N)
    data : (B, T, D) recorded currents of the first D units
    present : (B, T) 1 where recorded
    """
    weights, observed = module.recurrent(), data.shape[2]
    x, states = start, [start]
    for t in range(data.shape[1] - 1):
        if t > 0 and forcing > 0:
            share = forcing * present[:, t, None]
            drawn = x[:, :observed] + share * (data[:, t] - x[:, :observed])
            x = torch.cat([drawn, x[:, observed:]], dim=1)
        push = phi(x) @ weights.T + module.bias + inputs[:, t] @ module.inputs.T
        x = x + alpha * (push - x)
        states.append(x)
    return torch.stack(states, dim=1)


def backprop(
    data: RateData,
    start: RateParameters,
    constraints: Constraints,
    options: BackpropOptions,
    states: np.ndarray,
    check: Callable[[RateParameters], float] | None = None,
    every: int = 20,
) -> tuple[RateParameters, list[dict]]:
    """Train all weights, recorded units first in the network.

    Parameters
    ----------
    states : (B, T, N) currents of all units with the recorded ones held at the recording: where windows start
    check : gives parameters a score; those with the best score are returned (the last ones without it)

    Returns
    -------
    parameters, history

    Raises
    ------
    DivergenceError : the loss left the finite numbers before any check
    """
    module = TrainableRate(start, constraints, options.rank, options.sparse > 0)
    module.project()
    rng = np.random.default_rng(options.seed)
    optimiser = torch.optim.Adam(module.parameters(), lr=options.learning_rate)
    phi, currents = activation_of(data.activation), torch.tensor(currents_of(data.rates, data.activation))
    tensors = [torch.tensor(data.rates), currents, torch.tensor(data.mask, dtype=torch.float64)]
    tensors += [torch.tensor(data.inputs), torch.tensor(states)]
    anchor = None if module.full is None else module.full.detach().clone()
    best, best_score, history, began = None, -np.inf, [], time.perf_counter()
    if check is not None and options.rank is None:
        best, best_score = _reached(module, start), check(start)
    for n in range(options.iterations):
        share = n / max(options.iterations - 1, 1)
        rate = options.learning_rate * (0.55 + 0.45 * np.cos(np.pi * share))
        optimiser.param_groups[0]["lr"] = rate
        forcing = options.forcing + share * (options.final_forcing - options.forcing)
        rates, known, present, inputs, begin = _windows(tensors, options, rng)
        made = phi(roll_out(module, begin, known, present, inputs, data.alpha, phi, forcing))
        gap = (made[:, 1:, : rates.shape[2]] - rates[:, 1:]) * present[:, 1:, None]
        loss = (gap**2).sum() / (present[:, 1:].sum() * rates.shape[2]).clamp(min=1.0)
        total = loss
        if options.price > 0 and anchor is not None:
            total = total + options.price * ((module.full - anchor) ** 2).mean()
        if not torch.isfinite(total):
            if best is not None:
                break
            raise DivergenceError(f"the loss left the finite numbers at iteration {n}: lower learning_rate")
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        module.project(rate * options.sparse)
        if n % every == every - 1 or n == options.iterations - 1:
            score = None
            if check is not None:
                now = _reached(module, start)
                score = check(now)
                if score > best_score:
                    best, best_score = now, score
            row = {"iteration": n + 1, "objective": -float(loss.detach()), "validation": score}
            history.append(row | {"learning_rate": rate, "seconds": time.perf_counter() - began})
    return (_reached(module, start) if best is None else best), history


def _windows(tensors: list[torch.Tensor], options: BackpropOptions, rng: np.random.Generator) -> list:
    """Random windows: rates, currents, mask, inputs (B, W, ...), and the states (B, N) they start from."""
    trials, bins = tensors[0].shape[:2]
    width = min(options.window, bins)
    trial = torch.as_tensor(rng.integers(0, trials, options.batch))[:, None]
    first = rng.integers(0, bins - width + 1, options.batch)
    columns = torch.as_tensor(first[:, None] + np.arange(width))
    cut = [x[trial, columns] for x in tensors]
    return [*cut[:4], cut[4][:, 0]]


@torch.no_grad()
def _reached(module: TrainableRate, start: RateParameters) -> RateParameters:
    low_rank = module.left is not None
    recurrent, sparse = module.recurrent(), None
    if module.left is not None and module.right is not None and module.full is not None:
        total = module.left @ module.right + module.full
        sparse = torch.where(recurrent == total, module.full, recurrent - module.left @ module.right)
    return replace(
        start,
        recurrent_weights=recurrent.numpy().copy(),
        input_weights=module.inputs.numpy().copy(),
        unit_bias=module.bias.numpy().copy(),
        left_vectors=module.left.numpy().copy() if low_rank else None,
        right_vectors=module.right.numpy().copy() if low_rank else None,
        sparse_weights=None if sparse is None else sparse.numpy().copy(),
    )
