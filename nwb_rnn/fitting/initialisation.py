"""Start a low-rank RNN from the data instead of from noise.

1. A linear system by subspace identification and a few steps of expectation maximisation, or for continuous
   signals one by factor analysis where that is clearly likelier; sessions whose units were never recorded
   together get one each, which are aligned.
2. Units with random left vectors in pairs ±m, their kinks at the rim of where the latents go.
3. Right vectors by ridge regression, so that a z + V φ(M z; h) follows the linear system there.
4. For counts, a readout by Poisson regression on the smoothed latents.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from threadpoolctl import threadpool_limits

from nwb_rnn.fitting.count_law import CountLaw, moment_dispersion
from nwb_rnn.fitting.factor_analysis import factor_dynamics
from nwb_rnn.fitting.laplace import count_expectation_maximisation, smooth_counts
from nwb_rnn.fitting.linear_gaussian import Posterior, expectation_maximisation, smooth
from nwb_rnn.fitting.sessions_start import joint_system, unit_blocks
from nwb_rnn.fitting.subspace import LinearSystem, stable, subspace_identification
from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, filtered_inputs
from nwb_rnn.smc.trials import TrialTensors

_SEGMENT = 500  # bins; longer trials are cut for the linear start
_MOST_BINS = 40_000  # of all segments together
_EM_ITERATIONS = 8
_FEW_ITERATIONS, _MORE_ITERATIONS = 3, 20  # of Laplace EM
_COUNT_BINS = 12_000  # that it learns from
_CLEARLY = 0.01  # nats a bin; less says nothing after so few steps
_FEW_LAGS = 3  # of a second subspace identification, which sees latents that forget soon
_DECAY = 0.9
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
    if random:
        system = _random_system(config.rank, observed, mask, rng)
        posterior = smooth(system, observed, mask)
    else:
        system, posterior = _linear_system(config, observed, mask, rng)
    system, posterior = _unit_variance(system, posterior, mask)
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
        decay=_DECAY,
        transition_cholesky=np.linalg.cholesky(_for_config(config, system.transition_covariance)),
        initial_mean=system.initial_mean,
        initial_cholesky=np.linalg.cholesky(system.initial_covariance + 0.01 * np.eye(config.rank)),
    )
    rates = _rates(config, left, bias, input_weights, posterior.mean, inputs)
    parameters |= _readout(config, system, posterior.mean, rates, observed, mask)
    tensors = {name: torch.as_tensor(value, dtype=torch.float32) for name, value in parameters.items()}
    return LowRankParameters(**tensors), {"system": system, "posterior": posterior}


def _linear_system(config: LowRankConfig, observed: np.ndarray, mask: np.ndarray, rng):
    """A linear system and its posterior; sessions whose units never meet are aligned first."""
    likeliest = _likeliest if config.observation == "gaussian" else _likeliest_of_counts

    def of_session(values, seen, units):
        return _unit_variance(*likeliest(config, values, seen, units), seen)

    blocks = unit_blocks(mask)
    if len(blocks) == 1:
        return likeliest(config, observed, mask, blocks[0])
    system = joint_system(observed, mask, blocks, of_session, rng)
    if config.observation == "gaussian":
        return expectation_maximisation(system, observed, mask, _EM_ITERATIONS)
    few = _few(mask)
    law = _law(config)
    system, law, _ = count_expectation_maximisation(system, law, observed[few], mask[few], _EM_ITERATIONS)
    return system, smooth_counts(system, law, observed, mask)


def _candidates(observed: np.ndarray, mask: np.ndarray, rank: int) -> list[LinearSystem]:
    found = [subspace_identification(observed, mask, rank)]
    if rank <= observed.shape[2]:
        found.append(subspace_identification(observed, mask, rank, _FEW_LAGS))
        found.append(factor_dynamics(observed, mask, rank))
    return found


def _likeliest(config: LowRankConfig, observed: np.ndarray, mask: np.ndarray, units: np.ndarray):
    """Of three linear systems the likeliest after a few steps of EM, with its posterior."""
    found = _candidates(observed, mask, config.rank)
    found = [expectation_maximisation(system, observed, mask, _EM_ITERATIONS) for system in found]
    scores = np.array([posterior.log_likelihood.sum() for _, posterior in found]) / mask.any(-1).sum()
    return found[scores.argmax() if scores.max() > scores[0] + _CLEARLY else 0]


def _likeliest_of_counts(config: LowRankConfig, observed: np.ndarray, mask: np.ndarray, units: np.ndarray):
    """The same by Laplace EM: a few steps of it for each system, more for the likeliest."""
    law = _law(config).select(units)
    few = _few(mask)
    values, seen = observed[few], mask[few]
    found = [_seen_through(law, s, values, seen) for s in _candidates(observed, mask, config.rank)]
    system, law, posterior = max(found, key=lambda triple: triple[2].log_likelihood.sum())
    system, law, _ = count_expectation_maximisation(
        system, law, values, seen, _MORE_ITERATIONS, posterior.mean
    )
    return system, smooth_counts(system, law, observed, mask)


def _few(mask: np.ndarray) -> np.ndarray:
    """Segments, evenly spread, of which Laplace EM learns: all, or as many as have _COUNT_BINS bins."""
    share = min(1.0, _COUNT_BINS / max(mask.any(-1).sum(), 1))
    return np.unique(np.linspace(0, len(mask) - 1, max(1, round(share * len(mask)))).astype(int))


def _law(config: LowRankConfig) -> CountLaw:
    return CountLaw(config.observation, config.link)


def _seen_through(law: CountLaw, system: LinearSystem, observed: np.ndarray, mask: np.ndarray):
    """Laplace EM from a system for counts taken as signals: its latents first get a readout for the link."""
    latents = smooth(system, observed, mask).mean
    rows = np.nonzero(mask.any(-1))
    seen = np.broadcast_to(mask, observed.shape)[rows].astype(float)
    weights, bias = _poisson_regression(latents[rows], observed[rows], seen, law.link)
    system = replace(system, readout=weights, bias=bias)
    return count_expectation_maximisation(system, law, observed, mask, _FEW_ITERATIONS, latents)


def _random_system(rank: int, observed: np.ndarray, mask: np.ndarray, rng) -> LinearSystem:
    seen = np.broadcast_to(mask, observed.shape)
    count = np.maximum(seen.sum((0, 1)), 1)
    bias = np.where(seen, observed, 0).sum((0, 1)) / count
    variance = np.where(seen, (observed - bias) ** 2, 0).sum((0, 1)) / count + 1e-6
    weights = rng.standard_normal((len(bias), rank)) * np.sqrt(variance / (2 * rank))[:, None]
    return LinearSystem(
        transition=_DECAY * np.eye(rank),
        transition_covariance=(1 - _DECAY**2) * np.eye(rank),
        readout=weights,
        bias=bias,
        noise=variance / 2,
        initial_mean=np.zeros(rank),
        initial_covariance=np.eye(rank),
    )


def _segments(config: LowRankConfig, trials: TrialTensors, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trials cut to at most _SEGMENT bins, and at most _MOST_BINS bins in all, as float64 arrays."""
    filtered = filtered_inputs(trials.inputs, torch.tensor(_DECAY), config.filter_inputs)
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


def _unit_variance(
    system: LinearSystem, posterior: Posterior, mask: np.ndarray
) -> tuple[LinearSystem, Posterior]:
    """The same system in a basis where the latents have unit covariance over the observed bins."""
    inside = mask.any(-1)
    second = posterior.covariance + posterior.mean[..., :, None] * posterior.mean[..., None, :]
    values, vectors = np.linalg.eigh(second[inside].mean(0))
    values = np.maximum(values, 1e-6 * values.max())
    basis, inverse = (vectors / np.sqrt(values)).T, vectors * np.sqrt(values)
    system = LinearSystem(
        transition=stable(basis @ system.transition @ inverse),
        transition_covariance=basis @ system.transition_covariance @ basis.T,
        readout=system.readout @ inverse,
        bias=system.bias,
        noise=system.noise,
        initial_mean=basis @ posterior.mean[:, 0].mean(0),
        initial_covariance=basis @ (second[:, 0].mean(0) - _outer(posterior.mean[:, 0].mean(0))) @ basis.T,
    )
    mean = posterior.mean @ basis.T
    covariance = basis @ posterior.covariance @ basis.T
    return system, Posterior(mean, covariance, posterior.lagged, posterior.log_likelihood)


def _outer(vector: np.ndarray) -> np.ndarray:
    return np.outer(vector, vector)


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
    target = (latents * pull) @ system.transition.T - _DECAY * latents
    gram = rates.T @ rates
    ridge = 1e-2 * np.trace(gram) / len(gram) + 1e-8  # small weights: one step of training moves little
    right = np.linalg.solve(gram + ridge * np.eye(len(gram)), rates.T @ target).T
    near = slice(0, len(chosen))  # undo the shrinkage where the data are
    correction = np.linalg.lstsq(rates[near] @ right.T, target[near], rcond=1e-3)[0].T
    return correction @ right


def _for_config(config: LowRankConfig, covariance: np.ndarray) -> np.ndarray:
    return np.diag(np.diag(covariance)) if config.noise == "diagonal" else covariance


def _readout(config, system, latents, rates, observed, mask) -> dict[str, np.ndarray]:
    """Readout parameters by least squares (Gaussian) or Poisson regression (counts)."""
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
            weight, offset = _poisson_regression(feature, y[:, d : d + 1], seen[:, d : d + 1], links[d])
            gain[d], bias[d] = weight[0, 0], offset[0]
            continue
        design = np.column_stack([feature, np.ones(len(feature))]) * seen[:, d : d + 1]
        (gain[d], bias[d]), *_ = np.linalg.lstsq(design, y[:, d] * seen[:, d], rcond=None)
        left_over = (y[:, d] - feature[:, 0] * gain[d] - bias[d]) * seen[:, d]
        noise[d] = max((left_over**2).sum() / max(seen[:, d].sum(), 1), 1e-6)
    found = dict(readout_gain=gain, readout_bias=bias)
    found |= _dispersion(config, rates * gain + bias, y, seen)
    return found | (dict(observation_noise=noise) if config.observation == "gaussian" else {})


def _poisson_regression(x: np.ndarray, y: np.ndarray, seen: np.ndarray, link: str):
    """Weights (D, R) and biases (D,) of y ~ Poisson(g(W x + d)), penalised so silent units stay finite."""
    features, units = x.shape[1], y.shape[1]
    mean = np.maximum((y * seen).sum(0) / np.maximum(seen.sum(0), 1), 1e-4)
    start = np.zeros((features + 1, units))
    exponential = np.array([name == "exp" for name in link.split(",")])
    start[-1] = np.where(exponential, np.log(mean), mean + np.log(-np.expm1(-mean)))
    design = np.column_stack([x, np.ones(len(x))])
    total = max(seen.sum(), 1.0)

    def loss(flat):
        theta = flat.reshape(start.shape)
        predictor = design @ theta
        power = np.exp(np.minimum(predictor, 20.0))
        rate = np.where(exponential, power, np.logaddexp(0, predictor) + 1e-7)
        slope = np.where(exponential, power, expit(predictor))
        value = (seen * (rate - y * np.log(rate))).sum() / total
        penalty = 1e-4 * ((theta[:-1] ** 2).sum() + ((theta[-1] - start[-1]) ** 2).sum()) / units
        gradient = design.T @ (seen * (1 - y / rate) * slope) / total
        gradient += 2e-4 / units * np.vstack([theta[:-1], theta[-1] - start[-1]])
        return value + penalty, gradient.ravel()

    best = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    theta = best.x.reshape(start.shape)
    return theta[:-1].T, theta[-1]
