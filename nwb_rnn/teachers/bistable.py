"""A rank-2 network with two stable states and a saddle between them, all known exactly.

In coordinates (p, q), turned by `angle` into the latents, with 0 < k_i < 1 and g = `saddle` − a > 1 − a:

    p' = a p + (g / P) Σ_i clip(p; k_i),    q' = a q − ½ a clip(q; 1),    mean k_i = (1 − a) / g

p' is concave for p > 0, so that (±1, 0) and (0, 0) are the only fixed points: the first two with the
eigenvalues a and a/2, the last one with `saddle` and a/2.
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.teachers.saturating import KnownNetwork, Saturating


def bistable(
    saddle: float = 1.2,
    decay: float = 0.9,
    steps: int = 6,
    angle: float = 0.6,
    bin_size: float = 0.02,
    observed: int = 40,
    observation: str = "poisson",
    mean_rate: float = 15.0,
    modulation: float = 1.2,
    noise: float = 0.1,
    seed: int = 0,
) -> KnownNetwork:
    """
    Parameters
    ----------
    saddle : growth per bin away from the saddle at 0, more than 1
    decay : a; the return to the stable states per bin
    steps : P, number of kinks on either side; the network has 4 (P + 1) relu units
    angle : of the axis through the stable states, rad
    bin_size : s
    noise : standard deviation of the latent noise per bin; the stable states lie 1 from the saddle
    observed, observation, mean_rate, modulation : as for `readout_arrays`
    seed : of the readout

    Raises
    ------
    InputError : numbers that leave no two stable states
    """
    if not 0 < decay < 1 or steps < 1 or not saddle - decay > 1.5 * (1 - decay):
        raise InputError(
            f"saddle={saddle}, decay={decay}, steps={steps}: two stable states need 0 < decay < 1, a kink, "
            f"and saddle above decay + 1.5 (1 - decay)"
        )
    growth = saddle - decay
    kinks = (1 - decay) / growth * (np.linspace(0.5, 1.5, steps) if steps > 1 else np.ones(1))
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    network = Saturating(
        decay=decay,
        directions=np.vstack([np.tile(along, (steps, 1)), across]),
        weights=np.append(np.full(steps, growth / steps), -0.5 * decay),
        limits=np.append(kinks, 1.0),
    )
    return network.network(
        np.stack([along, -along, 0 * along]),
        start=0.7,
        noise=noise,
        bin_size=bin_size,
        observed=observed,
        observation=observation,
        mean_rate=mean_rate,
        modulation=modulation,
        rng=np.random.default_rng(seed),
    )
