"""Currents from region to region (current-based decomposition, Perich et al. 2020).

    C_{b←a}(t) = J_{ba} r_a(t)

The share of a source in a target is the mean magnitude of that current over units and bins, over the sum
of the same for all sources. Shares describe the fitted network; they are no proof of anatomy.
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError


def region_currents(
    weights: np.ndarray, rates: np.ndarray, regions: np.ndarray
) -> dict[tuple[str, str], np.ndarray]:
    """(target, source) -> (..., units of target): the current from each region to each.

    Parameters
    ----------
    weights : (N, N) J
    rates : (..., N)
    regions : (N,) names

    Raises
    ------
    InputError : names for another number of units
    """
    regions = np.asarray(regions)
    if regions.shape != (weights.shape[0],):
        raise InputError(f"regions names {regions.shape} units; the network has {weights.shape[0]}")
    names = list(dict.fromkeys(regions.tolist()))
    return {
        (b, a): rates[..., regions == a] @ weights[np.ix_(regions == b, regions == a)].T
        for b in names
        for a in names
    }


def current_shares(
    weights: np.ndarray, rates: np.ndarray, regions: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """Names of the regions and (target, source) shares; each row sums to 1.

    Parameters
    ----------
    rates : (S, N)
    """
    currents = region_currents(weights, rates, regions)
    names = list(dict.fromkeys(np.asarray(regions).tolist()))
    size = np.array([[np.abs(currents[b, a]).mean() for a in names] for b in names])
    total = size.sum(axis=1, keepdims=True)
    return names, np.divide(size, total, out=np.zeros_like(size), where=total > 0)
