"""One session as samples of a 30 kHz clock, in the form of every source that can hold it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

CLOCK = 30000  # Hz


@dataclass(frozen=True)
class Session:
    """Spikes and events as sample numbers, so that counts can be done in whole numbers."""

    spikes: tuple[np.ndarray, ...]
    starts: np.ndarray
    length: int

    @property
    def times(self) -> list[np.ndarray]:
        return [samples / CLOCK for samples in self.spikes]

    @property
    def trials(self) -> dict[str, np.ndarray]:
        side = np.where(np.arange(len(self.starts)) % 2, "left", "right")
        return {
            "start_time": self.starts / CLOCK,
            "stop_time": (self.starts + CLOCK) / CLOCK,
            "go_time": (self.starts + CLOCK // 4) / CLOCK,
            "side": side,
        }

    def counts(self, before: int, after: int, width: int) -> np.ndarray:
        """(trial, bin, unit) spikes in [edge, next edge) around go_time, all in samples."""
        bins = (before + after) // width
        counts = np.zeros((len(self.starts), bins, len(self.spikes)))
        for unit, samples in enumerate(self.spikes):
            for trial, start in enumerate(self.starts):
                at = (samples - (start + CLOCK // 4 - before)) // width
                np.add.at(counts[trial, :, unit], at[(at >= 0) & (at < bins)], 1)
        return counts


def make_session(seed: int, units: int = 4, seconds: int = 30, edges: bool = True) -> Session:
    """Spikes at random samples, and with `edges` many of them exactly on edges of 20 ms bins."""
    rng = np.random.default_rng(seed)
    length = seconds * CLOCK
    starts = np.arange(2, seconds - 2, 2) * CLOCK + 600 * rng.integers(0, 10, len(range(2, seconds - 2, 2)))
    spikes = []
    for _ in range(units):
        samples = rng.integers(0, length, 40 * seconds)
        if edges:
            samples = np.concatenate([samples, 600 * rng.integers(0, length // 600, 10 * seconds)])
        spikes.append(np.unique(np.append(samples, [0, length - 1])))
    return Session(tuple(spikes), starts, length)


def as_arrays(session: Session) -> dict:
    return {"spikes": session.times, "trials": session.trials, "span": (0.0, session.length / CLOCK)}


def as_nwb(session: Session):
    from pynwb import NWBFile

    file = NWBFile("made for a test", "interop", datetime(2024, 1, 1, tzinfo=UTC))
    for times in session.times:
        file.add_unit(spike_times=times)
    file.add_trial_column("go_time", "when the animal could go")
    file.add_trial_column("side", "left or right")
    trials = session.trials
    for i in range(len(session.starts)):
        file.add_trial(**{name: column[i].item() for name, column in trials.items()})
    return file


def as_spikeinterface(session: Session):
    from spikeinterface.core import NumpySorting

    return NumpySorting.from_unit_dict([dict(enumerate(session.spikes))], CLOCK)


def as_neo(session: Session, unit: str = "s"):
    import neo
    import quantities as pq

    factor = {"s": 1.0, "ms": 1000.0}[unit]
    stop = session.length / CLOCK * factor
    segment = neo.Segment()
    for times in session.times:
        segment.spiketrains.append(neo.SpikeTrain(times * factor, units=unit, t_start=0.0, t_stop=stop))
    trials = session.trials
    epoch = neo.Epoch(
        times=trials["start_time"] * pq.s,
        durations=(trials["stop_time"] - trials["start_time"]) * pq.s,
        labels=trials["side"],
        name="trials",
        array_annotations={"go_time": trials["go_time"], "side": trials["side"]},
    )
    segment.epochs.append(epoch)
    block = neo.Block()
    block.segments.append(segment)
    return block


def as_pynapple(session: Session) -> dict:
    import pynapple

    support = pynapple.IntervalSet(0.0, session.length / CLOCK)
    trials = session.trials
    facts = {"go_time": trials["go_time"], "side": trials["side"]}
    trains = {i: pynapple.Ts(times, time_support=support) for i, times in enumerate(session.times)}
    return {
        "units": pynapple.TsGroup(trains, time_support=support),
        "trials": pynapple.IntervalSet(trials["start_time"], trials["stop_time"], metadata=facts),
    }
