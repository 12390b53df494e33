"""Stretching of each trial's time so that several of its events fall together in all trials.

Between two anchors time is stretched by one factor per trial; before the first and after the last
anchor it runs unchanged. The anchors of all trials are moved to their medians. Counts stay counts: a
stretched bin covers more or fewer seconds than its neighbours, so rates in it need care, which is why
warping is never done unasked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError


@dataclass(frozen=True, eq=False)
class Warp:
    """A piecewise-linear map of each trial's clock onto a common one.

    Attributes
    ----------
    anchors : (N, A) seconds from the event at which the anchors of each trial fall, ascending
    medians : (A,) where they fall on the common clock, ascending
    """

    anchors: np.ndarray
    medians: np.ndarray

    def common(self, seconds: np.ndarray, trial: np.ndarray) -> np.ndarray:
        """(S,) seconds on the common clock of (S,) own seconds in trials (S,)."""
        own = self.anchors[trial]
        return _through(seconds, own, np.broadcast_to(self.medians, own.shape))

    def own(self, clock: np.ndarray) -> np.ndarray:
        """(N, k) own seconds of each trial for (k,) seconds on the common clock."""
        shape = (len(self.anchors), len(clock))
        flat = np.broadcast_to(clock, shape).ravel()
        own = np.repeat(self.anchors, len(clock), axis=0)
        return _through(flat, np.broadcast_to(self.medians, own.shape), own).reshape(shape)

    def take(self, rows: np.ndarray) -> Warp:
        """The map of some of the trials, onto the same medians."""
        return Warp(self.anchors[rows], self.medians)


def make_warp(events: np.ndarray, anchors: np.ndarray, names: Sequence[str]) -> Warp:
    """The map that brings anchors together at their medians.

    Parameters
    ----------
    events : (N,) session seconds from which each trial's clock counts
    anchors : (N, A) session seconds of the anchors, finite, in one order in all trials
    names : (A,) their names, for messages

    Raises
    ------
    InputError : the anchors come in another order in some trial, or two of them coincide
    """
    relative = anchors - events[:, None]
    medians = np.median(relative, axis=0)
    order = np.argsort(medians, kind="stable")
    relative, medians = relative[:, order], medians[order]
    if np.any(np.diff(medians) <= 0) or np.any(np.diff(relative, axis=1) <= 0):
        bad = int(np.any(np.diff(relative, axis=1) <= 0, axis=1).sum())
        raise InputError(
            f"warping needs {', '.join(names)} in one order in every trial, none at the same time; {bad} of "
            f"{len(events)} trials differ. Leave those out with where=, or warp to fewer events."
        )
    return Warp(relative, medians)


def _through(values: np.ndarray, knots: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Piecewise-linear map of (S,) values with knots and images (S, A), slope 1 outside."""
    result = values - knots[:, 0] + images[:, 0]
    for i in range(knots.shape[1] - 1):
        inside = values >= knots[:, i]
        slope = (images[:, i + 1] - images[:, i]) / (knots[:, i + 1] - knots[:, i])
        result = np.where(inside, images[:, i] + (values - knots[:, i]) * slope, result)
    beyond = values >= knots[:, -1]
    return np.where(beyond, values - knots[:, -1] + images[:, -1], result)
