"""How the spaces of two sets of activity lie to each other: alignment and canonical correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError


@dataclass(frozen=True, eq=False)
class Alignment:
    """
    Attributes
    ----------
    index : share of the variance of `second` that the leading axes of `first` capture, over the most
        that any axes could; 0 (orthogonal) to 1
    chance : (S,) the same for random axes drawn from the covariance of both
    """

    index: float
    chance: np.ndarray


def alignment_index(
    first: np.ndarray, second: np.ndarray, dimensions: int, draws: int = 0, seed: int = 0
) -> Alignment:
    """Alignment of two subspaces, such as of preparation and movement (Elsayed et al. 2016).

        index = tr(Dᵀ C D) / Σ_{i ≤ d} σ_i(C)

    D (N, d) are the leading principal axes of `first`, C the covariance of `second`. Random axes for
    `chance` are the left singular vectors of U S^{1/2} v, with U S Uᵀ the covariance of both sets together
    and v standard normal (ibid., supplement).

    Parameters
    ----------
    first, second : (..., N) samples of the same units, such as (condition, time, unit)
    dimensions : d
    draws : S of the random axes
    seed : of the draws

    Raises
    ------
    InputError : numbers of units that differ, or more dimensions than units
    """
    first, second = _samples(first), _samples(second)
    if first.shape[1] != second.shape[1]:
        raise InputError(f"first has {first.shape[1]} units and second {second.shape[1]}")
    if not 1 <= dimensions <= first.shape[1]:
        raise InputError(f"dimensions={dimensions}; expected 1 to {first.shape[1]}, the number of units")
    axes = np.linalg.svd(first, full_matrices=False)[2][:dimensions].T
    most = np.square(np.linalg.svd(second, compute_uv=False)[:dimensions]).sum()
    if not most > 0:
        raise InputError("the second set never changes, so there is no variance to capture")
    both = np.concatenate([first / np.sqrt(len(first)), second / np.sqrt(len(second))])
    _, values, vectors = np.linalg.svd(both, full_matrices=False)
    scaled = vectors.T * values
    rng = np.random.default_rng(seed)
    chance = []
    for _ in range(draws):
        drawn = np.linalg.qr(scaled @ rng.standard_normal((len(values), dimensions)))[0]
        chance.append(np.square(second @ drawn).sum() / most)
    return Alignment(float(np.square(second @ axes).sum() / most), np.array(chance, dtype=float))


def canonical_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlations of the best matched directions of two sets of activity (Hotelling 1936), largest first.

    They are the singular values of Q₁ᵀ Q₂ with orthonormal bases Q of the centred samples. Take few
    principal components first (ten, in Sussillo et al. 2015): with as many columns as samples all are 1.

    Parameters
    ----------
    first, second : (..., K) and (..., L) samples of the same conditions and bins

    Returns
    -------
    (min of the two ranks,) between 0 and 1

    Raises
    ------
    InputError : numbers of samples that differ
    """
    first, second = _samples(first), _samples(second)
    if len(first) != len(second):
        raise InputError(f"{len(first)} samples of one and {len(second)} of the other; expected the same")
    bases = []
    for values in (first, second):
        left, size, _ = np.linalg.svd(values, full_matrices=False)
        bases.append(left[:, size > 1e-10 * max(size[0], 1e-300)])
    return np.clip(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False), 0.0, 1.0)


def _samples(values: np.ndarray) -> np.ndarray:
    """(S, K) centred samples."""
    values = np.asarray(values, dtype=float)
    if values.ndim < 2 or not np.isfinite(values).all():
        raise InputError(f"samples have shape {values.shape}; expected a finite array (..., columns)")
    values = values.reshape(-1, values.shape[-1])
    return values - values.mean(axis=0)
