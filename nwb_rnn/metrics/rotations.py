"""Rotations in population activity: jPCA (Churchland et al. 2012, Nature 487) with a shuffle control.

Averages over trials, less their mean over conditions, are projected on K principal components, x. Two
linear systems are fitted to them, ẋ = M x with any M, and with a skew-symmetric one, M = −Mᵀ, which can
only rotate. The second has a closed form: with A = Σ x xᵀ and B = Σ x ẋᵀ, the transpose S = Mᵀ solves

    A S + S A = B − Bᵀ

The ratio of the two R² says how much of the linear dynamics is rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_sylvester

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.components import principal_components
from nwb_rnn.metrics.conditions import complete


@dataclass(frozen=True, eq=False)
class Rotations:
    """
    Attributes
    ----------
    matrix : (K, K) skew-symmetric M, 1/s
    r2, r2_any : share of the variance of ẋ explained by the skew-symmetric and by any matrix
    frequency : (K // 2,) Hz of each plane, fastest first
    planes : (K // 2, K, 2) orthonormal axes of the planes among the principal components
    projections : (C, T, 2) activity in the fastest plane
    plane_share : share of the variance, after the mean over conditions, in the fastest plane
    shuffled : (S,) r2 / r2_any after shuffling; empty without a control
    """

    matrix: np.ndarray
    r2: float
    r2_any: float
    frequency: np.ndarray
    planes: np.ndarray
    projections: np.ndarray
    plane_share: float
    shuffled: np.ndarray

    @property
    def ratio(self) -> float:
        """r2 / r2_any: 1 where the linear dynamics only rotate."""
        return self.r2 / self.r2_any if self.r2_any > 0 else float("nan")

    @property
    def p_value(self) -> float:
        """Share of shuffles whose ratio is as high, counting the data themselves; NaN without a control."""
        if not len(self.shuffled):
            return float("nan")
        return float((1 + (self.shuffled >= self.ratio).sum()) / (1 + len(self.shuffled)))


def jpca(
    rates: np.ndarray, bin_size: float, components: int = 6, shuffles: int = 0, seed: int = 0
) -> Rotations:
    """Fit rotations to averages over trials.

    The control gives the conditions of each unit a new order, drawn for each unit: every unit keeps its
    responses, and what units do together is lost (one of the controls of Churchland et al. 2012). Smooth
    responses keep a high ratio even so: read the ratio beside its control, never alone.

    Parameters
    ----------
    rates : (condition, time, unit), as a rule from `soft_normalised`
    bin_size : s
    components : K, even; 6 as published
    shuffles : S repetitions of the control
    seed : of the shuffles

    Raises
    ------
    InputError : an odd number of components, fewer than two conditions, or fewer than three bins
    """
    rates = complete(rates)
    if components < 2 or components % 2:
        raise InputError(f"components={components}; jPCA needs an even number, at least 2")
    if rates.shape[0] < 2 or rates.shape[1] < 3:
        raise InputError(f"rates have shape {rates.shape}; jPCA needs two conditions and three bins at least")
    found = principal_components(rates, components, centre="conditions")
    matrix, r2, r2_any = fit_rotation(found.scores, bin_size)
    frequency, planes = rotation_planes(matrix, bin_size)
    rng = np.random.default_rng(seed)
    shuffled = [_ratio(_shuffled(rates, rng), bin_size, components) for _ in range(shuffles)]
    projections = found.scores @ planes[0]
    share = np.square(projections).sum() / np.square(found.scores).sum() * found.share[:components].sum()
    return Rotations(
        matrix, r2, r2_any, frequency, planes, projections, float(share), np.array(shuffled, dtype=float)
    )


def fit_rotation(states: np.ndarray, bin_size: float) -> tuple[np.ndarray, float, float]:
    """Skew-symmetric M (K, K), 1/s, its R², and the R² of the best matrix without that demand.

    ẋ is the difference between neighbouring bins and x their mean, which leaves a rotation exactly skew.

    Parameters
    ----------
    states : (C, T, K)
    bin_size : s
    """
    size = states.shape[2]
    change = (np.diff(states, axis=1) / bin_size).reshape(-1, size)
    place = ((states[:, 1:] + states[:, :-1]) / 2).reshape(-1, size)
    moment, cross = place.T @ place, place.T @ change
    turn = solve_sylvester(moment, moment, cross - cross.T)
    free = np.linalg.lstsq(place, change, rcond=None)[0]
    total = np.square(change).sum()
    if not total > 0:
        raise InputError("these states never change, so no dynamics can be fitted to them")
    r2 = [float(1 - np.square(change - place @ m).sum() / total) for m in (turn, free)]
    return turn.T, r2[0], r2[1]


def rotation_planes(matrix: np.ndarray, bin_size: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies (K // 2,), Hz, and orthonormal planes (K // 2, K, 2) of a matrix from `fit_rotation`.

    Activity turns from the first axis of a plane towards the second. Turning by δ in a bin of width Δ has
    ẋ = (2/Δ) tan(δ/2) J x at the mean of its ends, so the frequency is δ / (2πΔ) with δ = 2 atan(ωΔ/2).
    """
    values, vectors = np.linalg.eigh(1j * matrix)  # Hermitian: i M v = ω v, so M v = −i ω v
    order = np.argsort(-values)[: len(matrix) // 2]
    planes = np.stack([np.column_stack([v.real, v.imag]) * np.sqrt(2) for v in vectors[:, order].T])
    return np.arctan(values[order] * bin_size / 2) / (np.pi * bin_size), planes


def _ratio(rates: np.ndarray, bin_size: float, components: int) -> float:
    _, r2, r2_any = fit_rotation(principal_components(rates, components, "conditions").scores, bin_size)
    return r2 / r2_any


def _shuffled(rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The conditions of each unit in an order of its own."""
    order = rng.permuted(np.tile(np.arange(rates.shape[0]), (rates.shape[2], 1)), axis=1)
    return np.take_along_axis(rates, order.T[:, None, :], axis=0)
