"""A rank-2 ring attractor of finitely many units: a slow circle of radius 1 with a known number of points.

n directions u_p at the angles π p / n saturate alike,

    F(z) = a z + w Σ_p u_p clip(u_p·z; k),    w = 2 (g − a) / n,  so that F(z) ≈ g z near 0

As n grows F turns with z, and every point of the circle stands still. With n directions the circle keeps
the symmetry of 2n axes, and 4n fixed points remain on it, 2n stable ones and 2n saddles in turn, with a
tangential eigenvalue near 1; the origin is unstable. k makes their mean distance from 0 equal 1.
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.teachers.saturating import KnownNetwork, Saturating


def ring(
    growth: float = 1.3,
    decay: float = 0.8,
    directions: int = 12,
    bin_size: float = 0.02,
    observed: int = 40,
    observation: str = "poisson",
    mean_rate: float = 15.0,
    modulation: float = 1.2,
    noise: float = 0.05,
    seed: int = 0,
) -> KnownNetwork:
    """
    Parameters
    ----------
    growth : g per bin away from 0, more than 1
    decay : a
    directions : n; the network has 4n relu units
    bin_size : s
    noise : standard deviation of the latent noise per bin; along the circle the latents diffuse with it
    observed, observation, mean_rate, modulation : as for `readout_arrays`
    seed : of the readout

    Raises
    ------
    InputError : numbers that leave no ring
    """
    if not 0 < decay < 1 < growth or directions < 3:
        raise InputError(
            f"growth={growth}, decay={decay}, directions={directions}: a ring needs 0 < decay < 1 < growth "
            "and at least 3 directions"
        )
    angles = np.pi * np.arange(directions) / directions
    units = np.column_stack([np.cos(angles), np.sin(angles)])
    weights = np.full(directions, 2 * (growth - decay) / directions)
    around = np.pi * np.arange(4 * directions) / (2 * directions)
    axes = np.column_stack([np.cos(around), np.sin(around)])
    network = Saturating(decay, units, weights, np.ones(directions))
    size = np.mean([network.radius(axis) for axis in axes])
    network = Saturating(decay, units, weights, np.full(directions, 1 / size))
    points = np.array([network.radius(axis) * axis for axis in axes] + [np.zeros(2)])
    return network.network(
        points,
        start=0.7,
        noise=noise,
        bin_size=bin_size,
        observed=observed,
        observation=observation,
        mean_rate=mean_rate,
        modulation=modulation,
        rng=np.random.default_rng(seed),
    )
