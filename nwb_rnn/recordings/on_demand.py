"""Signals too large to hold: their values stay in the file until a stretch of them is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class OnDemand:
    """Values of a signal that are read from their source when a stretch of them is asked for.

    Attributes
    ----------
    shape : (T, C)
    read : function of (first, last) sample numbers -> (last - first, C) float array; it opens its
        source itself, so that a `Recording` works after the file it came from was closed
    """

    shape: tuple[int, int]
    read: Callable[[int, int], np.ndarray]

    def take(self, channels: np.ndarray) -> OnDemand:
        """The same for some of the channels."""
        return OnDemand(
            (self.shape[0], len(channels)), lambda first, last: self.read(first, last)[:, channels]
        )

    def __getitem__(self, samples: slice) -> np.ndarray:
        first, last, step = samples.indices(self.shape[0])
        return self.read(first, max(first, last))[::step]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.read(0, self.shape[0]), dtype=dtype)
