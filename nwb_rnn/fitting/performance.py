"""Performance and intrinsic dynamics together: outputs match targets, recorded units match their activity.

After the aim of Salatiello & Giese (2020, arXiv 2005.02211), by backpropagation through time. The network is
that of `nwb_rnn.models.rate`, with outputs y = R r + c. Of its N units the D in `observed_index` were
recorded; the others are free:

    L = λ_y Σ_t |y_t − y*_t|² / Σ_t |y*_t − ȳ*|² + λ_r Σ_t |r^rec_t − r*_t|² / Σ_t |r*_t − r̄*|²

Each term is the share of its targets' variance that is left (sums run over trials and bins of its mask, means
are those of each output or unit), so the weights λ compare the terms whatever their units. The gradient is
written out: with e_t = ∂L/∂r_t,

    δ_t = φ'(x_t) (e_t + α Jᵀ δ_{t+1}) + (1 − α) δ_{t+1}
    ∂L/∂J = α Σ_t δ_{t+1} r_tᵀ,   ∂L/∂W = α Σ_t δ_{t+1} u_tᵀ,   ∂L/∂b = α Σ_t δ_{t+1}
    ∂L/∂x_0 = Σ_trials δ_0

The paper beyond its abstract was not at hand; these choices are ours: squared errors, Adam on all weights at
once, a common starting state that is learned, noise in the state while training, and the start: a random
network, or that of `performance_start`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.models.rate import (
    RATE_ACTIVATIONS,
    RateParameters,
    currents_of,
    free_run,
    rates_of,
    slopes_of,
)

LEARNED = ("recurrent_weights", "input_weights", "unit_bias", "initial_state")


@dataclass(frozen=True, eq=False)
class PerformanceData:
    """What a network is trained on; B trials, T bins, U inputs, M outputs, D recorded units.

    Attributes
    ----------
    inputs : (B, T, U); U may be 0
    outputs : (B, T, M) targets y*
    activity : (B, T, D) r*, rates in φ's range of the units in `observed_index`; D may be 0
    output_mask, activity_mask : (B, T) True where the targets count; everywhere when None
    hold_start : start each trial with the recorded units at their recording, where its first bin counts; the
        starting state that is learned is then that of the other units
    """

    inputs: np.ndarray
    outputs: np.ndarray
    activity: np.ndarray
    output_mask: np.ndarray | None = None
    activity_mask: np.ndarray | None = None
    hold_start: bool = False

    def __post_init__(self):
        for name in ("inputs", "outputs", "activity"):
            value = np.asarray(getattr(self, name), dtype=float)
            if value.ndim != 3 or value.shape[:2] != np.shape(self.inputs)[:2]:
                raise InputError(
                    f"{name} has shape {value.shape}; expected (trials, bins, …) with the trials and bins of "
                    f"inputs, {np.shape(self.inputs)[:2]}"
                )
            object.__setattr__(self, name, value)
        for name in ("output_mask", "activity_mask"):
            mask = getattr(self, name)
            mask = (
                np.ones(self.inputs.shape[:2], dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
            )
            if mask.shape != self.inputs.shape[:2]:
                raise InputError(f"{name} has shape {mask.shape}; expected {self.inputs.shape[:2]}")
            object.__setattr__(self, name, mask)
        if not np.isfinite(self.inputs).all():
            raise InputError("inputs hold values that are not finite; leave those trials out")
        for name, mask in (("outputs", self.output_mask), ("activity", self.activity_mask)):
            value = getattr(self, name)
            if not np.isfinite(value[mask]).all():
                raise InputError(f"{name} hold values that are not finite: set its mask to False there")
            object.__setattr__(self, name, np.where(np.asarray(mask)[..., None], value, 0.0))


@dataclass(frozen=True)
class PerformanceOptions:
    """
    Attributes
    ----------
    output_weight, activity_weight : λ_y and λ_r, 0 or more and not both 0
    iterations : gradient steps, on all trials each
    learning_rate : of Adam; it falls to a twentieth along a cosine
    clip_norm : largest norm of the gradient
    state_noise : standard deviation of what is added to each current in each step of training, drawn anew for
        every gradient; what is learned then withstands pushes
    seed : of the noise
    """

    output_weight: float = 1.0
    activity_weight: float = 1.0
    iterations: int = 500
    learning_rate: float = 3e-3
    clip_norm: float = 1.0
    state_noise: float = 0.0
    seed: int = 0

    def __post_init__(self):
        weights = (self.output_weight, self.activity_weight)
        if not all(np.isfinite(w) and w >= 0 for w in weights) or sum(weights) == 0:
            raise InputError(
                f"output_weight={weights[0]}, activity_weight={weights[1]}: expected numbers of at least 0, "
                "one of them positive"
            )
        if int(self.iterations) < 1 or not self.learning_rate > 0 or not self.clip_norm > 0:
            raise InputError("iterations must be at least 1, learning_rate and clip_norm positive")
        if not (np.isfinite(self.state_noise) and self.state_noise >= 0):
            raise InputError(f"state_noise={self.state_noise}: expected a number of at least 0")


@dataclass(frozen=True, eq=False)
class PerformanceNetwork:
    """
    Attributes
    ----------
    parameters : of the rate network; `observed_index` names the recorded units
    output_weights, output_bias : (M, N) R and (M,) c
    activation : φ
    history : a row for each step: iteration, objective (−L), outputs and activity (the two shares), seconds
    """

    parameters: RateParameters
    output_weights: np.ndarray
    output_bias: np.ndarray
    activation: str
    history: tuple[dict, ...] = ()

    def run(self, inputs: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """(B, T, N) currents without noise, from `start` (B, N) or the learned starting state."""
        p = self.parameters
        first = np.repeat(p.initial_state[None], len(inputs), axis=0) if start is None else start
        return free_run(p, self.activation, first, inputs)

    def outputs(self, currents: np.ndarray) -> np.ndarray:
        """(..., M) y of (..., N) currents."""
        return rates_of(currents, self.activation) @ self.output_weights.T + self.output_bias


def random_network(
    units: int,
    inputs: int,
    outputs: int,
    recorded: np.ndarray,
    activation: str = "tanh",
    time_constant: float = 0.1,
    bin_size: float = 0.01,
    gain: float = 1.2,
    constraints: Constraints | None = None,
    seed: int = 0,
    input_gain: float = 1.0,
) -> PerformanceNetwork:
    """J ~ N(0, gain²/N) with signs and zeros of `constraints`, W ~ N(0, input_gain²), and no output.

    Parameters
    ----------
    units, inputs, outputs : N, U, M
    recorded : (D,) which of the units were recorded; none twice
    time_constant, bin_size : s
    """
    index = np.asarray(recorded, dtype=int)
    if len(np.unique(index)) != len(index) or (len(index) and not 0 <= index.min() <= index.max() < units):
        raise InputError(f"recorded must name different units between 0 and {units - 1}; got {index}")
    if activation not in RATE_ACTIVATIONS:
        raise InputError(f"activation={activation!r} is not known; choose from {', '.join(RATE_ACTIVATIONS)}")
    if not 0 < bin_size <= time_constant:
        raise InputError(
            f"bin_size={bin_size:g} s must be positive and at most time_constant={time_constant:g} s"
        )
    rng = np.random.default_rng(seed)
    weights = gain / np.sqrt(units) * rng.standard_normal((units, units))
    parameters = RateParameters(
        recurrent_weights=weights if constraints is None else constraints.signed(weights),
        input_weights=input_gain * rng.standard_normal((units, inputs)),
        unit_bias=np.zeros(units),
        time_constant=time_constant,
        bin_size=bin_size,
        noise=np.zeros(units),
        rate_gain=np.ones(len(index)),
        rate_offset=np.zeros(len(index)),
        observed_index=index,
        initial_state=np.zeros(units),
    )
    return PerformanceNetwork(parameters, np.zeros((outputs, units)), np.zeros(outputs), activation)


def starting_currents(network: PerformanceNetwork, data: PerformanceData) -> np.ndarray:
    """(B, N) states that the trials start from: see `PerformanceData.hold_start`."""
    p = network.parameters
    start = np.repeat(p.initial_state[None], len(data.inputs), axis=0)
    if data.hold_start:
        recorded = currents_of(data.activity[:, 0], network.activation)
        known = np.asarray(data.activity_mask)[:, :1]
        start[:, p.observed_index] = np.where(known, recorded, start[:, p.observed_index])
    return start


def shares_left(network: PerformanceNetwork, data: PerformanceData) -> tuple[float, float]:
    """The share of the variance that a free run leaves of the outputs and of the recorded activity."""
    rates = _course(network, data)[1]
    pairs = zip(_missed(network, data, rates), _variations(data), strict=True)
    return tuple(float(np.sum(missed**2) / total) for missed, total in pairs)  # type: ignore[return-value]


def loss_and_gradient(
    network: PerformanceNetwork,
    data: PerformanceData,
    options: PerformanceOptions,
    rng: np.random.Generator | None = None,
) -> tuple[tuple[float, float], dict[str, np.ndarray]]:
    """The two shares (outputs, activity), and ∂L/∂ of everything learned, by name.

    A term with weight 0 is still reported; a term without targets is 0. The noise comes from `rng`; there is
    none without it.
    """
    p, alpha = network.parameters, network.parameters.alpha
    x, rates = _course(network, data, options.state_noise, rng)
    slopes = 1 - rates**2 if network.activation == "tanh" else slopes_of(x, network.activation)
    wrong, off = _missed(network, data, rates)
    spread, active = _variations(data)
    shares = (float(np.sum(wrong**2) / spread), float(np.sum(off**2) / active))
    wrong *= 2 * options.output_weight / spread
    push = wrong @ network.output_weights  # e_t, of every bin at once
    push[..., p.observed_index] += 2 * options.activity_weight / active * off
    delta = np.zeros_like(x)
    delta[:, -1] = slopes[:, -1] * push[:, -1]
    for t in range(x.shape[1] - 2, -1, -1):
        back = alpha * (delta[:, t + 1] @ p.recurrent_weights)
        delta[:, t] = slopes[:, t] * (push[:, t] + back) + (1 - alpha) * delta[:, t + 1]
    begin = delta[:, 0].copy()
    if data.hold_start:
        begin[:, p.observed_index] *= ~data.activity_mask[:, :1]
    units = x.shape[2]
    later, earlier = alpha * delta[:, 1:].reshape(-1, units), rates[:, :-1].reshape(-1, units)
    return shares, {
        "recurrent_weights": later.T @ earlier,
        "input_weights": later.T @ data.inputs[:, :-1].reshape(len(later), -1),
        "unit_bias": later.sum(axis=0),
        "initial_state": begin.sum(axis=0),
        "output_weights": wrong.reshape(-1, wrong.shape[2]).T @ rates.reshape(-1, units),
        "output_bias": wrong.sum(axis=(0, 1)),
    }


def _course(
    network: PerformanceNetwork,
    data: PerformanceData,
    noise: float = 0.0,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(B, T, N) currents and rates; as `PerformanceNetwork.run`, with each rate computed once."""
    p, phi = network.parameters, network.activation
    heard = data.inputs @ p.input_weights.T + p.unit_bias
    connections = np.ascontiguousarray(p.recurrent_weights.T)
    x, rates = np.empty(heard.shape), np.empty(heard.shape)
    now = starting_currents(network, data)
    for t in range(data.inputs.shape[1]):
        x[:, t], rates[:, t] = now, rates_of(now, phi)
        now = (1 - p.alpha) * now + p.alpha * (rates[:, t] @ connections + heard[:, t])
        if rng is not None and noise > 0:
            now += noise * rng.standard_normal(now.shape)
    return x, rates


def fit_performance(
    start: PerformanceNetwork,
    data: PerformanceData,
    options: PerformanceOptions | None = None,
    constraints: Constraints | None = None,
) -> PerformanceNetwork:
    """Train recurrent, input and output weights, biases and the starting state.

    Parameters
    ----------
    start : for example `random_network(...)`
    constraints : of J; they hold exactly after every step

    Raises
    ------
    InputError : data and network do not have the same sizes, or a term that has a weight has no targets
    DivergenceError : the loss left the finite numbers
    """
    options = PerformanceOptions() if options is None else options
    check_sizes(start, data)
    _check_targets(data, options)
    values = {name: np.array(getattr(start.parameters, name), dtype=float) for name in LEARNED}
    values["recurrent_weights"] = _kept(values["recurrent_weights"], constraints)
    values |= {"output_weights": np.array(start.output_weights), "output_bias": np.array(start.output_bias)}
    mean = {name: np.zeros_like(value) for name, value in values.items()}
    square = {name: np.zeros_like(value) for name, value in values.items()}
    history, began, rng = [], time.perf_counter(), np.random.default_rng(options.seed)
    for n in range(options.iterations):
        network = _with(start, values)
        with np.errstate(over="ignore", invalid="ignore"):
            shares, gradient = loss_and_gradient(network, data, options, rng)
        loss = options.output_weight * shares[0] + options.activity_weight * shares[1]
        norm = np.sqrt(sum(np.sum(g**2) for g in gradient.values()))
        if not np.isfinite(loss + norm):
            raise DivergenceError(
                f"training left the finite numbers at step {n}: try learning_rate="
                f"{options.learning_rate / 10:g}, or a smaller gain"
            )
        row = {"iteration": n + 1, "objective": -loss, "outputs": shares[0], "activity": shares[1]}
        history.append(row | {"seconds": time.perf_counter() - began})
        fall = 0.05 + 0.475 * (1 + np.cos(np.pi * n / options.iterations))
        scale = min(1.0, options.clip_norm / (norm + 1e-12))
        for name, value in values.items():
            mean[name] += 0.1 * (scale * gradient[name] - mean[name])
            square[name] += 0.001 * ((scale * gradient[name]) ** 2 - square[name])
            first, second = mean[name] / (1 - 0.9 ** (n + 1)), square[name] / (1 - 0.999 ** (n + 1))
            value -= options.learning_rate * fall * first / (np.sqrt(second) + 1e-8)
        values["recurrent_weights"] = _kept(values["recurrent_weights"], constraints)
    return replace(_with(start, values), history=tuple(history))


def _with(network: PerformanceNetwork, values: dict[str, np.ndarray]) -> PerformanceNetwork:
    parameters = network.parameters.with_weights(**{name: values[name] for name in LEARNED})
    return PerformanceNetwork(parameters, values["output_weights"], values["output_bias"], network.activation)


def _kept(weights: np.ndarray, constraints: Constraints | None) -> np.ndarray:
    if constraints is None:
        return weights
    low, high = constraints.bounds(len(weights))
    return np.clip(weights, low, high)


def _missed(network: PerformanceNetwork, data: PerformanceData, rates: np.ndarray) -> tuple:
    """Errors of outputs (B, T, M) and recorded units (B, T, D) where they count, for rates (B, T, N)."""
    outputs = rates @ network.output_weights.T + network.output_bias
    wrong = (outputs - data.outputs) * np.asarray(data.output_mask)[..., None]
    off = rates[..., network.parameters.observed_index] - data.activity
    return wrong, off * np.asarray(data.activity_mask)[..., None]


def _variations(data: PerformanceData) -> tuple[float, float]:
    pairs = ((data.outputs, data.output_mask), (data.activity, data.activity_mask))
    return tuple(_variation(targets, mask) for targets, mask in pairs)  # type: ignore[return-value]


def _variation(targets: np.ndarray, mask: np.ndarray) -> float:
    """Squared distances of targets (B, T, K) from their means where `mask`; 1 where there is none."""
    total = float(np.sum((targets[mask] - targets[mask].mean(axis=0)) ** 2)) if mask.any() else 0.0
    return total if total > 0 else 1.0


def check_sizes(network: PerformanceNetwork, data: PerformanceData) -> None:
    """Raise InputError where data and network do not have the same sizes, or nothing can run."""
    p = network.parameters
    sizes = (data.inputs.shape[2], data.outputs.shape[2], data.activity.shape[2])
    expected = (p.input_weights.shape[1], len(network.output_bias), len(p.observed_index))
    if sizes != expected:
        raise InputError(
            f"the data have {sizes} inputs, outputs and recorded units; the network has {expected}: make it "
            "with random_network(...) of the same numbers"
        )
    if data.inputs.shape[1] < 2 or not len(data.inputs):
        raise InputError("give at least one trial of at least two bins")


def _check_targets(data: PerformanceData, options: PerformanceOptions) -> None:
    for name, weight, mask, size in (
        ("output", options.output_weight, data.output_mask, data.outputs.shape[2]),
        ("activity", options.activity_weight, data.activity_mask, data.activity.shape[2]),
    ):
        if weight > 0 and (size == 0 or not np.any(mask)):
            raise InputError(
                f"{name}_weight={weight:g} but there is nothing to match: give targets, or set it to 0"
            )
