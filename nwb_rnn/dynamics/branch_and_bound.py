"""Every fixed point of a piecewise-linear low-rank network, with proof.

The search covers all of space: a box that holds every fixed point of a clipped network, or, for relu, a
cube and its outside (see `piecewise_linear.face_system`). `box_kernels` solves or excludes every part of
it. What it can neither solve nor exclude (a line of fixed points, a point on a kink where several
affine maps meet) comes back as small boxes; touching ones are joined and reported as one point of kind
``"kink"`` or ``"degenerate"``, and then nothing is called complete.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from nwb_rnn.dynamics.box_kernels import CANDIDATE, SOLVED, System, search_box
from nwb_rnn.dynamics.clusters import (
    Cluster,
    hull_of,
    is_cone_tip,
    join_boxes,
    make_cluster,
    minimise_residual,
)
from nwb_rnn.dynamics.fixed_points import FixedPoints, characterise, sorted_eigenvalues
from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.dynamics.piecewise_linear import (
    ClippedSystem,
    clipped_bounds,
    face_system,
    latent_system,
    natural_size,
)
from nwb_rnn.errors import InputError

RECORDS = 20_000
LOOSE_RECORDS = 2_000
RESOLUTIONS = (1e-11, 1e-8, 1e-5, 1e-3, 1e-2)
MAX_CORNERS = 8
CERTIFIABLE = 1e-5


@dataclass(eq=False)
class Search:
    """What the search of one or several boxes came to."""

    solved: np.ndarray
    loose: np.ndarray
    boxes: int = 0
    finished: bool = True

    def __add__(self, other: Search) -> Search:
        return Search(
            np.concatenate([self.solved, other.solved]),
            np.concatenate([self.loose, other.loose]),
            self.boxes + other.boxes,
            self.finished and other.finished,
        )


def exact_fixed_points(
    network: LowRankMap,
    *,
    region: tuple[np.ndarray, np.ndarray] | None = None,
    threads: int = 1,
    max_boxes: int = 50_000_000,
) -> FixedPoints:
    """All fixed points of a relu, clipped relu or identity network by branch and bound.

    Parameters
    ----------
    network : the map, under the input current it carries
    region : (low, high), each (R,): search this box only; by default all of space
    threads : compiled workers, at least 1
    max_boxes : give up, saying so, after this many boxes

    Returns
    -------
    FixedPoints with `complete` True only if every part of space (or of `region`) was solved or excluded.

    Raises
    ------
    InputError : the activation is smooth, or the region is not a box.
    """
    if not network.is_piecewise_linear:
        raise InputError(
            f"The exact search needs piecewise-linear units; this map has {network.activation!r}. "
            'Use method="newton".'
        )
    size = natural_size(network)
    original, network = network, network.in_units_of(size)
    if region is not None:
        low, high = region
        region = np.asarray(low, dtype=np.float64) / size, np.asarray(high, dtype=np.float64) / size
    system = latent_system(network)
    root, bound = _root(network, system, region)
    found = search(system, root, threads, max_boxes)
    doubts = []
    if network.activation == "relu" and region is None:
        outside, bound, doubts = _search_outside(system, root, threads, max_boxes)
        found = found + outside
    if not bound:
        doubts.append(
            f"with a = 1 nothing bounds fixed points; searched max|z| ≤ {root.max() * size:.3g} only"
        )
    points = _conclude(network, system, found, root, region is not None, bound, doubts, size)
    location = points.location * size
    return replace(
        points,
        location=location,
        radius=np.asarray(points.radius) * size,
        residual=original.residual(location),
    )


def search(system: ClippedSystem, root: np.ndarray, threads: int, max_boxes: int) -> Search:
    """Cover one box (2, R), coarser where too much stays undecided (lines and planes of zeros)."""
    reach = np.abs(root).max(axis=0)
    scale = np.maximum(reach, 1e-6 * reach.max() + 1e-300)
    spent, solved = 0, np.zeros((0, 2, system.rank))
    for resolution in RESOLUTIONS:
        result = _search_parts(system, root, resolution * scale, threads, max_boxes - spent)
        spent += result.boxes
        solved = np.concatenate([solved, result.solved])
        if len(result.loose) <= LOOSE_RECORDS or spent >= max_boxes:
            break
    return Search(solved, result.loose[:LOOSE_RECORDS], spent, result.finished)


def _search_parts(system, root, smallest, threads, max_boxes) -> Search:
    """One search in each of several parts of the box, one part per call of the compiled code."""
    arrays = System(*system.arguments())
    limits = (max_boxes, 64 * system.rank + 64, LOOSE_RECORDS)
    parts = _split(root, 32 * threads if threads > 1 else 1)

    def run(part):
        found = np.empty((RECORDS, 2, system.rank))
        flags = np.empty(RECORDS, dtype=np.int64)
        kept, seen, left = search_box(part, arrays, smallest, limits, found, flags)
        good = flags[:kept] == SOLVED
        return Search(found[:kept][good], found[:kept][~good], int(seen), left == 0)

    if len(parts) == 1:
        return run(parts[0])
    with ThreadPoolExecutor(threads) as pool:
        return _total(pool.map(run, parts), system.rank)


def _total(results, rank: int) -> Search:
    total = Search(np.zeros((0, 2, rank)), np.zeros((0, 2, rank)))
    for result in results:
        total = total + result
    return total


def _split(root: np.ndarray, count: int) -> list[np.ndarray]:
    """Halve the box along its longest sides into at least `count` boxes."""
    parts = [root]
    while len(parts) < count:
        axis = int(np.argmax(parts[0][1] - parts[0][0]))
        halves = []
        for part in parts:
            low, high = part.copy(), part.copy()
            high[0, axis] = low[1, axis] = 0.5 * (part[0, axis] + part[1, axis])
            halves += [low, high]
        parts = halves
    return parts


def _root(network, system, region) -> tuple[np.ndarray, str]:
    """The box (2, R) to search first, and why it holds every fixed point; an empty text if it may not."""
    rank = network.rank
    if region is not None:
        root = np.array([np.broadcast_to(side, (rank,)) for side in region], dtype=np.float64)
        if not (np.isfinite(root).all() and (root[0] < root[1]).all()):
            raise InputError(f"region is {region}; expected (low, high) with low < high, each ({rank},).")
        return root, "the given region"
    if network.activation == "clipped_relu":
        bounds = clipped_bounds(network)
        if bounds is not None:
            return np.stack(bounds), "the box |1 − a||z| ≤ |V||h| that holds every fixed point"
    if network.activation == "identity":
        size = 1.0 + np.abs(np.linalg.lstsq(system.linear, -system.constant, rcond=None)[0])
        return np.stack([-2 * size, 2 * size]), "all of space (the map is affine)"
    size = max(1.0, 2.0 * _kink_distance(system))
    return np.stack([np.full(rank, -size), np.full(rank, size)]), ""


def _kink_distance(system: ClippedSystem) -> float:
    """A distance from the origin within which most kinks lie."""
    length = np.abs(system.normals).sum(axis=1)
    far = np.abs(system.offsets) + np.where(np.isfinite(system.heights), system.heights, 0.0)
    ratio = far[length > 0] / length[length > 0]
    return float(np.quantile(ratio, 0.9)) if len(ratio) else 1.0


def _search_outside(system, root, threads, max_boxes) -> tuple[Search, str, list[str]]:
    """Everything beyond the root cube: (boxes in z, why space is covered, what is left open)."""
    rank, size = system.rank, root[1, 0]
    boxes, finished, loose, rays = 0, True, [], 0
    for axis in range(rank):
        for side in (-1.0, 1.0):
            face = face_system(system, axis, side)
            low, high = np.full(rank, -1.0), np.full(rank, 1.0)
            low[-1], high[-1] = 0.0, 1.0 / size
            result = search(face, np.stack([low, high]), threads, max_boxes)
            boxes, finished = boxes + result.boxes, finished and result.finished
            arrays = System(*face.arguments())
            tight = [enclose(arrays, box)[1] for box in result.solved]
            for box in [*tight, *result.loose]:
                point = _from_face(box, axis, side)
                rays += point is None
                loose += [] if point is None else [point]
    bound = "all of space (a cube and, through s = 1/max|z|, its outside)"
    doubts = ["fixed points may lie arbitrarily far out along a ray"] if rays else []
    far = np.array(loose).reshape(-1, 2, rank)
    return Search(np.zeros((0, 2, rank)), far, boxes, finished), bound, doubts


def _from_face(box: np.ndarray, axis: int, side: float) -> np.ndarray | None:
    """A box (n, s) on a face as a box in z = n/s; None if it reaches s = 0."""
    if not box[0, -1] > 0.0:
        return None
    corners = np.insert(box[:, :-1], axis, side, axis=1)
    shares = np.stack([corners[:, None] / box[None, :, -1:]]).reshape(4, -1)
    pad = 1e-13 * np.abs(shares).max(axis=0)
    return np.stack([shares.min(axis=0) - pad, shares.max(axis=0) + pad])


def enclose(system: System, box: np.ndarray) -> tuple[int, np.ndarray]:
    """Test one box (2, R) without splitting it: (flag, the box shrunk as far as it goes).

    SOLVED: the given box holds exactly one zero, and it lies in the returned box. −1: no zero.
    """
    found, flags = np.empty((1, 2, box.shape[1])), np.empty(1, dtype=np.int64)
    whole = np.full(box.shape[1], np.inf)
    flag = CANDIDATE
    for _ in range(60):
        kept, _, _ = search_box(box, system, whole, (10_000, 1, 1), found, flags)
        if kept == 0:
            return (flag if flag == SOLVED else -1), box
        flag = SOLVED if flag == SOLVED else int(flags[0])
        shrunk = (found[0, 1] - found[0, 0]).sum() < 0.9 * (box[1] - box[0]).sum()
        box = found[0].copy()
        if not shrunk:
            break
    return flag, box


def _conclude(network, system, found: Search, root, only_root: bool, bound, doubts, size) -> FixedPoints:
    """Prove each point anew in a box of its own, join what stays open, and say what is known."""
    arrays = System(*system.arguments())
    proved: list[tuple[np.ndarray, np.ndarray]] = []
    for box in found.solved:
        tight = enclose(arrays, box)[1]
        if not any(_within(tight, known[None]) for known, _ in proved):
            proved.append((box, tight))
    outer = np.array([box for box, _ in proved]).reshape(-1, 2, system.rank)
    loose = np.array([box for box in found.loose if not _within(box, outer)]).reshape(-1, 2, system.rank)
    clusters = []
    for boxes in join_boxes(loose):
        certificate = _certify(network, arrays, hull_of(boxes))
        if certificate is None:
            clusters.append(make_cluster(boxes, network))
        elif not _within(certificate[1], outer):
            proved.append(certificate)
    if only_root:
        proved = [(b, t) for b, t in proved if (t[0] <= root[1]).all() and (t[1] >= root[0]).all()]
    others = np.array([tight for _, tight in proved]).reshape(-1, 2, system.rank)
    for cluster in list(clusters):
        neighbours = np.concatenate([others, *[c.boxes for c in clusters if c is not cluster]])
        if is_cone_tip(system, cluster, neighbours, root):
            clusters.remove(cluster)
            proved.append((cluster.hull, np.zeros((2, system.rank))))
    doubts += [cluster.describe(size) for cluster in clusters[:5]]
    clusters = [cluster for cluster in clusters if cluster.is_zero]
    if not found.finished:
        doubts.append("the search stopped at its limit of boxes or of boxes that it could not decide")
    return _report(network, proved, clusters, found.boxes, bound, doubts)


def _within(inner: np.ndarray, outer: np.ndarray) -> bool:
    """Whether a box (2, R) lies in one of the boxes (K, 2, R)."""
    return bool(((inner[0] >= outer[:, 0]) & (inner[1] <= outer[:, 1])).all(axis=1).any())


def _certify(network, arrays, box) -> tuple[np.ndarray, np.ndarray] | None:
    """A larger box round an undecided one that is proved to hold exactly one zero, and that zero's own."""
    scale = max(1.0, float(np.abs(box).max()))
    if (box[1] - box[0]).max() > CERTIFIABLE * scale:
        return None
    start = minimise_residual(network, 0.5 * (box[0] + box[1]))
    for step in range(-12, -4):
        reach = 10.0**step * scale
        outer = np.stack(
            [np.minimum(start - reach, box[0] - reach), np.maximum(start + reach, box[1] + reach)]
        )
        flag, tight = enclose(arrays, outer)
        if flag == SOLVED:
            return outer, tight
    return None


def _report(network, proved, clusters: list[Cluster], boxes, bound, doubts) -> FixedPoints:
    """Put the enclosures and the clusters into one list, nearest the origin first."""
    tight = np.array([box for _, box in proved]).reshape(-1, 2, network.rank)
    middle = 0.5 * (tight[:, 0] + tight[:, 1])
    refined = np.array([_refine(network, z) for z in middle]).reshape(-1, network.rank)
    radius = np.maximum(np.abs(tight - refined[:, None]).max(axis=(1, 2), initial=0.0), 0.0)
    location = np.concatenate([refined, *[c.location[None] for c in clusters]])
    radius = np.concatenate([radius, [c.radius for c in clusters]])
    order = np.argsort(np.linalg.norm(location, axis=1), kind="stable")
    location, radius = location[order], radius[order]
    is_cluster = order >= len(proved)
    width = 4 * np.finfo(float).eps * (1.0 + np.abs(network.currents(location))).max(axis=1, initial=1.0)
    reach = np.where(is_cluster, 0.0, radius)
    regions = _regions(network, location, reach, width)
    bending = network.bending_units
    residual = network.residual(location)
    jacobian = network.jacobian(location)
    kind, status = {}, np.full(len(location), "fixed", dtype="<U16")
    for p in range(len(location)):
        if is_cluster[p]:
            cluster = clusters[order[p] - len(proved)]
            kind[p] = cluster.kind
        elif (regions[p, bending] < 0).any():
            kind[p] = "kink"
    points = characterise(
        location,
        jacobian,
        residual=residual,
        bin_size=network.bin_size,
        status=status,
        kind=kind,
        regions=regions,
        radius=radius,
        complete=not doubts,
        method="exact",
        proof=_proof_text(len(proved), boxes, bound, doubts),
    )
    for p in np.flatnonzero(points.kind == "kink"):
        points.stable[p] = _stable_on_kink(network, location[p], regions[p])
    return points


def _refine(network: LowRankMap, z: np.ndarray) -> np.ndarray:
    """One Newton step, kept if it lowers the residual: the midpoint of an enclosure is already close."""
    try:
        step = z + np.linalg.solve(np.eye(network.rank) - network.jacobian(z), network.step(z) - z)
    except np.linalg.LinAlgError:
        return z
    return step if network.residual(step) < network.residual(z) else z


def _regions(network, location, radius, width) -> np.ndarray:
    """(P, N) int8 kinks passed by each unit; −1 where the enclosure does not tell."""
    regions = np.zeros((len(location), network.units), dtype=np.int8)
    reach = np.abs(network.left_vectors).sum(axis=1)
    for p, z in enumerate(location):
        regions[p] = network.regions(z[None], tolerance=radius[p] * reach + width[p])[0]
    return regions


def _stable_on_kink(network: LowRankMap, z: np.ndarray, region: np.ndarray) -> bool:
    """True if one norm shrinks under the affine maps of every side of the kinks at z."""
    on_kink = np.flatnonzero((region < 0) & network.bending_units)
    if len(on_kink) > MAX_CORNERS:
        return False
    base = network.jacobian(z)
    slope = network.slopes_beside(z, on_kink)
    outer = network.right_vectors[:, on_kink].T[:, :, None] * network.left_vectors[on_kink][:, None, :]
    basis = sorted_eigenvalues(base[None])[1][0]
    if np.linalg.cond(basis) > 1e8:
        return False
    inverse = np.linalg.inv(basis)
    for corner in range(2 ** len(on_kink)):
        bits = (corner >> np.arange(len(on_kink))) & 1
        change = np.where(bits == 1, slope[1], slope[0]) - slope.mean(axis=0)
        matrix = base + np.tensordot(change, outer, axes=1)
        if np.linalg.norm(inverse @ matrix @ basis, 2) >= 1.0:
            return False
    return True


def _proof_text(count, boxes, bound, doubts) -> str:
    if doubts:
        return "Not proved complete: " + "; ".join(dict.fromkeys(doubts)) + "."
    return (
        f"Proved by branch and bound: {boxes:,} boxes cover {bound}; each was excluded or holds exactly one "
        f"fixed point ({count} in all). Rounding of float64 is bounded throughout."
    )
