"""Recursive least squares while the network runs: FORCE (Sussillo & Abbott 2009; CURBD, Perich et al. 2020).

In every bin, with q = [r, u, 1], the rates that the network has now,

    e = r − target,   k = P q,   c = 1/(1 + qᵀk),   P ← P − c k kᵀ,   Θ ← Θ − c e kᵀ

The change of a bin is applied while the next bin reads the same numbers, so that each matrix passes through
the processor once for a bin.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from nwb_rnn.errors import DivergenceError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.rate_data import RateData, Regression
from nwb_rnn.models.rate import currents_of
from nwb_rnn.numba_cache import pipeline

KINDS = {"tanh": 0, "relu": 1, "softplus": 2}


def rls_frozen(regressors: np.ndarray, target: np.ndarray, penalty: float) -> np.ndarray:
    """RLS over given regressors (S, K) and targets (S, D), from Θ = 0 and P = I/λ: (D, K).

    Rates that do not depend on Θ make this the ridge regression with penalty λ, exactly.
    """
    kernel = _compiled()[1]
    theta = np.zeros((target.shape[1], regressors.shape[1]))
    inverse = np.eye(regressors.shape[1]) / penalty
    kernel(theta, inverse, np.ascontiguousarray(regressors), np.ascontiguousarray(target))
    return theta


def rls_frozen_problem(problem: Regression, penalty: float) -> np.ndarray:
    """The same for the regression of `closed_form`."""
    return rls_frozen(problem.regressors, problem.target, penalty)


def rls(
    data: RateData,
    weights: np.ndarray,
    constraints: Constraints,
    passes: int = 30,
    start_variance: float = 1.0,
    substeps: int = 1,
    noise: float = 0.0,
    seed: int = 0,
    each_pass: Callable[[int, float], None] | None = None,
) -> np.ndarray:
    """Train the rows of the recorded units while the network runs through the trials.

    Parameters
    ----------
    weights : (N, N + U + 1) where training starts; rows after the first D stay as they are
    passes : over all trials
    start_variance : P starts as this times I
    substeps : Euler steps in a bin; rates are compared at the end of it
    noise : standard deviation of what is added to x in a bin
    each_pass : called with the number of the pass and its mean squared error

    Returns
    -------
    (N, N + U + 1) weights; masks and signs hold exactly

    Raises
    ------
    DivergenceError : the weights left the finite numbers
    """
    kernel = _compiled()[0]
    rng = np.random.default_rng(seed)
    units, observed = weights.shape[0], data.rates.shape[2]
    theta = np.array(weights, dtype=np.float64, order="C")
    inverse = np.eye(theta.shape[1]) * start_variance
    low, high = constraints.bounds(theta.shape[1])
    bounded = not constraints.is_free
    start = currents_of(data.rates, data.activation)
    for number in range(passes):
        error = seen = 0.0
        for b in range(data.rates.shape[0]):
            state = np.zeros(units)
            state[:observed] = start[b, int(np.argmax(data.mask[b]))]
            pushes = noise * rng.standard_normal((data.rates.shape[1], units)) if noise else _NOTHING
            error += kernel(
                theta,
                inverse,
                state,
                data.rates[b],
                data.mask[b],
                data.inputs[b],
                pushes,
                data.alpha / substeps,
                substeps,
                KINDS[data.activation],
            )
            seen += data.mask[b].sum()
            if bounded:
                np.clip(theta, low, high, out=theta)
        if not np.isfinite(error):
            raise DivergenceError(
                f"RLS left the finite numbers in pass {number + 1}: lower start_variance (now "
                f"{start_variance:g}) or raise time_constant"
            )
        if each_pass is not None:
            each_pass(number, error / max(seen * observed, 1.0))
    return theta


_NOTHING = np.zeros((0, 0))


@functools.cache
def _compiled():
    """Both kernels, compiled when first asked for and kept on disk."""
    from numba import njit

    # sums may be taken in any order, so that they go in whole vectors
    fast = {"reassoc", "contract", "nsz", "arcp"}
    make = njit(cache=True, nogil=True, fastmath=fast, pipeline_class=pipeline())
    project = make(_project)
    push = make(_push)
    finish = make(_finish)

    @njit(cache=False, nogil=True, pipeline_class=pipeline())
    def running(theta, inverse, x, targets, mask, inputs, noise, step, substeps, kind):
        units, width = theta.shape
        observed, columns = targets.shape[1], inputs.shape[1]
        q, k, y = np.zeros(width), np.zeros(width), np.zeros(width)
        e, total = np.zeros(units), np.zeros(units)
        c, missed = 0.0, 0.0
        q[width - 1] = 1.0
        for t in range(targets.shape[0]):
            q[units : units + columns] = inputs[t - 1] if t > 0 else inputs[0]
            if t > 0:
                for s in range(substeps):
                    push(theta, q, k, e, c if s == 0 else 0.0, observed, total)
                    for i in range(units):
                        x[i] += step * (total[i] - x[i])
                        q[i] = _rate(x[i], kind)
                if noise.shape[0]:
                    for i in range(units):
                        x[i] += noise[t, i]
                        q[i] = _rate(x[i], kind)
            else:
                for i in range(units):
                    q[i] = _rate(x[i], kind)
            applied = t > 0
            if not mask[t]:
                if applied:
                    finish(inverse, k, c)
                c = 0.0
                continue
            c_before = c
            project(inverse, q, k, c_before, y)
            norm = 0.0
            for i in range(width):
                norm += q[i] * y[i]
                k[i] = y[i]
            c = 1.0 / (1.0 + norm)
            for i in range(observed):
                e[i] = q[i] - targets[t, i]
                missed += e[i] * e[i]
        for i in range(observed):
            for j in range(width):
                theta[i, j] -= c * e[i] * k[j]
        finish(inverse, k, c)
        return missed

    @njit(cache=False, nogil=True, pipeline_class=pipeline())
    def frozen(theta, inverse, regressors, target):
        width = theta.shape[1]
        k, y = np.zeros(width), np.zeros(width)
        e, total = np.zeros(theta.shape[0]), np.zeros(theta.shape[0])
        c = 0.0
        for t in range(regressors.shape[0]):
            q = regressors[t]
            push(theta, q, k, e, c, theta.shape[0], total)
            project(inverse, q, k, c, y)
            norm = 0.0
            for i in range(width):
                norm += q[i] * y[i]
                k[i] = y[i]
            c = 1.0 / (1.0 + norm)
            for i in range(theta.shape[0]):
                e[i] = total[i] - target[t, i]
        for i in range(theta.shape[0]):
            for j in range(width):
                theta[i, j] -= c * e[i] * k[j]
        finish(inverse, k, c)

    _rate = make(_rate_of)
    return running, frozen


def _rate_of(x, kind):
    if kind == 0:
        return np.tanh(x)
    if kind == 1:
        return max(x, 0.0)
    return np.log1p(np.exp(-abs(x))) + max(x, 0.0)


def _push(theta, q, k, e, c, observed, total):
    """total = Θ q, after Θ −= c e kᵀ in the rows of observed units."""
    width = theta.shape[1]
    for i in range(theta.shape[0]):
        row, s = theta[i], 0.0
        if c != 0.0 and i < observed:
            ce = c * e[i]
            for j in range(width):
                v = row[j] - ce * k[j]
                row[j] = v
                s += v * q[j]
        else:
            for j in range(width):
                s += row[j] * q[j]
        total[i] = s


def _project(inverse, q, k, c, y):
    """y = P q, after P −= c k kᵀ, in one pass; half of a symmetric P is less work, but not in vectors."""
    width = len(q)
    for i in range(width):
        ck, s = c * k[i], 0.0
        for j in range(width):
            v = inverse[i, j] - ck * k[j]
            inverse[i, j] = v
            s += v * q[j]
        y[i] = s


def _finish(inverse, k, c):
    """P −= c k kᵀ."""
    for i in range(len(k)):
        ck = c * k[i]
        for j in range(len(k)):
            inverse[i, j] -= ck * k[j]
