"""Which bins were observed: inside the intervals of observation and before the end of the trial."""

from __future__ import annotations

import numpy as np

from nwb_rnn.recordings.binning import edge_tolerance
from nwb_rnn.recordings.recording import Observed


def within_trial(bins: np.ndarray) -> np.ndarray:
    """(N, T) bool, True for the first `bins[i]` bins of each trial; T is the largest of `bins`."""
    return np.arange(int(bins.max(initial=0)))[None, :] < bins[:, None]


def observed_bins(
    observed: Observed, units: np.ndarray, left: np.ndarray, right: np.ndarray, bin_size: float
) -> np.ndarray:
    """Bins that lie wholly inside an interval of observation.

    Parameters
    ----------
    observed : intervals of each unit; a unit without any counts as always observed
    units : (D,) positions of the units
    left, right : (N, T) edges of the bins, session seconds
    bin_size : s; edges may lie outside by the tolerance of `binning`

    Returns
    -------
    (N, T) bool where all units agree, else (N, T, D)
    """
    groups: dict[bytes, list[int]] = {}
    for column, unit in enumerate(units):
        groups.setdefault(observed.of(unit).tobytes(), []).append(column)
    tolerance = edge_tolerance(bin_size, left, right) * bin_size
    masks = [_covered(observed.of(units[c[0]]), left, right, tolerance) for c in groups.values()]
    if all(np.array_equal(masks[0], mask) for mask in masks[1:]):
        return masks[0] if masks else np.ones(left.shape, dtype=bool)
    result = np.zeros((*left.shape, len(units)), dtype=bool)
    for mask, columns in zip(masks, groups.values(), strict=True):
        result[:, :, columns] = mask[:, :, None]
    return result


def clear_of(intervals: np.ndarray, left: np.ndarray, right: np.ndarray, bin_size: float) -> np.ndarray:
    """(N, T) bool, True for bins that share no time with any of the (k, 2) intervals, s."""
    tolerance = edge_tolerance(bin_size, left, right) * bin_size
    intervals = merged(intervals)
    if len(intervals) == 0:
        return np.ones(left.shape, dtype=bool)
    number = np.searchsorted(intervals[:, 0], right - tolerance, side="left") - 1
    return (number < 0) | (intervals[np.maximum(number, 0), 1] <= left + tolerance)


def _covered(intervals: np.ndarray, left: np.ndarray, right: np.ndarray, tolerance: float) -> np.ndarray:
    intervals = merged(intervals, tolerance)
    if len(intervals) == 0:
        return np.ones(left.shape, dtype=bool)
    number = np.searchsorted(intervals[:, 0], left + tolerance, side="right") - 1
    return (number >= 0) & (right - tolerance <= intervals[np.maximum(number, 0), 1])


def merged(intervals: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """(k, 2) intervals in order, overlapping and touching ones joined, NaN ones left out."""
    intervals = intervals[~np.isnan(intervals).any(axis=1)]
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    if len(intervals) < 2:
        return intervals
    reach = np.maximum.accumulate(intervals[:, 1])
    first = np.concatenate([[True], intervals[1:, 0] > reach[:-1] + tolerance])
    last = np.concatenate([first[1:], [True]])
    return np.column_stack([intervals[first, 0], reach[last]])
