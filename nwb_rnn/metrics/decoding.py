"""Behaviour read out of latents or rates: ridge regression with nested cross-validation over trials."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.readout import PENALTIES, fit_readout


@dataclass(frozen=True, eq=False)
class Decoding:
    """
    Attributes
    ----------
    predicted : (B, T, Q) from weights that did not see the trial; NaN where features or targets are missing
    r2 : (Q,) of all predicted samples together
    fold_r2 : (K, Q) of each fold alone
    penalties : (K,) α chosen within the training trials of each fold
    """

    predicted: np.ndarray
    r2: np.ndarray
    fold_r2: np.ndarray
    penalties: np.ndarray


def decode(
    features: np.ndarray,
    targets: np.ndarray,
    fold: np.ndarray,
    penalties: tuple[float, ...] = PENALTIES,
    inner: int = 4,
) -> Decoding:
    """Ridge from features to targets in the same bin; see `fit_readout` for the penalty.

    The evaluation of Pei et al. 2021 penalises the weights of plain features (α from 1e-4 to 1, whatever
    their scale), chooses α over stretches of samples, and scores one split; without a penalty both are equal.

    Parameters
    ----------
    features : (B, T, F), such as latents; NaN outside of trials
    targets : (B, T, Q), such as hand position or velocity; NaN where unknown
    fold : (B,) number of the outer fold of each trial; see `folds_of`
    penalties, inner : of the inner cross-validation

    Raises
    ------
    InputError : trials or bins that differ, or a fold without any known sample
    """
    features, targets = np.asarray(features, dtype=float), np.asarray(targets, dtype=float)
    if features.shape[:2] != targets.shape[:2] or features.ndim != 3 or targets.ndim != 3:
        raise InputError(
            f"features {features.shape} and targets {targets.shape}; expected (trial, time, column) of the "
            "same trials"
        )
    known = np.isfinite(features).all(axis=2) & np.isfinite(targets).all(axis=2)
    trial = np.broadcast_to(np.arange(len(fold))[:, None], known.shape)
    predicted = np.full(targets.shape, np.nan)
    scores, chosen = [], []
    for number in np.unique(fold):
        test = known & (fold == number)[:, None]
        train = known & (fold != number)[:, None]
        if not (test.any() and train.any()):
            raise InputError(f"fold {number} has no known sample to train or to test with; take fewer folds")
        readout = fit_readout(features[train], targets[train], trial[train], False, penalties, inner)
        predicted[test] = readout.predict(features[test])
        scores.append(r2_of(targets[test], predicted[test]))
        chosen.append(readout.penalty)
    return Decoding(predicted, r2_of(targets[known], predicted[known]), np.array(scores), np.array(chosen))


def r2_of(values: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(Q,) 1 − Σ(y − ŷ)² / Σ(y − ȳ)² of each column; NaN for a column that never changes."""
    left = np.square(values - predicted).sum(axis=0)
    spread = np.square(values - values.mean(axis=0)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, 1 - left / spread, np.nan)


def folds_of(condition: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(B,) number of the fold of each trial, every condition spread evenly over the folds.

    Parameters
    ----------
    condition : (B,) number of the condition of each trial
    """
    if not 2 <= folds <= len(condition):
        raise InputError(f"folds={folds} with {len(condition)} trials; expected 2 to the number of trials")
    order = np.random.default_rng(seed).permutation(len(condition))
    order = order[np.argsort(np.asarray(condition)[order], kind="stable")]
    fold = np.empty(len(condition), dtype=int)
    fold[order] = np.arange(len(condition)) % folds
    return fold


def rate_of_change(values: np.ndarray, bin_size: float) -> np.ndarray:
    """Central difference over time of (B, T, Q), per second; one-sided where a neighbour is missing.

    A position becomes a velocity in this way. NaN where both neighbours are missing.
    """
    values = np.asarray(values, dtype=float)
    if values.shape[1] < 2:
        raise InputError("a rate of change needs at least two bins")
    edge = np.full_like(values[:, :1], np.nan)
    step = np.diff(values, axis=1) / bin_size
    both = np.stack([np.concatenate([edge, step], axis=1), np.concatenate([step, edge], axis=1)])
    count = np.isfinite(both).sum(axis=0)
    change = np.where(np.isfinite(both), both, 0.0).sum(axis=0) / np.maximum(count, 1)
    return np.where((count > 0) & np.isfinite(values), change, np.nan)
