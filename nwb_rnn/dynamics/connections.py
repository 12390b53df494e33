"""Heteroclinic structure: where the unstable directions of each saddle lead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.dynamics.attractors import name_end, run
from nwb_rnn.dynamics.fixed_points import FixedPoints
from nwb_rnn.dynamics.newton import as_map


@dataclass(frozen=True)
class Connection:
    """Where a push off a saddle ends.

    Attributes
    ----------
    source : row of the saddle
    direction : which unstable eigenvalue, 0 the fastest
    sign : of the push along the eigenvector (for a complex pair, its phase in units of π)
    target : name of the attractor, as in `match_attractors`
    index : row of the fixed point or place of the cycle; −1 for neither
    """

    source: int
    direction: int
    sign: float
    target: str
    index: int

    def __str__(self) -> str:
        return f"{self.source} --(direction {self.direction}, {self.sign:+.2g})--> {self.target}"


def heteroclinic_connections(
    step, points: FixedPoints, cycles: tuple = (), *, push: float = 1e-4, steps: int = 5000
) -> tuple[Connection, ...]:
    """Follow each unstable direction of each fixed point, both ways, to where it leads.

    Parameters
    ----------
    step : the map that `points` and `cycles` belong to
    push : first distance from the saddle, relative to 1 + its size
    steps : how long to follow
    """
    mapping = as_map(step)
    labels, begins = [], []
    for p in range(len(points)):
        for k, sign, vector in unstable_pushes(points, p):
            labels.append((p, k, sign))
            begins.append(points.location[p] + push * (1.0 + np.abs(points.location[p]).max()) * vector)
    if not begins:
        return ()
    ends = run(mapping, np.array(begins), steps)
    named = [name_end(mapping, z, points, cycles, 64, 1e-4) for z in ends]
    return tuple(Connection(*label, end.name, end.index) for label, end in zip(labels, named, strict=True))


def unstable_pushes(points: FixedPoints, p: int) -> list[tuple[int, float, np.ndarray]]:
    """(direction, sign or phase/π, real unit vector) for each way off p; eight phases of a complex pair."""
    vectors = points.unstable_vectors(p)
    pushes = []
    for k in range(vectors.shape[1]):
        value, vector = points.eigenvalues[p, k], vectors[:, k]
        if abs(value.imag) < 1e-12:
            pushes += [(k, sign, sign * vector.real / np.linalg.norm(vector.real)) for sign in (1.0, -1.0)]
        elif value.imag > 0:
            for phase in np.arange(8) / 4.0:
                turned = (vector * np.exp(1j * np.pi * phase)).real
                pushes.append((k, float(phase), turned / np.linalg.norm(turned)))
    return pushes
