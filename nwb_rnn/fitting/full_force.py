"""full-FORCE: a driven teacher network says what units of a student should feel (DePasquale et al. 2018).

    teacher   τ dx/dt = −x + J_D φ(x) + U f(t) + W u(t)          f: targets, u: inputs and hints
    student   τ dx/dt = −x + J φ(x) + W u(t),   z = w φ(x)
    wanted    J φ(x) = J_D φ(x_teacher) + U f(t)   and   w φ(x) = f(t)

Recurrent weights J and readout w are learned together by recursive least squares with one P, while the
student runs. With `push` further currents are asked of some units in place of the teacher's (the way a
recorded subset is matched in `performance`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import DivergenceError
from nwb_rnn.models.rate import rates_of


@dataclass(frozen=True, eq=False)
class Student:
    """J (N, N), readout w (D, N), input weights W (N, U), and the state x (N,) that trials start from."""

    recurrent: np.ndarray
    readout: np.ndarray
    inputs: np.ndarray
    start: np.ndarray


def full_force(
    targets: np.ndarray,
    inputs: np.ndarray,
    units: int,
    alpha: float,
    trials: int = 10,
    activation: str = "tanh",
    gain: float = 1.5,
    drive: float = 1.0,
    start_variance: float = 100.0,
    settle: int = 200,
    seed: int = 0,
    each_trial: Callable[[int, float], None] | None = None,
) -> Student:
    """Train a student network.

    Parameters
    ----------
    targets : (B, T, D) what the readout shall be
    inputs : (B, T, U) inputs and hints, heard by teacher and student
    units : N
    alpha : Δ/τ
    trials : how often all B trials are gone through
    gain : g of J_D, of a teacher without a drive
    drive : U and W are drawn from the uniform law on ± this
    start_variance : P starts as this times I
    settle : bins before each trial in which teacher and student both run as a teacher, with the first target
    each_trial : called with the number of the pass and the normalised error of the readout,
        Σ (z − f)²/Σ f², while it learns

    Raises
    ------
    DivergenceError : the weights left the finite numbers
    """
    rng = np.random.default_rng(seed)
    outputs, columns = targets.shape[2], inputs.shape[2]
    driven = gain / np.sqrt(units) * rng.standard_normal((units, units))
    heard = drive * rng.uniform(-1, 1, (units, outputs))
    weights_in = drive * rng.uniform(-1, 1, (units, columns))
    rest = 0.1 * rng.standard_normal(units)
    wanted = _teacher_currents(driven, heard, weights_in, targets, inputs, alpha, activation, rest, settle)
    learner = SharedRLS(units, start_variance)
    theta = np.zeros((units + outputs, units))
    for n in range(trials):
        missed = 0.0
        for b in range(len(targets)):
            x = wanted.start[b].copy()
            for t in range(targets.shape[1]):
                r = rates_of(x, activation)
                made = theta @ r
                error = made - np.concatenate([wanted.currents[b, t], targets[b, t]])
                missed += float(error[units:] @ error[units:])
                learner.update(theta, r, error)
                x += alpha * (theta[:units] @ r + weights_in @ inputs[b, t] - x)
        if not np.isfinite(missed):
            raise DivergenceError("full-FORCE left the finite numbers: lower start_variance or gain")
        if each_trial is not None:
            each_trial(n, missed / float(np.sum(targets**2)))
    return Student(theta[:units].copy(), theta[units:].copy(), weights_in, wanted.start.mean(axis=0))


@dataclass(frozen=True, eq=False)
class _Wanted:
    currents: np.ndarray
    start: np.ndarray


def _teacher_currents(driven, heard, weights_in, targets, inputs, alpha, activation, rest, settle) -> _Wanted:
    """What the recurrence of the student has to make, (B, T, N), and the states at the start (B, N)."""
    trials, bins = targets.shape[:2]
    x = np.repeat(rest[None], trials, axis=0)
    currents = np.empty((trials, bins, len(rest)))
    start = np.empty((trials, len(rest)))
    for t in range(-settle, bins):
        at = max(t, 0)
        if t == 0:
            start[:] = x
        recurrent = rates_of(x, activation) @ driven.T + targets[:, at] @ heard.T
        if t >= 0:
            currents[:, t] = recurrent
        x = x + alpha * (recurrent + inputs[:, at] @ weights_in.T - x)
    return _Wanted(currents, start)


class SharedRLS:
    """Recursive least squares whose P (N, N) all rows share."""

    def __init__(self, units: int, variance: float):
        self.inverse = np.eye(units) * variance

    def update(self, theta: np.ndarray, rates: np.ndarray, error: np.ndarray) -> None:
        """P ← P − c k kᵀ, Θ ← Θ − c e kᵀ in place; `error` (rows,), `rates` (N,)."""
        k = self.inverse @ rates
        c = 1.0 / (1.0 + rates @ k)
        self.inverse -= np.outer(c * k, k)
        theta -= np.outer(c * error, k)
