"""Poisson regression of many units on the same few features."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from nwb_rnn.fitting.count_law import CountLaw
from nwb_rnn.fitting.count_sums import regression

_PENALTY = 1e-4
_OVERFLOW = 1e100  # worth of a step of the search so long that a rate overflows


def poisson_regression(x: np.ndarray, y: np.ndarray, seen: np.ndarray, link: str):
    """Weights (D, R) and biases (D,) of y ~ Poisson(g(W x + d)), penalised so silent units stay finite."""
    features, units = x.shape[1], y.shape[1]
    law = CountLaw("poisson", link)
    mean = np.maximum((y * seen).sum(0) / np.maximum(seen.sum(0), 1), 1e-4)
    centre = np.column_stack([np.zeros((units, features)), law.predictor(mean)])
    sums = regression(y, seen, np.column_stack([x, np.ones(len(x))])[None])
    total = max(seen.sum(), 1.0)

    def loss(flat):
        theta = flat.reshape(centre.shape)
        value, slope, _ = sums.derivatives(law, theta)
        if not np.isfinite(value.sum()):
            return _OVERFLOW, np.zeros(flat.shape)
        off = theta - centre
        return (
            _PENALTY * (off**2).sum() / units - value.sum() / total,
            (2 * _PENALTY / units * off - slope / total).ravel(),
        )

    best = minimize(loss, centre.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    theta = best.x.reshape(centre.shape)
    return theta[:, :-1], theta[:, -1]
