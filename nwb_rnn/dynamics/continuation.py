"""Fixed points as a parameter changes: pseudo-arclength continuation with fold, Hopf and flip points.

The branch is the curve of (z, p) with F(z; p) = z. From a point on it with unit tangent t, the next is
predicted at distance ds along t and corrected by Newton on F(z; p) − z = 0 together with
t · ((z, p) − prediction) = 0, which stays regular where the branch turns back (Keller 1977). Where the
number of unstable directions changes, the crossing is closed in on by bisection and named by the eigenvalue
that crosses the unit circle: +1 a fold (the branch turns back) or a branch point, −1 a flip (period
doubling), a complex pair a Neimark–Sacker point (the Hopf point of maps). In a piecewise-linear
network eigenvalues may jump across the circle at a kink: a border collision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nwb_rnn.dynamics.fixed_points import sorted_eigenvalues
from nwb_rnn.errors import InputError

NEWTON_STEPS = 12
CONVERGED = 1e-11
NEAR_CIRCLE = 1e-4
SMOOTH_TURN = 0.9


@dataclass(frozen=True, eq=False)
class Bifurcation:
    """One special point of a branch.

    Attributes
    ----------
    kind : ``"fold"``, ``"branch point"``, ``"flip"``, ``"Neimark-Sacker"`` (Hopf) or ``"border collision"``
    parameter : its parameter value
    location : (R,)
    eigenvalue : complex, the one that crosses
    """

    kind: str
    parameter: float
    location: np.ndarray
    eigenvalue: complex

    def __str__(self) -> str:
        return f"{self.kind} at {self.parameter:.6g} (λ = {self.eigenvalue:.4f})"


@dataclass(frozen=True, eq=False)
class Branch:
    """One curve of fixed points.

    Attributes
    ----------
    parameter : (K,)
    location : (K, R)
    eigenvalues : (K, R) complex, largest modulus first
    bifurcations : special points in the order of the curve
    ended : why it ends
    """

    parameter: np.ndarray
    location: np.ndarray
    eigenvalues: np.ndarray
    bifurcations: tuple[Bifurcation, ...]
    ended: str

    @property
    def stable(self) -> np.ndarray:
        """(K,) bool."""
        return np.asarray((np.abs(self.eigenvalues) < 1.0).all(axis=1))

    def __str__(self) -> str:
        low, high = self.parameter.min(), self.parameter.max()
        lines = [f"{len(self.parameter)} fixed points for parameters {low:.4g} to {high:.4g}; {self.ended}"]
        return "\n".join(lines + [f"  {bifurcation}" for bifurcation in self.bifurcations])


@dataclass
class _Curve:
    """F(z; p) − z and its derivatives on x = (z, p)."""

    family: Callable
    increment: float

    def gap(self, x: np.ndarray) -> np.ndarray:
        z = x[None, :-1]
        return (self.family(x[-1]).step(z) - z)[0]

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        return self.family(x[-1]).jacobian(x[None, :-1])[0]

    def slope(self, x: np.ndarray) -> np.ndarray:
        """(R, R + 1)."""
        size = len(x) - 1
        h = self.increment
        ahead, behind = x.copy(), x.copy()
        ahead[-1] += h
        behind[-1] -= h
        by_parameter = (self.gap(ahead) - self.gap(behind)) / (2 * h)
        return np.concatenate([self.jacobian(x) - np.eye(size), by_parameter[:, None]], axis=1)

    def eigenvalues(self, x: np.ndarray) -> np.ndarray:
        return sorted_eigenvalues(self.jacobian(x)[None])[0][0]

    def tangent(self, x: np.ndarray, towards: np.ndarray) -> np.ndarray:
        """Unit vector along the branch, on the side of `towards`."""
        vector = np.linalg.svd(self.slope(x))[2][-1]
        return vector if vector @ towards >= 0 else -vector

    def correct(self, guess: np.ndarray, direction: np.ndarray) -> np.ndarray | None:
        """The branch in the plane through `guess` normal to `direction`; None if Newton fails."""
        x = guess.copy()
        for _ in range(NEWTON_STEPS):
            right = np.append(self.gap(x), direction @ (x - guess))
            if not np.isfinite(right).all():
                return None
            if np.abs(right).max() <= CONVERGED * (1.0 + np.abs(x).max()):
                return x
            try:
                x = x - np.linalg.solve(np.concatenate([self.slope(x), direction[None]]), right)
            except np.linalg.LinAlgError:
                return None
        return None


def follow_branch(
    family: Callable,
    start: np.ndarray,
    parameter: float,
    bounds: tuple[float, float],
    *,
    increasing: bool = True,
    step_size: float = 0.02,
    max_step: float = 0.2,
    max_points: int = 2000,
    increment: float | None = None,
) -> Branch:
    """Follow one fixed point as a parameter changes.

    Parameters
    ----------
    family : parameter -> map with step(z) and jacobian(z), for example
        ``lambda gain: replace(network, right_vectors=gain * network.right_vectors)``
    start : (R,) a fixed point, or near one, at `parameter`
    bounds : (low, high) of the parameter; the branch ends where it leaves them
    increasing : first direction
    step_size, max_step : first and largest step along the curve, in units of (z, p)
    max_points : end after so many
    increment : of the parameter for the difference quotient dF/dp; 1e-6 of the bounds' width when None

    Raises
    ------
    InputError : `parameter` is outside `bounds`, or no fixed point is near `start`.
    """
    low, high = bounds
    if not low <= parameter <= high or not low < high:
        raise InputError(f"parameter {parameter} is not inside bounds ({low}, {high}).")
    curve = _Curve(family, increment or 1e-6 * (high - low))
    fixed_parameter = np.append(np.zeros(len(start)), 1.0)
    x = curve.correct(np.append(np.asarray(start, dtype=np.float64), parameter), fixed_parameter)
    if x is None:
        raise InputError(
            f"No fixed point near {start} at parameter {parameter}; start from one that was found."
        )
    direction = curve.tangent(x, fixed_parameter if increasing else -fixed_parameter)
    places, values, special = [x], [curve.eigenvalues(x)], []
    ended, size = f"stopped after {max_points} points", step_size
    while len(places) < max_points:
        moved = _advance(curve, x, direction, size, 1e-7 * step_size)
        if moved is None:
            ended = "ended where Newton found no continuation (the branch may end at a kink)"
            break
        ahead, turned, size = moved
        after = curve.eigenvalues(ahead)
        if _unstable(after) != _unstable(values[-1]):
            special.append(_locate(curve, x, direction, size, values[-1], turned))
        x, direction = ahead, turned
        places.append(x)
        values.append(after)
        size = min(size * 1.3, max_step)
        if not low <= x[-1] <= high:
            ended = f"left the bounds at {x[-1]:.6g}"
            break
        if len(places) > 10 and np.abs(x - places[0]).max() < 0.5 * size and direction @ (places[1] - x) > 0:
            ended = "came back to its start"
            break
    line = np.array(places)
    return Branch(line[:, -1], line[:, :-1], np.array(values), tuple(special), ended)


def _advance(curve: _Curve, x, direction, size, smallest) -> tuple[np.ndarray, np.ndarray, float] | None:
    """(next point, tangent there, step taken), halving the step until the tangent turns little."""
    while True:
        ahead = curve.correct(x + size * direction, direction)
        if ahead is not None:
            turned = curve.tangent(ahead, direction)
            if turned @ direction >= SMOOTH_TURN or size <= smallest:
                return ahead, turned, size
        elif size <= smallest:
            return None
        size *= 0.5


def _unstable(eigenvalues: np.ndarray) -> int:
    return int((np.abs(eigenvalues) > 1.0).sum())


def _locate(curve: _Curve, x, direction, size, before, turned) -> Bifurcation:
    """Close in on the change of stability between x and the next point, and name it."""
    low, high, place = 0.0, size, None
    count = _unstable(before)
    for _ in range(45):
        middle = 0.5 * (low + high)
        trial = curve.correct(x + middle * direction, direction)
        if trial is None:
            break
        place = trial
        if _unstable(curve.eigenvalues(trial)) == count:
            low = middle
        else:
            high = middle
    place = x if place is None else place
    eigenvalues = curve.eigenvalues(place)
    crossing = eigenvalues[np.abs(np.abs(eigenvalues) - 1.0).argmin()]
    turns_back = direction[-1] * turned[-1] < 0
    if abs(abs(crossing) - 1.0) > NEAR_CIRCLE:
        kind = "border collision"
    elif abs(crossing.imag) > NEAR_CIRCLE:
        kind = "Neimark-Sacker"
    elif crossing.real < 0:
        kind = "flip"
    else:
        kind = "fold" if turns_back else "branch point"
    return Bifurcation(kind, float(place[-1]), place[:-1], complex(crossing))
