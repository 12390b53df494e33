"""Outputs and a recorded subset of units by recursive least squares, in the manner of full-FORCE.

After the aim of Salatiello & Giese (2020, arXiv 2005.02211) with the machinery of DePasquale et al. (2018). A
teacher network says what current each unit shall get; the student runs, and every row of its weights is
learned from q_t = [r_t, u_t, 1], the rates that it has now:

    recorded unit i     Θ_i q_t = d_t,i = (x*_{t+1,i} − (1 − α) x*_{t,i})/α,    x* = φ⁻¹(recorded rates)
    other unit j        Θ_j q_t = (J_D r^D_t + W_D u_t)_j + (U y*_t)_j
    output m            R_m r_t + c_m = y*_t,m

In the teacher the recorded units are held at their recording and the others are driven by random J_D, W_D and
by the wanted outputs through U. The rows share one P, (Σ q qᵀ + I/v)⁻¹. Outputs hear no inputs: the gain of
their rows is that of the regressors without u, whose inverse Gram matrix is a Schur complement of the same P,

    P_a = P_aa − P_ab P_bb⁻¹ P_ba.

All trials run at the same time, and a bin of all of them is one update of blocks:

    P ← P − P Qᵀ (I + Q P Qᵀ)⁻¹ Q P,    Θ ← Θ − Eᵀ Q P,    E = Q Θᵀ − D

For rates that do not depend on the weights this is ridge regression with penalty 1/v, exactly. Where outputs
and recorded units are not wanted in the same bins, each have a P of their own. Under masks or Dale's law
weights are clipped after each bin, and each pass ends in the ridge, under them, of all that was seen.
Choices of ours: trials start with the recorded units at their recording and the others in a common random
state; the pass whose free run leaves least of both is kept.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.constraints import Constraints, constrained_ridge
from nwb_rnn.fitting.performance import PerformanceData, PerformanceNetwork, check_sizes, shares_left
from nwb_rnn.models.rate import currents_of, rates_of


@dataclass(frozen=True)
class RLSOptions:
    """
    Attributes
    ----------
    passes : over all trials
    start_variance : v; P starts as this times I. Clean activity bears 1 and more
    drive : U is drawn from the uniform law on ± this; the wanted outputs should be of size 1
    seed : of U and of the state that unrecorded units start from
    """

    passes: int = 20
    start_variance: float = 0.1
    drive: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if int(self.passes) < 1 or not self.start_variance > 0 or not self.drive >= 0:
            raise InputError(
                f"passes={self.passes}, start_variance={self.start_variance}, drive={self.drive}: expected "
                "at least 1, a positive number, and 0 or more"
            )


class BlockRLS:
    """Recursive least squares over blocks of rows, with one P (K, K) for all targets."""

    def __init__(self, width: int, variance: float):
        self.inverse = np.eye(width) * variance

    def see(self, regressors: np.ndarray) -> None:
        """P ← P − P Qᵀ (I + Q P Qᵀ)⁻¹ Q P for Q (B, K)."""
        turned = regressors @ self.inverse
        inner = np.eye(len(regressors)) + turned @ regressors.T
        self.inverse -= turned.T @ cho_solve(cho_factor(inner), turned)

    def gain(self, regressors: np.ndarray, without: slice | None = None) -> np.ndarray:
        """Q P, (B, K), after `see`; `without` the columns of the slice, Q_a P_a."""
        if without is None or without.start == without.stop:
            return regressors @ self.inverse
        kept = np.r_[0 : without.start, without.stop : len(self.inverse)]
        across = self.inverse[kept, without]
        found = regressors[:, kept] @ self.inverse[np.ix_(kept, kept)]
        return found - (regressors[:, kept] @ across) @ np.linalg.solve(
            self.inverse[without, without], across.T
        )


@dataclass(frozen=True, eq=False)
class Wanted:
    """What the teacher asks: currents (B, T−1, N), where they count (B, T−1), and the starts (B, N)."""

    currents: np.ndarray
    counts: np.ndarray
    start: np.ndarray


def teacher(network: PerformanceNetwork, data: PerformanceData, options: RLSOptions) -> Wanted:
    """Currents of all units; J_D and W_D are the rows of the unrecorded units in `network`.

    Raises
    ------
    DivergenceError : the teacher left the finite numbers
    """
    p, phi = network.parameters, network.activation
    rng = np.random.default_rng(options.seed)
    heard = options.drive * rng.uniform(-1, 1, (len(p.unit_bias), data.outputs.shape[2]))
    rest = 0.1 * rng.standard_normal(len(p.unit_bias))
    index, recorded = p.observed_index, currents_of(data.activity, phi)
    trials, bins = data.activity_mask.shape  # type: ignore[union-attr]
    now = np.repeat(rest[None], trials, axis=0)
    currents, states = np.empty((trials, bins - 1, len(rest))), []
    for t in range(bins - 1):
        now[:, index] = np.where(data.activity_mask[:, t, None], recorded[:, t], now[:, index])  # type: ignore[index]
        states.append(now)
        with np.errstate(over="ignore", invalid="ignore"):
            pushed = rates_of(now, phi) @ p.recurrent_weights.T + data.inputs[:, t] @ p.input_weights.T
        if not np.isfinite(pushed).all():
            raise DivergenceError("the teacher of RLS left the finite numbers: lower gain or drive")
        currents[:, t] = pushed + data.outputs[:, t] @ heard.T
        now = now + p.alpha * (currents[:, t] - now)
    currents[..., index] = (recorded[:, 1:] - (1 - p.alpha) * recorded[:, :-1]) / p.alpha
    counts = data.activity_mask[:, :-1] & data.activity_mask[:, 1:]  # type: ignore[index]
    return Wanted(currents, counts, states[0])


def fit_performance_rls(
    start: PerformanceNetwork,
    data: PerformanceData,
    options: RLSOptions | None = None,
    constraints: Constraints | None = None,
) -> PerformanceNetwork:
    """Train recurrent, input and output weights and biases by recursive least squares.

    Parameters
    ----------
    start : its unrecorded rows are the teacher's; for example `random_network(...)`
    data : with `hold_start`; outputs of about zero mean and size 1
    constraints : of J; they hold exactly

    Raises
    ------
    InputError : data and network do not have the same sizes
    DivergenceError : the teacher, or the free run after every pass, left the finite numbers
    """
    options = RLSOptions() if options is None else options
    check_sizes(start, data)
    student = _Student(start, data, options, constraints)
    best, left, history, began = None, np.inf, [], time.perf_counter()
    for number in range(options.passes):
        with np.errstate(over="ignore", invalid="ignore"):
            student.go_through()
            network = student.network(start)
            shares = shares_left(network, data)
        total = sum(shares)
        if not np.isfinite(student.theta).all():
            break
        row = {"iteration": number + 1, "objective": -total, "outputs": shares[0], "activity": shares[1]}
        history.append(row | {"seconds": time.perf_counter() - began})
        if total < left:
            best, left = network, total
    if best is None:
        raise DivergenceError(
            f"RLS left the finite numbers: lower start_variance (now {options.start_variance:g}), or raise "
            "time_constant"
        )
    return replace(best, history=tuple(history))


class _Student:
    """Weights while they are learned: Θ (N, N + U + 1) and readout (M, N + 1)."""

    def __init__(
        self,
        start: PerformanceNetwork,
        data: PerformanceData,
        options: RLSOptions,
        constraints: Constraints | None,
    ):
        p = start.parameters
        self.data, self.alpha, self.activation = data, p.alpha, start.activation
        self.wanted = teacher(start, data, options)
        units, columns = p.input_weights.shape
        width = units + columns + 1
        self.theta, self.readout = np.zeros((units, width)), np.zeros((len(start.output_bias), units + 1))
        self.variance, self.inputs = options.start_variance, slice(units, units + columns)
        self.bounded = constraints is not None and not constraints.is_free
        self.constraints = Constraints.make(units) if constraints is None else constraints
        self.low, self.high = self.constraints.bounds(width)
        self.gram, self.cross = np.zeros((width, width)), np.zeros((units, width))
        last = np.zeros((len(data.inputs), 1), dtype=bool)
        self.steps = np.concatenate([self.wanted.counts, last], axis=1)
        asked: np.ndarray = data.output_mask  # type: ignore[assignment]
        followed = asked & np.concatenate([asked[:, 1:], last], axis=1)
        self.shared = bool((followed == self.steps).all())
        self.asked = self.steps if self.shared else asked
        self.learner = BlockRLS(width, self.variance)
        self.second = None if self.shared else BlockRLS(units + 1, self.variance)

    def go_through(self) -> None:
        """All trials once, at the same time."""
        x, inputs = self.wanted.start.copy(), self.data.inputs
        ones = np.ones((len(x), 1))
        for t in range(inputs.shape[1]):
            q = np.concatenate([rates_of(x, self.activation), inputs[:, t], ones], axis=1)
            if not np.isfinite(q).all():
                self.theta[:] = np.nan
                return
            pushed = q @ self.theta.T
            self._learn(q, pushed, t)
            x += self.alpha * (pushed - x)
        if self.bounded:
            prices = np.full(len(self.gram), 1 / self.variance)
            self.theta = constrained_ridge(self.gram, self.cross, prices, self.constraints)

    def _learn(self, q: np.ndarray, pushed: np.ndarray, t: int) -> None:
        counts, asked = self.steps[:, t], self.asked[:, t]
        alone = np.delete(q, self.inputs, axis=1)
        if counts.any():
            rows, target = q[counts], self.wanted.currents[counts, t]
            self.learner.see(rows)
            self.theta -= (pushed[counts] - target).T @ self.learner.gain(rows)
            if self.bounded:
                self.gram += rows.T @ rows
                self.cross += target.T @ rows
                np.clip(self.theta, self.low, self.high, out=self.theta)
        if asked.any() and len(self.readout):
            error = alone[asked] @ self.readout.T - self.data.outputs[asked, t]
            if self.second is None:
                gain = self.learner.gain(q[asked], self.inputs)
            else:
                self.second.see(alone[asked])
                gain = self.second.gain(alone[asked])
            self.readout -= error.T @ gain

    def network(self, start: PerformanceNetwork) -> PerformanceNetwork:
        units = len(self.theta)
        state, index = self.wanted.start.mean(axis=0), start.parameters.observed_index
        known = self.data.activity_mask[:, 0]  # type: ignore[index]
        if known.any():
            state[index] = self.wanted.start[known][:, index].mean(axis=0)
        parameters = start.parameters.with_weights(
            recurrent_weights=self.theta[:, :units].copy(),
            input_weights=self.theta[:, self.inputs].copy(),
            unit_bias=self.theta[:, -1].copy(),
            initial_state=state,
        )
        return PerformanceNetwork(
            parameters, self.readout[:, :-1].copy(), self.readout[:, -1].copy(), start.activation
        )
