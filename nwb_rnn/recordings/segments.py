"""Continuous recordings as trials: equal segments laid end to end, or one long trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.alignment import (
    Values,
    choose_signal,
    default_bin,
    drop_silent,
    fill,
    keep_observed,
)
from nwb_rnn.recordings.binning import edge_tolerance, whole_bins
from nwb_rnn.recordings.events import Moments
from nwb_rnn.recordings.grid import Grid
from nwb_rnn.recordings.recording import Dropped, Recording, Table, Traces
from nwb_rnn.recordings.trials import make_dataset
from nwb_rnn.recordings.windows import check_memory

if TYPE_CHECKING:
    import xarray


def segments(
    recording: Recording,
    *,
    length: float | None = None,
    bin_size: float | None = None,
    start: float | None = None,
    stop: float | None = None,
    units: Any = None,
    inputs: Sequence[str] | None = None,
    behaviour: Sequence[str] | bool | None = None,
    signal: str | None = None,
) -> xarray.Dataset:
    """Cut a recording into equal trials without gaps between them.

    The bins are laid in one row over the whole recording and then cut, so a spike is in exactly one
    segment. What is left at the end and does not fill a segment is dropped and reported.

    Parameters
    ----------
    length : of a segment, s; the whole recording becomes one long trial when None
    bin_size : s; by default 0.02 for spikes, and the sampling period for a signal
    start, stop : session seconds; the span of the recording by default
    units, inputs, behaviour, signal : as for `nwb_rnn.recordings.alignment.align`

    Returns
    -------
    xarray.Dataset : as `align` returns, with ``event_time`` the begin of each segment

    Raises
    ------
    InputError : a segment is shorter than a bin or longer than the recording
    """
    traces = choose_signal(recording, signal)
    recording = drop_silent(recording, traces, units)
    if traces is not None:
        traces = recording.traces
    size = default_bin(bin_size, traces)
    first, last = _reach(recording, traces, start, stop)
    total = int(whole_bins(np.float64(last - first), size, edge_tolerance(size, np.array([first, last]))))
    each = total if length is None else int(whole_bins(np.float64(length), size))
    if each == 0 or total < each:
        asked = "the recording" if length is None else f"a segment of {length:g} s"
        raise InputError(
            f"{asked} must hold at least one bin of {size:g} s and fit into {last - first:.6g} s of "
            "recording; change length= or bin_size="
        )
    count = total // each
    moments = _moments(first, each * size, count)
    long = Grid(np.array([first]), 0.0, np.array([count * each]), size)
    check_memory(long, len(recording.units), moments.table.ids)
    whole = fill(recording, traces, long)
    values = Values(_cut(whole.array, count), _cut(whole.mask, count))
    grid = Grid(moments.times, 0.0, np.full(count, each), size)
    moments, grid, values = keep_observed(moments, grid, values)
    notes = [*recording.dropped, *moments.dropped]
    rest = (last - first) - count * each * size
    if rest > 1e-6 * size:
        notes.append(Dropped("sample", (), f"the last {rest:.6g} s do not fill a segment"))
    attributes = {"window": [0.0, each * size]}
    return make_dataset(recording, traces, moments, grid, values, notes, attributes, inputs, behaviour)


def _reach(
    recording: Recording, traces: Traces | None, start: float | None, stop: float | None
) -> tuple[float, float]:
    first, last = recording.span
    if traces is not None:
        if len(traces.timestamps) < 2:
            raise InputError(f"signal {traces.name!r} has fewer than two samples; nothing can be cut from it")
        first, last = float(traces.timestamps[0]), float(traces.timestamps[-1]) + traces.period
    first, last = first if start is None else float(start), last if stop is None else float(stop)
    if not (np.isfinite(first) and np.isfinite(last) and last > first):
        raise InputError(f"segments need a stop after the start; they are {last:g} and {first:g} s")
    return first, last


def _moments(first: float, length: float, count: int) -> Moments:
    begins = first + np.arange(count) * length
    table = Table("segments", np.arange(count), {"start_time": begins, "stop_time": begins + length})
    return Moments("segment start", table, begins, "session", "by definition")


def _cut(row: np.ndarray, count: int) -> np.ndarray:
    """(1, count * each, ...) as (count, each, ...)."""
    return row.reshape(count, -1, *row.shape[2:])
