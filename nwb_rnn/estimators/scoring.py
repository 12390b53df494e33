"""Scores of a fitted model on trials, from what it inferred there."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.metrics.likelihood import bits_per_spike, poisson_log_likelihood
from nwb_rnn.smc.trials import observed_name


def marginal(
    latents: xr.Dataset, trials: xr.Dataset, observation: str, pairs: bool = False
) -> dict[str, float]:
    """Marginal log-likelihood per bin, and bits per spike (counts) or R² (signals).

    The bits of counts are against a Poisson law at each unit's mean rate, whatever the law of the model, so
    that models of different laws have one scale. With `pairs` the likelihood is that of bins whose
    predecessor was observed too.
    """
    values, mask = _values(trials)
    total = float(latents["log_likelihood"].sum())
    counted = mask[:, 1:] & mask[:, :-1] if pairs else mask
    scores = {"log_likelihood_per_bin": total / float(counted.any(-1).sum())}
    if observation == "gaussian":
        return scores | {"r2": _r2(values, np.nan_to_num(latents["rates"].values), mask)}
    mean = np.where(mask, values, 0).sum((0, 1)) / np.maximum(mask.sum((0, 1)), 1)
    null = poisson_log_likelihood(np.broadcast_to(mean, values.shape), values, mask)
    spikes = max(float(values[mask].sum()), 1.0)
    return scores | {"bits_per_spike": float((total - null) / (spikes * np.log(2)))}


def co_smoothing(
    latents: xr.Dataset, trials: xr.Dataset, held_out: np.ndarray, observation: str
) -> dict[str, float]:
    """How well units that inference did not see, True in `held_out` (D,), are predicted."""
    values, mask = _values(trials)
    values, mask = values[..., held_out], mask[..., held_out]
    rates = np.nan_to_num(latents["rates"].values)[..., held_out]
    if observation == "gaussian":
        return {"co_smoothing_r2": _r2(values, rates, mask)}
    return {"co_smoothing_bits_per_spike": bits_per_spike(rates, values, mask)}


def _values(trials: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    name = observed_name(trials)
    values = trials[name].transpose("trial", "time", "unit").values.astype(float)
    if "mask" not in trials:
        return values, np.ones(values.shape, dtype=bool)
    mask = trials["mask"].broadcast_like(trials[name]).transpose("trial", "time", "unit")
    return values, mask.values.astype(bool)


def _r2(values: np.ndarray, predicted: np.ndarray, mask: np.ndarray) -> float:
    mean = np.where(mask, values, 0).sum((0, 1)) / np.maximum(mask.sum((0, 1)), 1)
    total = ((values - mean) ** 2)[mask].sum()
    if not total > 0:  # nothing varies, so no share of it can be explained
        return float("nan")
    return float(1 - ((values - predicted) ** 2)[mask].sum() / total)
