"""Regressions from a few features to counts or signals: ridge, and Poisson with an exponential link.

Both standardise the features first and choose the penalty on trials that the weights did not see:

    ridge    min Σ ‖y − W x − d‖² / S + α ‖W‖²
    Poisson  min Σ (exp(w·x + d) − y (w·x + d)) / S + α/2 ‖w‖²       for each column of y
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import xlogy

from nwb_rnn.errors import InputError

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_HIGHEST = 20.0  # of a log rate while the weights are still being sought


@dataclass(frozen=True, eq=False)
class Readout:
    """
    Attributes
    ----------
    weights : (F, D) of standardised features
    bias : (D,)
    centre, spread : (F,) mean and standard deviation of the features
    penalty : α that was chosen
    counts : True for Poisson
    """

    weights: np.ndarray
    bias: np.ndarray
    centre: np.ndarray
    spread: np.ndarray
    penalty: float
    counts: bool

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(..., D) expected values for features (..., F)."""
        linear = (features - self.centre) / self.spread @ self.weights + self.bias
        return np.exp(np.minimum(linear, _HIGHEST)) if self.counts else linear


def fit_readout(
    features: np.ndarray,
    values: np.ndarray,
    groups: np.ndarray,
    counts: bool,
    penalties: tuple[float, ...] = PENALTIES,
    inner: int = 4,
) -> Readout:
    """Fit a regression, its penalty chosen by cross-validation over groups.

    Parameters
    ----------
    features : (S, F) and values (S, D), both finite
    groups : (S,) number of the trial of each sample; the trials are dealt into `inner` folds in turn
    counts : Poisson for True, ridge for False
    penalties : candidates α > 0; with one of them nothing is chosen
    inner : folds; with fewer trials than that, one fold for each trial

    Raises
    ------
    InputError : no samples, values that are missing, or negative counts
    """
    features, values = np.asarray(features, dtype=float), np.asarray(values, dtype=float)
    if features.ndim != 2 or values.ndim != 2 or len(features) != len(values) or not len(values):
        raise InputError(
            f"features {features.shape} and values {values.shape}; expected (samples, features), (samples, "
            "columns) with at least one sample"
        )
    if not (np.isfinite(features).all() and np.isfinite(values).all()):
        raise InputError("features or values hold NaN; leave those samples out")
    if counts and (values < 0).any():
        raise InputError("counts are negative; use counts=False for signals")
    _, number = np.unique(groups, return_inverse=True)
    folds = min(inner, int(number.max()) + 1)
    chosen = penalties[0]
    if len(penalties) > 1 and folds > 1:
        losses = np.zeros(len(penalties))
        for fold in range(folds):
            kept, held = number % folds != fold, number % folds == fold
            for index, readout in enumerate(_path(features[kept], values[kept], counts, penalties)):
                losses[index] += _loss(readout.predict(features[held]), values[held], counts)
        chosen = penalties[int(losses.argmin())]
    return _path(features, values, counts, (chosen,))[0]


def _path(features, values, counts: bool, penalties) -> list[Readout]:
    """One readout for each penalty."""
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    design = (features - centre) / spread
    solve = _poisson if counts else _ridge
    return [
        Readout(weights, bias, centre, spread, float(penalty), counts)
        for penalty, (weights, bias) in zip(penalties, solve(design, values, penalties), strict=True)
    ]


def _ridge(design: np.ndarray, values: np.ndarray, penalties) -> list[tuple[np.ndarray, np.ndarray]]:
    bias = values.mean(axis=0)
    left, size, right = np.linalg.svd(design, full_matrices=False)
    held = size > 1e-12 * size[0]
    left, size, right = left[:, held], size[held], right[held]
    target = left.T @ (values - bias)
    count = len(design)
    return [(right.T @ ((size / (size**2 + a * count))[:, None] * target), bias) for a in penalties]


def _poisson(design: np.ndarray, values: np.ndarray, penalties) -> list[tuple[np.ndarray, np.ndarray]]:
    """From the strongest penalty to the weakest, each from the solution before it."""
    samples, features = design.shape
    with_one = np.column_stack([design, np.ones(samples)])
    shape = (features + 1, values.shape[1])
    mean = np.maximum(values.mean(axis=0), 0.5 / samples)  # a silent unit keeps a finite log rate

    def loss(flat, penalty):
        weights = flat.reshape(shape)
        linear = np.minimum(with_one @ weights, _HIGHEST)
        rate = np.exp(linear)
        value = (rate - values * linear).sum() / samples + penalty / 2 * np.square(weights[:-1]).sum()
        gradient = with_one.T @ (rate - values) / samples
        gradient[:-1] += penalty * weights[:-1]
        return value, gradient.ravel()

    theta = np.zeros(shape)
    theta[-1] = np.log(mean)
    limits = {"maxiter": 500, "ftol": 1e-12, "gtol": 1e-7}
    found = {}
    for penalty in sorted(penalties, reverse=True):
        best = minimize(loss, theta.ravel(), (penalty,), jac=True, method="L-BFGS-B", options=limits)
        theta = best.x.reshape(shape)
        found[penalty] = (theta[:-1], np.where(values.any(axis=0), theta[-1], np.log(mean)))
    return [found[penalty] for penalty in penalties]


def _loss(predicted: np.ndarray, values: np.ndarray, counts: bool) -> float:
    if counts:
        return float((predicted - xlogy(values, np.maximum(predicted, 1e-9))).sum())
    return float(np.square(predicted - values).sum())
