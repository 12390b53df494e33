"""Where the fitted dynamics push the latents: the flow in the plane of two latents, with fixed points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.dynamics.named_arrays import network_of
from nwb_rnn.errors import InputError
from nwb_rnn.plotting.style import PALETTE, QUIET, given_or_new, tidy

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.dynamics.maps import LowRankMap
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

_GRID = 40
_PATHS = 12
_MARKS = (
    ("stable", "o", "black", "black"),
    ("saddle", "D", "white", "black"),
    ("unstable", "o", "white", "black"),
    ("other", "X", "white", "black"),
)


def flow_field(
    model: LowRankRNN | LowRankMap,
    inferred: xr.Dataset | None = None,
    points: FixedPoints | None = None,
    plane: tuple[int, int] = (0, 1),
    inputs: Sequence[float] | None = None,
    limits: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Direction of F(z) − z in the plane of two latents, inferred trials in it, and fixed points.

    Further latents stand at their mean over the inferred trials (at 0 without any). With one latent,
    F(z) − z is drawn against z: it crosses zero at the fixed points.

    Parameters
    ----------
    model : a fitted `LowRankRNN`, or a `LowRankMap`
    inferred : what `infer` returns; the first trials are drawn
    points : what `fixed_points` returns
    plane : positions of the two latents
    inputs : (U,) constant input of the flow; zero when left out
    limits : ((low, high), (low, high)) of the two latents; from trials and points when left out

    Raises
    ------
    InputError : the model has no such latents
    """
    ax = given_or_new(ax)
    network: Any = network_of(model.to_arrays(), inputs) if hasattr(model, "to_arrays") else model
    paths = _paths(inferred, network.rank)
    centre = np.concatenate(paths).mean(axis=0) if paths else np.zeros(network.rank)
    if network.rank == 1:
        return _line(ax, network, paths, points)
    if not all(0 <= k < network.rank for k in plane) or plane[0] == plane[1]:
        raise InputError(f"plane={plane}: give two different latents between 0 and {network.rank - 1}")
    (left, right), (low, high) = limits or _limits(paths, points, plane)
    _streams(ax, network, centre, plane, (left, right), (low, high))
    for path in paths[:_PATHS]:
        ax.plot(path[:, plane[0]], path[:, plane[1]], color=PALETTE[0], linewidth=0.6, alpha=0.6, zorder=2)
    if points is not None:
        _points(ax, points.location[:, list(plane)], points)
    ax.set(xlim=(left, right), ylim=(low, high))
    title = "flow" if network.rank == 2 else "flow, other latents at their mean"
    return tidy(ax, f"z$_{{{plane[0] + 1}}}$", f"z$_{{{plane[1] + 1}}}$", title)


def _streams(ax: Axes, network: LowRankMap, centre: np.ndarray, plane, across, up) -> None:
    x, y = np.linspace(*across, _GRID), np.linspace(*up, _GRID)
    z = np.tile(centre, (_GRID, _GRID, 1))
    z[..., plane[0]], z[..., plane[1]] = np.meshgrid(x, y)
    step = network.step(z) - z
    u, v = step[..., plane[0]], step[..., plane[1]]
    ax.streamplot(x, y, u, v, color=QUIET, linewidth=0.6, density=1.1, arrowsize=0.7, zorder=1)


def _line(ax: Axes, network: LowRankMap, paths: list[np.ndarray], points: FixedPoints | None) -> Axes:
    (low, high), _ = _limits(paths, points, (0, 0))
    z = np.linspace(low, high, 400)[:, None]
    ax.axhline(0.0, color=QUIET, linewidth=0.8)
    ax.plot(z[:, 0], (network.step(z) - z)[:, 0], color=PALETTE[0], linewidth=1.5)
    if points is not None:
        _points(ax, np.column_stack([points.location[:, 0], np.zeros(len(points))]), points)
    ax.set_xlim(low, high)
    return tidy(ax, "z", "F(z) − z, per bin", "flow")


def _points(ax: Axes, where: np.ndarray, points: FixedPoints) -> None:
    """Filled where stable; labelled with their kinds, for `ax.legend()`."""
    groups = np.array(
        [_group(str(kind), bool(good)) for kind, good in zip(points.kind, points.stable, strict=True)]
    )
    for name, marker, face, edge in _MARKS:
        chosen = groups == name
        if chosen.any():
            kinds = ", ".join(sorted({str(kind) for kind in points.kind[chosen]}))
            ax.scatter(
                *where[chosen].T,
                marker=marker,
                s=55,
                facecolor=face,
                edgecolor=edge,
                linewidth=1.4,
                label=kinds,
                zorder=4,
            )


def _group(kind: str, stable: bool) -> str:
    if stable:
        return "stable"
    return next((name for name in ("saddle", "unstable") if kind.startswith(name)), "other")


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
    edge = np.where(high > low, 0.12 * (high - low), 1.0)
    return tuple(zip((low - edge).tolist(), (high + edge).tolist(), strict=True))
