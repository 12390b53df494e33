"""A small linear Gaussian model whose likelihood and smoothed means are known exactly, by brute force.

With φ = identity and Gaussian observations all bins of a trial are jointly Gaussian, so log p(y) and
E[z | y] come from one big covariance matrix, without any recursion that could share a mistake with ours.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import multivariate_normal

from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters

RANK, UNITS, OBSERVED, INPUTS = 2, 6, 3, 1


def make(seed: int = 0, readout: str = "affine") -> tuple[LowRankConfig, LowRankParameters]:
    """A stable random model in float64."""
    rng = np.random.default_rng(seed)
    config = LowRankConfig(
        RANK,
        UNITS,
        "identity",
        "gaussian",
        readout,
        encoder_channels=8,
        encoder_kernels=(5, 1),
        encoder_dropout=0.0,
    )
    values = dict(
        left_vectors=rng.standard_normal((UNITS, RANK)),
        right_vectors=0.3 * rng.standard_normal((RANK, UNITS)) / np.sqrt(UNITS),
        input_weights=rng.standard_normal((UNITS, INPUTS)),
        unit_bias=rng.standard_normal(UNITS),
        decay=0.7,
        transition_cholesky=np.array([[0.5, 0.0], [0.2, 0.4]]),
        initial_mean=rng.standard_normal(RANK),
        initial_cholesky=np.array([[1.0, 0.0], [-0.3, 0.8]]),
        readout_bias=rng.standard_normal(OBSERVED),
        observation_noise=rng.uniform(0.3, 0.8, OBSERVED),
    )
    if readout == "affine":
        values["readout_weights"] = rng.standard_normal((OBSERVED, RANK))
    else:
        values["readout_gain"] = rng.standard_normal(OBSERVED)
    tensors = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in values.items()}
    return config, LowRankParameters(**tensors)


def exact(config, parameters, observed, mask, filtered) -> tuple[float, np.ndarray]:
    """log p(y) and E[z | y] (T, R) of one trial: observed, mask (T, D), filtered inputs (T, U)."""
    p = {name: value.numpy() for name, value in parameters.present().items()}
    bins = len(observed)
    transition = p["decay"] * np.eye(RANK) + p["right_vectors"] @ p["left_vectors"]
    drive = (filtered @ p["input_weights"].T - p["unit_bias"]) @ p["right_vectors"].T
    if config.readout == "affine":
        readout = p["readout_weights"]
        offset = np.broadcast_to(p["readout_bias"], observed.shape)
    else:
        gain = p["readout_gain"]
        readout = gain[:, None] * p["left_vectors"][:OBSERVED]
        current = filtered @ p["input_weights"].T - p["unit_bias"]
        offset = gain * current[:, :OBSERVED] + p["readout_bias"]
    # z = mean + blocks @ independent noise of all bins
    mean, blocks = np.zeros((bins, RANK)), np.zeros((bins, RANK, bins * RANK))
    for t in range(bins):
        factor = p["initial_cholesky"] if t == 0 else p["transition_cholesky"]
        mean[t] = p["initial_mean"] if t == 0 else transition @ mean[t - 1] + drive[t - 1]
        if t:
            blocks[t] = transition @ blocks[t - 1]
        blocks[t, :, t * RANK : (t + 1) * RANK] = factor
    blocks = blocks.reshape(bins * RANK, -1)
    prior = blocks @ blocks.T
    stacked = np.kron(np.eye(bins), readout)
    kept = mask.reshape(-1)
    stacked = stacked[kept]
    residual = (observed - offset - mean @ readout.T).reshape(-1)[kept]
    noise = np.diag(np.tile(p["observation_noise"], bins)[kept])
    covariance = stacked @ prior @ stacked.T + noise
    log_likelihood = multivariate_normal(np.zeros(len(residual)), covariance).logpdf(residual)
    update = prior @ stacked.T @ np.linalg.solve(covariance, residual)
    return float(log_likelihood), mean + update.reshape(bins, RANK)
