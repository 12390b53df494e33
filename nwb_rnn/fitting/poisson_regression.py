"""Poisson regression of many units on the same few features."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from nwb_rnn.fitting.count_law import CountLaw


def poisson_regression(x: np.ndarray, y: np.ndarray, seen: np.ndarray, link: str):
    """Weights (D, R) and biases (D,) of y ~ Poisson(g(W x + d)), penalised so silent units stay finite."""
    features, units = x.shape[1], y.shape[1]
    mean = np.maximum((y * seen).sum(0) / np.maximum(seen.sum(0), 1), 1e-4)
    start = np.zeros((features + 1, units))
    exponential = np.array([name == "exp" for name in link.split(",")])
    start[-1] = CountLaw("poisson", link).predictor(mean)
    design = np.column_stack([x, np.ones(len(x))])
    total = max(seen.sum(), 1.0)

    def loss(flat):
        theta = flat.reshape(start.shape)
        predictor = design @ theta
        power = np.exp(np.minimum(predictor, 20.0))
        rate = np.where(exponential, power, np.logaddexp(0, predictor) + 1e-7)
        slope = np.where(exponential, power, expit(predictor))
        value = (seen * (rate - y * np.log(rate))).sum() / total
        penalty = 1e-4 * ((theta[:-1] ** 2).sum() + ((theta[-1] - start[-1]) ** 2).sum()) / units
        gradient = design.T @ (seen * (1 - y / rate) * slope) / total
        gradient += 2e-4 / units * np.vstack([theta[:-1], theta[-1] - start[-1]])
        return value + penalty, gradient.ravel()

    best = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    theta = best.x.reshape(start.shape)
    return theta[:-1].T, theta[-1]
