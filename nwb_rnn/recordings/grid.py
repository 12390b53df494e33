"""The bins of all trials: where each begins and ends, in the session and on the common clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nwb_rnn.recordings.binning import edge_tolerance
from nwb_rnn.recordings.warping import Warp


@dataclass(frozen=True, eq=False)
class Grid:
    """Bins of equal size on a clock that counts from the event of each trial.

    Attributes
    ----------
    events : (N,) event of each trial, session seconds
    first_edge : begin of the first bin, s from the event
    bins : (N,) number of bins of each trial
    bin_size : s
    warp : how each trial's clock is stretched onto the common one, or None
    """

    events: np.ndarray
    first_edge: float
    bins: np.ndarray
    bin_size: float
    warp: Warp | None = None

    @cached_property
    def edge(self) -> float:
        """Share of a bin by which moments count as on the edge after them."""
        return edge_tolerance(self.bin_size, self.events)

    @property
    def longest(self) -> int:
        """T, the largest number of bins of a trial."""
        return int(self.bins.max(initial=0))

    @property
    def edges(self) -> np.ndarray:
        """(T + 1,) edges of the bins, s from the event, on the common clock."""
        return self.first_edge + np.arange(self.longest + 1) * self.bin_size

    @property
    def centres(self) -> np.ndarray:
        """(T,) middle of each bin, s from the event, on the common clock."""
        return self.first_edge + (np.arange(self.longest) + 0.5) * self.bin_size

    @cached_property
    def session_edges(self) -> np.ndarray:
        """(N, T + 1) edges of the bins, session seconds."""
        return self.in_session(self.edges)

    @property
    def starts(self) -> np.ndarray:
        """(N,) first edge of each trial, session seconds."""
        return self.session_edges[:, 0]

    @property
    def stops(self) -> np.ndarray:
        """(N,) last edge of each trial, session seconds."""
        return self.session_edges[np.arange(len(self.bins)), self.bins]

    def in_session(self, clock: np.ndarray) -> np.ndarray:
        """(N, k) session seconds of (k,) moments on the common clock."""
        if self.warp is None:
            return self.events[:, None] + clock[None, :]
        return self.events[:, None] + self.warp.own(clock)

    def elapsed(self, times: np.ndarray, trial: np.ndarray) -> np.ndarray:
        """Seconds since the first edge, on the common clock, of session times (S,) in trials (S,)."""
        if self.warp is None:
            return times - (self.events + self.first_edge)[trial]
        return self.warp.common(times - self.events[trial], trial) - self.first_edge

    def take(self, rows: np.ndarray) -> Grid:
        """The same for some of the trials."""
        warp = None if self.warp is None else self.warp.take(rows)
        return Grid(self.events[rows], self.first_edge, self.bins[rows], self.bin_size, warp)
