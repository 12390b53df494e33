"""Models that know some rates beforehand, so that a score can be worked out by hand."""

from __future__ import annotations

import numpy as np
import xarray as xr


class Oracle:
    """Infers the rates and latents it was given, whatever it is shown; simulates Poisson counts from them.

    Parameters
    ----------
    trials : that the rates belong to; any of them may be asked for, in any order
    rates : (B, T, D) expected counts per bin
    latents : (B, T, R); the first two rates when left out
    """

    def __init__(self, trials: xr.Dataset, rates: np.ndarray, latents: np.ndarray | None = None):
        self.trials = trials
        self.known = xr.Dataset(
            {
                "rates": (("trial", "time", "unit"), rates),
                "latent_mean": (("trial", "time", "latent"), rates[..., :2] if latents is None else latents),
            },
            {name: trials[name] for name in ("trial", "time", "unit")},
        )
        self.asked: list[dict] = []

    def infer(self, trials: xr.Dataset, held_out_units=None, until=None) -> xr.Dataset:
        """What is known of these trials."""
        self.asked.append({"held_out_units": held_out_units, "until": until})
        return self.known.sel(trial=trials["trial"].values)

    def simulate(self, trials: int, like: xr.Dataset, seed: int) -> xr.Dataset:
        """Counts drawn from the known rates."""
        rates = self.known["rates"].sel(trial=like["trial"].values)
        drawn = np.random.default_rng(seed).poisson(rates)
        return like.assign(counts=(("trial", "time", "unit"), drawn))


def session(trials: int = 24, bins: int = 30, units: int = 6, seed: int = 0, mask: bool = True):
    """(trials, rates): Poisson counts of known rates, two conditions, ragged lengths, a hand that moves."""
    rng = np.random.default_rng(seed)
    condition = np.arange(trials) % 2
    time = np.arange(bins) / bins
    phase = rng.uniform(0, 2 * np.pi, units)
    phases = 2 * np.pi * (time[:, None] + 0.25 * condition[:, None, None]) + phase
    rates = np.exp(0.8 * np.sin(phases) + 0.3 * rng.standard_normal((trials, 1, units)))
    seen = np.ones((trials, bins), dtype=bool)
    if mask:
        seen[np.arange(bins) >= rng.integers(bins - 5, bins + 1, trials)[:, None]] = False
    counts = rng.poisson(rates) * seen[..., None]
    hand = np.stack([np.sin(2 * np.pi * (time + 0.25 * c)) for c in condition])
    return (
        xr.Dataset(
            {
                "counts": (("trial", "time", "unit"), counts),
                "mask": (("trial", "time"), seen),
                "hand": (("trial", "time"), hand),
            },
            {
                "trial": np.arange(trials) + 100,
                "time": (np.arange(bins) + 0.5) * 0.02,
                "unit": np.arange(units) + 7,
                "condition": ("trial", condition),
            },
            {"bin_size": 0.02},
        ),
        rates,
    )
