"""How alike two sets of trials, or two sets of latents, are."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.smc.trials import observed_name


def mean_rates(trials: xr.Dataset) -> np.ndarray:
    """(D,) mean of each unit over its observed bins: spikes/s for counts, the signal's unit for signals."""
    name = observed_name(trials)
    values = trials[name].transpose("trial", "time", "unit").values.astype(float)
    mask = np.ones(values.shape, dtype=bool)
    if "mask" in trials:
        mask = trials["mask"].broadcast_like(trials[name]).transpose("trial", "time", "unit").values
        mask = mask.astype(bool)
    seen = mask.sum(axis=(0, 1))
    mean = np.where(mask, values, 0.0).sum(axis=(0, 1)) / np.maximum(seen, 1)
    return np.where(seen > 0, mean, np.nan) / (float(trials.attrs["bin_size"]) if name == "counts" else 1.0)


def mean_rate_correlation(recorded: xr.Dataset, simulated: xr.Dataset) -> float:
    """Pearson correlation, over units, of the mean rates in two sets of trials; NaN for a single unit."""
    first, second = mean_rates(recorded), mean_rates(simulated)
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 2 or np.ptp(first[known]) == 0 or np.ptp(second[known]) == 0:
        return float("nan")
    return float(np.corrcoef(first[known], second[known])[0, 1])


def aligned_r2(found: np.ndarray, truth: np.ndarray) -> float:
    """R² of `truth` (S, Q) predicted by the best affine map of `found` (S, R).

    Latents are defined up to a change of basis only; this compares them up to any affine one.

    Raises
    ------
    InputError : different numbers of samples
    """
    left = np.square(truth - mapped(found, affine_map(found, truth))).sum()
    return float(1 - left / np.square(truth - np.mean(truth, axis=0)).sum())


def affine_map(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(R + 1, Q) weights, the last row a constant, that take `found` (S, R) nearest to `truth` (S, Q).

    Raises
    ------
    InputError : different numbers of samples
    """
    if len(found) != len(truth):
        raise InputError(
            f"{len(found)} samples of one and {len(truth)} of the other; expected the same number"
        )
    return np.linalg.lstsq(_with_constant(found), np.asarray(truth, dtype=float), rcond=None)[0]


def mapped(found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Latents (..., R) under an affine map from `affine_map`, (..., Q)."""
    return _with_constant(found) @ weights


def _with_constant(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return np.concatenate([values, np.ones((*values.shape[:-1], 1))], axis=-1)
