"""One rule that says in which bin a moment lies, and fast counting by it.

A moment ``t`` lies in bin ``floor((t - start) / bin_size + EDGE)``: bins are half-open, and a moment
less than `EDGE` (a millionth) of a bin before an edge counts as on the edge, so in the bin that begins
there. Decimal times are not exact in binary; without this tolerance a spike at 0.3 s would fall on
either side of an edge at ``0.1 + 0.2`` s. Every moment gets exactly one bin, so neighbouring bins
never both hold it and none loses it. Where session times are so large (as counted from 1970) that
their own rounding exceeds this, the tolerance is four units of that rounding, see `edge_tolerance`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Spikes

EDGE = 1e-6
COARSEST = 1e-2
_ONE = np.float32(1)
_COUNTS_AT_ONCE = 800_000
_WORTH_COMPILING = 1_000_000  # spikes

Clock = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(seconds from the event (S,), trial of each (S,)) -> seconds on the common clock (S,)."""


def edge_tolerance(bin_size: float, *times: np.ndarray) -> float:
    """Share of a bin by which moments count as on the edge after them.

    Parameters
    ----------
    bin_size : s
    times : session seconds that are going to be compared with edges

    Raises
    ------
    InputError : times so large that float64 cannot place them within a hundredth of a bin
    """
    largest = max((float(np.max(np.abs(t), initial=0.0)) for t in times), default=0.0)
    rounding = 4.0 * np.finfo(np.float64).eps * largest / bin_size
    if not rounding < COARSEST:
        raise InputError(
            f"times as large as {largest:.3g} s are too coarse in float64 for bins of {bin_size:g} s; check "
            "that times are in seconds, and count them from the start of the session"
        )
    return max(EDGE, rounding)


def bin_number(seconds: np.ndarray, bin_size: float, edge: float = EDGE) -> np.ndarray:
    """Bin in which each moment lies; `seconds` counts from the first edge. Same shape, int64."""
    number = np.asarray(seconds / bin_size)
    number += edge
    return np.floor(number, out=number).astype(np.int64)


def whole_bins(seconds: np.ndarray, bin_size: float, edge: float = EDGE) -> np.ndarray:
    """Number of whole bins in each length of time, s; none for a negative length."""
    return np.maximum(bin_number(seconds, bin_size, edge), 0)


def count_spikes(
    spikes: Spikes,
    units: np.ndarray,
    starts: np.ndarray,
    bins: np.ndarray,
    bin_size: float,
) -> np.ndarray:
    """Spikes per bin for all trials and units.

    Two binary searches per unit and trial find the spikes of a trial; only those are put into bins.

    Parameters
    ----------
    units : (D,) positions of the units to count
    starts : (N,) first edge of each trial, session seconds
    bins : (N,) number of bins of each trial
    bin_size : s

    Returns
    -------
    (N, T, D) float32, T the largest number of bins, 0 past the end of a shorter trial
    """
    return _count(spikes, units, starts, starts + bins * bin_size, bins, bin_size, None)


def count_warped(
    spikes: Spikes,
    units: np.ndarray,
    events: np.ndarray,
    reach: np.ndarray,
    first_edge: float,
    bins: np.ndarray,
    bin_size: float,
    clock: Clock,
) -> np.ndarray:
    """Spikes per bin on a warped clock.

    Parameters
    ----------
    events : (N,) session seconds from which the clock of each trial counts
    reach : (N, 2) session seconds between which the spikes of each trial lie
    first_edge : first edge of the bins on the common clock, s
    clock : from a trial's own seconds to the common ones

    Other parameters and the result are those of `count_spikes`.
    """

    def on_clock(times: np.ndarray, trial: np.ndarray) -> np.ndarray:
        return clock(times - events[trial], trial) - first_edge

    return _count(spikes, units, reach[:, 0], reach[:, 1], bins, bin_size, on_clock)


def _count(
    spikes: Spikes,
    units: np.ndarray,
    lows: np.ndarray,
    highs: np.ndarray,
    bins: np.ndarray,
    bin_size: float,
    on_clock: Clock | None,
) -> np.ndarray:
    trials, longest = len(lows), int(bins.max(initial=0))
    edge = edge_tolerance(bin_size, lows, highs)
    margin = 2 * edge * bin_size
    if on_clock is None and (spikes.offsets[units + 1] - spikes.offsets[units]).sum() > _WORTH_COMPILING:
        return _count_compiled(spikes, units, lows, highs, margin, bins, bin_size, edge)
    counts = np.empty((trials, longest, len(units)), dtype=np.float32)
    at_once = max(1, _COUNTS_AT_ONCE // max(1, trials * longest))
    for first in range(0, len(units), at_once):
        chosen = units[first : first + at_once]
        block = np.zeros((len(chosen), trials, longest), dtype=np.float32)
        for row, unit in zip(block, chosen, strict=True):
            cells = _cells(
                spikes.of(unit), lows - margin, highs + margin, lows, bins, bin_size, edge, on_clock
            )
            np.add.at(row.reshape(-1), cells, _ONE)
        counts[:, :, first : first + at_once] = block.transpose(1, 2, 0)
    return counts


def _count_compiled(spikes, units, starts, highs, margin, bins, bin_size, edge) -> np.ndarray:
    """The same counts by a compiled loop; its import alone takes longer than counting a small recording."""
    from nwb_rnn.recordings.counting_kernel import compiled

    counts = np.zeros((len(starts), int(bins.max(initial=0)), len(units)), dtype=np.float32)
    lows, order = starts - margin, np.argsort(starts, kind="stable")
    first, last = spikes.offsets[units].astype(np.int64), spikes.offsets[units + 1].astype(np.int64)
    bins = np.asarray(bins, dtype=np.int64)
    compiled()(
        counts, spikes.times, first, last, order, lows, highs + margin, starts, bins, float(bin_size), edge
    )
    return counts


def _cells(
    times: np.ndarray,
    lows: np.ndarray,
    highs: np.ndarray,
    starts: np.ndarray,
    bins: np.ndarray,
    bin_size: float,
    edge: float,
    on_clock: Clock | None,
) -> np.ndarray:
    """Cell ``trial * T + bin`` of every spike of one unit that lies in a trial."""
    begin = np.searchsorted(times, lows, side="left")
    end = np.searchsorted(times, highs, side="right")
    trial, spike = expand(begin, np.maximum(end - begin, 0))
    moment = times[spike]
    elapsed = moment - starts[trial] if on_clock is None else on_clock(moment, trial)
    number = bin_number(elapsed, bin_size, edge)
    inside = (number >= 0) & (number < bins[trial])
    cells = trial * int(bins.max(initial=0)) + number
    return cells if inside.all() else cells[inside]


def expand(begin: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and positions of the runs ``begin[i], begin[i] + 1, ...`` of `lengths[i]` numbers each."""
    rows = np.repeat(np.arange(len(begin)), lengths)
    shift = np.repeat(begin - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return rows, np.arange(len(rows)) + shift
