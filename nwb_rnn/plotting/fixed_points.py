"""Pictures of fixed points: where they are, their eigenvalues, how they move with a parameter."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from nwb_rnn.dynamics.fixed_points import FixedPoints
from nwb_rnn.errors import InputError
from nwb_rnn.plotting.style import PALETTE, QUIET, given_or_new, tidy

STABLE, UNSTABLE = PALETTE[2], "#D55E00"
_MARKS = (  # group of kinds, marker, face, edge
    ("stable", "o", "black", "black"),
    ("saddle", "D", "white", "black"),
    ("unstable", "o", "white", "black"),
    ("other", "X", "white", "black"),
)


def plot_fixed_points(
    points: FixedPoints,
    ax: Axes | None = None,
    *,
    latents: tuple[int, int] = (0, 1),
    directions: bool = True,
    size: float = 55.0,
) -> Axes:
    """Fixed points in two latents: filled where stable, open where not, lines along unstable directions.

    They are labelled with their kinds, for `ax.legend()`.

    Parameters
    ----------
    points : with at least one latent; a single latent is drawn against zero
    ax : axes to draw on; new ones when None
    latents : which two, 0 and 1 by default (in canonical basis the two strongest)
    directions : draw the unstable directions
    size : of the markers, points²

    Raises
    ------
    InputError : the points have no such latents
    """
    ax = given_or_new(ax)
    first, second = _latents(points, latents)
    place = np.stack([points.location[:, first], _column(points.location, second)], axis=1)
    groups = np.array([_group(str(k), bool(s)) for k, s in zip(points.kind, points.stable, strict=True)])
    for name, marker, face, edge in _MARKS:
        chosen = groups == name
        if chosen.any():
            kinds = ", ".join(sorted({str(kind) for kind in points.kind[chosen]}))
            style = dict(marker=marker, facecolor=face, edgecolor=edge, linewidth=1.4)
            ax.scatter(*place[chosen].T, s=size, label=kinds, zorder=4, **style)
    if directions and second is not None and len(points):
        spread = np.ptp(place, axis=0).max()
        length = 0.08 * (spread if spread > 0 else 1.0)
        for p in range(len(points)):
            for vector in points.unstable_vectors(p).T.real[:, [first, second]]:
                ends = place[p] + length * np.outer([-1.0, 1.0], vector)
                ax.plot(*ends.T, color=UNSTABLE, linewidth=1.0, zorder=3)
    return tidy(ax, f"z$_{{{first + 1}}}$", "" if second is None else f"z$_{{{second + 1}}}$")


def plot_eigenvalues(points: FixedPoints, ax: Axes | None = None) -> Axes:
    """All eigenvalues in the complex plane with the unit circle; colour tells stable points from others."""
    ax = given_or_new(ax)
    angle = np.linspace(0.0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color=QUIET, linewidth=0.8)
    for shown, colour in ((points.stable, STABLE), (~points.stable, UNSTABLE)):
        values = points.eigenvalues[shown].ravel()
        ax.scatter(values.real, values.imag, s=14, color=colour)
    ax.set_aspect("equal")
    ax.set_xlabel("Re λ")
    ax.set_ylabel("Im λ")
    return ax


def plot_branch(branch, ax: Axes | None = None, *, latent: int = 0) -> Axes:
    """A branch of `follow_branch`: one latent against the parameter, solid where stable, dashed where not."""
    ax = given_or_new(ax)
    for shown, style, colour in ((branch.stable, "-", STABLE), (~branch.stable, "--", UNSTABLE)):
        height = np.where(shown, branch.location[:, latent], np.nan)
        ax.plot(branch.parameter, height, style, color=colour)
    for special in branch.bifurcations:
        ax.plot(special.parameter, special.location[latent], "k.", markersize=7)
        ax.annotate(special.kind, (special.parameter, special.location[latent]), fontsize=7)
    ax.set_xlabel("parameter")
    ax.set_ylabel(f"latent {latent + 1}")
    return ax


def _group(kind: str, stable: bool) -> str:
    if stable:
        return "stable"
    return next((name for name in ("saddle", "unstable") if kind.startswith(name)), "other")


def _latents(points: FixedPoints, latents: tuple[int, int]) -> tuple[int, int | None]:
    rank = points.location.shape[1]
    if rank == 1:
        return 0, None
    if max(latents) >= rank or min(latents) < 0:
        raise InputError(f"latents is {latents}; these points have latents 0 to {rank - 1}.")
    return latents


def _column(location: np.ndarray, latent: int | None) -> np.ndarray:
    return np.zeros(len(location)) if latent is None else location[:, latent]
