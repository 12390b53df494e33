"""Connectivity, and the currents that it carries between regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.plotting.style import PALETTE, given_or_new, tidy, time_label

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def connectivity(weights: np.ndarray, regions: Sequence | None = None, ax: Axes | None = None) -> Axes:
    """J as an image, red where a unit excites and blue where it inhibits, with lines between regions.

    The colours end at the 99th percentile of |J|, so that one strong weight does not hide the others.

    Parameters
    ----------
    weights : (N, N) J, from columns to rows; `left_vectors @ right_vectors` of a low-rank network
    regions : (N,) names; units are put together by region, in the order of first appearance

    Raises
    ------
    InputError : weights that are not square, or names for another number of units
    """
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise InputError(f"weights has shape {weights.shape}; expected (units, units)")
    ax = given_or_new(ax)
    count, edges, names = len(weights), [], []
    if regions is not None:
        labels = np.asarray(regions).astype(str)
        if len(labels) != count:
            raise InputError(f"regions names {len(labels)} units; the network has {count}")
        names = list(dict.fromkeys(labels.tolist()))
        order = np.concatenate([np.flatnonzero(labels == name) for name in names])
        weights = weights[np.ix_(order, order)]
        edges = np.cumsum([0, *((labels == name).sum() for name in names)])
    limit = np.quantile(np.abs(weights), 0.99) or 1.0
    image = ax.imshow(weights, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label="weight", shrink=0.8)
    for edge in edges[1:-1]:
        ax.axhline(edge - 0.5, color="black", linewidth=0.8)
        ax.axvline(edge - 0.5, color="black", linewidth=0.8)
    if names:
        middles = (np.asarray(edges[:-1]) + np.asarray(edges[1:]) - 1) / 2
        ax.set_xticks(middles, names)
        ax.set_yticks(middles, names)
    ax.set_xlabel("from")
    ax.set_ylabel("to")
    return ax


def region_currents(currents: xr.Dataset, target, ax: Axes | None = None) -> Axes:
    """Mean magnitude of the current from each region into one, over time, with each source's share.

    Parameters
    ----------
    currents : what `RateRNN.region_currents` returns
    target : name of the region that receives them

    Raises
    ------
    InputError : no such region
    """
    ax = given_or_new(ax)
    known = currents["target"].values.tolist()
    if target not in known:
        raise InputError(f"there is no region {target!r}; regions are {', '.join(map(str, known))}")
    into = currents.sel(target=target)
    time = currents["time"].values
    for index, source in enumerate(currents["source"].values):
        size = into["current"].sel(source=source).transpose("trial", "time").values
        seen = np.isfinite(size)
        mean = np.where(seen, size, 0).sum(0) / np.maximum(seen.sum(0), 1)
        share = float(into["share"].sel(source=source))
        ax.plot(
            time[seen.any(0)],
            mean[seen.any(0)],
            color=PALETTE[index % len(PALETTE)],
            linewidth=1.5,
            label=f"from {source}, {share:.0%}",
        )
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return tidy(ax, time_label(currents.attrs.get("align_to", "")), f"current into {target}")
