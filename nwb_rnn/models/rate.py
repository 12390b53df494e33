"""A recurrent network of rate units, as plain equations in float64.

    τ dx/dt = −x + J r + W u + b + noise,   r = φ(x)

in Euler steps of one bin, α = Δ/τ:

    x_{t+1} = (1 − α) x_t + α (J r_t + W u_t + b) + ε_t,   ε_t ~ N(0, diag(noise²))
    recorded rate of unit i = rate_offset_i + rate_gain_i r_i        for the units in `observed_index`, or
    recorded rates          = rate_offset + rate_gain (observed_weights r + observed_bias)
    outputs                 = readout_weights r + readout_bias

| φ | φ(x) | φ⁻¹(r) | range |
|---|---|---|---|
| tanh | tanh x | artanh r | (−1, 1) |
| relu | max(x, 0) | r (0 for r = 0: the current is then only known to be ≤ 0) | [0, ∞) |
| softplus | log(1 + exp x) | r + log(1 − exp(−r)) | (0, ∞) |
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from nwb_rnn.errors import InputError

RATE_ACTIVATIONS = ("tanh", "relu", "softplus")
EDGE = 1e-6  # rates keep this distance from the ends of φ's range before they are inverted


@dataclass(frozen=True)
class RateConfig:
    """Everything about a rate network that is not learned; checked when made.

    Attributes
    ----------
    activation : φ: tanh, relu or softplus
    time_constant : τ, s
    unrecorded : how many units the network has beside the recorded ones
    rank : of J for method="backprop"; None for full rank. Under Dale's law the factors have signs; masks and
        zero_diagonal need `sparse`
    sparse : with `rank`, J = M V + S with a sparse S whose entries pay this price in the loss; 0 for no S
    zero_diagonal : no connection from a unit to itself
    dale : every unit excites or inhibits all others: signs are given as `unit_sign`, or drawn
    excitatory : share of excitatory units where signs are drawn
    gain : g of the random weights that unrecorded units, RLS and full-FORCE start from
    smoothing : s, standard deviation of the Gaussian that turns spike counts (or a signal) into rates; "auto"
        for `nwb_rnn.recordings.denoising`, which estimates noise and widths and is meant for smooth activity
        with noise that is new in every bin; None for data that are rates already
    scaling : "auto", "none" (the data are in φ's range) or "unit" (each unit's own range)
    region_column : column of the units that names their region
    seed : of all random numbers
    """

    activation: str = "tanh"
    time_constant: float = 0.1
    unrecorded: int = 0
    rank: int | None = None
    sparse: float = 0.0
    zero_diagonal: bool = False
    dale: bool = False
    excitatory: float = 0.5
    gain: float = 1.5
    smoothing: float | str | None = None
    scaling: str = "auto"
    region_column: str | None = None
    seed: int = 0

    def __post_init__(self):
        for name, allowed in (
            ("activation", RATE_ACTIVATIONS),
            ("scaling", ("auto", "none", "unit")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is not known; choose from {', '.join(allowed)}"
                )
        if not (np.isfinite(self.time_constant) and self.time_constant > 0):
            raise InputError(f"time_constant={self.time_constant!r} must be a positive number of seconds")
        if int(self.unrecorded) != self.unrecorded or self.unrecorded < 0:
            raise InputError(f"unrecorded={self.unrecorded!r} must be a whole number of units, 0 or more")
        if self.rank is not None and (int(self.rank) != self.rank or self.rank < 1):
            raise InputError(f"rank={self.rank!r} must be a whole number of at least 1, or None")
        if isinstance(self.smoothing, str):
            known = self.smoothing == "auto"
        else:
            known = self.smoothing is None or self.smoothing > 0
        if not known:
            raise InputError(
                f"smoothing={self.smoothing!r} must be a positive number of seconds, 'auto', or None"
            )
        if not 0 < self.excitatory < 1:
            raise InputError(f"excitatory={self.excitatory!r} is a share of units between 0 and 1")


@dataclass(frozen=True, eq=False)
class RateParameters:
    """The numbers of a rate network; N units, D recorded ones, U inputs, all float64.

    Attributes
    ----------
    recurrent_weights : (N, N) J, from the second axis to the first
    input_weights : (N, U) W
    unit_bias : (N,) b
    time_constant : τ, s
    bin_size : Δ, s
    noise : (N,) standard deviation of what is added to x in a step
    rate_gain, rate_offset : (D,) recorded = offset + gain · rate, in the units of the recording
    observed_index : (D,) which unit of the network each recorded one is
    initial_state : (N,) mean x at the start of a trial
    observed_weights, observed_bias : (D, N), (D,) where recorded units are read out of other units
    readout_weights, readout_bias : (M, N), (M,) of the outputs, in their own units; None without outputs
    left_vectors, right_vectors, sparse_weights : (N, R), (R, N), (N, N), J = M V + S; None for a full-rank J
    """

    recurrent_weights: np.ndarray
    input_weights: np.ndarray
    unit_bias: np.ndarray
    time_constant: float
    bin_size: float
    noise: np.ndarray
    rate_gain: np.ndarray
    rate_offset: np.ndarray
    observed_index: np.ndarray
    initial_state: np.ndarray
    observed_weights: np.ndarray | None = None
    observed_bias: np.ndarray | None = None
    readout_weights: np.ndarray | None = None
    readout_bias: np.ndarray | None = None
    left_vectors: np.ndarray | None = None
    right_vectors: np.ndarray | None = None
    sparse_weights: np.ndarray | None = None

    @property
    def alpha(self) -> float:
        """α = Δ/τ."""
        return self.bin_size / self.time_constant

    def present(self) -> dict[str, np.ndarray]:
        """Name -> array, without the fields this model does not have."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: np.asarray(value) for name, value in held.items() if value is not None}

    def with_weights(self, **changes: np.ndarray) -> RateParameters:
        return replace(self, **changes)


def rates_of(currents: np.ndarray, activation: str) -> np.ndarray:
    """φ(x)."""
    if activation == "tanh":
        return np.tanh(currents)
    if activation == "relu":
        return np.maximum(currents, 0.0)
    return np.logaddexp(0.0, currents)


def slopes_of(currents: np.ndarray, activation: str) -> np.ndarray:
    """φ'(x); ½ on the kink of relu."""
    if activation == "tanh":
        return 1.0 - np.tanh(currents) ** 2
    if activation == "relu":
        return np.heaviside(currents, 0.5)
    return 0.5 * (1.0 + np.tanh(0.5 * currents))


def currents_of(rates: np.ndarray, activation: str) -> np.ndarray:
    """φ⁻¹(r), with rates first clipped to within `EDGE` of φ's range."""
    if activation == "tanh":
        return np.arctanh(np.clip(rates, -1 + EDGE, 1 - EDGE))
    if activation == "relu":
        return np.maximum(rates, 0.0)
    r = np.maximum(rates, EDGE)
    return r + np.log(-np.expm1(-r))


def step(
    parameters: RateParameters, activation: str, currents: np.ndarray, inputs: np.ndarray | None = None
) -> np.ndarray:
    """x_{t+1} without noise: currents (..., N), inputs (..., U) -> (..., N)."""
    p = parameters
    push = rates_of(currents, activation) @ p.recurrent_weights.T + p.unit_bias
    if inputs is not None and inputs.shape[-1]:
        push = push + inputs @ p.input_weights.T
    return currents + p.alpha * (push - currents)


def free_run(
    parameters: RateParameters,
    activation: str,
    start: np.ndarray,
    inputs: np.ndarray,
    noise: np.ndarray | float = 0.0,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Currents of trials that run by themselves.

    Parameters
    ----------
    start : (B, N) x in the first bin
    inputs : (B, T, U); T is the number of bins
    noise : (N,) or one number, standard deviation of what is added in each step

    Returns
    -------
    (B, T, N) currents, the first bin the start itself
    """
    trials, bins = inputs.shape[:2]
    currents = np.empty((trials, bins, start.shape[-1]))
    currents[:, 0] = start
    drawn = rng is not None and bool(np.any(np.asarray(noise) > 0))
    for t in range(bins - 1):
        after = step(parameters, activation, currents[:, t], inputs[:, t])
        if drawn:
            after = after + noise * rng.standard_normal(after.shape)
        currents[:, t + 1] = after
    return currents


def forced_run(
    parameters: RateParameters,
    activation: str,
    recorded: np.ndarray,
    mask: np.ndarray,
    inputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The recorded units held at their recording, the others run by themselves.

    Parameters
    ----------
    recorded : (B, T, D) rates in φ's range
    mask : (B, T) True where recorded; elsewhere every unit runs by itself

    Returns
    -------
    held : (B, T, N) currents with the recording put in
    ahead : (B, T, N) currents that each bin predicted for the next; in the first bin those held
    """
    p, index = parameters, parameters.observed_index
    data = currents_of(recorded, activation)
    trials, bins = mask.shape
    held = np.empty((trials, bins, len(p.unit_bias)))
    ahead = np.empty_like(held)
    now = np.broadcast_to(p.initial_state, held[:, 0].shape).copy()
    for t in range(bins):
        ahead[:, t] = now
        if p.observed_weights is None:
            now[:, index] = np.where(mask[:, t, None], data[:, t], now[:, index])
        held[:, t] = now
        if t == 0:
            ahead[:, 0] = now
        now = step(p, activation, now, inputs[:, t])
    return held, ahead


def recorded_rates(parameters: RateParameters, activation: str, currents: np.ndarray) -> np.ndarray:
    """Rates of the recorded units in the units of the recording: (..., N) -> (..., D)."""
    p = parameters
    rates = rates_of(currents, activation)
    if p.observed_weights is None:
        shown = rates[..., p.observed_index]
    else:
        shown = rates @ p.observed_weights.T + p.observed_bias
    return p.rate_offset + p.rate_gain * shown


def outputs_of(parameters: RateParameters, activation: str, currents: np.ndarray) -> np.ndarray | None:
    """Outputs in the units of their targets: (..., N) -> (..., M); None for a network without outputs."""
    p = parameters
    if p.readout_weights is None or p.readout_bias is None:
        return None
    return rates_of(currents, activation) @ p.readout_weights.T + p.readout_bias
