"""Random low-rank maps for the tests of the dynamics."""

import numpy as np

from nwb_rnn.dynamics.maps import LowRankMap


def random_map(units, rank, seed, activation="relu", *, gain=4.0, with_input=True, decay=0.9) -> LowRankMap:
    """Gaussian connectivity with kinks at all distances; seeded."""
    rng = np.random.default_rng(seed)
    return LowRankMap(
        decay=decay,
        left_vectors=rng.normal(size=(units, rank)) / np.sqrt(rank),
        right_vectors=gain * rng.normal(size=(rank, units)) / units,
        unit_bias=rng.normal(size=units),
        activation=activation,
        input_current=rng.normal(size=units) if with_input else None,
        bin_size=0.01,
    )


def shell_map(units, rank, seed=0) -> LowRankMap:
    """Clipped units fitted so that |z| = 1 stands almost still: a slow manifold with many fixed points."""
    rng = np.random.default_rng(seed)
    left, bias = rng.normal(size=(units, rank)), rng.uniform(0.2, 3.0, units) * rng.choice([-1, 1], units)
    current = rng.normal(size=units)
    z = rng.normal(size=(4000, rank))
    z *= (rng.uniform(0, 2.5, len(z)) / np.linalg.norm(z, axis=1))[:, None]
    size = np.linalg.norm(z, axis=1, keepdims=True)
    target = 0.1 * z + 0.1 * z * (1.0 - size) * np.exp(-size)
    x = z @ left.T + current
    rates = np.maximum(x + bias, 0) - np.maximum(x, 0)
    normal = rates.T @ rates + 1e-6 * len(z) * np.eye(units)
    return LowRankMap(0.9, left, np.linalg.solve(normal, rates.T @ target).T, bias, "clipped_relu", current)
