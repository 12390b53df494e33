"""What the observed units of a teacher read from two latents."""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError


def readout_arrays(
    observed: int,
    observation: str,
    bin_size: float,
    mean_rate: float,
    modulation: float,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """η = C z + d with preferred directions spread around the plane, as arrays of a `LowRankRNN`.

    Parameters
    ----------
    observed : D
    observation : poisson (exponential link) or gaussian (unit noise variance)
    bin_size : s
    mean_rate : spikes/s of the average unit at z = 0 (Poisson only)
    modulation : typical |C|, in log rate (Poisson) or in noise standard deviations (Gaussian)
    """
    if observation not in ("poisson", "gaussian"):
        raise InputError(f"observation={observation!r} is not known to a teacher; choose poisson or gaussian")
    angles = 2 * np.pi * (np.arange(observed) / observed) + 0.3 * rng.standard_normal(observed)
    depth = modulation * rng.uniform(0.5, 1.5, observed)
    arrays = {
        "readout_weights": depth[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]),
        "observation": np.array(observation),
    }
    if observation == "gaussian":
        return arrays | {"readout_bias": np.zeros(observed), "observation_noise": np.ones(observed)}
    rates_hz = mean_rate * np.exp(0.5 * rng.standard_normal(observed))
    return arrays | {"readout_bias": np.log(rates_hz * bin_size), "link": np.array("exp")}
