"""Signals in bins: the mean of the samples in each bin, and between samples a straight line.

A bin that holds samples gets their mean. An empty bin gets the value at its middle on the line between
the samples before and after it, but only if those are no more than `GAP` sampling periods apart:
across a gap nothing is made up, the bin is missing (NaN). So is a bin that a gap leaves less than half
full, where bins hold two samples or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from nwb_rnn.recordings.binning import bin_number, expand
from nwb_rnn.recordings.grid import Grid
from nwb_rnn.recordings.recording import Traces

GAP = 1.75
_VALUES_AT_ONCE = 8_000_000


def resample(traces: Traces, grid: Grid) -> np.ndarray:
    """Values of a signal in the bins of all trials.

    Parameters
    ----------
    traces : T samples of C channels; only the stretches that lie in trials are read
    grid : the bins

    Returns
    -------
    (N, T, C) float32, NaN where missing and past the end of a shorter trial
    """
    result = np.full((len(grid.bins), grid.longest, len(traces.channels)), np.nan, dtype=np.float32)
    stamps, period = traces.timestamps, traces.period
    margin = 2 * (GAP * period if np.isfinite(period) else 0.0)
    begin = np.searchsorted(stamps, grid.starts - margin, side="left")
    end = np.searchsorted(stamps, grid.stops + margin, side="right")
    for trials in _blocks(traces, begin, end):
        first, last = int(begin[trials].min()), int(end[trials].max())
        if last <= first:
            continue
        values = np.asarray(traces.values[first:last], dtype=np.float64)
        local = replace(traces, values=values, timestamps=stamps[first:last])
        result[trials] = _fill(local, grid.take(trials), period, grid.longest)
    return result


def _blocks(traces: Traces, begin: np.ndarray, end: np.ndarray) -> Iterator[np.ndarray]:
    """Trials to treat at once: few enough samples to hold, and close together in the session."""
    order = np.argsort(begin, kind="stable")
    limit = max(1, _VALUES_AT_ONCE // max(1, len(traces.channels)))
    block: list[int] = []
    for trial in order:
        if block and (end[trial] - begin[block[0]] > limit or _far(begin[trial], end[block], traces)):
            yield np.array(block)
            block = []
        block.append(int(trial))
    if block:
        yield np.array(block)


def _far(begin: int, ends: np.ndarray, traces: Traces) -> bool:
    return not isinstance(traces.values, np.ndarray) and begin > ends.max()


def _fill(traces: Traces, grid: Grid, period: float, longest: int) -> np.ndarray:
    """(n, T, C) values of a stretch of signal in the bins of the trials in it."""
    sums, held = _sums(traces, grid, longest)
    with np.errstate(invalid="ignore", divide="ignore"):
        values = sums / held
    expected = grid.bin_size / period if np.isfinite(period) and period > 0 else 1.0
    if expected >= 2 and grid.warp is None:
        values[held < 0.5 * np.floor(expected)] = np.nan
    inside = np.arange(longest)[None, :] < grid.bins[:, None]
    empty = inside & (held.max(axis=2, initial=0) == 0)
    values[empty] = _between(traces, grid, empty, period)
    values[~inside] = np.nan
    return values


def _sums(traces: Traces, grid: Grid, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, T, C) sums and numbers of the finite samples in each bin."""
    stamps = traces.timestamps
    shape = (len(grid.bins), longest, len(traces.channels))
    slack = grid.bin_size
    begin = np.searchsorted(stamps, grid.starts - slack, side="left")
    end = np.searchsorted(stamps, grid.stops + slack, side="right")
    trial, sample = expand(begin, np.maximum(end - begin, 0))
    number = bin_number(grid.elapsed(stamps[sample], trial), grid.bin_size, grid.edge)
    inside = (number >= 0) & (number < grid.bins[trial])
    cell, sample = trial[inside] * longest + number[inside], sample[inside]
    sums, held = np.zeros((shape[0] * shape[1], shape[2])), np.zeros((shape[0] * shape[1], shape[2]))
    if len(cell):
        first = np.flatnonzero(np.concatenate([[True], cell[1:] != cell[:-1]]))
        taken = traces.values[sample]
        finite = np.isfinite(taken)
        sums[cell[first]] = np.add.reduceat(np.where(finite, taken, 0.0), first, axis=0)
        held[cell[first]] = np.add.reduceat(finite.astype(float), first, axis=0)
    return sums.reshape(shape), held.reshape(shape)


def _between(traces: Traces, grid: Grid, empty: np.ndarray, period: float) -> np.ndarray:
    """(m, C) values at the middle of the empty bins, NaN across gaps and beyond the ends."""
    middles = grid.in_session(grid.first_edge + (np.arange(empty.shape[1]) + 0.5) * grid.bin_size)[empty]
    stamps = traces.timestamps
    after = np.searchsorted(stamps, middles)
    possible = (after > 0) & (after < len(stamps))
    after = np.clip(after, 1, max(1, len(stamps) - 1))
    if len(stamps) < 2:
        return np.full((len(middles), len(traces.channels)), np.nan)
    step = stamps[after] - stamps[after - 1]
    possible &= (step <= GAP * period) & (step > 0)
    share = np.where(possible, (middles - stamps[after - 1]) / np.where(step > 0, step, 1.0), 0.0)[:, None]
    line = traces.values[after - 1] * (1 - share) + traces.values[after] * share
    return np.where(possible[:, None], line, np.nan)
