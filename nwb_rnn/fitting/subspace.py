"""Linear dynamics in one decomposition: subspace identification from lagged covariances.

For z_{t+1} = A z_t + noise, y_t = C z_t + d + noise the covariances Λ_k = Cov(y_{t+k}, y_t) = C Aᵏ Π Cᵀ at
lags k ≥ 1 hold no observation noise, be it Gaussian or Poisson. Their block Hankel matrix factors into an
observability and a controllability matrix, whose shift gives A (Ho & Kalman 1966; van Overschee & de Moor
1996; for spikes Buesing, Macke & Sahani 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LARGEST_MODULUS = 0.995  # of the eigenvalues of A, per bin


@dataclass(frozen=True)
class LinearSystem:
    """z_{t+1} = A z_t + N(0, Q), y_t = C z_t + d + N(0, diag(noise)), z_0 ~ N(m_0, Q_0).

    Attributes
    ----------
    transition : (R, R), A
    transition_covariance : (R, R), Q
    readout : (D, R), C
    bias : (D,), d
    noise : (D,) variances
    initial_mean, initial_covariance : (R,), (R, R)
    """

    transition: np.ndarray
    transition_covariance: np.ndarray
    readout: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    initial_mean: np.ndarray
    initial_covariance: np.ndarray


def subspace_identification(
    observed: np.ndarray, mask: np.ndarray, rank: int, lags: int | None = None
) -> LinearSystem:
    """A linear system of the given rank for trials `observed` (B, T, D) with `mask` (B, T, D) or (B, T, 1).

    `lags` is the number of block rows of the Hankel matrix; by default 20, or fewer for many units or short
    trials.
    """
    units = observed.shape[2]
    values, seen, bias = centred(observed, mask)
    variance = (values**2).sum((0, 1)) / np.maximum(seen.sum((0, 1)), 1)
    # halfway between raw and standardised: a rare unit's covariances are mostly sampling noise
    spread = np.where(variance > 0, variance, 1.0) ** 0.25
    values = values / spread
    if lags is None:
        lags = int(np.clip(800 // units, 3, 20))
    lags = max(1, min(lags, (observed.shape[1] - 1) // 2))
    covariances = [lagged_covariance(values, seen, k) for k in range(2 * lags + 1)]
    hankel = np.block([[covariances[i + j + 1] for j in range(lags)] for i in range(lags)])
    left, singular, right = np.linalg.svd(hankel, full_matrices=False)
    rank_here = min(rank, len(singular))
    root = np.sqrt(np.maximum(singular[:rank_here], 1e-12))
    observability = left[:, :rank_here] * root
    controllability = root[:, None] * right[:rank_here]
    readout = observability[:units]
    if lags > 1:
        transition = np.linalg.lstsq(observability[:-units], observability[units:], rcond=1e-6)[0]
    else:
        transition = 0.9 * np.eye(rank_here)
    transition = stable(transition)
    ahead = controllability[:, :units] @ np.linalg.pinv(readout).T  # A Π
    stationary = positive(np.linalg.lstsq(transition, ahead, rcond=1e-3)[0])
    return _normalised(transition, stationary, readout, bias, spread, covariances[0], rank)


def centred(observed: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values about each unit's mean, 0 where not observed, the mask, both (B, T, D), and the means (D,)."""
    seen = np.broadcast_to(mask, observed.shape).astype(float)
    mean = (observed * seen).sum((0, 1)) / np.maximum(seen.sum((0, 1)), 1)
    return (observed - mean) * seen, seen, mean


def lagged_covariance(values: np.ndarray, seen: np.ndarray, lag: int) -> np.ndarray:
    """Λ_k over all pairs of bins of one trial that were both observed."""
    bins = values.shape[1]
    late, early = values[:, lag:], values[:, : bins - lag]
    pairs = np.einsum("btd,bte->de", seen[:, lag:], seen[:, : bins - lag], optimize=True)
    products = np.tensordot(late, early, axes=([0, 1], [0, 1]))
    return products / np.maximum(pairs, 1)


def stable(transition: np.ndarray) -> np.ndarray:
    """Pull eigenvalues that leave the unit disc back inside it."""
    values, vectors = np.linalg.eig(transition)
    size = np.abs(values)
    if size.max() <= _LARGEST_MODULUS:
        return transition
    values = np.where(size > _LARGEST_MODULUS, values / np.maximum(size, 1e-12) * _LARGEST_MODULUS, values)
    return np.real(vectors @ np.diag(values) @ np.linalg.pinv(vectors))


def positive(matrix: np.ndarray, floor: float = 1e-3) -> np.ndarray:
    """The symmetric part with eigenvalues at least `floor` times the largest."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    lowest = floor * max(values.max(), 1e-6)
    return (vectors * np.maximum(values, lowest)) @ vectors.T


def _normalised(transition, stationary, readout, bias, spread, covariance, rank) -> LinearSystem:
    """The same system with latents of unit variance, padded with fast noise up to `rank`."""
    values, vectors = np.linalg.eigh(stationary)
    whiten = (vectors / np.sqrt(values)).T
    unwhiten = vectors * np.sqrt(values)
    here = len(values)
    a = np.zeros((rank, rank))
    a[:here, :here] = whiten @ transition @ unwhiten
    c = np.zeros((len(bias), rank))
    c[:, :here] = (readout @ unwhiten) * spread[:, None]
    variance = np.diag(covariance) * spread**2
    explained = (c**2).sum(1)
    noise = np.maximum(variance - explained, 0.05 * np.where(variance > 0, variance, 1.0))
    q = positive(np.eye(rank) - a @ a.T, 1e-2)
    return LinearSystem(a, q, c, bias, noise, np.zeros(rank), np.eye(rank))
