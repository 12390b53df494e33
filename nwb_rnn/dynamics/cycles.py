"""Cycles: states that come back after k steps.

In a piecewise-linear network a cycle that visits the regions Ω_1 … Ω_k solves the affine equation

    (I − A_k ⋯ A_1) z_1 = Σ_t A_k ⋯ A_{t+1} b_t

of those regions' maps z → A_t z + b_t. As in Eisenmann, Monfared, Göring & Durstewitz (NeurIPS 2023,
"Bifurcations and loss jumps in RNN training"), sequences are drawn, solved, and replaced by the sequence
of regions that the solution visits, until it agrees with what was assumed: then the cycle is exact. For
other maps the same solver as for fixed points runs on the k-step map F∘…∘F.

This is a search: cycles that no drawn sequence leads to are missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.dynamics.fixed_points import sorted_eigenvalues
from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.dynamics.newton import as_map, minimise
from nwb_rnn.errors import InputError

CLOSED = 1e-18
ROUNDS = 40


@dataclass(frozen=True, eq=False)
class Cycle:
    """k states that follow each other for ever.

    Attributes
    ----------
    states : (k, R) in the order of time
    residual : ½‖F(z_k) − z_1‖² + … over all k steps
    multipliers : (R,) complex eigenvalues of dF^k/dz at the first state, largest modulus first
    bin_size : Δ, s
    """

    states: np.ndarray
    residual: float
    multipliers: np.ndarray
    bin_size: float = 1.0

    @property
    def period(self) -> int:
        """k, in steps."""
        return len(self.states)

    @property
    def stable(self) -> bool:
        """Whether every small push away from the cycle dies out."""
        return bool((np.abs(self.multipliers) < 1.0).all())

    @property
    def frequency(self) -> float:
        """1/(k Δ), Hz."""
        return 1.0 / (self.period * self.bin_size)

    @property
    def name(self) -> str:
        """Such as "period-2 attractor" or "unstable period-5 cycle"."""
        return f"period-{self.period} attractor" if self.stable else f"unstable period-{self.period} cycle"

    def distance(self, z: np.ndarray) -> np.ndarray:
        """Distance of states (..., R) from the nearest state of the cycle."""
        return np.linalg.norm(np.asarray(z)[..., None, :] - self.states, axis=-1).min(axis=-1)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.frequency:.4g} Hz, largest multiplier {np.abs(self.multipliers).max():.4f}, "
            f"q {self.residual:.1e}"
        )


@dataclass(frozen=True, eq=False)
class IteratedMap:
    """F∘…∘F, k times; its fixed points are the cycles of length k and of k's divisors."""

    mapping: object
    length: int

    def step(self, z: np.ndarray) -> np.ndarray:
        """F^k(z), (B, R) -> (B, R)."""
        for _ in range(self.length):
            z = self.mapping.step(z)
        return z

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """dF^k/dz by the chain rule, (B, R) -> (B, R, R)."""
        total = np.broadcast_to(np.eye(z.shape[1]), (len(z), z.shape[1], z.shape[1]))
        for _ in range(self.length):
            total = np.matmul(self.mapping.jacobian(z), total)
            z = self.mapping.step(z)
        return total


def find_cycles(
    step,
    max_period: int,
    starts: np.ndarray | None = None,
    *,
    min_period: int = 2,
    sequences: int = 400,
    merge_distance: float = 1e-6,
    seed: int = 0,
) -> tuple[Cycle, ...]:
    """Cycles of `min_period` to `max_period` steps, shortest first; fixed points are not among them.

    Parameters
    ----------
    step : as for `find_fixed_points`
    max_period : longest cycle sought, steps
    starts : (S, R) states from which orbits are run; a LowRankMap draws its own when None
    sequences : how many region sequences (or starts) are tried per period
    merge_distance : cycles nearer than this (times 1 + their size) are one
    seed : of the draws

    Raises
    ------
    InputError : no starts for a map that cannot draw its own, or max_period < 1.
    """
    mapping = as_map(step)
    if max_period < 1:
        raise InputError(f"max_period is {max_period}; expected at least 1 step.")
    rng = np.random.default_rng(seed)
    orbits = _orbits(mapping, starts, max_period, sequences, rng)
    known: list[Cycle] = []
    for period in range(1, max_period + 1):
        if isinstance(mapping, LowRankMap) and mapping.is_piecewise_linear:
            candidates = _by_regions(mapping, _draw(orbits, period, sequences, rng))
        else:
            begin = orbits[-1][rng.integers(orbits.shape[1], size=min(sequences, orbits.shape[1]))]
            candidates = _by_iteration(mapping, begin, period)
        for states in candidates:
            size = merge_distance * (1.0 + np.abs(states).max())
            if not any(period % c.period == 0 and (c.distance(states) <= size).all() for c in known):
                known.append(describe_cycle(mapping, states))
    return tuple(cycle for cycle in known if cycle.period >= min_period)


def _orbits(mapping, starts, max_period, count, rng) -> np.ndarray:
    """(T, S, R) orbits after a transient, one extra period long."""
    if starts is None and not isinstance(mapping, LowRankMap):
        raise InputError("Pass starts (S, R): states from which to run the map.")
    if starts is None:
        scale = 1.0 + np.abs(mapping.right_vectors).sum(axis=1)
        starts = rng.standard_normal((min(count, 200), mapping.rank)) * scale
    z = np.asarray(starts, dtype=np.float64)
    result = [z]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(100 + 2 * max_period):
            after = mapping.step(result[-1])
            lost = ~(np.abs(after) < 1e8).all(axis=1)
            after[lost] = z[lost]
            result.append(after)
    return np.array(result)


def _draw(orbits: np.ndarray, period: int, count: int, rng) -> np.ndarray:
    """(S, k, R) sequences: half of them stretches of orbits, half independent visited states."""
    length, width, rank = orbits.shape
    half = count // 2
    time = rng.integers(length - period + 1, size=half)[:, None] + np.arange(period)
    stretches = orbits[time, rng.integers(width, size=half)[:, None]]
    flat = orbits.reshape(-1, rank)
    return np.concatenate([stretches, flat[rng.integers(len(flat), size=(count - half, period))]])


def _by_regions(network: LowRankMap, states: np.ndarray) -> list[np.ndarray]:
    """Cycles through the regions that (S, k, R) `states` lie in, then through those of the solutions, …"""
    found = []
    for _ in range(ROUNDS):
        if len(states) == 0:
            break
        matrices = network.jacobian(states)
        offsets = network.step(states) - np.einsum("skij,skj->ski", matrices, states)
        states = _solve_sequences(matrices, offsets)
        gap = np.roll(states, -1, axis=1) - network.step(states)
        scale = np.square(1.0 + np.abs(states).max(axis=(1, 2)))
        closed = 0.5 * np.square(gap).sum(axis=(1, 2)) < CLOSED * scale
        found += list(states[closed])
        states = states[~closed]
    return found


def _solve_sequences(matrices: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """States (S', k, R) with z_{t+1} = A_t z_t + b_t all the way round, where I − A_k ⋯ A_1 is regular."""
    count, period, rank, _ = matrices.shape
    product = np.broadcast_to(np.eye(rank), (count, rank, rank))
    shift = np.zeros((count, rank))
    for t in range(period):
        product = np.matmul(matrices[:, t], product)
        shift = np.einsum("sij,sj->si", matrices[:, t], shift) + offsets[:, t]
    gap = np.eye(rank) - product
    regular = np.isfinite(gap).all(axis=(1, 2))
    regular[regular] = np.linalg.cond(gap[regular]) < 1e12
    states = np.empty((int(regular.sum()), period, rank))
    if len(states):
        states[:, 0] = np.linalg.solve(gap[regular], shift[regular][:, :, None])[:, :, 0]
    for t in range(period - 1):
        step = np.einsum("sij,sj->si", matrices[regular, t], states[:, t])
        states[:, t + 1] = step + offsets[regular, t]
    return states


def _by_iteration(mapping, starts: np.ndarray, period: int) -> list[np.ndarray]:
    """Cycles from Levenberg–Marquardt on the k-step map."""
    ends = minimise(IteratedMap(mapping, period), starts)
    found = []
    for z in ends.location[ends.residual < CLOSED]:
        states = [z]
        for _ in range(period - 1):
            states.append(mapping.step(states[-1][None])[0])
        found.append(np.array(states))
    return found


def describe_cycle(mapping, states: np.ndarray) -> Cycle:
    """Residual, multipliers and frequency of one cycle (k, R)."""
    gap = np.roll(states, -1, axis=0) - mapping.step(states)
    total = np.eye(states.shape[1])
    for matrix in mapping.jacobian(states):
        total = matrix @ total
    multipliers = sorted_eigenvalues(total[None])[0][0]
    bin_size = getattr(mapping, "bin_size", 1.0)
    return Cycle(states, float(0.5 * np.square(gap).sum()), multipliers, bin_size)
