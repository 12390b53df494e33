"""A rank-2 network that turns around a limit cycle, with known weights and a known frequency.

The latents follow the normal form of a Hopf bifurcation, in one bin of width Δ

    F(z) = Rotation(2π f Δ) (1 + g (1 − |z|²)) z

realised by N units as a z + V φ(M z; h): random M and h, and V by least squares over |z| < 2.
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.teachers.readout import readout_arrays


def oscillator(
    frequency: float = 3.0,
    bin_size: float = 0.01,
    units: int = 128,
    observed: int = 40,
    observation: str = "poisson",
    mean_rate: float = 15.0,
    modulation: float = 1.2,
    noise: float = 0.05,
    growth: float = 0.15,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Arrays for `LowRankRNN.from_arrays`.

    Parameters
    ----------
    frequency : of the limit cycle, Hz
    bin_size : Δ, s
    units, observed : network and observed units
    observation : poisson (exponential link) or gaussian (unit noise variance)
    mean_rate : spikes/s of the average unit when it is not driven (Poisson only)
    modulation : typical depth, in log rate (Poisson) or in noise standard deviations (Gaussian)
    noise : standard deviation of the latent noise per bin; the cycle has radius 1
    growth : g above, how fast the latents return to the cycle
    """
    if not 0 < frequency * bin_size < 0.25:
        raise InputError(f"frequency={frequency} Hz needs bins shorter than {0.25 / frequency:g} s")
    rng = np.random.default_rng(seed)
    left = rng.standard_normal((units, 2))
    points = _disc(4000, 2.0, rng)
    kinks = _disc(units, 2.0, rng)
    bias = -(left * kinks).sum(1)  # clipped_relu: kinks at x = −h and x = 0
    decay = 0.9
    target = hopf_step(points, frequency * bin_size, growth) - decay * points
    current = points @ left.T
    rates = np.maximum(current + bias, 0) - np.maximum(current, 0)
    gram = rates.T @ rates
    right = np.linalg.solve(gram + 1e-4 * np.trace(gram) / units * np.eye(units), rates.T @ target).T
    return {
        "left_vectors": left,
        "right_vectors": right,
        "unit_bias": bias,
        "decay": np.array(decay),
        "transition_cholesky": noise * np.eye(2),
        "initial_mean": np.zeros(2),
        "initial_cholesky": 0.7 * np.eye(2),
        "activation": np.array("clipped_relu"),
        "bin_size": np.array(bin_size),
    } | readout_arrays(observed, observation, bin_size, mean_rate, modulation, rng)


def hopf_step(latents: np.ndarray, cycles_per_bin: float, growth: float) -> np.ndarray:
    """F(z) above for latents (P, 2); far outside the cycle the pull inwards is bounded."""
    radius = (latents**2).sum(1, keepdims=True)
    scaled = (1 + growth * np.clip(1 - radius, -2.0, 1.0)) * latents
    angle = 2 * np.pi * cycles_per_bin
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scaled @ turn.T


def cycle_frequency(latents: np.ndarray, bin_size: float) -> float:
    """Mean turning frequency, Hz, of rank-2 latents (T, 2) or (B, T, 2) about their mean."""
    latents = np.atleast_3d(latents) if latents.ndim == 3 else latents[None]
    centred = latents - np.nanmean(latents, axis=(0, 1))
    phase = np.arctan2(centred[..., 1], centred[..., 0])
    step = np.angle(np.exp(1j * np.diff(phase, axis=1)))
    return float(np.abs(np.nanmean(step)) / (2 * np.pi * bin_size))


def _disc(count: int, radius: float, rng) -> np.ndarray:
    """Points spread evenly over a disc."""
    angle = rng.uniform(0, 2 * np.pi, count)
    return (radius * np.sqrt(rng.uniform(size=count)))[:, None] * np.column_stack(
        [np.cos(angle), np.sin(angle)]
    )
