"""What the exact search could neither solve nor exclude, joined into clusters of touching boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.dynamics.piecewise_linear import ClippedSystem

POINT_SIZE = 1e-8
TRIES = 12


@dataclass(frozen=True, eq=False)
class Cluster:
    """Touching boxes that may hold any number of fixed points.

    Attributes
    ----------
    boxes : (K, 2, R)
    hull : (2, R) smallest box round them
    location : (R,) the point in them with the smallest residual found
    kind : ``"kink"`` for a cluster the size of a point on a kink, ``"degenerate"`` otherwise
    is_zero : whether F(z) = z holds at `location` to rounding
    """

    boxes: np.ndarray
    hull: np.ndarray
    location: np.ndarray
    kind: str
    is_zero: bool

    @property
    def radius(self) -> float:
        """Largest distance, per coordinate, from `location` to the end of the cluster."""
        return float(np.abs(self.hull - self.location).max())

    def describe(self, size: float = 1.0) -> str:
        """What is left open, in words, where the boxes are in units of `size`."""
        place = ", ".join(f"{value * size:.4g}" for value in self.location[:4])
        radius = f"{self.radius * size:.2g}"
        if not self.is_zero:
            return f"no fixed point was found near ({place}), nor excluded within {radius}"
        if self.kind == "kink":
            return f"affine maps meet at ({place}), where more than one point may lie within {radius}"
        return f"I − J is singular at ({place}); fixed points may fill a set of radius {radius}"


def join_boxes(boxes: np.ndarray) -> list[np.ndarray]:
    """Sort boxes (K, 2, R) into groups that touch, to rounding."""
    if len(boxes) == 0:
        return []
    pad = 1e-9 * (np.abs(boxes).max() + 1e-300) + 1e-300
    low, high = boxes[:, 0] - pad, boxes[:, 1] + pad
    rows, columns = [], []
    for k in range(len(boxes)):
        touching = np.flatnonzero(((low <= high[k]) & (high >= low[k])).all(axis=1))
        rows.append(np.full(len(touching), k))
        columns.append(touching)
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(boxes), len(boxes)))
    count, label = connected_components(graph, directed=False)
    return [boxes[label == k] for k in range(count)]


def hull_of(boxes: np.ndarray) -> np.ndarray:
    """(2, R) the smallest box round boxes (K, 2, R)."""
    return np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])


def make_cluster(boxes: np.ndarray, network: LowRankMap) -> Cluster:
    """One group of touching boxes with the best point in it."""
    hull = hull_of(boxes)
    centres = 0.5 * (boxes[:, 0] + boxes[:, 1])
    middle = centres.mean(axis=0)
    nearest = np.argsort(np.linalg.norm(centres - middle, axis=1), kind="stable")[:TRIES]
    starts = np.concatenate([centres[nearest], np.clip(0.0, hull[0], hull[1])[None]])
    tried = np.array([minimise_residual(network, z) for z in starts])
    tried = np.concatenate([np.clip(tried, hull[0], hull[1]), starts])
    location = tried[np.argmin(network.residual(tried))]
    scale = 1.0 + np.abs(network.right_vectors) @ np.abs(network.currents(location)) + np.abs(location)
    is_zero = bool(network.residual(location) <= 0.5 * np.square(1e-12 * scale).sum())
    small = (hull[1] - hull[0]).max() <= POINT_SIZE * max(1.0, np.abs(hull).max())
    on_kink = (
        network.regions(location, tolerance=1e-9 * (1.0 + np.abs(network.currents(location)))) < 0
    ).any()
    return Cluster(boxes, hull, location, "kink" if small and on_kink else "degenerate", is_zero)


def minimise_residual(network: LowRankMap, z: np.ndarray, steps: int = 25) -> np.ndarray:
    """Gauss–Newton with halved steps on F(z) − z; the smallest-norm step where I − J is singular."""
    best = network.residual(z)
    for _ in range(steps):
        gap = network.step(z) - z
        step = np.linalg.lstsq(np.eye(network.rank) - network.jacobian(z), gap, rcond=1e-10)[0]
        for _ in range(6):
            trial = z + step
            value = network.residual(trial)
            if value < best:
                break
            step = 0.5 * step
        if not value < best:
            break
        z, best = trial, value
    return z


def is_cone_tip(system: ClippedSystem, cluster: Cluster, others: np.ndarray, root: np.ndarray) -> bool:
    """True if the cluster is the origin alone, because the map is a cone round it.

    If every unit that is not off near the origin has its kink exactly at the origin (b = 0 without
    rounding) and g = 0, then H(t y) = t H(y) for t > 0 as long as t y stays nearby. A zero y ≠ 0 in the
    cluster would give zeros along the whole ray from the origin, also outside the cluster, where the
    search of `root` (2, R) has excluded them: `others` (K, 2, R), all other boxes that may hold zeros,
    stay clear.
    """
    hull = cluster.hull
    if not ((hull[0] < 0).all() and (hull[1] > 0).all()):
        return False
    reach = 8.0 * np.abs(hull).max()
    if (root[0] > -reach).any() or (root[1] < reach).any():
        return False
    if system.constant.any() or system.constant_error.any():
        return False
    swing = np.abs(system.normals).sum(axis=1) * reach * 1.001 + system.offset_error
    exact = (system.offsets == 0) & (system.offset_error == 0) & (swing < system.heights)
    off = system.offsets + swing < 0
    if not (exact | off).all():
        return False
    near = ((others[:, 0] <= reach) & (others[:, 1] >= -reach)).all(axis=1)
    return not near.any()
