"""Where simulated orbits end, and whether the fixed points and cycles that were found explain it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nwb_rnn.dynamics.cycles import Cycle, describe_cycle
from nwb_rnn.dynamics.fixed_points import FixedPoints
from nwb_rnn.dynamics.linearisation import lyapunov_exponents
from nwb_rnn.dynamics.newton import as_map


@dataclass(frozen=True, eq=False)
class Attractor:
    """A set on which some of the simulated orbits ended.

    Attributes
    ----------
    name : such as ``"fixed point 3 (stable focus)"``, ``"period-2 attractor"``, ``"infinity"``,
        ``"unexplained (chaotic)"`` or ``"unexplained (quasi-periodic or very slow)"``
    explained : a listed fixed point or cycle, or divergence
    index : row of the fixed points or place among the cycles; −1 for none
    share : fraction of the orbits
    state : (R,) one state on it
    cycle : the cycle, where it is one; also one that was not listed before
    exponent : largest Lyapunov exponent (1/s) of an unexplained attractor, else NaN
    """

    name: str
    explained: bool
    index: int
    share: float
    state: np.ndarray
    cycle: Cycle | None = None
    exponent: float = float("nan")

    def __str__(self) -> str:
        note = "" if self.explained else "  <- not among the points and cycles given"
        return f"{self.share:6.1%}  {self.name}{note}"


def match_attractors(
    step,
    starts: np.ndarray,
    points: FixedPoints,
    cycles: tuple[Cycle, ...] = (),
    *,
    steps: int = 2000,
    max_period: int = 64,
    tolerance: float = 1e-4,
) -> tuple[Attractor, ...]:
    """Run the map from `starts` (S, R) and name what each orbit ends on, most frequent first.

    Parameters
    ----------
    step : as for `find_fixed_points`
    starts : (S, R)
    points, cycles : what was found before
    steps : length of each orbit
    max_period : longest cycle recognised from the orbit itself
    tolerance : an end nearer than this (times 1 + its size) to a point or cycle belongs to it
    """
    mapping = as_map(step)
    ends = run(mapping, np.asarray(starts, dtype=np.float64), steps)
    names: dict[str, list] = {}
    extra: list[Cycle] = []
    for z in ends:
        found = name_end(mapping, z, points, (*cycles, *extra), max_period, tolerance)
        if found.cycle is not None and found.index < 0:
            extra.append(found.cycle)
        elif found.cycle is not None and found.index >= len(cycles):
            found = replace(found, name=f"unlisted {found.name}", explained=False, index=-1)
        names.setdefault(found.name, []).append(found)
    listed = [Attractor(**(vars(group[0]) | {"share": len(group) / len(ends)})) for group in names.values()]
    return tuple(sorted(listed, key=lambda attractor: -attractor.share))


def run(mapping, z: np.ndarray, steps: int) -> np.ndarray:
    """States (S, R) after `steps` steps; orbits that leave 1e8 become NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(steps):
            z = mapping.step(z)
            z = np.where((np.abs(z) < 1e8).all(axis=1, keepdims=True), z, np.nan)
    return z


def name_end(mapping, z, points: FixedPoints, cycles, max_period: int, tolerance: float) -> Attractor:
    """What the end z (R,) of one orbit lies on."""
    if not np.isfinite(z).all():
        return Attractor("infinity", True, -1, 0.0, z)
    reach = tolerance * (1.0 + np.abs(z).max())
    if len(points):
        gaps = np.linalg.norm(points.location - z, axis=1)
        nearest = int(gaps.argmin())
        if gaps[nearest] <= reach:
            return Attractor(f"fixed point {nearest} ({points.kind[nearest]})", True, nearest, 0.0, z)
    for k, cycle in enumerate(cycles):
        if cycle.distance(z) <= reach:
            return Attractor(f"{cycle.name} (cycle {k})", True, k, 0.0, z, cycle)
    return _unlisted(mapping, z, len(cycles), max_period, reach)


def _unlisted(mapping, z, known: int, max_period: int, reach: float) -> Attractor:
    """A cycle read off the orbit, or an attractor that nothing explains."""
    orbit = [z]
    for _ in range(max_period):
        orbit.append(mapping.step(orbit[-1][None])[0])
    gaps = np.linalg.norm(np.array(orbit[1:]) - z, axis=1)
    back = np.flatnonzero(gaps <= 0.01 * reach)
    if len(back):
        period = int(back[0]) + 1
        cycle = describe_cycle(mapping, np.array(orbit[:period]))
        name = f"unlisted {cycle.name} (cycle {known})" if period > 1 else "unlisted fixed point"
        return Attractor(name, False, -1, 0.0, z, cycle)
    exponent = float(lyapunov_exponents(mapping, z, steps=2000, discard=0, count=1)[0])
    bin_size = getattr(mapping, "bin_size", 1.0)
    what = "chaotic" if exponent * bin_size > 1e-3 else "quasi-periodic or very slow"
    return Attractor(f"unexplained ({what})", False, -1, 0.0, z, None, exponent)
