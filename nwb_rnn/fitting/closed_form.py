"""Ridge on inverted rates: the weights of a rate network in one linear solve.

    Θ = argmin Σ_t |d_t − Θ [r_t, u_t, 1]|² + λ |J, W|²,    d_t = (φ⁻¹(r_{t+1}) − (1 − α) φ⁻¹(r_t))/α

For relu, a step towards or from a silent bin says only that the current was at most 0; such steps are
regressed as 0 here and treated properly by `convex`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.fitting.constraints import Constraints, constrained_ridge
from nwb_rnn.fitting.rate_data import Regression


@dataclass(frozen=True, eq=False)
class Weights:
    """Rows of the recorded units: recurrent (D, N), inputs (D, U), bias (D,)."""

    recurrent: np.ndarray
    inputs: np.ndarray
    bias: np.ndarray

    @staticmethod
    def split(weights: np.ndarray, units: int) -> Weights:
        return Weights(weights[:, :units].copy(), weights[:, units:-1].copy(), weights[:, -1].copy())

    @property
    def joined(self) -> np.ndarray:
        return np.concatenate([self.recurrent, self.inputs, self.bias[:, None]], axis=1)


@dataclass(frozen=True, eq=False)
class Normal:
    """XᵀX and dᵀX of a regression, to be solved for many λ."""

    gram: np.ndarray
    cross: np.ndarray

    @staticmethod
    def of(problem: Regression) -> Normal:
        x = problem.regressors
        return Normal(x.T @ x, problem.target.T @ x)


def ridge(normal: Normal, penalty: float, units: int, constraints: Constraints) -> Weights:
    """Closed-form weights of the recorded units.

    Parameters
    ----------
    penalty : λ; the bias pays a thousandth of it, so that the system stays regular
    units : N, how many of the regressors are units
    constraints : masks and signs hold exactly
    """
    rows = slice(0, normal.cross.shape[0])
    price = np.full(len(normal.gram), penalty)
    price[-1] = 1e-3 * penalty
    return Weights.split(constrained_ridge(normal.gram, normal.cross, price, constraints, rows), units)


def residual_noise(problem: Regression, weights: Weights) -> np.ndarray:
    """(D,) standard deviation of x_{t+1} about its prediction."""
    missed = problem.target - problem.regressors @ weights.joined.T
    return problem.alpha * missed.std(axis=0)
