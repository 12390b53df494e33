"""How well a rate network runs by itself: what a fit of recorded rates is judged by.

The network starts in the recorded state of the first bin of a trial and is then left alone. With Y the
recorded rates and Ŷ those of the free run,

    explained variance = 1 − Σ (Y − Ŷ)² / Σ (Y − mean of all Y)²            (Perich et al. 2020)

which already rewards units for staying at different levels; about each unit's own mean it is stricter.
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.fitting.rate_data import RateData
from nwb_rnn.models.rate import RateParameters, currents_of, forced_run, free_run, rates_of

WORST = -1e6


def starting_states(parameters: RateParameters, data: RateData, warm_up: int = 1) -> np.ndarray:
    """(B, N) currents after `warm_up` bins in which the recorded units were held at their recording."""
    span = slice(0, warm_up)
    held, _ = forced_run(
        parameters, data.activation, data.rates[:, span], data.mask[:, span], data.inputs[:, span]
    )
    return held[:, -1]


def run_freely(
    parameters: RateParameters,
    data: RateData,
    noise: np.ndarray | float = 0.0,
    rng: np.random.Generator | None = None,
    warm_up: int = 1,
) -> np.ndarray:
    """(B, T − warm_up + 1, N) currents from the last bin of the warm-up on."""
    start = starting_states(parameters, data, warm_up)
    return free_run(parameters, data.activation, start, data.inputs[:, warm_up - 1 :], noise, rng)


def shown(parameters: RateParameters, activation: str, currents: np.ndarray) -> np.ndarray:
    """Rates of the recorded units in φ's range: (..., N) -> (..., D)."""
    rates = rates_of(currents, activation)
    if parameters.observed_weights is None:
        return rates[..., parameters.observed_index]
    return rates @ parameters.observed_weights.T + parameters.observed_bias


def explained_variance(
    recorded: np.ndarray, modelled: np.ndarray, mask: np.ndarray, per_unit: bool = False
) -> float:
    """1 − residual/variance over the observed bins of (B, T, D); mask (B, T)."""
    y, m = recorded[mask], modelled[mask]
    spread = y - (y.mean(axis=0) if per_unit else y.mean())
    total = float(np.sum(spread**2))
    missed = float(np.sum((y - m) ** 2))
    if not np.isfinite(missed):
        return WORST
    return 1.0 - missed / total if total > 0 else float("nan")


def free_run_score(
    parameters: RateParameters,
    data: RateData,
    noise: np.ndarray | float = 0.0,
    runs: int = 1,
    seed: int = 0,
    warm_up: int = 1,
    per_unit: bool = False,
) -> float:
    """Mean explained variance of `runs` free runs, each with new noise; the starting bin does not count."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        with np.errstate(over="ignore", invalid="ignore"):
            currents = run_freely(parameters, data, noise, rng, warm_up)[:, 1:]
            modelled = shown(parameters, data.activation, currents)
        span = slice(warm_up, None)
        found.append(explained_variance(data.rates[:, span], modelled, data.mask[:, span], per_unit))
    return float(np.mean(found))


def currents_at(data: RateData) -> np.ndarray:
    """(B, T, D) φ⁻¹ of the recorded rates."""
    return currents_of(data.rates, data.activation)
