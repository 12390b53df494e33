"""Small trials for tests of the estimator."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.teachers.oscillator import oscillator

QUICK = dict(
    polish=1, iterations=6, batch_size=4, particles=4, validate_every=2, progress=False, backend="reference"
)


def counts(trials: int = 8, bins: int = 40, seed: int = 3, observed: int = 12) -> xr.Dataset:
    """Spike counts of the oscillator teacher, in trials of unequal length."""
    teacher = LowRankRNN.from_arrays(**oscillator(observed=observed, units=32))
    drawn = teacher.simulate(trials=trials, bins=bins, seed=seed)
    mask = drawn["mask"].values.copy()
    for i, length in enumerate(np.random.default_rng(seed).integers(bins // 2, bins + 1, trials)):
        mask[i, length:] = False
    drawn["counts"] = drawn["counts"].where(mask[..., None], 0)
    return drawn.assign(mask=(("trial", "time"), mask)).drop_vars("latents")


def signal(trials: int = 6, bins: int = 40, seed: int = 3, observed: int = 8) -> xr.Dataset:
    """A Gaussian recording of the same teacher, with a constant input that does nothing."""
    arrays = oscillator(observed=observed, units=32, observation="gaussian")
    drawn = LowRankRNN.from_arrays(**arrays).simulate(trials=trials, bins=bins, seed=seed)
    return drawn.drop_vars("latents")
