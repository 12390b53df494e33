"""Start a low-rank RNN from the data instead of from noise.

1. A linear system of the same observations, see `fitting.linear_start`; its readout and noise are kept.
2. Units with random left vectors in pairs ±m, their kinks at the rim of where the latents go.
3. Right vectors by ridge regression, so that a z + V φ(M z; h) follows the linear system there.
"""

from __future__ import annotations

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from nwb_rnn.fitting.count_law import CountLaw, moment_dispersion
from nwb_rnn.fitting.linear_start import DECAY, linear_system, random_system, unit_variance
from nwb_rnn.fitting.poisson_regression import poisson_regression
from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, filtered_inputs
from nwb_rnn.smc.trials import TrialTensors

_SEGMENT = 500  # bins; longer trials are cut for the linear start
_MOST_BINS = 40_000  # of all segments together
_RIM = (1.0, 4.0)  # standard deviations of a unit's current at which its kinks start
_REACH = 2.5  # standard deviations; the first dynamics are linear inside and pull back from outside


def initial_parameters(
    config: LowRankConfig, trials: TrialTensors, random: bool = False
) -> tuple[LowRankParameters, dict]:
    """Parameters to start from, float32, and a dict with the linear system and its posterior.

    With `random` the linear system is a random one that knows only each unit's mean and variance.
    """
    with threadpool_limits(1, user_api="blas"):  # thousands of tiny products: more threads only wait
        return _initial_parameters(config, trials, random)


def _initial_parameters(config: LowRankConfig, trials: TrialTensors, random: bool):
    rng = np.random.default_rng([config.seed, 1])
    observed, mask, inputs = _segments(config, trials, rng)
    system, posterior = (random_system if random else linear_system)(config, observed, mask, rng)
    system, posterior = unit_variance(system, posterior, mask)
    inside = mask.any(-1)
    left, bias = _units(config, rng)
    if config.readout == "one_to_one":
        left[: observed.shape[2]] = _unit_rows(system.readout, rng)
    input_weights = 0.1 * rng.standard_normal((config.units, inputs.shape[2])) / _input_size(inputs[inside])
    right = _right_vectors(config, left, bias, input_weights, system, posterior, inputs, inside, rng)
    parameters = dict(
        left_vectors=left,
        right_vectors=right,
        input_weights=input_weights,
        unit_bias=bias,
        decay=DECAY,
        transition_cholesky=np.linalg.cholesky(_for_config(config, system.transition_covariance)),
        initial_mean=system.initial_mean,
        initial_cholesky=np.linalg.cholesky(system.initial_covariance + 0.01 * np.eye(config.rank)),
    )
    rates = _rates(config, left, bias, input_weights, posterior.mean, inputs)
    parameters |= _readout(config, system, posterior.mean, rates, observed, mask)
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in parameters.items()}
    return LowRankParameters(**tensors), {"system": system, "posterior": posterior}


def _segments(config: LowRankConfig, trials: TrialTensors, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trials cut to at most _SEGMENT bins, and at most _MOST_BINS bins in all, as float64 arrays."""
    filtered = filtered_inputs(trials.inputs, torch.tensor(DECAY), config.filter_inputs)
    bins = trials.observed.shape[1]
    length = min(bins, _SEGMENT)
    parts = []
    for start in range(0, bins - length + 1, length) if bins > length else [0]:
        parts.append(
            [x[:, start : start + length].double().numpy() for x in (trials.observed, trials.mask, filtered)]
        )
    observed, mask, inputs = (np.concatenate(x) for x in zip(*parts, strict=True))
    keep = np.flatnonzero(mask.any((1, 2)))
    if len(keep) * length > _MOST_BINS:
        keep = np.sort(rng.permutation(keep)[: max(1, _MOST_BINS // length)])
    return observed[keep], mask[keep] > 0, inputs[keep]


def _units(config: LowRankConfig, rng) -> tuple[np.ndarray, np.ndarray]:
    """Left vectors (N, R) in pairs ±m, and biases (N,) that put kinks at the rim of where latents go.

    Inside its kinks a pair adds up to a linear function, for each of the activations, so that the first
    network can follow the linear system smoothly; training then moves the kinks to where they are needed.
    """
    half = (config.units + 1) // 2
    left = rng.standard_normal((half, config.rank)) / np.sqrt(config.rank)
    left = np.concatenate([left, -left])[: config.units]
    rim = np.tile(rng.uniform(*_RIM, half), 2)[: config.units]
    if config.activation == "clipped_relu":
        return left, rim
    if config.activation == "relu":
        return left, -rim
    return 0.5 * left, np.zeros(config.units)


def _input_size(inputs: np.ndarray) -> np.ndarray:
    """Root mean square (U,) of each input (P, U), 1 for one that is always 0: in any unit it drives alike."""
    size = np.sqrt((inputs**2).mean(0))
    return np.where(size > 0, size, 1.0)


def _unit_rows(readout: np.ndarray, rng) -> np.ndarray:
    size = np.linalg.norm(readout, axis=1, keepdims=True)
    random = rng.standard_normal(readout.shape)
    return np.where(size > 1e-8, readout / np.maximum(size, 1e-8), random / np.sqrt(readout.shape[1]))


def _rates(config, left, bias, input_weights, latents, inputs) -> np.ndarray:
    current = torch.as_tensor(latents @ left.T + inputs @ input_weights.T)
    return ACTIVATIONS[config.activation](current, torch.as_tensor(bias)).numpy()


def _right_vectors(config, left, bias, input_weights, system, posterior, inputs, inside, rng) -> np.ndarray:
    """Ridge regression of A z − a z on the units' rates, at latents the network may visit and around them."""
    chosen = rng.permutation(np.argwhere(inside))[:4000]
    latents = posterior.mean[chosen[:, 0], chosen[:, 1]]
    drive = inputs[chosen[:, 0], chosen[:, 1]]
    wide = _REACH * rng.standard_normal((2000, config.rank))
    latents = np.concatenate([latents, wide])
    drive = np.concatenate([drive, np.zeros((2000, inputs.shape[2]))])
    rates = _rates(config, left, bias, input_weights, latents, drive)
    size = np.maximum(np.linalg.norm(latents, axis=1, keepdims=True), 1e-9)
    pull = 1.0 if config.activation == "identity" else np.minimum(1, _REACH * np.sqrt(config.rank) / size)
    target = (latents * pull) @ system.transition.T - DECAY * latents
    gram = rates.T @ rates
    ridge = 1e-2 * np.trace(gram) / len(gram) + 1e-8  # small weights: one step of training moves little
    right = np.linalg.solve(gram + ridge * np.eye(len(gram)), rates.T @ target).T
    near = slice(0, len(chosen))  # undo the shrinkage where the data are
    correction = np.linalg.lstsq(rates[near] @ right.T, target[near], rcond=1e-3)[0].T
    return correction @ right


def _for_config(config: LowRankConfig, covariance: np.ndarray) -> np.ndarray:
    return np.diag(np.diag(covariance)) if config.noise == "diagonal" else covariance


def _readout(config, system, latents, rates, observed, mask) -> dict[str, np.ndarray]:
    """Readout parameters: those of the linear system, or one-to-one by regression on the units' rates."""
    if config.readout != "one_to_one" and config.observation == "gaussian":
        found = dict(readout_weights=system.readout, readout_bias=system.bias, observation_noise=system.noise)
        return found | _hidden(config, found)
    chosen = np.argwhere(mask.any(-1))
    if len(chosen) > 20_000:
        chosen = np.random.default_rng(config.seed).permutation(chosen)[:20_000]
    rows = (chosen[:, 0], chosen[:, 1])
    y, seen = observed[rows], np.broadcast_to(mask, observed.shape)[rows].astype(float)
    if config.readout != "one_to_one":
        weights, bias = system.readout, system.bias
        found = dict(readout_weights=weights, readout_bias=bias)
        found |= _dispersion(config, latents[rows] @ weights.T + bias, y, seen)
        return found | _hidden(config, found)
    return _one_to_one(config, rates[rows][:, : observed.shape[2]], y, seen)


def _hidden(config, found) -> dict[str, np.ndarray]:
    """Hidden units whose kinks lie where the latents go, with an output that is small beside C z."""
    if config.readout != "network":
        return {}
    rng = np.random.default_rng([config.seed, 2])
    units, hidden = len(found["readout_bias"]), config.readout_units
    size = 0.1 * np.abs(found["readout_weights"]).mean(1, keepdims=True) / np.sqrt(hidden)
    return dict(
        readout_network_input=rng.standard_normal((hidden, config.rank)),
        readout_network_bias=rng.uniform(-1.5, 1.5, hidden),
        readout_network_output=size * rng.standard_normal((units, hidden)),
    )


def _dispersion(config, predictor, y, seen) -> dict[str, np.ndarray]:
    """k of each unit by moments, Σ (y − μ)² − μ = Σ μ² / k, within the range where k can be told."""
    if config.observation != "negative_binomial":
        return {}
    expected = CountLaw(config.observation, config.link).mean(predictor)
    return dict(dispersion=moment_dispersion(expected, y, seen))


def _one_to_one(config, rates, y, seen) -> dict[str, np.ndarray]:
    """Gain and bias of each unit from the rate of its network unit; rates, y and seen (rows, D)."""
    units = y.shape[1]
    gain, bias, noise = np.empty(units), np.empty(units), np.empty(units)
    links = (config.link.split(",") * units)[:units]
    for d in range(units):
        feature = rates[:, d : d + 1]
        if config.observation != "gaussian":
            weight, offset = poisson_regression(feature, y[:, d : d + 1], seen[:, d : d + 1], links[d])
            gain[d], bias[d] = weight[0, 0], offset[0]
            continue
        design = np.column_stack([feature, np.ones(len(feature))]) * seen[:, d : d + 1]
        (gain[d], bias[d]), *_ = np.linalg.lstsq(design, y[:, d] * seen[:, d], rcond=None)
        left_over = (y[:, d] - feature[:, 0] * gain[d] - bias[d]) * seen[:, d]
        noise[d] = max((left_over**2).sum() / max(seen[:, d].sum(), 1), 1e-6)
    found = dict(readout_gain=gain, readout_bias=bias)
    found |= _dispersion(config, rates * gain + bias, y, seen)
    return found | (dict(observation_noise=noise) if config.observation == "gaussian" else {})
