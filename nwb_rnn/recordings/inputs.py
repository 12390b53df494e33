"""What drives a network: columns of trials, events, other intervals and behaviour, in bins.

Each name becomes one input or several:

- a behaviour: its components, resampled to the bins;
- a table of events: the number of events in each bin;
- a table of intervals: the share of each bin that lies inside one of them;
- a column of the trials whose name ends in ``_time`` or ``_times``: 1 in the bin that holds the moment;
- another column of numbers or booleans: its value, all through the trial;
- a column of text: one input of 0 or 1 for each text that occurs, called ``column=text``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.binning import bin_number, count_spikes
from nwb_rnn.recordings.events import Moments, column_times
from nwb_rnn.recordings.grid import Grid
from nwb_rnn.recordings.masks import merged
from nwb_rnn.recordings.recording import Dropped, Recording, Spikes
from nwb_rnn.recordings.resampling import resample

_MOST_TEXTS = 50


@dataclass(frozen=True, eq=False)
class Inputs:
    """Inputs in bins.

    Attributes
    ----------
    values : (N, T, U) float32, 0 where unknown
    known : (N, T) bool, False where an input is missing
    names : (U,) text
    notes : lines for the report
    """

    values: np.ndarray
    known: np.ndarray
    names: np.ndarray
    notes: list[Dropped] = field(default_factory=list)


def gather_inputs(recording: Recording, moments: Moments, grid: Grid, names: Sequence[str]) -> Inputs:
    """Every input of every name, one after the other.

    Raises
    ------
    InputError : a name is neither behaviour, nor a table, nor a usable column
    """
    names = [names] if isinstance(names, str) else list(names)
    parts: list[np.ndarray] = []
    labels: list[str] = []
    for name in names:
        values, found = _one(recording, moments, grid, name)
        parts.append(values)
        labels += found
    values = np.concatenate(parts, axis=2).astype(np.float32)
    inside = np.arange(grid.longest)[None, :] < grid.bins[:, None]
    known = np.isfinite(values).all(axis=2)
    values[~(inside & known)] = 0.0
    lost = (inside & ~known).any(axis=1)
    reason = "an input is missing in some bins, which are masked"
    notes = [Dropped("sample", tuple(moments.table.ids[lost].tolist()), reason)] if lost.any() else []
    return Inputs(values, known | ~inside, np.array(labels, dtype=str), notes)


def _one(recording: Recording, moments: Moments, grid: Grid, name: str) -> tuple[np.ndarray, list[str]]:
    """(N, T, u) values and the names of the inputs that one name stands for."""
    if name in moments.table.columns:
        return _column(moments, grid, name)
    if name in recording.behaviour:
        traces = recording.behaviour[name]
        several = len(traces.channels) > 1
        return resample(traces, grid), [f"{name}:{c}" if several else name for c in traces.channels]
    if name in recording.events:
        stamps = recording.events[name].columns["timestamp"]
        return _pulses(np.sort(stamps[np.isfinite(stamps)]), grid), [name]
    if name in recording.intervals:
        columns = recording.intervals[name].columns
        return _inside(np.column_stack([columns["start_time"], columns["stop_time"]]), grid), [name]
    has = [*moments.table.columns, *recording.behaviour, *recording.events, *recording.intervals]
    raise InputError(f"there is no input {name!r}; choose from {', '.join(has)}")


def _column(moments: Moments, grid: Grid, name: str) -> tuple[np.ndarray, list[str]]:
    column = moments.table.columns[name]
    shape = (len(grid.bins), grid.longest)
    if column.dtype.kind == "U":
        texts = np.unique(column)
        if len(texts) > _MOST_TEXTS:
            raise InputError(f"column {name!r} holds {len(texts)} different texts, too many for inputs")
        hits = (column[:, None] == texts[None, :]).astype(np.float32)
        return np.repeat(hits[:, None, :], shape[1], axis=1), [f"{name}={text}" for text in texts]
    if name.endswith(("_time", "_times")):
        clock = moments.clock if moments.found == "given" else "auto"
        times = column_times(moments.table, name, clock)[0]
        return _one_moment(times, grid), [name]
    return np.broadcast_to(column[:, None, None].astype(np.float32), (*shape, 1)), [name]


def _one_moment(times: np.ndarray, grid: Grid) -> np.ndarray:
    """(N, T, 1), 1 in the bin of each trial that holds its own moment, if any does."""
    pulses = np.zeros((len(grid.bins), grid.longest, 1), dtype=np.float32)
    rows = np.flatnonzero(np.isfinite(times))
    number = bin_number(grid.elapsed(times[rows], rows), grid.bin_size, grid.edge)
    inside = (number >= 0) & (number < grid.bins[rows])
    pulses[rows[inside], number[inside], 0] = 1.0
    return pulses


def _pulses(stamps: np.ndarray, grid: Grid) -> np.ndarray:
    """(N, T, 1) number of events in each bin."""
    if grid.warp is not None:
        raise InputError("a table of events cannot be an input of warped trials; use a column of the trials")
    train = Spikes(stamps, np.array([0, len(stamps)]))
    return count_spikes(train, np.array([0]), grid.events + grid.first_edge, grid.bins, grid.bin_size)


def _inside(intervals: np.ndarray, grid: Grid) -> np.ndarray:
    """(N, T, 1) share of each bin that lies in one of the intervals."""
    intervals = merged(intervals)
    if len(intervals) == 0:
        return np.zeros((len(grid.bins), grid.longest, 1), dtype=np.float32)
    edges = grid.session_edges
    lengths = intervals[:, 1] - intervals[:, 0]
    before = np.concatenate([[0.0], np.cumsum(lengths)])
    number = np.searchsorted(intervals[:, 0], edges, side="right") - 1
    at = np.maximum(number, 0)
    partial = np.clip(edges - intervals[at, 0], 0.0, lengths[at])
    covered = np.where(number >= 0, before[at] + partial, 0.0)
    share = np.diff(covered, axis=1) / np.diff(edges, axis=1)
    return np.clip(share, 0.0, 1.0)[:, :, None].astype(np.float32)
