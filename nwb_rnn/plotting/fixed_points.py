"""Pictures of fixed points: where they are, what the flow does between them, their eigenvalues."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from nwb_rnn.dynamics.fixed_points import FixedPoints
from nwb_rnn.errors import InputError
from nwb_rnn.plotting.style import PALETTE, QUIET, given_or_new

STABLE, UNSTABLE = PALETTE[2], "#D55E00"


def plot_fixed_points(
    points: FixedPoints,
    ax: Axes | None = None,
    *,
    latents: tuple[int, int] = (0, 1),
    directions: bool = True,
    size: float = 60.0,
) -> Axes:
    """Fixed points in two latents: filled where stable, open where not, lines along unstable directions.

    Parameters
    ----------
    points : with at least one latent; a single latent is drawn against zero
    ax : axes to draw on; new ones when None
    latents : which two, 0 and 1 by default (in canonical basis the two strongest)
    directions : draw the unstable directions
    size : of the markers, points²
    """
    ax = given_or_new(ax)
    first, second = _latents(points, latents)
    place = np.stack([points.location[:, first], _column(points.location, second)], axis=1)
    shown = points.stable
    ax.scatter(*place[shown].T, s=size, color=STABLE, zorder=3, label="stable")
    ax.scatter(
        *place[~shown].T, s=size, facecolors="white", edgecolors=UNSTABLE, zorder=3, label="not stable"
    )
    if directions and second is not None and len(points):
        spread = np.ptp(place, axis=0).max()
        length = 0.08 * (spread if spread > 0 else 1.0)
        for p in range(len(points)):
            for vector in points.unstable_vectors(p).T.real[:, [first, second]]:
                ends = place[p] + length * np.outer([-1.0, 1.0], vector)
                ax.plot(*ends.T, color=UNSTABLE, linewidth=1.0, zorder=2)
    ax.set_xlabel(f"latent {first + 1}")
    ax.set_ylabel("" if second is None else f"latent {second + 1}")
    return ax


def plot_flow(
    network,
    points: FixedPoints | None = None,
    ax: Axes | None = None,
    *,
    latents: tuple[int, int] = (0, 1),
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    grid: int = 41,
    nullclines: bool = True,
) -> Axes:
    """Flow F(z) − z in two latents, with fixed points and, at rank 2, nullclines.

    Parameters
    ----------
    network : a map with step(z), such as `LowRankMap`, of at least two latents
    points : drawn on top; their mean also holds the latents that are not shown
    limits : ((low, high), (low, high)) of both latents; round the points when None
    grid : arrows' grid, per side
    nullclines : draw where each latent stands still (rank 2 only: elsewhere they are not curves)

    Raises
    ------
    InputError : fewer than two latents, or neither points nor limits.
    """
    ax = given_or_new(ax)
    rank = _rank(network, points)
    if rank < 2:
        raise InputError(f"A flow field needs two latents; this map has {rank}. Plot F(z) − z against z.")
    rest = np.zeros(rank) if points is None or len(points) == 0 else points.location.mean(axis=0)
    limits = _limits(points, latents) if limits is None else limits
    across, up = (np.linspace(*pair, grid) for pair in limits)
    x, y = np.meshgrid(across, up)
    states = np.broadcast_to(rest, (grid * grid, rank)).copy()
    states[:, latents[0]], states[:, latents[1]] = x.ravel(), y.ravel()
    flow = (network.step(states) - states)[:, list(latents)].reshape(grid, grid, 2)
    ax.streamplot(x, y, flow[..., 0], flow[..., 1], color=QUIET, density=1.0, linewidth=0.6, arrowsize=0.7)
    if nullclines and rank == 2:
        for k, colour in enumerate(PALETTE[:2]):
            if flow[..., k].min() < 0 < flow[..., k].max():
                ax.contour(x, y, flow[..., k], levels=[0.0], colors=[colour], linewidths=1.2)
    if points is not None:
        plot_fixed_points(points, ax, latents=latents)
    ax.set_xlim(*limits[0])
    ax.set_ylim(*limits[1])
    ax.set_xlabel(f"latent {latents[0] + 1}")
    ax.set_ylabel(f"latent {latents[1] + 1}")
    return ax


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


def _latents(points: FixedPoints, latents: tuple[int, int]) -> tuple[int, int | None]:
    rank = points.location.shape[1]
    if rank == 1:
        return 0, None
    if max(latents) >= rank or min(latents) < 0:
        raise InputError(f"latents is {latents}; these points have latents 0 to {rank - 1}.")
    return latents


def _column(location: np.ndarray, latent: int | None) -> np.ndarray:
    return np.zeros(len(location)) if latent is None else location[:, latent]


def _rank(network, points: FixedPoints | None) -> int:
    if points is not None:
        return points.location.shape[1]
    rank = getattr(network, "rank", None)
    if rank is None:
        raise InputError("Pass the fixed points too: this map does not say how many latents it has.")
    return rank


def _limits(points: FixedPoints | None, latents) -> tuple[tuple[float, float], tuple[float, float]]:
    if points is None or len(points) == 0:
        raise InputError("Pass limits ((low, high), (low, high)) where there are no points to draw round.")
    place = points.location[:, list(latents)]
    reach = 0.6 * np.ptp(place, axis=0) + 0.4 * (1.0 + np.abs(place).max()) * (len(points) == 1) + 0.1
    low, high = place.min(axis=0) - reach, place.max(axis=0) + reach
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))
