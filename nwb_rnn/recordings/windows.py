"""How far each trial reaches: a fixed window, or from the event to another column."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.binning import EDGE, edge_tolerance, whole_bins
from nwb_rnn.recordings.events import Moments, column_times, time_columns
from nwb_rnn.recordings.grid import Grid
from nwb_rnn.recordings.recording import Dropped

_SHARE_OF_MEMORY = 0.5


@dataclass(frozen=True, eq=False)
class Window:
    """Bins of each trial, in whole numbers.

    Attributes
    ----------
    begin : first edge, s from the event
    bins : (N,) number of bins of each trial
    bin_size : s
    window : (begin, end) that the bins cover, s from the event
    notes : what was cut off
    """

    begin: float
    bins: np.ndarray
    bin_size: float
    window: tuple[float, float]
    notes: list[Dropped] = field(default_factory=list)


def make_window(
    moments: Moments,
    window: tuple[float, float] | None,
    until: str | None,
    bin_size: float,
    bins: int | None,
    past_stop: bool | None,
    time_reference: str,
) -> tuple[Moments, Window]:
    """The trials whose length is known, and whole bins for each; parameters as in `align`."""
    if until is not None:
        if bins is not None:
            raise InputError("`bins` divides a fixed window; with `until`, give bin_size (s) instead")
        return _until(moments, _pair(window or (0.0, 0.0)), until, bin_size, time_reference)
    if window is None:
        raise InputError(
            "give window=(begin, end) in seconds from the event, such as window=(-0.25, 0.45), or "
            "until='stop_time' for trials of unequal length"
        )
    return _fixed(moments, _pair(window), bin_size, bins, past_stop)


def _pair(window: Sequence[float]) -> tuple[float, float]:
    try:
        begin, end = (float(v) for v in window)
    except (TypeError, ValueError) as error:
        raise InputError(f"window must be two numbers of seconds (begin, end), not {window!r}") from error
    if not (np.isfinite(begin) and np.isfinite(end)):
        raise InputError(f"window must be two finite numbers of seconds, not {window!r}")
    return begin, end


def _fixed(
    moments: Moments, window: tuple[float, float], bin_size: float, bins: int | None, past_stop: bool | None
) -> tuple[Moments, Window]:
    begin, end = window
    if end <= begin:
        raise InputError(f"window must end after it begins; it goes from {begin:g} to {end:g} s")
    if bins is not None:
        if isinstance(bins, bool) or int(bins) != bins or bins < 1:
            raise InputError(f"bins must be a whole number, 1 or more, not {bins!r}")
        bin_size = (end - begin) / int(bins)
    count = int(whole_bins(np.float64(end - begin), bin_size))
    if count == 0:
        raise InputError(f"the window {begin:g} to {end:g} s is shorter than one bin of {bin_size:g} s")
    covered, notes = begin + count * bin_size, []
    if abs(covered - end) > 2 * EDGE * bin_size:
        reason = f"the window ends at {covered:.9g} s, not {end:g} s, to hold whole bins of {bin_size:g} s"
        notes.append(Dropped("sample", (), reason))
    else:
        covered = end
    numbers = _ending(moments, begin, end, np.full(len(moments.times), count), bin_size, past_stop)
    return moments, Window(begin, numbers, bin_size, (begin, covered), notes)


def _ending(
    moments: Moments, begin: float, end: float, numbers: np.ndarray, bin_size: float, past_stop: bool | None
) -> np.ndarray:
    """The bins of each trial, cut at its stop_time if asked; a window longer than every trial is refused."""
    columns = moments.table.columns
    if past_stop or "start_time" not in columns or "stop_time" not in columns:
        return numbers
    lengths = columns["stop_time"] - columns["start_time"]
    longest = float(np.max(lengths[np.isfinite(lengths)], initial=0.0))
    if longest > 0 and end - begin > longest * (1 + 1e-9) + EDGE * bin_size:
        raise InputError(
            f"the window of {end - begin:g} s is longer than every trial of table {moments.table.name!r} "
            f"(the longest has {longest:.6g} s); shorten it, use until='stop_time', or, if what follows a "
            "trial belongs to it, pass past_stop=True"
        )
    if past_stop is None:
        return numbers
    left = columns["stop_time"] - (moments.times + begin)
    edge = edge_tolerance(bin_size, moments.times)
    return np.where(
        np.isfinite(left), np.minimum(numbers, whole_bins(_finite(left), bin_size, edge)), numbers
    )


def _until(
    moments: Moments, window: tuple[float, float], until: str, bin_size: float, time_reference: str
) -> tuple[Moments, Window]:
    begin, after = window
    table = moments.table
    if until not in table.columns:
        has = ", ".join(table.columns)
        raise InputError(f"there is no column {until!r} for until=; table {table.name!r} has {has}")
    ends = column_times(table, until, time_reference)[0]
    lengths = ends + after - (moments.times + begin)
    known = np.isfinite(lengths)
    if not known.any():
        raise InputError(
            f"{until!r} is NaN in every trial, so their length is unknown; give a fixed window=(begin, end), "
            f"or until= another column; those with times are {', '.join(time_columns(table))}"
        )
    moments = moments.keep(known, f"{until!r} is NaN, so the length of the trial is unknown")
    numbers = whole_bins(lengths[known], bin_size, edge_tolerance(bin_size, moments.times))
    if not numbers.any():
        raise InputError(
            f"no trial is as long as one bin of {bin_size:g} s: from {begin:g} s after {moments.name!r} to "
            f"{after:g} s after {until!r} the longest lasts {float(np.nanmax(lengths)):.6g} s; "
            "take a smaller bin_size or another until"
        )
    return moments, Window(begin, numbers, bin_size, (begin, begin + int(numbers.max()) * bin_size))


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, 0.0)


def check_memory(grid: Grid, units: int, ids: np.ndarray) -> None:
    """Refuse trials that would fill more than half of the memory of this machine.

    Raises
    ------
    InputError : with the longest trial and how to leave it out
    """
    needed = 4 * len(grid.bins) * grid.longest * units
    memory = installed_memory()
    if needed <= _SHARE_OF_MEMORY * memory:
        return
    worst, median = int(np.argmax(grid.bins)), float(np.median(grid.bins)) * grid.bin_size
    raise InputError(
        f"{len(grid.bins)} trials x {grid.longest} bins x {units} units need {needed / 1e9:.3g} GB; this "
        f"machine has {memory / 1e9:.3g} GB. The longest trial ({ids[worst]}) lasts "
        f"{grid.bins[worst] * grid.bin_size:.6g} s, the median {median:.6g} s: leave long ones out, as in "
        f"where='stop_time - start_time < {4 * median:.3g}', or take larger bins or fewer units"
    )


def installed_memory() -> int:
    """Bytes of memory of this machine; 8 GB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 8_000_000_000
