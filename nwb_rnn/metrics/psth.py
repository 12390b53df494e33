"""Single units: averages over trials (peristimulus time histograms), recorded against modelled."""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import alike, checked


def psth_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) Pearson correlation of each unit's averages over all conditions and bins; NaN for a flat unit.

    Parameters
    ----------
    first, second : (condition, time, unit) of the same units; NaN is left out
    """
    first, second = alike(first, second)
    found = np.full(first.shape[2], np.nan)
    for unit in range(len(found)):
        x, y = first[..., unit].ravel(), second[..., unit].ravel()
        known = np.isfinite(x) & np.isfinite(y)
        if known.sum() > 1 and np.ptp(x[known]) > 0 and np.ptp(y[known]) > 0:
            found[unit] = np.corrcoef(x[known], y[known])[0, 1]
    return found


def psth_r2(recorded: np.ndarray, modelled: np.ndarray) -> np.ndarray:
    """(N,) 1 − Σ(recorded − modelled)² / Σ(recorded − its mean)² of each unit; NaN for a flat unit.

    With rates averaged over the trials of each condition, the mean over units is the PSTH R² of the Neural
    Latents Benchmark (Pei et al. 2021) as its evaluation code computes it; that code counts a flat unit as 0.

    Parameters
    ----------
    recorded, modelled : (condition or trial, time, unit); NaN is left out
    """
    recorded, modelled = alike(recorded, modelled)
    known = np.isfinite(recorded) & np.isfinite(modelled)
    seen = np.maximum(known.sum(axis=(0, 1)), 1)
    mean = np.where(known, recorded, 0.0).sum(axis=(0, 1)) / seen
    left = np.where(known, recorded - modelled, 0.0)
    spread = np.square(np.where(known, recorded - mean, 0.0)).sum(axis=(0, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, 1 - np.square(left).sum(axis=(0, 1)) / spread, np.nan)


def best_matches(recorded: np.ndarray, modelled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each recorded unit, the unit of a network whose averages go most alike.

    Parameters
    ----------
    recorded : (condition, time, D); modelled : (condition, time, M), other units

    Returns
    -------
    correlation (D,) and position (D,) of the best match; NaN and −1 for a unit that never changes
    """
    recorded, modelled = checked(recorded, "recorded"), checked(modelled, "modelled")
    if recorded.shape[:2] != modelled.shape[:2]:
        raise InputError(
            f"conditions and bins are {recorded.shape[:2]} and {modelled.shape[:2]}; expected the same"
        )
    first, second = (x.reshape(-1, x.shape[2]) for x in (recorded, modelled))
    known = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    first, second = (_standardised(x[known]) for x in (first, second))
    table = first.T @ second / known.sum()
    flat = ~np.isfinite(table).any(axis=1)
    filled = np.where(np.isfinite(table), table, -np.inf)
    best = np.where(flat, -1, filled.argmax(axis=1))
    return np.where(flat, np.nan, filled.max(axis=1)), best


def _standardised(values: np.ndarray) -> np.ndarray:
    centred = values - values.mean(axis=0)
    deviation = centred.std(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviation > 1e-12 * np.abs(values).max(axis=0), centred / deviation, np.nan)
