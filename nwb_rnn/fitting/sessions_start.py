"""Bring sessions whose units were never recorded together into one latent space, before the first step.

Each session gets a linear system of its own, in a basis where its latents have unit covariance. Session s is
then turned into the basis of the first by the matrix T that makes dynamics and trial averages agree,

    min_T  |A T − T A_s|² + mean_t |m(t) − T m_s(t)|² + ¼ |TᵀT − 1|²

with A the transition and m(t) the mean latent at bin t after trials begin (near zero where trials are not
locked to anything). What this leaves open, such as the phase of an oscillation that no event sets, is a
symmetry of the linear system. The shared dynamics start from the sessions' mean, weighted by their bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.sparse.csgraph import connected_components

from nwb_rnn.fitting.linear_gaussian import Posterior
from nwb_rnn.fitting.subspace import LinearSystem, stable

_STARTS = 24
_ORTHOGONAL = 0.25


@dataclass(frozen=True)
class SessionStart:
    """A session's system in its unit-covariance basis, its mean latents (T, R), and its bins for weight."""

    system: LinearSystem
    mean: np.ndarray
    bins: int


def unit_blocks(mask: np.ndarray) -> list[np.ndarray]:
    """Sets of units (indices) that share bins, directly or through others, for a mask (B, T, D or 1).

    Units never observed go with the largest set.
    """
    units = mask.shape[2]
    rows = np.unique(np.packbits(mask.reshape(-1, units), axis=1), axis=0)
    patterns = np.unpackbits(rows, axis=1)[:, :units].astype(np.int64)
    _, label = connected_components(patterns.T @ patterns > 0, directed=False)
    seen = patterns.any(0)
    blocks = [np.flatnonzero((label == k) & seen) for k in np.unique(label[seen])]
    blocks.sort(key=lambda block: -mask[:, :, block].sum())
    if blocks:
        blocks[0] = np.sort(np.concatenate([blocks[0], np.flatnonzero(~seen)]))
    return blocks


def joint_system(
    observed: np.ndarray,
    mask: np.ndarray,
    blocks: list[np.ndarray],
    fit: Callable[[np.ndarray, np.ndarray], tuple[LinearSystem, Posterior]],
    rng: np.random.Generator,
) -> LinearSystem:
    """One linear system for all blocks of units.

    Parameters
    ----------
    observed, mask : (B, T, D)
    fit : the system and posterior, with latents of unit covariance, of trials of one block
    """
    starts = []
    for block in blocks:
        rows = mask[:, :, block].any((1, 2))
        seen = mask[np.ix_(rows, range(mask.shape[1]), block)]
        system, posterior = fit(observed[rows][:, :, block], seen, block)
        inside = seen.any(-1)[..., None]
        mean = (posterior.mean * inside).sum(0) / np.maximum(inside.sum(0), 1)
        starts.append(SessionStart(system, mean, int(inside.sum())))
    turns = [np.eye(len(starts[0].system.transition))]
    turns += [alignment(starts[0], other, rng) for other in starts[1:]]
    return _merged(starts, turns, blocks, observed.shape[2])


def alignment(first: SessionStart, other: SessionStart, rng: np.random.Generator) -> np.ndarray:
    """T (R, R) of the module's docstring: the best of several starts at random rotations and reflections."""
    a, b = first.system.transition, other.system.transition
    m, n, rank = first.mean, other.mean, len(a)
    eye = np.eye(rank)

    def loss(flat):
        turn = flat.reshape(rank, rank)
        dynamics, course = a @ turn - turn @ b, m - n @ turn.T
        shape = turn.T @ turn - eye
        value = (dynamics**2).sum() + (course**2).sum() / len(m) + _ORTHOGONAL * (shape**2).sum()
        gradient = 2 * (a.T @ dynamics - dynamics @ b.T) - 2 * course.T @ n / len(m)
        return value, (gradient + 4 * _ORTHOGONAL * turn @ shape).ravel()

    found = []
    for _ in range(_STARTS):
        start = np.linalg.qr(rng.standard_normal((rank, rank)))[0]
        found.append(minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300}))
    left, size, right = np.linalg.svd(min(found, key=lambda r: r.fun).x.reshape(rank, rank))
    return left @ np.diag(np.clip(size, 0.5, 2.0)) @ right


def _merged(
    starts: list[SessionStart], turns: list[np.ndarray], blocks: list[np.ndarray], units: int
) -> LinearSystem:
    weights = np.array([s.bins for s in starts], dtype=float)
    weights /= weights.sum()

    def mean(parts):
        return sum(w * part for w, part in zip(weights, parts, strict=True))

    pairs = list(zip([s.system for s in starts], turns, strict=True))
    readout, bias, noise = np.zeros((units, len(turns[0]))), np.zeros(units), np.ones(units)
    for (system, turn), block in zip(pairs, blocks, strict=True):
        readout[block] = system.readout @ np.linalg.inv(turn)
        bias[block], noise[block] = system.bias, system.noise
    return LinearSystem(
        transition=stable(mean(t @ s.transition @ np.linalg.inv(t) for s, t in pairs)),
        transition_covariance=mean(t @ s.transition_covariance @ t.T for s, t in pairs),
        readout=readout,
        bias=bias,
        noise=noise,
        initial_mean=mean(t @ s.initial_mean for s, t in pairs),
        initial_covariance=mean(t @ s.initial_covariance @ t.T for s, t in pairs),
    )
