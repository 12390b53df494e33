"""Statistics of spiking, computed alike from recorded and simulated counts."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import values_and_mask

_FEWEST = 3  # intervals that a coefficient of variation needs


def interval_variability(trials: xr.Dataset) -> np.ndarray:
    """(D,) coefficient of variation of each unit's intervals between spikes; NaN with fewer than three.

    Counts hold no spike times: the k spikes of a bin are put at (i + ½)/k of it. Intervals that cross a
    bin without observation, or the end of a trial, do not count; so short trials cut long intervals, in
    recorded and simulated trials alike. Pals et al. 2024 count a bin with several spikes as one spike, which
    is the same where no bin holds more than one.
    """
    counts, mask = _counts(trials)
    return np.array([_variation(counts[..., d], mask[..., d]) for d in range(counts.shape[2])])


def _variation(counts: np.ndarray, mask: np.ndarray) -> float:
    """Of one unit, counts and mask (B, T); times in bins."""
    apart = 4 * counts.shape[1]
    trial, bins = np.nonzero((counts > 0) & mask)
    number = counts[trial, bins].astype(int)
    gaps = np.cumsum(~mask, axis=1)[trial, bins] + trial * apart
    rank = np.arange(number.sum()) - np.repeat(np.cumsum(number) - number, number)
    times = np.repeat(bins, number) + (rank + 0.5) / np.repeat(number, number)
    run = np.repeat(gaps, number)
    intervals = np.diff(times)[np.diff(run) == 0]
    return float(intervals.std() / intervals.mean()) if len(intervals) >= _FEWEST else float("nan")


def pairwise_correlations(trials: xr.Dataset) -> np.ndarray:
    """(D, D) Pearson correlations of counts over all bins in which both units were observed.

    The diagonal is 1; NaN where a unit never changes or two were hardly seen together.
    """
    counts, mask = _counts(trials)
    flat, seen = counts.reshape(-1, counts.shape[2]), mask.reshape(-1, counts.shape[2]).astype(float)
    flat = flat * seen
    count, total = seen.T @ seen, flat.T @ seen
    squares = np.square(flat).T @ seen
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = total / count
        variance = squares / count - mean**2
        covariance = flat.T @ flat / count - mean * mean.T
        found = covariance / np.sqrt(variance * variance.T)
    flatter = variance <= 1e-12 * np.maximum(squares / np.maximum(count, 1), 1e-300)
    return np.where((count > 1) & ~flatter & ~flatter.T, found, np.nan)


def population_autocorrelation(trials: xr.Dataset, longest: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Autocorrelation of the summed count of all units, its mean over the recording taken away.

    Parameters
    ----------
    longest : lag, s; never more than the longest trial holds

    Returns
    -------
    lags (L,), s, from one bin on
    correlation (L,), the mean over pairs of observed bins that far apart, over the variance

    Raises
    ------
    InputError : no two bins follow each other, or the summed count never changes
    """
    counts, mask = _counts(trials)
    inside = mask.any(axis=2)
    total = np.where(mask, counts, 0.0).sum(axis=2)
    total = np.where(inside, total - total[inside].mean(), 0.0)
    variance = np.square(total).sum() / inside.sum()
    size = float(trials.attrs["bin_size"])
    most = min(round(longest / size), counts.shape[1] - 1)
    pairs = np.array([(inside[:, lag:] & inside[:, :-lag]).sum() for lag in range(1, most + 1)])
    if not len(pairs) or not pairs[0] or not variance > 0:
        raise InputError("an autocorrelation needs neighbouring bins, and a summed count that changes")
    products = np.array([(total[:, lag:] * total[:, :-lag]).sum() for lag in range(1, most + 1)])
    kept = pairs > 0
    return np.arange(1, most + 1)[kept] * size, products[kept] / pairs[kept] / variance


def above_diagonal(matrix: np.ndarray) -> np.ndarray:
    """Entries (D (D − 1) / 2,) of each pair once."""
    return matrix[np.triu_indices(len(matrix), 1)]


def _counts(trials: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    if "counts" not in trials:
        raise InputError("statistics of spiking need counts; these trials hold a signal")
    return values_and_mask(trials, "counts")
