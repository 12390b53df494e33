"""Training a network on a task: Adam on new trials in every step.

    L = Σ w (y − y*)² / Σ w / O + λ_r mean r² + λ_w (mean J² + mean W² + mean R²)

Trials and noise of step k come from generators seeded by (seed, k), so that a fit that goes on from its
checkpoint ends where it would have ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting import checkpoint as checkpoints
from nwb_rnn.fitting.interruption import interruptible
from nwb_rnn.models.task import Task, TaskTrials
from nwb_rnn.models.task_network import TaskConfig, TaskParameters, activate, keep_signs, run

_VALIDATION = 10**9  # no step has this number: its trials are never trained on


@dataclass(frozen=True)
class TaskTraining:
    """
    Attributes
    ----------
    iterations, batch_size : steps, and trials in each
    learning_rate : at the start; it falls to a twentieth along a cosine
    clip_norm : largest norm of the gradient
    validate_every : steps between checks (history, validation, checkpoint, callback)
    checkpoint, progress, callback : as for `LowRankRNN.fit`
    """

    iterations: int = 600
    batch_size: int = 32
    learning_rate: float = 3e-3
    clip_norm: float = 1.0
    validate_every: int = 50
    checkpoint: Path | None = None
    progress: bool = True
    callback: Callable[[dict], None] | None = None

    def __post_init__(self):
        for name in ("iterations", "batch_size", "validate_every"):
            if int(getattr(self, name)) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.learning_rate > 0 or not self.clip_norm > 0:
            raise InputError("learning_rate and clip_norm must be positive")


def objective(
    p: TaskParameters, config: TaskConfig, share: float, trials: TaskTrials, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """L and its first term, for trials; without a generator there is no noise."""
    drawn = noisy(config, trials, generator, p.unit_bias.dtype)
    x = run(p, config, share, *drawn)
    rates = activate(config.activation, x)
    outputs = rates @ p.readout_weights.T + p.readout_bias
    wanted = torch.as_tensor(trials.targets, dtype=x.dtype).transpose(0, 1)
    weight = torch.as_tensor(trials.weight, dtype=x.dtype).T[..., None]
    task = (weight * (outputs - wanted).square()).sum() / (weight.sum() * wanted.shape[2])
    squares = [w.square().mean() for w in (p.recurrent_weights, p.input_weights, p.readout_weights)]
    loss = task + config.rate_penalty * rates.square().mean() + config.weight_penalty * sum(squares)
    return loss, task


def noisy(
    config: TaskConfig, trials: TaskTrials, generator: torch.Generator | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Inputs (T, B, U) with their noise, and the noise of x (T, B, N), time first."""
    inputs = torch.as_tensor(trials.inputs, dtype=dtype).transpose(0, 1)
    if generator is None:
        return inputs, None
    inputs = inputs + config.input_noise * torch.randn(inputs.shape, generator=generator, dtype=dtype)
    shape = (*inputs.shape[:2], config.units)
    return inputs, config.noise * torch.randn(shape, generator=generator, dtype=dtype)


def train(
    p: TaskParameters, config: TaskConfig, task: Task, share: float, options: TaskTraining
) -> tuple[TaskParameters, list[dict]]:
    """The trained parameters and the history of the fit.

    Raises
    ------
    DivergenceError : the objective left the finite numbers
    """
    from tqdm import tqdm

    p = replace(p, **{n: getattr(p, n).clone().requires_grad_() for n in p.__dataclass_fields__})
    adam = torch.optim.Adam(p.tensors(), lr=options.learning_rate, fused=True)
    history: list[dict] = []
    done, seconds = 0, 0.0
    key = _fingerprint(config, task, options)
    if options.checkpoint is not None and options.checkpoint.exists():
        done, seconds, history = _resume(options.checkpoint, key, p, adam)
    started = time.perf_counter() - seconds
    held_out = task.draw(64, np.random.default_rng([config.seed, _VALIDATION]))
    bar = tqdm(total=options.iterations, initial=done, desc="training", disable=not options.progress)
    with bar, interruptible() as interruption:
        while done < options.iterations:
            rate = options.learning_rate * _fall(done / options.iterations)
            value = _step(p, config, task, share, options, adam, rate, done)
            done += 1
            bar.update()
            if done % options.validate_every == 0 or done == options.iterations:
                with torch.no_grad():
                    error = float(objective(p, config, share, held_out, None)[1])
                spent = time.perf_counter() - started
                row = {"iteration": done, "objective": value, "validation": error}
                history.append(row | {"learning_rate": rate, "seconds": spent})
                bar.set_postfix(objective=f"{value:.4g}", task=f"{error:.4g}")
                _save(options.checkpoint, key, p, adam, done, history)
                if options.callback is not None:
                    options.callback(dict(history[-1]))
            if interruption.asked:
                _save(options.checkpoint, key, p, adam, done, history)
                raise KeyboardInterrupt
    return replace(p, **{n: getattr(p, n).detach() for n in p.__dataclass_fields__}), history


def _step(p, config, task, share, options, adam, rate: float, number: int) -> float:
    trials = task.draw(options.batch_size, np.random.default_rng([config.seed, number]))
    generator = torch.Generator().manual_seed((config.seed << 32) + number)
    loss, _ = objective(p, config, share, trials, generator)
    gradients = torch.autograd.grad(loss, p.tensors())
    norm = torch.stack([g.norm() for g in gradients]).norm()
    value = float(loss.detach())
    if not math.isfinite(value + float(norm)):
        raise DivergenceError(
            f"training diverged at step {number} (the objective is {value}): try learning_rate="
            f"{options.learning_rate / 10:g}, a smaller gain, or look for extreme values in the task"
        )
    scale = min(1.0, options.clip_norm / (float(norm) + 1e-9))
    for parameter, gradient in zip(p.tensors(), gradients, strict=True):
        parameter.grad = gradient * scale
    adam.param_groups[0]["lr"] = rate
    adam.step()
    keep_signs(p.recurrent_weights, config)
    return value


def _fall(share: float) -> float:
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share))


def _fingerprint(config: TaskConfig, task: Task, options: TaskTraining) -> str:
    how = {k: v for k, v in asdict(options).items() if k not in ("checkpoint", "progress", "callback")}
    about = {"name": type(task).__name__, "configuration": getattr(task, "configuration", {})}
    return checkpoints.fingerprint({"config": asdict(config), "options": how, "task": about})


def _save(path: Path | None, key: str, p: TaskParameters, adam, done: int, history: list[dict]) -> None:
    if path is None:
        return
    tensors = {f"model.{n}": getattr(p, n) for n in p.__dataclass_fields__}
    for i, tensor in enumerate(p.tensors()):
        tensors |= {f"adam.{i}.{k}": v for k, v in adam.state.get(tensor, {}).items()}
    checkpoints.save(path, tensors, {"fingerprint": key, "done": done, "history": history})


def _resume(path: Path, key: str, p: TaskParameters, adam) -> tuple[int, float, list[dict]]:
    tensors, facts = checkpoints.load(path, key)
    with torch.no_grad():
        for name in p.__dataclass_fields__:
            getattr(p, name).copy_(tensors[f"model.{name}"])
    for i, tensor in enumerate(p.tensors()):
        own = f"adam.{i}."
        state = {k[len(own) :]: v for k, v in tensors.items() if k.startswith(own)}
        if state:
            adam.state[tensor] = state
    history = facts["history"]
    return facts["done"], history[-1]["seconds"] if history else 0.0, history
