"""Exact inference and expectation maximisation for a linear Gaussian system.

Used to start a low-rank RNN from the data, and as the linear baseline that every fit is compared with.
Kalman filter in information form, Rauch–Tung–Striebel smoother, closed-form M step (Ghahramani & Hinton
1996); trials of unequal length and missing bins are handled by the mask.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace

import numpy as np

from nwb_rnn.fitting.subspace import LinearSystem


@dataclass(frozen=True)
class Posterior:
    """
    Attributes
    ----------
    mean : (B, T, R), E[z_t | y]
    covariance : (B, T, R, R)
    lagged : (B, T − 1, R, R), Cov(z_{t+1}, z_t | y)
    log_likelihood : (B,), exact log p(y)
    """

    mean: np.ndarray
    covariance: np.ndarray
    lagged: np.ndarray
    log_likelihood: np.ndarray


def smooth(system: LinearSystem, observed: np.ndarray, mask: np.ndarray) -> Posterior:
    """Smoothed latents of trials `observed` (B, T, D) with `mask` (B, T, D) or (B, T, 1)."""
    seen = np.broadcast_to(mask, observed.shape).astype(float)
    residual = (observed - system.bias) * seen
    weighted = system.readout / system.noise[:, None]
    precision = np.einsum("btd,dr,ds->btrs", seen, weighted, system.readout, optimize=True)
    found = smooth_information(system, precision, residual @ weighted)
    constant = -0.5 * (residual**2 / system.noise + seen * np.log(2 * np.pi * system.noise)).sum((1, 2))
    return replace(found, log_likelihood=found.log_likelihood + constant)


def smooth_information(system: LinearSystem, precision: np.ndarray, linear: np.ndarray) -> Posterior:
    """The same where bin t says exp(h·z − ½ zᵀ J z) of its latents: J (B, T, R, R) and h (B, T, R)."""
    if importlib.util.find_spec("numba") is None:
        return _smooth_together(system, precision, linear)
    from nwb_rnn.fitting.smoother_kernel import smooth_trials

    batch, bins, rank = linear.shape
    lagged = np.empty((batch, max(bins - 1, 0), rank, rank))
    found = Posterior(np.empty(linear.shape), np.empty(precision.shape), lagged, np.empty(batch))
    law = (
        system.transition,
        system.transition_covariance,
        system.initial_mean,
        system.initial_covariance,
    )
    given = [np.ascontiguousarray(x, dtype=float) for x in (*law, precision, linear)]
    smooth_trials(*given, found.mean, found.covariance, found.lagged, found.log_likelihood)
    return found


def _smooth_together(system: LinearSystem, precision: np.ndarray, linear: np.ndarray) -> Posterior:
    """`smooth_information` in numpy, all trials a bin at a time."""
    batch, bins, rank = linear.shape
    mean, covariance = np.empty((batch, bins, rank)), np.empty((batch, bins, rank, rank))
    ahead_mean, ahead_covariance = np.empty_like(mean), np.empty_like(covariance)
    eye = np.eye(rank)
    log_likelihood = np.zeros(batch)
    m = np.broadcast_to(system.initial_mean, (batch, rank))
    s = np.broadcast_to(system.initial_covariance, (batch, rank, rank))
    for t in range(bins):
        if t:
            m = mean[:, t - 1] @ system.transition.T
            s = system.transition @ covariance[:, t - 1] @ system.transition.T
            s = s + system.transition_covariance
        ahead_mean[:, t], ahead_covariance[:, t] = m, s
        gain = np.linalg.inv(eye + s @ precision[:, t])
        covariance[:, t] = gain @ s
        innovation = linear[:, t] - _times(precision[:, t], m)
        mean[:, t] = m + _times(covariance[:, t], innovation)
        log_likelihood += 0.5 * np.linalg.slogdet(gain)[1]
        log_likelihood += (linear[:, t] * m).sum(-1) - 0.5 * (m * _times(precision[:, t], m)).sum(-1)
        log_likelihood += 0.5 * (innovation * _times(covariance[:, t], innovation)).sum(-1)
    lagged = np.empty((batch, max(bins - 1, 0), rank, rank))
    for t in range(bins - 2, -1, -1):
        back = covariance[:, t] @ system.transition.T @ np.linalg.inv(ahead_covariance[:, t + 1])
        mean[:, t] += _times(back, mean[:, t + 1] - ahead_mean[:, t + 1])
        change = covariance[:, t + 1] - ahead_covariance[:, t + 1]
        lagged[:, t] = covariance[:, t + 1] @ back.transpose(0, 2, 1)
        covariance[:, t] += back @ change @ back.transpose(0, 2, 1)
    return Posterior(mean, covariance, lagged, log_likelihood)


def expectation_maximisation(
    system: LinearSystem, observed: np.ndarray, mask: np.ndarray, iterations: int, least_noise: float = 0.05
) -> tuple[LinearSystem, Posterior]:
    """Improve `system` by `iterations` of EM; returns it with its posterior.

    `least_noise` is a floor under the observation noise, as a share of each unit's variance: it keeps a start
    from one latent that follows one unit. A baseline of likelihood needs a lower one.
    """
    seen = np.broadcast_to(mask, observed.shape).astype(float)
    for _ in range(iterations):
        system = _maximise(system, smooth(system, observed, mask), observed, seen, least_noise)
    return system, smooth(system, observed, mask)


def _maximise(
    system: LinearSystem, p: Posterior, observed: np.ndarray, seen: np.ndarray, least_noise: float
) -> LinearSystem:
    second = p.covariance + p.mean[..., :, None] * p.mean[..., None, :]
    readout, bias, noise = _maximise_readout(p.mean, second, observed, seen)
    noise = np.maximum(noise, least_noise * _variance(observed, seen))
    return replace(maximise_dynamics(system, p, seen), readout=readout, bias=bias, noise=noise)


def maximise_dynamics(system: LinearSystem, p: Posterior, seen: np.ndarray) -> LinearSystem:
    """A, Q, m_0 and Q_0 from the posterior's moments; `seen` (B, T, D) says where trials end."""
    rank = p.mean.shape[2]
    second = p.covariance + p.mean[..., :, None] * p.mean[..., None, :]
    inside = np.cumsum(seen.any(-1)[:, ::-1], axis=1)[:, ::-1] > 0  # up to each trial's last bin
    steps = inside[:, 1:].astype(float)
    cross = p.lagged + p.mean[:, 1:, :, None] * p.mean[:, :-1, None, :]
    s11 = np.einsum("bt,btrs->rs", steps, second[:, 1:])
    s10 = np.einsum("bt,btrs->rs", steps, cross)
    s00 = np.einsum("bt,btrs->rs", steps, second[:, :-1])
    count = max(steps.sum(), 1.0)
    transition = np.linalg.solve(s00 + 1e-6 * count * np.eye(rank), s10.T).T
    covariance = (s11 - transition @ s10.T - s10 @ transition.T + transition @ s00 @ transition.T) / count
    first = second[:, 0].mean(0) - np.outer(p.mean[:, 0].mean(0), p.mean[:, 0].mean(0))
    return replace(
        system,
        transition=transition,
        transition_covariance=_floored(covariance),
        initial_mean=p.mean[:, 0].mean(0),
        initial_covariance=_floored(first),
    )


def _maximise_readout(mean, second, observed, seen):
    """Regression of each unit on [z, 1] with the posterior's second moments."""
    rank = mean.shape[2]
    moments = np.zeros((observed.shape[2], rank + 1, rank + 1))
    moments[:, :rank, :rank] = np.einsum("btd,btrs->drs", seen, second, optimize=True)
    moments[:, :rank, rank] = moments[:, rank, :rank] = np.einsum("btd,btr->dr", seen, mean, optimize=True)
    moments[:, rank, rank] = seen.sum((0, 1))
    moments += 1e-6 * np.maximum(moments[:, rank, rank], 1.0)[:, None, None] * np.eye(rank + 1)
    extended = np.concatenate([mean, np.ones((*mean.shape[:2], 1))], axis=2)
    products = np.einsum("btd,btr->dr", observed * seen, extended, optimize=True)
    weights = np.linalg.solve(moments, products[..., None])[..., 0]
    squares = (observed**2 * seen).sum((0, 1))
    noise = (squares - (weights * products).sum(1)) / np.maximum(seen.sum((0, 1)), 1)
    return weights[:, :rank], weights[:, rank], noise


def _variance(observed: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Of each unit, or the mean one for a unit that never changes."""
    count = np.maximum(seen.sum((0, 1)), 1)
    mean = (observed * seen).sum((0, 1)) / count
    variance = ((observed - mean) ** 2 * seen).sum((0, 1)) / count
    return np.where(variance > 0, variance, max(variance.mean(), 1e-12))


def _floored(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    return (vectors * np.maximum(values, 1e-4 * max(values.max(), 1e-8))) @ vectors.T


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return (matrices @ vectors[..., None])[..., 0]
