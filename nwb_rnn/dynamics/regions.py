"""The published check: visit every linear region, solve its affine map, keep solutions inside their region.

(Pals et al. 2024, arXiv 2406.16749: the kinks are H hyperplanes in R^R, which cut it into at most
Σ_{r≤R} C(H, r) regions.) Finding each region once, without a list of those already seen: turn the axes at
random and let a region be known by its lowest vertex along the first axis. A vertex, made by R hyperplanes,
is lowest in exactly one of the 2^R regions that meet there: the one on the sides sign(λ_j), where
e_1 = Σ λ_j n_j. Regions without a lowest vertex all cross the plane z_1 = −T for large T, where they are the
regions of an arrangement in one dimension less: the same again, with its vertices made by R − 1
hyperplanes, and so on. So every non-singular subset of r ≤ R hyperplanes stands for exactly one region.
Its other signs are those of n_j·z + β_j at the vertex, whose free coordinates are −∞, the later ones
faster: the coefficient of the last free coordinate decides, the constant only if all of them vanish.

Where more than R hyperplanes meet in a point, offsets are thought of as shifted by ε_1 ≫ ε_2 ≫ … > 0
(simulation of simplicity, Edelsbrunner & Mücke 1990); this adds regions of no size, whose solutions, if
any, lie on the point. Memory does not grow with the number of regions.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from scipy.optimize import linprog

from nwb_rnn.dynamics.clusters import minimise_residual
from nwb_rnn.dynamics.fixed_points import FixedPoints, characterise
from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.dynamics.piecewise_linear import ClippedSystem, latent_system, natural_size
from nwb_rnn.dynamics.region_kernels import BORDER, INSIDE, visit_regions
from nwb_rnn.errors import InputError

RECORDS = 20_000
FLAT_RECORDS = 200
AXES_SEED = 20_240_616


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The distinct kinks of all units as hyperplanes n·z + β = 0, |n| = 1.

    Attributes
    ----------
    normals : (H, R)
    offsets : (H,)
    directions : (H,) planes of one direction share a number
    lower, upper : (N,) the hyperplane of each unit's kinks x = 0 and x = d (−1 where it has none)
    lower_side, upper_side : (N,) ±1: on which side of it the unit has passed the kink; for a unit
        without a hyperplane 1 if it has always passed the kink and −1 if never
    """

    normals: np.ndarray
    offsets: np.ndarray
    directions: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lower_side: np.ndarray
    upper_side: np.ndarray


def arrange(system: ClippedSystem) -> Arrangement:
    """Hyperplanes of a system; kinks that coincide (duplicated or scaled units) share one."""
    units = len(system.offsets)
    finite = np.isfinite(system.heights)
    normals = np.concatenate([system.normals, system.normals])
    offsets = np.concatenate([system.offsets, system.offsets - np.where(finite, system.heights, 0.0)])
    length = np.linalg.norm(normals, axis=1)
    is_plane = (length > 0) & np.concatenate([np.ones(units, bool), finite])
    first = np.where(np.abs(normals) > 1e-12 * length[:, None], normals, 0.0)
    leading = np.take_along_axis(first, (first != 0).argmax(axis=1)[:, None], axis=1)[:, 0]
    side = np.where(leading < 0, -1.0, 1.0)
    scaled = (
        np.concatenate([normals, offsets[:, None]], axis=1)
        * (side / np.where(is_plane, length, 1.0))[:, None]
    )
    size = max(1.0, float(np.abs(scaled[is_plane, -1]).max(initial=0.0)))
    keys = np.round(scaled[is_plane] / np.append(np.ones(system.rank), size), 13) + 0.0
    _, kept, index = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    planes = scaled[is_plane][kept]
    which = np.full(2 * units, -1)
    which[is_plane] = index.reshape(-1)
    constant = np.where(offsets > 0, 1.0, -1.0)
    constant[units:][~finite] = -1.0
    side = np.where(is_plane, side, constant)
    directions = np.unique(keys[kept, :-1], axis=0, return_inverse=True)[1]
    return Arrangement(
        np.ascontiguousarray(planes[:, :-1]),
        np.ascontiguousarray(planes[:, -1]),
        directions.reshape(-1),
        which[:units],
        which[units:],
        side[:units],
        side[units:],
    )


def count_regions(network: LowRankMap) -> int:
    """How many linear regions the network has, by visiting each; Σ_{r≤R} C(H, r) in general position."""
    system = latent_system(network)
    return visit(system, arrange(system), threads=1).regions


def enumerate_fixed_points(
    network: LowRankMap, *, threads: int = 1, max_regions: float = 1e10
) -> FixedPoints:
    """All fixed points of a piecewise-linear network by visiting every linear region.

    Slower than `exact_fixed_points` by orders of magnitude, and independent of it. `complete` is True
    when every region was visited and no decision fell within its rounding.

    Raises
    ------
    InputError : the activation is smooth, or there are more than `max_regions` regions.
    """
    if not network.is_piecewise_linear:
        raise InputError(
            f"Regions exist for piecewise-linear units only; this map has {network.activation!r}. "
            'Use method="newton".'
        )
    size = natural_size(network)
    original, network = network, network.in_units_of(size)
    system = latent_system(network)
    planes = arrange(system)
    most = sum(comb(len(planes.offsets), r) for r in range(network.rank + 1))
    if most > max_regions:
        raise InputError(
            f"{len(planes.offsets)} kinks in {network.rank} latents make up to {most:.2g} regions, more than "
            f'max_regions = {max_regions:.2g}. Use method="exact", which does not visit them one by one.'
        )
    points = _conclude(network, system, planes, visit(system, planes, threads))
    location = points.location * size
    return replace(points, location=location, residual=original.residual(location))


@dataclass(frozen=True, eq=False)
class Visit:
    """Outcome of a walk over all regions.

    Attributes
    ----------
    regions : how many
    close : decisions that fell within rounding
    found : (K, R) solutions; flags (K,) INSIDE or BORDER
    flat : (F, H) int8 signs of the regions where I − J is singular
    """

    regions: int
    close: int
    found: np.ndarray
    flags: np.ndarray
    flat: np.ndarray


def visit(system: ClippedSystem, planes: Arrangement, threads: int) -> Visit:
    """Solve the affine map of every region once, subset by subset of the hyperplanes."""
    rank, total = system.rank, len(planes.offsets)
    axes = np.linalg.qr(np.random.default_rng(AXES_SEED).standard_normal((rank, rank)))[0]
    arguments = (
        (np.ascontiguousarray(planes.normals @ axes), planes.offsets, planes.directions),
        (planes.lower, planes.upper, planes.lower_side, planes.upper_side),
        (
            np.ascontiguousarray(system.linear @ axes),
            system.constant,
            np.ascontiguousarray(system.normals @ axes),
            system.offsets,
            system.weights,
            system.heights,
        ),
    )

    def run(job):
        size, first, last = job
        found, flags = np.empty((RECORDS, rank)), np.empty(RECORDS, dtype=np.int64)
        flat = np.empty((FLAT_RECORDS, total), dtype=np.int8)
        regions, close, kept, level = visit_regions(*arguments, size, first, last, found, flags, flat)
        lost = max(kept - RECORDS, 0) + max(level - FLAT_RECORDS, 0)
        return Visit(regions, close + lost, found[:kept] @ axes.T, flags[:kept], flat[:level])

    if threads == 1:
        results = [run((size, 0, total)) for size in range(min(rank, total) + 1)]
    else:
        jobs = [(0, 0, total)]
        jobs += [(size, k, k + 1) for size in range(1, rank + 1) for k in range(total - size + 1)]
        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(run, jobs))
    return Visit(
        sum(result.regions for result in results),
        sum(result.close for result in results),
        np.concatenate([result.found for result in results]),
        np.concatenate([result.flags for result in results]),
        np.concatenate([result.flat for result in results]),
    )


def _settle(network, system, planes, walk: Visit) -> list[tuple[np.ndarray, str]]:
    """Points (location, kind or "") from the walk, those that several regions share taken once."""
    points: list[tuple[np.ndarray, str]] = []

    def add(z, kind, reach):
        near = [p for p, (other, _) in enumerate(points) if np.abs(other - z).max() <= reach]
        if kind == "degenerate":
            for p in reversed(near):
                del points[p]
        if kind == "degenerate" or not near:
            points.append((z, kind))

    for z, flag in sorted(zip(walk.found, walk.flags, strict=True), key=lambda pair: pair[1]):
        reach = 1e-8 * (1.0 + np.abs(z).max())
        better = minimise_residual(network, z, steps=5)
        if np.abs(better - z).max() <= reach:
            z = better
        elif flag == BORDER:
            continue
        add(z, "" if flag == INSIDE else "kink", reach)
    for signs in walk.flat:
        z = _point_on_flat(system, planes, signs)
        if z is not None:
            add(z, "degenerate", 1e-8 * (1.0 + np.abs(z).max()))
    return points


def _conclude(network, system, planes, walk: Visit) -> FixedPoints:
    """Name the points and say what is known."""
    points = sorted(_settle(network, system, planes, walk), key=lambda point: np.linalg.norm(point[0]))
    location = np.array([z for z, _ in points]).reshape(-1, network.rank)
    named = {p: kind for p, (_, kind) in enumerate(points) if kind}
    doubts = []
    if walk.close:
        doubts.append(f"{walk.close:,} decisions fell within rounding (kinks that meet in one point)")
    if named:
        doubts.append(f"{len(named)} points lie on kinks or on lines of fixed points")
    proof = f"All {walk.regions:,} linear regions were solved in float64, every decision outside rounding."
    if doubts:
        proof = f"{walk.regions:,} linear regions were visited; not proved complete: {'; '.join(doubts)}."
    return characterise(
        location,
        network.jacobian(location),
        residual=network.residual(location),
        bin_size=network.bin_size,
        kind=named,
        regions=network.regions(location, tolerance=1e-12 * (1 + np.abs(network.currents(location)))),
        complete=not doubts,
        proof=proof,
        method="enumerate",
    )


def _point_on_flat(system: ClippedSystem, planes: Arrangement, signs: np.ndarray) -> np.ndarray | None:
    """A fixed point in the closed region with these signs, where I − J is singular; None if it has none.

    A linear program: H(z) = 0 with z on the given side of every hyperplane, as far from them as it can be.
    """
    on = np.where(planes.lower < 0, planes.lower_side, planes.lower_side * signs[planes.lower]) > 0
    full = np.where(planes.upper < 0, planes.upper_side, planes.upper_side * signs[planes.upper]) > 0
    full &= on
    linear = on & ~full
    matrix = system.linear + system.weights[linear].T @ system.normals[linear]
    constant = system.constant + system.weights[linear].T @ system.offsets[linear]
    constant = constant + system.weights[full].T @ system.heights[full]
    column = np.zeros((system.rank, 1))
    answer = linprog(
        np.append(np.zeros(system.rank), -1.0),
        A_ub=np.column_stack([-signs[:, None] * planes.normals, np.ones(len(signs))]),
        b_ub=signs * planes.offsets,
        A_eq=np.concatenate([matrix, column], axis=1),
        b_eq=-constant,
        bounds=[(None, None)] * system.rank + [(0.0, 1.0)],
        method="highs",
    )
    return answer.x[:-1] if answer.success else None
