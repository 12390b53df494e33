"""Do two systems move alike, whatever their geometry? Dynamical similarity analysis (Ostrow et al. 2023).

Each set of trajectories is embedded in delays, reduced by a singular value decomposition to `rank`
coordinates of unit variance (HAVOK, Brunton et al. 2017), and a linear map A is fitted from each bin to
the next (dynamic mode decomposition). Two maps are compared up to a change of orthonormal basis:

    d(A, B) = arccos  max_{C ∈ O(n)}  ⟨A, C B Cᵀ⟩ / (‖A‖ ‖B‖)        between 0 and π

or, with metric="euclidean", min ‖A − C B Cᵀ‖. The maximum has no closed form and further local ones. It
is sought from many starts by steps that never fall, C ← polar(A C Bᵀ + Aᵀ C B + 2 ‖A‖‖B‖ C), and then by
Newton steps on the orthogonal group, so that a distance of zero is found as zero.
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import complete

_CLIMB = 60
_POLISHED = 3
_NEWTON = 40


def dynamical_similarity(
    first: np.ndarray,
    second: np.ndarray,
    delays: int = 10,
    rank: int = 10,
    ridge: float = 0.0,
    metric: str = "angular",
    starts: int = 48,
    seed: int = 0,
) -> float:
    """Distance between the dynamics of two sets of trajectories; 0 where they are the same.

    It does not change when either set is rotated, reflected, shifted or scaled, nor with the number of
    units; both need bins of the same width.

    Parameters
    ----------
    first, second : (condition, time, unit); conditions, bins and units may differ
    delays, rank, ridge : see `linear_operator`
    metric : "angular", rad, or "euclidean"
    starts : random starts of the search over bases
    seed : of the starts
    """
    operators = [linear_operator(x, delays, rank, ridge) for x in (first, second)]
    return operator_distance(*operators, metric=metric, starts=starts, seed=seed)


def linear_operator(states: np.ndarray, delays: int = 10, rank: int = 10, ridge: float = 0.0) -> np.ndarray:
    """(rank, rank) A with v_{t+1} ≈ A v_t, v the leading delay coordinates of the trajectories.

    Parameters
    ----------
    states : (C, T, K); each column's mean is taken away
    delays : bins in a window
    rank : delay coordinates kept
    ridge : λ of the fit, in units of the variance of a coordinate

    Raises
    ------
    InputError : trajectories shorter than `delays` + 1 bins, or of fewer than `rank` dimensions
    """
    states = complete(states, "states")
    states = states - states.mean(axis=(0, 1))
    conditions, bins, size = states.shape
    windows = bins - delays + 1
    if delays < 1 or windows < 2:
        raise InputError(f"delays={delays} with {bins} bins; expected 1 to {bins - 1}")
    hankel = np.concatenate([states[:, d : d + windows] for d in range(delays)], axis=2)
    left, values, _ = np.linalg.svd(hankel.reshape(conditions * windows, -1), full_matrices=False)
    held = int((values > 1e-9 * values[0]).sum())
    if not 1 <= rank <= held:
        raise InputError(
            f"rank={rank}, and these trajectories have {held} dimensions with {delays} delays ({size} "
            "columns): give a lower rank or more delays"
        )
    coordinates = left[:, :rank].reshape(conditions, windows, rank)
    before, after = (x.reshape(-1, rank) for x in (coordinates[:, :-1], coordinates[:, 1:]))
    moment = before.T @ before + ridge / (conditions * windows) * np.eye(rank)
    return np.linalg.solve(moment, before.T @ after).T


def operator_distance(
    first: np.ndarray, second: np.ndarray, metric: str = "angular", starts: int = 48, seed: int = 0
) -> float:
    """Distance between two matrices (n, n) up to a change of orthonormal basis; see the module."""
    first, second = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if metric not in ("angular", "euclidean"):
        raise InputError(f"metric={metric!r} is not known; choose angular or euclidean")
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] != first.shape[1]:
        raise InputError(f"matrices {first.shape} and {second.shape}; expected two square ones of one size")
    sizes = np.linalg.norm(first), np.linalg.norm(second)
    if min(sizes) == 0:
        raise InputError("a map of zeros has no direction to compare")
    turned = _best_basis(first, second, starts, seed)
    if metric == "euclidean":
        return float(np.linalg.norm(first - turned))
    gap = np.linalg.norm(first / sizes[0] - turned / sizes[1])
    return float(2 * np.arcsin(np.clip(gap / 2, 0.0, 1.0)))  # exact where the angle is small


def _best_basis(first: np.ndarray, second: np.ndarray, starts: int, seed: int) -> np.ndarray:
    """C B Cᵀ nearest to A."""
    size = len(first)
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.standard_normal((size, size)))[0] for _ in range(starts)]
    for key in (np.abs, lambda v: np.abs(np.angle(v)), np.real):
        one, two = _ordered_basis(first, key), _ordered_basis(second, key)
        overlap = (one.T @ first @ one) * (two.T @ second @ two)
        patterns = np.where(rng.random((8, size)) < 0.5, -1.0, 1.0)
        patterns[0] = 1.0
        bases += [(one * _best_signs(overlap, s)) @ two.T for s in patterns]
    climbed = _climb(first, second, np.stack(bases))
    values = np.einsum("ij,bij->b", first, climbed @ second @ climbed.transpose(0, 2, 1))
    turned = [_polish(first, c @ second @ c.T) for c in climbed[np.argsort(-values)[:_POLISHED]]]
    return max(turned, key=lambda b: float((first * b).sum()))


def _best_signs(overlap: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Signs s that no single change, nor one of two neighbours, makes better in Σ s_i s_j overlap_ij."""
    moves = [[i] for i in range(len(signs))] + [[i, i + 1] for i in range(len(signs) - 1)]
    value = signs @ overlap @ signs
    while True:
        trials = np.tile(signs, (len(moves), 1))
        for trial, move in zip(trials, moves, strict=True):
            trial[move] *= -1
        values = np.einsum("bi,ij,bj->b", trials, overlap, trials)
        if values.max() <= value + 1e-12 * abs(value):
            return signs
        signs, value = trials[values.argmax()], values.max()


def _climb(first: np.ndarray, second: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """Steps to the nearest orthogonal matrix of the gradient plus a shift that makes the aim convex."""
    shift = 2 * np.linalg.norm(first, 2) * np.linalg.norm(second, 2)
    for _ in range(_CLIMB):
        gradient = first @ bases @ second.T + first.T @ bases @ second + shift * bases
        left, _, right = np.linalg.svd(gradient)
        bases = left @ right
    return bases


def _polish(first: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """Newton's steps for tr(Aᵀ e^E B e^−E) over skew-symmetric E, damped until each of them climbs."""
    from scipy.linalg import expm

    size = len(first)
    if size == 1:
        return turned
    rows, columns = np.triu_indices(size, 1)
    frame = np.zeros((len(rows), size, size))
    frame[np.arange(len(rows)), rows, columns], frame[np.arange(len(rows)), columns, rows] = 1.0, -1.0
    value, damping = (first * turned).sum(), 1e-6
    scale = np.linalg.norm(first) * np.linalg.norm(turned)
    left = (first.T @ frame - frame @ first.T).transpose(0, 2, 1).reshape(len(rows), -1)
    for _ in range(_NEWTON):
        right = (frame @ turned - turned @ frame).reshape(len(rows), -1)
        gradient = right @ first.ravel()
        if np.linalg.norm(gradient) < 1e-14 * scale:
            break
        second_order = left @ right.T
        spectrum, vectors = np.linalg.eigh((second_order + second_order.T) / 2)
        while damping < 1e8:
            steps = np.abs(spectrum) + damping * scale
            move = vectors @ ((vectors.T @ gradient) / steps)
            turn = expm(np.tensordot(move, frame, axes=1))
            trial = turn @ turned @ turn.T
            risen = (first * trial).sum() - value
            if risen >= 0:
                break
            damping *= 10
        else:
            break
        turned, value, damping = trial, value + risen, max(damping / 10, 1e-12)
    return turned


def _ordered_basis(matrix: np.ndarray, key) -> np.ndarray:
    """Orthonormal basis of the invariant subspaces, the eigenvalues sorted by `key`, largest first.

    The phase of a complex eigenvector is chosen such that its real and imaginary parts are orthogonal, so
    that equal systems in different bases get the same basis up to signs.
    """
    values, vectors = np.linalg.eig(matrix)
    columns = []
    for index in np.lexsort((values.imag < 0, -np.round(key(values), 9))):
        vector = vectors[:, index]
        if abs(values[index].imag) < 1e-12:
            columns.append(vector.real)
        elif values[index].imag > 0:
            turn = np.exp(-0.5j * np.angle((vector**2).sum()))
            columns += [(vector * turn).real, (vector * turn).imag]
    return np.linalg.qr(np.column_stack(columns))[0]
