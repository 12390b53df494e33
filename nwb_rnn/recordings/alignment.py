"""From a recording to trials: events, windows, bins and masks, as one `xarray.Dataset`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.binning import EDGE, count_spikes, count_warped
from nwb_rnn.recordings.events import Moments, column_times, find_moments
from nwb_rnn.recordings.grid import Grid
from nwb_rnn.recordings.masks import clear_of, observed_bins, within_trial
from nwb_rnn.recordings.recording import Dropped, Recording, Traces
from nwb_rnn.recordings.resampling import resample
from nwb_rnn.recordings.selection import select_units, take_units
from nwb_rnn.recordings.warping import make_warp
from nwb_rnn.recordings.windows import Window, check_memory, make_window

if TYPE_CHECKING:
    import xarray

SPIKE_BIN = 0.02


def align(
    recording: Recording,
    event: str | Sequence[float] | np.ndarray,
    *,
    window: tuple[float, float] | None = None,
    until: str | None = None,
    bin_size: float | None = None,
    bins: int | None = None,
    table: str | None = None,
    where: str | None = None,
    units: Any = None,
    time_reference: str = "auto",
    warp: Sequence[str] | None = None,
    past_stop: bool | None = None,
    inputs: Sequence[str] | None = None,
    behaviour: Sequence[str] | bool | None = None,
    signal: str | None = None,
) -> xarray.Dataset:
    """Cut trials around an event and count spikes, or average a signal, in bins.

    A spike belongs to exactly one bin (the rule is in `nwb_rnn.recordings.binning`). Bins that were not
    observed are False in ``mask`` and 0 in the values: bins past the end of a shorter trial, bins that
    are not wholly inside the intervals of observation, bins that touch a row of a table called
    ``invalid_times``, and gaps of a signal. Rows without an event,
    trials outside the recording and units that never fire are left out and listed in ``dropped``.

    Where nothing but spikes tells how long the recording is, a tenth of that length (at least the time
    that all units together need for 20 spikes) is allowed on both sides before a trial counts as outside.

    Parameters
    ----------
    event : a column of a table of intervals, the name of a table of events, or session seconds (N,)
    window : (begin, end) s from the event; with `until`, end counts from there
    until : a column where each trial ends, such as ``"stop_time"``, for trials of unequal length
    bin_size : s; by default 0.02 for spikes, and the sampling period for a signal
    bins : number of equal bins in the window, instead of `bin_size`
    table : table that holds `event`, where several do
    where : condition over the columns of that table, see `nwb_rnn.recordings.expressions`
    units : condition, ids or booleans, see `nwb_rnn.recordings.selection.select_units`
    time_reference : ``"session"`` or ``"start"`` (times count from each row's start_time); ``"auto"``
        compares them with ``[start_time, stop_time]`` and says what it found in the attributes
    warp : columns whose events are moved to their medians over trials by piecewise-linear stretching
    past_stop : False masks the bins after each trial's stop_time. By default they count as recorded,
        but a window longer than every trial is refused; True allows it
    inputs : what drives the network, see `nwb_rnn.recordings.inputs`
    behaviour : names of behaviour to carry along (True for all), resampled to the bins, NaN if missing
    signal : name of the signal (or behaviour) to use instead of the spikes; ``"spikes"`` for the spikes
        where reading preferred a signal

    Returns
    -------
    xarray.Dataset : ``counts`` or ``signal`` (trial, time, unit) float32; ``mask`` (trial, time) bool, or
        (trial, time, unit) where units differ; coordinates ``time`` (s from the event, middles of the
        bins), ``trial``, ``unit``, ``event_time`` (session seconds) and every column of numbers or text;
        attributes bin_size (s), align_to, window (s), time_reference, source, dropped

    Raises
    ------
    InputError : nothing can be aligned as asked; the message says what the recording has
    """
    from nwb_rnn.recordings.trials import make_dataset

    traces = choose_signal(recording, signal)
    recording = drop_silent(recording, traces, units)
    traces = recording.traces if traces is not None else None
    moments = find_moments(recording, event, table, where, time_reference)
    span = limits(recording, traces)
    size = default_bin(bin_size, traces)
    moments, cut = make_window(moments, window, until, size, bins, past_stop, time_reference)
    moments, cut = _in_recording(moments, cut, span)
    grid = Grid(moments.times, cut.begin, cut.bins, cut.bin_size)
    if warp:
        moments, grid = _warped(moments, grid, warp, time_reference)
    check_memory(grid, len(traces.channels if traces else recording.units), moments.table.ids)
    values = fill(recording, traces, grid)
    moments, grid, values = keep_observed(moments, grid, values)
    notes = [*recording.dropped, *cut.notes, *moments.dropped]
    attributes = {"window": _covered(cut, grid), "until": until, "warp": ", ".join(warp) if warp else None}
    return make_dataset(recording, traces, moments, grid, values, notes, attributes, inputs, behaviour)


def choose_signal(recording: Recording, signal: str | None) -> Traces | None:
    """The signal to use, None for spikes; behaviour can be one too, if named."""
    signal = signal or recording.preferred
    if not signal or (signal == "spikes" and recording.spikes is not None):
        return recording.traces if recording.spikes is None else None
    every = {**recording.behaviour, **recording.signals}
    matches = [n for n in every if n == signal] or [n for n in every if n.split("/")[-1] == signal]
    if len(matches) == 1:
        return every[matches[0]]
    unread = [str(i) for note in recording.dropped if note.what == "signal" for i in note.ids]
    has = ", ".join(repr(n) for n in every) or "none"
    has += f"; not read: {', '.join(unread)}" if unread else ""
    problem = f"several signals are called {signal!r}" if matches else f"there is no signal {signal!r}"
    raise InputError(f"{problem}; this recording has {has}" + ("; give the whole name" if matches else ""))


def drop_silent(recording: Recording, traces: Traces | None, units: Any) -> Recording:
    """The chosen units; for spikes, without those that never fire."""
    if traces is not None:
        recording = replace(
            recording, spikes=None, observed=None, traces=traces, units=traces.channel_table()
        )
        return recording if units is None else select_units(recording, units)
    if units is not None:
        recording = select_units(recording, units)
    fires = recording.spikes.counts() > 0
    if not fires.any():
        raise InputError(f"none of the {len(fires)} units has a single spike; nothing can be fitted to them")
    if fires.all():
        return recording
    silent = Dropped("unit", tuple(recording.units.ids[~fires].tolist()), "silent: no spike in the recording")
    return replace(take_units(recording, np.flatnonzero(fires)), dropped=(*recording.dropped, silent))


def default_bin(bin_size: float | None, traces: Traces | None) -> float:
    """The bin size asked for, else 20 ms for spikes and the sampling period for signals, s."""
    if bin_size is None:
        bin_size = SPIKE_BIN if traces is None else traces.period
    try:
        size = float(bin_size)
    except (TypeError, ValueError) as error:
        raise InputError(f"bin_size must be a number of seconds, not {bin_size!r}") from error
    if not (np.isfinite(size) and size > 0):
        raise InputError(f"bin_size must be a positive number of seconds, not {bin_size!r}")
    return size


def limits(recording: Recording, traces: Traces | None) -> tuple[float, float]:
    """(start, stop) of what was recorded, s; wider than the spikes where only they tell."""
    if traces is not None:
        stamps = traces.timestamps
        return (float(stamps[0]), float(stamps[-1])) if len(stamps) else (0.0, 0.0)
    start, stop = recording.span
    if recording.observed is not None:
        return start, stop
    spikes = len(recording.spikes.times)
    slack = max(0.1 * (stop - start), 20.0 * (stop - start) / max(1, spikes))
    return start - slack, stop + slack


def _in_recording(moments: Moments, cut: Window, span: tuple[float, float]) -> tuple[Moments, Window]:
    """Leave out trials of less than a bin and trials outside the recording."""
    for rows, reason in (
        (cut.bins > 0, "shorter than one bin"),
        (None, f"outside the recording ({span[0]:.6g} to {span[1]:.6g} s)"),
    ):
        if rows is None:
            begin = moments.times + cut.begin
            rows = (begin + cut.bins * cut.bin_size > span[0]) & (begin < span[1])
        if not rows.any():
            raise InputError(
                f"all {len(rows)} trials aligned to {moments.name!r} are {reason}; check the window, "
                "the bin size and, if times may count from start_time, time_reference="
            )
        moments, cut = moments.keep(rows, reason), replace(cut, bins=cut.bins[rows])
    return moments, cut


def _warped(moments: Moments, grid: Grid, warp: Sequence[str], clock: str) -> tuple[Moments, Grid]:
    names = [warp] if isinstance(warp, str) else list(warp)
    table = moments.table
    for name in names:
        if name not in table.columns:
            raise InputError(f"cannot warp to {name!r}: table {table.name!r} has {', '.join(table.columns)}")
    anchors = np.column_stack([column_times(table, name, clock)[0] for name in names])
    known = np.isfinite(anchors).all(axis=1)
    if not known.any():
        raise InputError(f"no trial has all of the events {', '.join(names)}, so none can be warped to them")
    moments = moments.keep(known, f"one of {', '.join(names)} is NaN, so time cannot be warped")
    return moments, replace(grid.take(known), warp=make_warp(moments.times, anchors[known], names))


def _covered(cut: Window, grid: Grid) -> list[float]:
    """[begin, end] of the bins, s from the event; as asked for wherever rounding alone sets them apart."""
    end, asked = float(grid.edges[-1]), cut.window[1]
    return [cut.begin, asked if abs(end - asked) < 2 * EDGE * grid.bin_size else end]


@dataclass(frozen=True, eq=False)
class Values:
    """What was recorded in the bins.

    Attributes
    ----------
    array : (N, T, D) float32, 0 where masked
    mask : (N, T) or (N, T, D) bool, True where observed
    """

    array: np.ndarray
    mask: np.ndarray


def fill(recording: Recording, traces: Traces | None, grid: Grid) -> Values:
    """Counts or signal in the bins of a grid, with their mask; bins in ``invalid_times`` are masked."""
    values = _signal(traces, grid) if traces is not None else _counts(recording, grid)
    invalid = recording.intervals.get("invalid_times")
    if invalid is None or not len(invalid):
        return values
    intervals = np.column_stack([invalid.columns["start_time"], invalid.columns["stop_time"]])
    edges = grid.session_edges
    valid = clear_of(intervals, edges[:, :-1], edges[:, 1:], grid.bin_size)
    mask = values.mask & (valid if values.mask.ndim == 2 else valid[:, :, None])
    values.array[~mask] = 0.0
    return Values(values.array, mask)


def _counts(recording: Recording, grid: Grid) -> Values:
    units = np.arange(len(recording.units))
    size = grid.bin_size
    if grid.warp is None:
        starts = grid.events + grid.first_edge
        counts = count_spikes(recording.spikes, units, starts, grid.bins, size)
    else:
        reach = np.column_stack([grid.starts, grid.stops])
        counts = count_warped(
            recording.spikes, units, grid.events, reach, grid.first_edge, grid.bins, size, grid.warp.common
        )
    mask = within_trial(grid.bins)
    if recording.observed is not None:
        edges = grid.session_edges
        seen = observed_bins(recording.observed, units, edges[:, :-1], edges[:, 1:], size)
        mask = mask & seen if seen.ndim == 2 else mask[:, :, None] & seen
    if not mask.all():
        counts *= mask if mask.ndim == 3 else mask[:, :, None]
    return Values(counts, _simplest(mask))


def _signal(traces: Traces, grid: Grid) -> Values:
    values = resample(traces, grid)
    mask = np.isfinite(values)
    values[~mask] = 0.0
    return Values(values, _simplest(mask))


def _simplest(mask: np.ndarray) -> np.ndarray:
    """The mask without its last axis where all units agree."""
    if mask.ndim == 3 and mask.shape[2] and (mask == mask[:, :, :1]).all():
        return mask[:, :, 0]
    return mask


def keep_observed(moments: Moments, grid: Grid, values: Values) -> tuple[Moments, Grid, Values]:
    """Without the trials of which no bin was observed, which are reported."""
    seen = values.mask.reshape(len(values.mask), -1).any(axis=1)
    if seen.all():
        return moments, grid, values
    if not seen.any():
        raise InputError(
            f"no bin of any of the {len(seen)} trials aligned to {moments.name!r} was observed; the window "
            "lies outside the intervals of observation or in gaps of the signal"
        )
    moments = moments.keep(seen, "no bin of it was observed")
    array, mask, grid = values.array[seen], _simplest(values.mask[seen]), grid.take(seen)
    return moments, grid, Values(array[:, : grid.longest], mask[:, : grid.longest])
