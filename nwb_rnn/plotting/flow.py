"""Where the fitted dynamics push the latents: the flow in the plane of two latents, with fixed points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.dynamics.named_arrays import network_of
from nwb_rnn.dynamics.newton import as_map
from nwb_rnn.errors import InputError
from nwb_rnn.plotting.fixed_points import plot_fixed_points
from nwb_rnn.plotting.style import PALETTE, QUIET, given_or_new, tidy

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.dynamics.maps import LowRankMap
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

_GRID = 40
_PATHS = 12


def flow_field(
    model: LowRankRNN | LowRankMap | Any,
    inferred: xr.Dataset | None = None,
    points: FixedPoints | None = None,
    plane: tuple[int, int] = (0, 1),
    inputs: Sequence[float] | None = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ax: Axes | None = None,
    *,
    nullclines: bool = False,
) -> Axes:
    """Direction of F(z) − z in the plane of two latents, inferred trials in it, and fixed points.

    Further latents stand at their mean over the inferred trials; without any, over the fixed points; else
    at 0. With one latent, F(z) − z is drawn against z: it crosses zero at the fixed points.

    Parameters
    ----------
    model : a fitted `LowRankRNN`, a `LowRankMap`, or another step function, as for `find_fixed_points`; the
        last needs `points` or `inferred`, which tell how many latents there are
    inferred : what `infer` returns; the first trials are drawn
    points : what `fixed_points` returns
    plane : positions of the two latents
    inputs : (U,) constant input of the flow; zero when left out
    limits : ((low, high), (low, high)) of the two latents; from trials and points when left out
    nullclines : draw where each latent stands still; they cross at the fixed points. Two latents only: in
        a plane of more they are not curves

    Raises
    ------
    InputError : the model has no such latents, it does not say how many it has, or nullclines of others
        than two
    """
    ax = given_or_new(ax)
    network: Any = network_of(model.to_arrays(), inputs) if hasattr(model, "to_arrays") else as_map(model)
    rank = _rank(network, inferred, points)
    if nullclines and rank != 2:
        raise InputError(f"nullclines are curves for two latents; this model has {rank}")
    paths = _paths(inferred, rank)
    if rank == 1:
        return _line(ax, network, paths, points)
    if not all(0 <= k < rank for k in plane) or plane[0] == plane[1]:
        raise InputError(f"plane={plane}: give two different latents between 0 and {rank - 1}")
    (left, right), (low, high) = limits or _limits(paths, points, plane)
    centre = _centre(paths, points, rank)
    _streams(ax, network, centre, plane, (left, right), (low, high), nullclines)
    for path in paths[:_PATHS]:
        ax.plot(path[:, plane[0]], path[:, plane[1]], color=PALETTE[0], linewidth=0.6, alpha=0.6, zorder=2)
    if points is not None:
        plot_fixed_points(points, ax, latents=plane, directions=False)
    ax.set(xlim=(left, right), ylim=(low, high))
    title = "flow" if rank == 2 else "flow, other latents at their mean"
    return tidy(ax, f"z$_{{{plane[0] + 1}}}$", f"z$_{{{plane[1] + 1}}}$", title)


def _rank(network, inferred: xr.Dataset | None, points: FixedPoints | None) -> int:
    rank = getattr(network, "rank", None)
    if rank is not None:
        return int(rank)
    if points is not None:
        return points.location.shape[1]
    if inferred is not None:
        return inferred.sizes["latent"]
    raise InputError("this step function does not say how many latents it has: pass its fixed points too")


def _centre(paths: list[np.ndarray], points: FixedPoints | None, rank: int) -> np.ndarray:
    if paths:
        return np.concatenate(paths).mean(axis=0)
    return np.zeros(rank) if points is None or not len(points) else points.location.mean(axis=0)


def _streams(ax: Axes, network, centre: np.ndarray, plane, across, up, nullclines: bool) -> None:
    x, y = np.linspace(*across, _GRID), np.linspace(*up, _GRID)
    z = np.tile(centre, (_GRID, _GRID, 1))
    z[..., plane[0]], z[..., plane[1]] = np.meshgrid(x, y)
    states = z.reshape(-1, len(centre))
    step = (network.step(states) - states).reshape(z.shape)
    u, v = step[..., plane[0]], step[..., plane[1]]
    ax.streamplot(x, y, u, v, color=QUIET, linewidth=0.6, density=1.1, arrowsize=0.7, zorder=1)
    for change, colour in zip((u, v), PALETTE[1:3], strict=True) if nullclines else ():
        if change.min() < 0 < change.max():
            ax.contour(x, y, change, levels=[0.0], colors=[colour], linewidths=1.2, zorder=2)


def _line(ax: Axes, network, paths: list[np.ndarray], points: FixedPoints | None) -> Axes:
    (low, high), _ = _limits(paths, points, (0, 0))
    z = np.linspace(low, high, 400)[:, None]
    ax.axhline(0.0, color=QUIET, linewidth=0.8)
    ax.plot(z[:, 0], (network.step(z) - z)[:, 0], color=PALETTE[0], linewidth=1.5)
    if points is not None:
        plot_fixed_points(points, ax, directions=False)
    ax.set_xlim(low, high)
    return tidy(ax, "z", "F(z) − z, per bin", "flow")


def _paths(inferred: xr.Dataset | None, rank: int) -> list[np.ndarray]:
    """Means of the latents of each trial, (T_b, R), only where they are known."""
    if inferred is None:
        return []
    mean = inferred["latent_mean"].transpose("trial", "time", "latent").values.astype(float)
    if mean.shape[2] != rank:
        raise InputError(f"these are {mean.shape[2]} inferred latents, and the model has {rank}")
    return [trial[np.isfinite(trial).all(axis=1)] for trial in mean]


def _limits(paths: list[np.ndarray], points: FixedPoints | None, plane) -> tuple:
    """Room for all trials, and for fixed points that are not far outside of them."""
    held = [np.concatenate(paths)[:, list(plane)]] if paths else []
    if points is not None and len(points):
        where = points.location[:, list(plane)]
        if paths:
            centre, reach = held[0].mean(axis=0), np.abs(held[0] - held[0].mean(axis=0)).max(axis=0)
            where = where[(np.abs(where - centre) <= 2 * reach).all(axis=1)]
        held.append(where)
    if not held or not len(np.concatenate(held)):
        return (-1.5, 1.5), (-1.5, 1.5)
    everything = np.concatenate(held)
    low, high = everything.min(axis=0), everything.max(axis=0)
    span = high - low
    if span.max() <= 1e-9 * (1 + np.abs(everything).max()):  # one point, or all at one place
        edge = np.ones(2)
    else:  # points alone say little about what is round them; points on a line need room beside it
        edge = np.maximum((0.12 if paths else 0.5) * span, 0.25 * (span.max() - span))
    return tuple(zip((low - edge).tolist(), (high + edge).tolist(), strict=True))
