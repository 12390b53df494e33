"""The counting rule of `binning` as one compiled loop, for recordings of millions of spikes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np


@functools.cache
def compiled() -> Callable[..., None]:
    """`count_into`, compiled when first asked for and kept on disk."""
    from numba import njit

    return njit(cache=True, nogil=True)(count_into)


def count_into(
    counts: np.ndarray,
    times: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    order: np.ndarray,
    lows: np.ndarray,
    highs: np.ndarray,
    starts: np.ndarray,
    bins: np.ndarray,
    bin_size: float,
    edge: float,
) -> None:
    """Add the spikes of all units and trials to `counts` (N, T, D), in place.

    Trials are visited in `order` of their lows, so that each unit's spikes are passed once: `first` (D,)
    moves along, from the position of a unit's first spike in `times` towards `last` (D,), one past its last.
    """
    for n in order:
        for d in range(len(first)):
            at = first[d]
            while at < last[d] and times[at] < lows[n]:
                at += 1
            first[d] = at
            while at < last[d] and times[at] <= highs[n]:
                number = math.floor((times[at] - starts[n]) / bin_size + edge)
                if 0 <= number < bins[n]:
                    counts[n, number, d] += 1
                at += 1
