"""Fixed points of any differentiable map, by Levenberg–Marquardt from many starts at once.

Each start minimises q(z) = ½‖F(z) − z‖² (Sussillo & Barak 2013) with steps
d = −(AᵀA + μ I)⁻¹ Aᵀ r, A = dF/dz − I, r = F(z) − z (Levenberg 1944, Marquardt 1963). Where A is regular
this ends in Newton's quadratic convergence. Ends are merged by distance and q is evaluated again at the
point that is returned.

A search proves nothing. What it says about points it has not met comes from how often it met each:
coverage 1 − f₁/n (Good 1953) and f₁²/(2 f₂) unseen points (Chao 1984), f₁ and f₂ being the points met
once and twice. Both hold for points that the starts can reach.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from nwb_rnn.dynamics.fixed_points import FIXED_BELOW, FixedPoints, characterise
from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.errors import InputError

DAMPING = 1e-2
MIDPOINTS = 400
PATIENCE = 25


@dataclass(frozen=True, eq=False)
class Minima:
    """Where the starts ended: location (S, R), q (S,)."""

    location: np.ndarray
    residual: np.ndarray

    def __add__(self, other: Minima) -> Minima:
        return Minima(
            np.concatenate([self.location, other.location]), np.concatenate([self.residual, other.residual])
        )


def newton_fixed_points(
    step,
    starts: np.ndarray | None = None,
    *,
    inputs: np.ndarray | None = None,
    region: tuple[np.ndarray, np.ndarray] | None = None,
    n_starts: int | None = None,
    noise: float = 0.1,
    seed: int = 0,
    slow_below: float = 0.0,
    keep_all: bool = False,
    merge_distance: float = 1e-6,
    max_iterations: int = 300,
    rounds: int = 3,
    bin_size: float | None = None,
) -> FixedPoints:
    """Search fixed points of any map.

    Parameters
    ----------
    step : `LowRankMap`; torch.nn.RNN, GRU, LSTM (see `recurrent_map`); any torch module or function
        (B, R) -> (B, R); or an object with step(z) and jacobian(z) in numpy
    starts : (S, R), usually visited states; needed unless `step` is a LowRankMap or `region` is given
    inputs : (U,) constant input of a torch RNN, GRU or LSTM
    region : (low, high): points outside are left out; random starts are drawn inside
    n_starts : how many; more than S are filled up with the given ones plus noise (1,024 without starts)
    noise : standard deviation of that noise, in units of the spread of `starts`
    seed : of the noise and of random starts
    slow_below : points with 1e-20 ≤ q < slow_below are listed as ``"slow"``
    keep_all : list the ends that did not converge too, as ``"not converged"``
    merge_distance : ends nearer than this (times 1 + their size) are one point
    max_iterations : per start
    rounds : how often to go on from midpoints between pairs of points found, where saddles that few
        starts reach tend to lie; ends early when a round finds nothing new
    bin_size : s; by default that of the map

    Returns
    -------
    FixedPoints with `hits`, `unseen`, and `complete=False`: only the exact methods prove completeness.

    Raises
    ------
    InputError : no starts and no way to draw them, or starts of another shape.
    """
    mapping = as_map(step, inputs)
    bin_size = getattr(mapping, "bin_size", 1.0) if bin_size is None else bin_size
    rng = np.random.default_rng(seed)
    starts = _starts(mapping, starts, region, n_starts, noise, rng)
    ends = minimise(mapping, starts, max_iterations)
    for _ in range(rounds):
        between = _midpoints(ends, merge_distance, rng)
        known = len(_fixed(ends, merge_distance))
        ends = ends + minimise(mapping, between, max_iterations)
        if len(_fixed(ends, merge_distance)) == known:
            break
    inside = np.isfinite(ends.residual)
    if region is not None:
        inside &= ((ends.location >= region[0]) & (ends.location <= region[1])).all(axis=1)
    location, hits = merge(ends.location[inside], ends.residual[inside], merge_distance)
    residual = _residual(mapping, location)
    status = np.where(residual < FIXED_BELOW, "fixed", "not converged")
    status[(residual >= FIXED_BELOW) & (residual < slow_below)] = "slow"
    text, unseen = _summary(status, hits, len(ends.residual))
    keep = np.full(len(location), True) if keep_all else status != "not converged"
    rank = np.argsort(np.linalg.norm(location[keep], axis=1), kind="stable")
    keep = np.flatnonzero(keep)[rank]
    return characterise(
        location[keep],
        _jacobian(mapping, location[keep]),
        residual=residual[keep],
        bin_size=bin_size,
        status=status[keep],
        hits=hits[keep],
        regions=mapping.regions(location[keep]) if _has_regions(mapping) else None,
        unseen=unseen,
        method="newton",
        proof=text,
        inputs=None if inputs is None else np.asarray(inputs, dtype=np.float64),
    )


def as_map(step, inputs: np.ndarray | None = None):
    """Whatever a user holds, as an object with step(z) and jacobian(z) on numpy arrays."""
    if hasattr(step, "step") and hasattr(step, "jacobian"):
        return step
    import torch

    from nwb_rnn.dynamics.torch_maps import RECURRENT, TorchMap, recurrent_map

    if isinstance(step, RECURRENT):
        return recurrent_map(step, inputs)
    if isinstance(step, torch.nn.Module) or callable(step):
        return TorchMap(step)
    raise InputError(
        f"{type(step).__name__} is not a map; pass a LowRankMap, a torch module, or a function from states "
        "(batch, R) to the next states."
    )


def minimise(mapping, starts: np.ndarray, max_iterations: int = 300) -> Minima:
    """Levenberg–Marquardt on q from every row of `starts` (S, R), all rows together.

    A row ends when its step vanishes, or when `PATIENCE` iterations did not halve its q: a minimum of q
    that is not a fixed point.
    """
    z = np.array(starts, dtype=np.float64)
    gap = mapping.step(z) - z
    q = 0.5 * np.square(gap).sum(axis=1)
    damping = np.full(len(z), DAMPING)
    active = np.flatnonzero(np.isfinite(q) & (q > 0))
    eye = np.eye(z.shape[1])
    slope = np.empty((len(z), *eye.shape))
    stale, before = active, q.copy()
    for iteration in range(max_iterations):
        if iteration % PATIENCE == PATIENCE - 1:
            active = active[(q[active] < 0.5 * before[active]) | (q[active] < FIXED_BELOW)]
            stale, before = np.intersect1d(stale, active), q.copy()
        if len(active) == 0:
            break
        slope[stale] = mapping.jacobian(z[stale]) - eye
        trial = z[active] + _marquardt_step(slope[active], gap[active], damping[active])
        trial_gap = mapping.step(trial) - trial
        trial_q = 0.5 * np.square(trial_gap).sum(axis=1)
        moved = np.abs(trial - z[active]).max(axis=1)
        better = trial_q < q[active]
        took = active[better]
        gain = q[took] - trial_q[better]
        stuck = gain < 1e-12 * q[took]
        z[took], gap[took], q[took] = trial[better], trial_gap[better], trial_q[better]
        damping[active] *= np.where(better, 0.1, 6.0)
        damping = np.clip(damping, 1e-14, 1e12)
        done = moved <= 1e-15 * (1.0 + np.abs(z[active]).max(axis=1))
        done |= (q[active] < 1e-31) | (damping[active] >= 1e12)
        done[better] |= stuck & (q[took] > FIXED_BELOW)
        stale = active[better & ~done]
        active = active[~done]
    return Minima(z, q)


def _marquardt_step(slope: np.ndarray, gap: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """−(AᵀA + μ I)⁻¹ Aᵀ r for (B, R, R), (B, R), (B,)."""
    normal = np.matmul(slope.transpose(0, 2, 1), slope)
    diagonal = np.einsum("brr->br", normal)
    diagonal += (damping + 1e-15 * diagonal.max(axis=1))[:, None]
    right = np.matmul(slope.transpose(0, 2, 1), gap[:, :, None])
    try:
        return -np.linalg.solve(normal, right)[:, :, 0]
    except np.linalg.LinAlgError:
        diagonal += 1e-8 * (1.0 + diagonal.max(axis=1, keepdims=True))
        return -np.linalg.solve(normal, right)[:, :, 0]


def merge(location: np.ndarray, residual: np.ndarray, distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends (S, R) within `distance` (times 1 + size) of each other: the best of each group, and its size."""
    if len(location) == 0:
        return location.reshape(0, location.shape[1]), np.zeros(0, dtype=np.int64)
    reach = distance * (1.0 + float(np.median(np.linalg.norm(location, axis=1))))
    pairs = cKDTree(location).query_pairs(reach, output_type="ndarray")
    size = len(location)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(size, size))
    count, label = connected_components(graph, directed=False)
    order = np.lexsort((residual, label))
    first = order[np.searchsorted(label[order], np.arange(count))]
    return location[first], np.bincount(label, minlength=count)


def unseen_points(hits: np.ndarray) -> float:
    """Chao's lower estimate of how many points exist that no start ended in."""
    once, twice, total = int((hits == 1).sum()), int((hits == 2).sum()), int(hits.sum())
    if total == 0:
        return float("nan")
    share = (total - 1) / total
    return share * (once**2 / (2 * twice) if twice else once * (once - 1) / 2)


def _summary(status: np.ndarray, hits: np.ndarray, starts: int) -> tuple[str, float]:
    """In words: where the starts ended and what that says about the rest."""
    fixed = status == "fixed"
    n = int(hits[fixed].sum())
    unseen = unseen_points(hits[fixed])
    once = int((hits[fixed] == 1).sum())
    text = f"{n:,} of {starts:,} starts converged to {int(fixed.sum())} fixed points"
    slow, failed = int(hits[status == "slow"].sum()), starts - n - int(hits[status == "slow"].sum())
    text += f", {slow:,} to slow points, {failed:,} to none (or outside the region). "
    if n:
        text += f"Estimated share of reachable points met: {1 - once / n:.3f}; unseen: about {unseen:.1f}."
    return text, unseen


def _starts(mapping, starts, region, n_starts, noise, rng) -> np.ndarray:
    """(S, R) where the search begins."""
    if starts is None and region is not None:
        low, high = np.atleast_1d(np.asarray(region[0], float)), np.atleast_1d(np.asarray(region[1], float))
        rank = mapping.rank if isinstance(mapping, LowRankMap) else max(len(low), len(high))
        return rng.uniform(low, high, size=(n_starts or 1024, rank))
    if starts is None and isinstance(mapping, LowRankMap):
        return _visited(mapping, n_starts or 1024, rng)
    if starts is None:
        raise InputError(
            "Pass starts (S, R), usually visited states, or a region (low, high) to draw them in."
        )
    starts = np.asarray(starts, dtype=np.float64)
    if starts.ndim != 2 or len(starts) == 0:
        raise InputError(f"starts has shape {starts.shape}; expected (S, R), one start per row.")
    more = max((n_starts or 0) - len(starts), 0)
    drawn = starts[rng.integers(len(starts), size=more)]
    spread = starts.std(axis=0) + 1e-3
    return np.concatenate([starts, drawn + noise * spread * rng.standard_normal(drawn.shape)])


def _visited(network: LowRankMap, count: int, rng) -> np.ndarray:
    """States on orbits that begin at several scales, as far as they stay finite."""
    scale = 1.0 + np.abs(network.right_vectors).sum(axis=1)
    begin = rng.standard_normal((count, network.rank)) * scale * rng.choice([0.1, 1.0, 3.0], size=(count, 1))
    steps = rng.integers(0, 30, size=count)
    with np.errstate(over="ignore", invalid="ignore"):
        orbit = network.simulate(begin, 30)
    states = orbit[steps, np.arange(count)]
    return np.where(np.isfinite(states) & (np.abs(states) < 1e6), states, begin)


def _fixed(ends: Minima, distance: float) -> np.ndarray:
    """(P, R) distinct fixed points among the ends."""
    good = ends.residual < FIXED_BELOW
    return merge(ends.location[good], ends.residual[good], distance)[0]


def _midpoints(ends: Minima, distance: float, rng) -> np.ndarray:
    """(S, R) the centre of all fixed points found and midpoints of pairs of them, at most `MIDPOINTS`."""
    points = _fixed(ends, distance)
    if len(points) < 2:
        return points
    first, second = np.triu_indices(len(points), k=1)
    chosen = rng.permutation(len(first))[:MIDPOINTS]
    pairs = 0.5 * (points[first[chosen]] + points[second[chosen]])
    return np.concatenate([points.mean(axis=0, keepdims=True), pairs])


def _residual(mapping, location: np.ndarray) -> np.ndarray:
    if len(location) == 0:
        return np.zeros(0)
    return 0.5 * np.square(mapping.step(location) - location).sum(axis=1)


def _jacobian(mapping, location: np.ndarray) -> np.ndarray:
    if len(location) == 0:
        return np.zeros((0, location.shape[1], location.shape[1]))
    return mapping.jacobian(location)


def _has_regions(mapping) -> bool:
    return isinstance(mapping, LowRankMap) and mapping.is_piecewise_linear
