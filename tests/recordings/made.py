"""Small recordings with known contents for the tests of alignment."""

from __future__ import annotations

import numpy as np

from nwb_rnn.recordings import Observed, Recording, Table, Traces


def trials_table(start, length=1.0, **columns) -> Table:
    """A table of trials of the given starts, s, and lengths, s."""
    start = np.asarray(start, dtype=float)
    return Table(
        "trials",
        np.arange(len(start)),
        {"start_time": start, "stop_time": start + length, **{k: np.asarray(v) for k, v in columns.items()}},
    )


def small_recording(
    spikes,
    start=(0.0, 2.0, 4.0),
    length=1.0,
    observed: Observed | list | None = None,
    behaviour: dict[str, Traces] | None = None,
    span=None,
    units: Table | None = None,
    **columns,
) -> Recording:
    """Spike trains with a table of trials."""
    return Recording.build(
        units=units,
        spikes=spikes,
        intervals={"trials": trials_table(start, length, **columns)},
        observed=observed,
        behaviour=behaviour,
        span=span,
    )


def trace(values, rate: float = 10.0, start: float = 0.0, name: str = "trace") -> Traces:
    """A signal sampled at a steady rate."""
    values = np.asarray(values, dtype=float)
    values = values[:, None] if values.ndim == 1 else values
    stamps = start + np.arange(len(values)) / rate
    return Traces(name, values, stamps, np.arange(values.shape[1]))
