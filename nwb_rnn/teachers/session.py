"""A recording session whose dynamics are known: spikes of a low-rank teacher, trial after trial.

Trials have unequal lengths and stand at arbitrary times of the session, with pauses between them in
which every unit fires at its background rate. Each spike of a bin is placed evenly within that bin, so
that aligning to ``start_time`` with the teacher's bin size gives the teacher's own counts back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.dynamics.named_arrays import network_of
from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording, Table
from nwb_rnn.teachers.oscillator import oscillator

_WITHIN = (0.001, 0.999)  # share of a bin where its spikes may lie: never on an edge


@dataclass(frozen=True, eq=False)
class SimulatedSession:
    """A recording and the truth behind it.

    Attributes
    ----------
    recording : spikes, and a table ``trials`` with start_time and stop_time
    latents : one (T_b, R) array for each trial, in its bins
    arrays : the teacher, as `LowRankRNN.from_arrays` takes it
    bin_size : of the teacher, s
    """

    recording: Recording
    latents: tuple[np.ndarray, ...]
    arrays: dict[str, np.ndarray]
    bin_size: float

    @property
    def network(self) -> LowRankMap:
        """The teacher's map without noise."""
        return network_of(self.arrays)


def simulate_session(
    arrays: Mapping[str, np.ndarray] | None = None,
    trials: int = 40,
    shortest: float = 1.0,
    longest: float = 2.0,
    pause: float = 0.5,
    seed: int = 0,
) -> SimulatedSession:
    """Simulate a session from a spiking low-rank teacher.

    Parameters
    ----------
    arrays : a Poisson teacher without inputs, as `LowRankRNN.from_arrays` takes it; by default the
        rank-2 oscillator with 40 units in bins of 10 ms
    trials : number of trials
    shortest, longest : length of a trial, drawn evenly between the two, s
    pause : mean pause between trials, s
    seed : of lengths, latents and spikes

    Raises
    ------
    InputError : a teacher that does not spike, or lengths that do not fit its bins
    """
    arrays = dict(oscillator(seed=seed) if arrays is None else arrays)
    bin_size = float(arrays["bin_size"])
    if str(arrays["observation"]) != "poisson" or str(arrays.get("link", "")) != "exp":
        raise InputError("simulate_session needs a Poisson teacher with the link 'exp', such as oscillator()")
    if not bin_size <= shortest <= longest:
        raise InputError(
            f"trials of {shortest:g} to {longest:g} s do not fit bins of {bin_size:g} s: give "
            "shortest and longest with bin size <= shortest <= longest"
        )
    rng = np.random.default_rng(seed)
    lengths = rng.integers(round(shortest / bin_size), round(longest / bin_size) + 1, size=trials)
    latents = [draw_latents(arrays, int(bins), rng) for bins in lengths]
    counts = [rng.poisson(rates(arrays, path)) for path in latents]
    background = np.exp(arrays["readout_bias"]) / bin_size
    recording = lay_out(counts, bin_size, rng, pause, background)
    return SimulatedSession(recording, tuple(latents), arrays, bin_size)


def draw_latents(arrays: Mapping[str, np.ndarray], bins: int, rng: np.random.Generator) -> np.ndarray:
    """(bins, R) latents of one trial: z₁ ~ N(m₀, Q₀), z_{t+1} = F(z_t) + N(0, Q)."""
    network = network_of(arrays)
    rank = network.rank
    z = arrays["initial_mean"] + arrays["initial_cholesky"] @ rng.standard_normal(rank)
    path = np.empty((bins, rank))
    for t in range(bins):
        path[t] = z
        z = network.step(z) + arrays["transition_cholesky"] @ rng.standard_normal(rank)
    return path


def rates(arrays: Mapping[str, np.ndarray], latents: np.ndarray) -> np.ndarray:
    """(..., D) expected spikes per bin, exp(C z + d), for latents (..., R)."""
    return np.exp(latents @ arrays["readout_weights"].T + arrays["readout_bias"])


def lay_out(
    counts: Sequence[np.ndarray],
    bin_size: float,
    rng: np.random.Generator,
    pause: float = 0.5,
    background: np.ndarray | None = None,
    unit_ids: Sequence | None = None,
    description: Mapping[str, str] | None = None,
) -> Recording:
    """Put trials of spike counts one after the other into a session.

    Parameters
    ----------
    counts : one (T_b, D) array of spikes per bin for each trial
    bin_size : s
    pause : mean pause before and after each trial, s
    background : (D,) spikes/s in the pauses; none when left out
    unit_ids : (D,) ids; 0, 1, 2, ... when left out
    description : texts of the session; by default those of a simulation
    """
    lengths = np.array([len(trial) * bin_size for trial in counts])
    pauses = pause * rng.uniform(0.5, 1.5, size=len(counts) + 1)
    starts = np.cumsum(pauses[:-1]) + np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    end = float(starts[-1] + lengths[-1] + pauses[-1])
    units = counts[0].shape[1]
    parts: list[list[np.ndarray]] = [[] for _ in range(units)]
    for start, trial in zip(starts, counts, strict=True):
        for unit in range(units):
            parts[unit].append(start + place_spikes(trial[:, unit], bin_size, rng))
    if background is not None:
        edges = np.concatenate([[0.0], np.column_stack([starts, starts + lengths]).ravel(), [end]])
        for begin, stop in edges.reshape(-1, 2):
            for unit, rate in enumerate(background):
                parts[unit].append(rng.uniform(begin, stop, rng.poisson(rate * (stop - begin))))
    table = Table("trials", np.arange(len(counts)), {"start_time": starts, "stop_time": starts + lengths})
    return Recording.build(
        units=Table("units", np.arange(units) if unit_ids is None else np.asarray(unit_ids)),
        spikes=[np.sort(np.concatenate(unit)) for unit in parts],
        intervals={"trials": table},
        span=(0.0, end),
        description=SIMULATED_SESSION if description is None else description,
    )


def place_spikes(counts: np.ndarray, bin_size: float, rng: np.random.Generator) -> np.ndarray:
    """Spike times, s from the first edge, spread evenly within each bin; counts (T,)."""
    bins = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
    return np.sort((bins + rng.uniform(*_WITHIN, size=len(bins))) * bin_size)


SIMULATED_SESSION = {
    "session_description": "Spikes simulated from a low-rank recurrent network with known weights.",
    "experiment_description": "A test of methods: nothing in this file was recorded from an animal.",
    "session_start_time": "2024-01-01T09:00:00+00:00",
    "session_id": "simulated",
    "institution": "none (simulated)",
    "lab": "none (simulated)",
    "subject_id": "teacher01",
    "subject_species": "Mus musculus",
    "subject_sex": "U",
    "subject_age": "P90D",
    "subject_description": "No animal: species and age only fill the fields that an archive asks for.",
}
