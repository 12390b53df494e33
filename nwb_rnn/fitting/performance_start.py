"""Where training on outputs and recorded units starts: unrecorded units that carry what recorded ones did.

The recorded units of a circuit, now and before, say what its other units do (Takens 1981): of an autonomous
circuit a few recorded units with delays hold the state. So each unrecorded unit gets a target of its own, a
random mixture of the recorded currents and the wanted outputs as they are and as a leaky unit hears them:

    s_t = [x^rec_t, y*_t],   s̃_{t+1} = (1 − α) s̃_t + α s_t,   x^free_t = M P [s_t, s̃_t]

with P the leading components and M random. All currents are then known, and one ridge regression gives all
weights: (x_{t+1} − (1 − α) x_t)/α on [r_t, u_t, 1], and y*_t on [r_t, 1]. λ is the one whose free run, with
the noise of training, leaves least of both.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.constraints import Constraints, constrained_ridge
from nwb_rnn.fitting.performance import (
    PerformanceData,
    PerformanceNetwork,
    PerformanceOptions,
    check_sizes,
    loss_and_gradient,
)
from nwb_rnn.models.rate import currents_of, rates_of

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
COMPONENTS = 40
_FREE_SIZE = 0.5  # of the currents of free units, over those of recorded ones; smaller is closer to linear
_ALONE = 0.4  # the size of recorded currents where there are none


def recorded_start(
    start: PerformanceNetwork,
    data: PerformanceData,
    options: PerformanceOptions | None = None,
    constraints: Constraints | None = None,
    seed: int = 0,
) -> PerformanceNetwork:
    """A network with the sizes of `start` whose weights are all regressed.

    Parameters
    ----------
    start : gives activation, time constant and sizes; its weights are not used
    data : in bins where the targets do not count, the features hold their last value
    options : the weights of the two terms and the noise, by which λ is chosen. Targets whose weight is 0 are
        not looked at
    constraints : of J; they hold exactly
    seed : of M and of the noise

    Raises
    ------
    InputError : data and network do not have the same sizes, or there are no targets
    DivergenceError : the free run left the finite numbers for every λ
    """
    options = PerformanceOptions() if options is None else options
    check_sizes(start, data)
    units, index = start.parameters.input_weights.shape[0], start.parameters.observed_index
    x = target_currents(start, data, options, seed)
    mask = np.asarray(data.activity_mask if options.activity_weight > 0 else data.output_mask)
    normal = _regressions(start, data, x, mask)
    state = x[:, 0].mean(axis=0)
    if mask[:, 0].any():
        state[index] = x[mask[:, 0], 0][:, index].mean(axis=0)
    free = Constraints.make(units) if constraints is None else constraints
    best, least = None, np.inf
    for penalty in PENALTIES:
        network = _solved(start, normal, penalty, free, state)
        if options.output_weight == 0:
            network = replace(network, output_weights=start.output_weights, output_bias=start.output_bias)
        with np.errstate(over="ignore", invalid="ignore"):
            shares, _ = loss_and_gradient(network, data, options, np.random.default_rng(seed))
        left = options.output_weight * shares[0] + options.activity_weight * shares[1]
        if left < least:
            best, least = network, left
    if best is None:
        raise DivergenceError("the start from recorded units left the finite numbers; use start='random'")
    return best


def target_currents(
    network: PerformanceNetwork, data: PerformanceData, options: PerformanceOptions, seed: int = 0
) -> np.ndarray:
    """(B, T, N) currents: of recorded units their own, of the others mixtures of what was recorded."""
    p, rng = network.parameters, np.random.default_rng([seed, 7])
    recorded = currents_of(data.activity, network.activation)
    recorded, seen = _held(recorded, np.asarray(data.activity_mask))
    outputs, wanted = _held(data.outputs, np.asarray(data.output_mask))
    seen, wanted = seen and options.activity_weight > 0, wanted and options.output_weight > 0
    index = p.observed_index if seen else p.observed_index[:0]
    parts, level, size = [], 0.0, _ALONE
    if seen and recorded.shape[2]:
        level, size = recorded.mean(), max(float(recorded.std(axis=(0, 1)).mean()), 1e-6)
        parts.append(recorded - recorded.mean(axis=(0, 1)))
    if wanted and outputs.shape[2]:
        spread = max(float(outputs.std()), 1e-12)
        parts.append((outputs - outputs.mean(axis=(0, 1))) * size / spread)
    if not parts:
        raise InputError("there is nothing to start from: give outputs or recorded units, or start='random'")
    now = np.concatenate(parts, axis=2)
    before = _leaky(now, p.alpha)
    before = before - before.mean(axis=(0, 1))
    before *= now.std() / max(float(before.std()), 1e-12)  # as strong as what is heard now
    heard = np.concatenate([now, before], axis=2)
    axes = np.linalg.svd(heard.reshape(-1, heard.shape[2]), full_matrices=False)[2][:COMPONENTS].T
    units = len(p.unit_bias)
    x = np.empty((*data.inputs.shape[:2], units))
    others = np.setdiff1d(np.arange(units), index)
    mixed = heard @ axes @ rng.standard_normal((axes.shape[1], len(others)))
    if len(others):
        mixed *= _FREE_SIZE * size / max(float(mixed.std()), 1e-12)
    x[..., others] = level + mixed
    x[..., index] = recorded[..., : len(index)]
    return x


def _held(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, bool]:
    """Values (B, T, K) with the last one that counts held, the mean before the first; whether any count."""
    if mask.all() or not mask.any():
        return values, bool(mask.any())
    found = values.copy()
    now = np.repeat(values[mask].mean(axis=0)[None], len(values), axis=0)
    for t in range(values.shape[1]):
        now = np.where(mask[:, t, None], values[:, t], now)
        found[:, t] = now
    return found, True


def _leaky(values: np.ndarray, alpha: float) -> np.ndarray:
    """s̃ of values (B, T, K), from the mean of the first bins over trials."""
    heard = np.empty_like(values)
    heard[:, 0] = values[:, 0].mean(axis=0)
    for t in range(values.shape[1] - 1):
        heard[:, t + 1] = (1 - alpha) * heard[:, t] + alpha * values[:, t]
    return heard


def _regressions(
    network: PerformanceNetwork, data: PerformanceData, x: np.ndarray, mask: np.ndarray
) -> tuple:
    """Gram matrix and cross products of the currents x where `mask`, and of the outputs."""
    alpha, rates = network.parameters.alpha, rates_of(x, network.activation)
    ones = np.ones((*x.shape[:2], 1))
    q = np.concatenate([rates, data.inputs, ones], axis=2)
    both = mask[:, :-1] & mask[:, 1:]
    asked = ((x[:, 1:] - (1 - alpha) * x[:, :-1]) / alpha)[both]
    known, read = q[:, :-1][both], np.concatenate([rates, ones], axis=2)[data.output_mask]
    return known.T @ known, asked.T @ known, read.T @ read, data.outputs[data.output_mask].T @ read


def _solved(
    network: PerformanceNetwork, normal: tuple, penalty: float, constraints: Constraints, state: np.ndarray
) -> PerformanceNetwork:
    gram, cross, read, wanted = normal
    units = len(state)
    price = np.full(len(gram), penalty)
    price[-1] *= 1e-3  # the bias is hardly held, as in `nwb_rnn.fitting.closed_form.ridge`
    theta = constrained_ridge(gram, cross, price, constraints)
    reading = np.linalg.solve(read + np.diag(np.r_[price[:units], price[-1]]), wanted.T).T
    parameters = network.parameters.with_weights(
        recurrent_weights=theta[:, :units].copy(),
        input_weights=theta[:, units:-1].copy(),
        unit_bias=theta[:, -1].copy(),
        initial_state=state,
    )
    return replace(
        network,
        parameters=parameters,
        output_weights=reading[:, :units].copy(),
        output_bias=reading[:, -1].copy(),
    )
