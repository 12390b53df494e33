"""Convex one-step fit with reweighting and constraints (after CORNN, Dinç et al. 2023).

The rate that a step predicts is φ(c_t) with c_t = (1 − α) x_t + α Θ [r_t, u_t, 1]. With the matching loss
F(c) − r c, F' = φ, the fit is convex in Θ; its Newton steps with the curvature taken out by weights,

    E_t = (r_{t+1} − φ(c_t)) / φ'(x_{t+1}),   |E| > limit dropped,
    Θ ← argmin Σ |Θ' x_t − (Θ x_t + E_t/α)|² + λ ‖Θ'‖²   in the boxes of `constraints`,

need one inverse for all units and iterations. A silent relu (r = 0) pulls only while c > 0.
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.fitting.closed_form import Normal, Weights, ridge
from nwb_rnn.fitting.constraints import Constraints, admm, constrained_ridge
from nwb_rnn.fitting.rate_data import Regression
from nwb_rnn.models.rate import rates_of, slopes_of

FLOOR = 1e-3


def convex(
    problem: Regression,
    penalty: float,
    units: int,
    constraints: Constraints,
    iterations: int = 30,
    limit: float = 1.0,
) -> Weights:
    """Weights of the recorded units.

    Parameters
    ----------
    penalty : λ
    limit : errors E larger than this are outliers and pull at nothing
    iterations : reweightings; each is one constrained least-squares problem with the same matrix
    """
    normal = Normal.of(problem)
    rows = slice(0, normal.cross.shape[0])
    price = np.full(len(normal.gram), penalty)
    price[-1] = 1e-3 * penalty
    system = normal.gram + np.diag(price)
    inverse = np.linalg.inv(system)
    low, high = constraints.bounds(len(system), rows)
    theta = ridge(normal, penalty, units, constraints).joined
    best, least = theta, np.inf
    slope = np.maximum(slopes_of(problem.after, problem.activation), FLOOR)
    if problem.activation == "relu":
        slope = np.ones_like(slope)
    for _ in range(iterations):
        error = _errors(problem, theta, slope)
        size = float(np.mean(np.minimum(np.abs(error), limit) ** 2))
        if size < least:
            best, least = theta, size
        error[np.abs(error) > limit] = 0.0
        cross = theta @ normal.gram + (error.T @ problem.regressors) / problem.alpha
        if constraints.is_free:
            after = cross @ inverse
        elif constraints.sign.any():
            after = admm(system, cross, low, high, 30, theta)
        else:
            after = constrained_ridge(normal.gram, cross, price, constraints, rows)
        if np.abs(after - theta).max() < 1e-7 * (1.0 + np.abs(theta).max()):
            best = after
            break
        theta = after
    return Weights.split(np.clip(best, low, high), units)


def _errors(problem: Regression, theta: np.ndarray, slope: np.ndarray) -> np.ndarray:
    a = problem.alpha
    current = (1 - a) * problem.before + a * (problem.regressors @ theta.T)
    return (problem.after_rates - rates_of(current, problem.activation)) / slope
