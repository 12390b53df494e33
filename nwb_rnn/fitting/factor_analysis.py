"""Linear dynamics from factor analysis and one lag.

Subspace identification adds up many lags and so finds slow latents best; a latent that forgets within a bin
or two drowns in the sampling noise of the long lags. Factor analysis looks at each bin alone and finds it by
what units share. With loadings C, unique variances R and factors of unit variance, the covariance at lag one,
C A Cᵀ, holds no observation noise and gives A = B Λ_1 Bᵀ with B = (Cᵀ R⁻¹ C)⁻¹ Cᵀ R⁻¹. Loadings come from
the fixed point of Jöreskog (1967): eigenvectors of R^−½ Λ_0 R^−½, then R = diag(Λ_0 − C Cᵀ).
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.fitting.subspace import LinearSystem, centred, lagged_covariance, positive, stable

_ITERATIONS = 50
_LEAST_UNIQUE = 0.05  # of a unit's variance


def factor_dynamics(observed: np.ndarray, mask: np.ndarray, rank: int) -> LinearSystem:
    """A linear system of rank at most D for trials `observed` (B, T, D), `mask` (B, T, D) or (B, T, 1)."""
    values, seen, bias = centred(observed, mask)
    covariance = lagged_covariance(values, seen, 0)
    variance = np.diag(covariance)
    variance = np.where(variance > 0, variance, 1.0)
    loadings, unique = _factors(covariance, variance, rank)
    weighted = loadings / unique[:, None]
    back = np.linalg.solve(loadings.T @ weighted, weighted.T)
    transition = np.zeros((rank, rank))
    if observed.shape[1] > 1:
        transition = stable(back @ lagged_covariance(values, seen, 1) @ back.T)
    noise = positive(np.eye(rank) - transition @ transition.T, 1e-2)
    return LinearSystem(transition, noise, loadings, bias, unique, np.zeros(rank), np.eye(rank))


def _factors(covariance: np.ndarray, variance: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Loadings (D, R) and unique variances (D,)."""
    unique = variance / 2
    for _ in range(_ITERATIONS):
        size = np.sqrt(unique)
        values, vectors = np.linalg.eigh(covariance / size[:, None] / size)
        excess = np.maximum(values[::-1][:rank] - 1, 1e-6)
        loadings = size[:, None] * vectors[:, ::-1][:, :rank] * np.sqrt(excess)
        unique = np.maximum(variance - (loadings**2).sum(1), _LEAST_UNIQUE * variance)
    return loadings, unique
