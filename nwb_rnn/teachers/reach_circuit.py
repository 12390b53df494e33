"""A reaching motor cortex with known dynamics: a stability-optimised circuit and what it drives.

    τ dx/dt = −x + W g(x) + i_c(t) + noise,      r = r₀ + g(x),      muscles = R g(x) + c

g(x) is r₀ tanh(x / r₀) below zero and (r_m − r₀) tanh(x / (r_m − r₀)) above it (Hennequin et al. 2014): a
unit falls silent, or saturates at r_m. During preparation of direction c a constant input
i_c = x*_c − W g(x*_c) makes x*_c a fixed point; when it ends, the activity unfolds from there by itself.
The x*_c lie in the directions that the circuit amplifies most, the leading eigenvectors of P (see
`stability_optimised`): x*_θ = cos θ p₁ + sin θ p₂ + k (cos 2θ p₃ + sin 2θ p₄).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording, Table, Traces
from nwb_rnn.teachers.session import SIMULATED_SESSION, lay_out
from nwb_rnn.teachers.stability_optimised import Circuit, gramians, stability_optimised_circuit

BASE_RATE = 20.0  # r₀, spikes/s
_MOST = 100.0  # r_m, spikes/s
_RIDGE = 1e-2


@dataclass(frozen=True, eq=False)
class ReachCircuit:
    """
    Attributes
    ----------
    circuit : W and its signs
    directions : (C,) rad
    prepared : (C, N) x*, currents when the preparation is done
    readout : (M, N) R
    readout_bias : (M,) c
    bin_size : Δ between stored samples, s
    step : of the integration, s
    time_constant : τ, s
    """

    circuit: Circuit
    directions: np.ndarray
    prepared: np.ndarray
    readout: np.ndarray
    readout_bias: np.ndarray
    bin_size: float = 0.01
    step: float = 0.001
    time_constant: float = 0.2

    @property
    def preparatory_input(self) -> np.ndarray:
        """(C, N) i_c that makes `prepared` a fixed point."""
        return self.prepared - gain(self.prepared) @ self.circuit.weights.T

    def currents(
        self,
        start: np.ndarray,
        bins: int,
        inputs: np.ndarray | None = None,
        noise: float = 0.0,
        seed: int = 0,
    ) -> np.ndarray:
        """(B, bins, N) x at the start of each bin.

        Parameters
        ----------
        start : (B, N) x at the first sample
        bins : number of samples
        inputs : (B, N) constant, or (B, bins, N) constant within bins; none when left out
        noise : standard deviation of each current that the noise alone would give without W
        seed : of the noise
        """
        rng = np.random.default_rng(seed)
        share = self.step / self.time_constant
        inner = round(self.bin_size / self.step)
        x = np.array(start, dtype=float)
        drive = np.zeros((len(x), 1, x.shape[1])) if inputs is None else np.asarray(inputs, dtype=float)
        drive = np.broadcast_to(drive if drive.ndim == 3 else drive[:, None], (len(x), bins, x.shape[1]))
        path = np.empty((len(x), bins, x.shape[1]))
        weights = self.circuit.weights.T
        for t in range(bins):
            path[:, t] = x
            for _ in range(inner):
                x = x + share * (-x + gain(x) @ weights + drive[:, t])
                if noise:
                    x += noise * np.sqrt(2 * share) * rng.standard_normal(x.shape)
        return path

    def rates(self, currents: np.ndarray) -> np.ndarray:
        """(..., N) r, spikes/s, between 0 and 100."""
        return BASE_RATE + gain(currents)

    def muscles(self, currents: np.ndarray) -> np.ndarray:
        """(..., M) outputs, 1 for the strongest burst of the average muscle."""
        return gain(currents) @ self.readout.T + self.readout_bias

    def movement(self, bins: int = 80, noise: float = 0.0, seed: int = 0) -> np.ndarray:
        """(C, bins, N) currents from the prepared states on, without input."""
        return self.currents(self.prepared, bins, noise=noise, seed=seed)


@dataclass(frozen=True, eq=False)
class ReachSession:
    """
    Attributes
    ----------
    recording : spikes, `trials` (start_time, go_time, stop_time, condition, direction) and the behaviour
        ``muscles``
    teacher : the circuit behind it
    currents : one (T_b, N) array for each trial, in its bins
    """

    recording: Recording
    teacher: ReachCircuit
    currents: tuple[np.ndarray, ...] = field(repr=False)


def gain(x: np.ndarray) -> np.ndarray:
    """g(x), the rate above r₀ in spikes/s."""
    return np.where(
        x < 0, BASE_RATE * np.tanh(x / BASE_RATE), (_MOST - BASE_RATE) * np.tanh(x / (_MOST - BASE_RATE))
    )


def reach_circuit(
    units: int = 200,
    conditions: int = 8,
    muscles: int = 6,
    drive: float = 4.0,
    curve: float = 0.7,
    seed: int = 0,
    circuit: Circuit | None = None,
) -> ReachCircuit:
    """Build the teacher.

    Parameters
    ----------
    units, seed : of the circuit, made by `stability_optimised_circuit` unless `circuit` is given
    conditions : directions, evenly spaced
    muscles : outputs, with preferred directions evenly spaced
    drive : root mean square of each p_k over units, spikes/s
    curve : k, share of the part that turns twice as fast with direction
    """
    if conditions < 2 or muscles < 1:
        raise InputError(f"conditions={conditions}, muscles={muscles}; expected at least 2 and 1")
    circuit = stability_optimised_circuit(units, seed=seed) if circuit is None else circuit
    units = len(circuit.weights)
    directions = 2 * np.pi * np.arange(conditions) / conditions
    observable = gramians(circuit.weights - np.eye(units))[1]
    axes = np.linalg.eigh(observable)[1][:, ::-1][:, :4].T * np.sqrt(units) * drive
    mixing = np.stack(
        [
            np.cos(directions),
            np.sin(directions),
            curve * np.cos(2 * directions),
            curve * np.sin(2 * directions),
        ]
    )
    prepared = mixing.T @ axes
    teacher = ReachCircuit(circuit, directions, prepared, np.zeros((muscles, units)), np.zeros(muscles))
    movement = teacher.movement()
    wanted = muscle_targets(directions, muscles, movement.shape[1], teacher.bin_size)
    readout, bias = _ridge(gain(movement).reshape(-1, units), wanted.reshape(-1, muscles))
    return ReachCircuit(circuit, directions, prepared, readout, bias)


def muscle_targets(directions: np.ndarray, muscles: int, bins: int, bin_size: float) -> np.ndarray:
    """(C, bins, M) two-phase commands: an agonist burst, then the antagonist's, tuned to the direction.

        m(t) = b(t; 0.15, 0.06) · cos(θ − θ_m) − 0.7 b(t; 0.35, 0.08) · cos(θ − θ_m − 0.4)

    with Gaussian bursts b of the given peak time and width, s, above or below a tone of zero.
    """
    time = np.arange(bins) * bin_size
    preferred = 2 * np.pi * np.arange(muscles) / muscles
    apart = directions[:, None, None] - preferred
    first = np.exp(-0.5 * ((time - 0.15) / 0.06) ** 2)[None, :, None]
    second = np.exp(-0.5 * ((time - 0.35) / 0.08) ** 2)[None, :, None]
    return first * np.cos(apart) - 0.7 * second * np.cos(apart - 0.4)


def simulate_reaches(
    teacher: ReachCircuit | None = None,
    repeats: int = 10,
    delays: tuple[float, float] = (0.4, 0.8),
    movement: float = 0.8,
    noise: float = 0.5,
    observed: Sequence[int] | None = None,
    seed: int = 0,
) -> ReachSession:
    """A session of delayed reaches: 0.2 s of rest, a preparation of random length, then movement.

    Parameters
    ----------
    teacher : from `reach_circuit`; a new one of 200 units by default
    repeats : trials of each direction, in random order
    delays : shortest and longest preparation, s
    movement : s
    noise : see `ReachCircuit.currents`
    observed : positions of the recorded units; all by default
    seed : of order, delays, noise and spikes

    Raises
    ------
    InputError : lengths that are not positive or delays in the wrong order
    """
    teacher = reach_circuit(seed=seed) if teacher is None else teacher
    if not 0 < delays[0] <= delays[1] or movement <= 0 or repeats < 1:
        raise InputError(
            f"delays={delays}, movement={movement}, repeats={repeats}: expected 0 < shortest <= longest, "
            "and the others positive"
        )
    rng = np.random.default_rng(seed)
    units = len(teacher.circuit.weights)
    chosen = np.arange(units) if observed is None else np.asarray(observed)
    condition = rng.permutation(np.tile(np.arange(len(teacher.directions)), repeats))
    width, rest = teacher.bin_size, round(0.2 / teacher.bin_size)
    delay = rng.integers(round(delays[0] / width), round(delays[1] / width) + 1, size=len(condition))
    moving = round(movement / width)
    longest = rest + int(delay.max()) + moving
    inputs = np.zeros((len(condition), longest, units), dtype=np.float32)
    for i, c in enumerate(condition):
        inputs[i, rest : rest + delay[i]] = teacher.preparatory_input[c]
    paths = teacher.currents(np.zeros((len(condition), units)), longest, inputs, noise, seed)
    currents = tuple(path[: rest + d + moving] for path, d in zip(paths, delay, strict=True))
    counts = [rng.poisson(teacher.rates(path[:, chosen]) * width) for path in currents]
    said = SIMULATED_SESSION | {"session_description": _SAID, "subject_id": "reachteacher01"}
    laid = lay_out(counts, width, rng, 0.5, np.full(len(chosen), BASE_RATE), chosen, said)
    table = laid.intervals["trials"]
    start = table.columns["start_time"]
    columns = {
        **table.columns,
        "go_time": start + (rest + delay) * width,
        "condition": condition.astype(np.int64),
        "direction": teacher.directions[condition],
    }
    recording = Recording.build(
        units=Table("units", chosen, {"sign": teacher.circuit.unit_sign[chosen].astype(np.int64)}),
        spikes=laid.spikes,
        intervals={"trials": Table("trials", table.ids, columns)},
        behaviour={"muscles": _muscle_traces(teacher, currents, start)},
        span=laid.span,
        description=said,
    )
    return ReachSession(recording, teacher, currents)


def _muscle_traces(teacher: ReachCircuit, currents: Sequence[np.ndarray], starts: np.ndarray) -> Traces:
    """Outputs at the middle of each bin of each trial, in session time; nothing in the pauses."""
    width = teacher.bin_size
    values = np.concatenate([teacher.muscles(path) for path in currents])
    stamps = [s + (np.arange(len(p)) + 0.5) * width for s, p in zip(starts, currents, strict=True)]
    names = np.array([f"muscle{m}" for m in range(values.shape[1])])
    return Traces("muscles", values, np.concatenate(stamps), names, "a.u.")


def _ridge(rates: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, N) weights and (M,) constants; the penalty is in units of the mean variance of a rate."""
    mean, level = rates.mean(axis=0), wanted.mean(axis=0)
    centred = rates - mean
    gram = centred.T @ centred
    size = _RIDGE * np.trace(gram) / len(gram)
    weights = np.linalg.solve(gram + size * np.eye(len(gram)), centred.T @ (wanted - level)).T
    return weights, level - weights @ mean


_SAID = "Spikes simulated from a stability-optimised circuit that makes delayed reaches; weights are known."
