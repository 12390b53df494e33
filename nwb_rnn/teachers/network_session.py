"""Trials of a trained network as a session of spikes: a recording whose mechanism is known."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording, Table, Traces
from nwb_rnn.teachers.session import SIMULATED_SESSION, lay_out

_SAID = "Spikes simulated from a recurrent network that was trained on a task; its weights are known."


def network_session(
    simulated: xr.Dataset, lowest: float = 2.0, highest: float = 40.0, pause: float = 0.5, seed: int = 0
) -> Recording:
    """Poisson spikes of the units of a network, laid out in a session.

    The rates of each unit are stretched so that its least and greatest value over all trials become `lowest`
    and `highest` spikes/s; a unit that never changes fires at `lowest`.

    Parameters
    ----------
    simulated : what `TaskRNN.simulate` returns: `signal`, `mask`, and `outputs`, which become behaviour
    lowest, highest : spikes/s
    pause : mean pause between trials, s
    seed : of the spikes

    Returns
    -------
    Recording with units, ``trials`` with the columns of the simulated trials (those whose name ends in
    ``_time`` on the clock of the session), and the behaviour ``outputs``

    Raises
    ------
    InputError : no `signal`, or rates in the wrong order
    """
    if "signal" not in simulated or not 0 <= lowest < highest:
        raise InputError("network_session takes what TaskRNN.simulate returns, and 0 <= lowest < highest")
    rng = np.random.default_rng(seed)
    width = float(simulated.attrs["bin_size"])
    values = simulated["signal"].transpose("trial", "time", "unit").values.astype(float)
    inside = simulated["mask"].transpose("trial", "time").values.astype(bool)
    low, high = values[inside].min(axis=0), values[inside].max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    rates = lowest + (highest - lowest) * (values - low) / span
    lengths = inside.sum(axis=1)
    counts = [rng.poisson(rates[i, :n] * width) for i, n in enumerate(lengths)]
    ids = simulated["unit"].values
    said = SIMULATED_SESSION | {"session_description": _SAID, "subject_id": "network01"}
    laid = lay_out(counts, width, rng, pause, np.full(len(ids), lowest), ids, said)
    table = laid.intervals["trials"]
    start = table.columns["start_time"]
    columns = dict(table.columns)
    for name, column in simulated.coords.items():
        if column.dims == ("trial",) and name != "trial":
            columns[str(name)] = column.values + (start if str(name).endswith("_time") else 0)
    behaviour = {}
    if "outputs" in simulated:
        outputs = simulated["outputs"].transpose("trial", "time", "output").values
        stamps = [s + (np.arange(n) + 0.5) * width for s, n in zip(start, lengths, strict=True)]
        made = np.concatenate([outputs[i, :n] for i, n in enumerate(lengths)])
        names = simulated["output"].values
        behaviour["outputs"] = Traces("outputs", made, np.concatenate(stamps), names, "a.u.")
    return Recording.build(
        units=laid.units,
        spikes=laid.spikes,
        intervals={"trials": Table("trials", table.ids, columns)},
        behaviour=behaviour,
        span=laid.span,
        description=said,
    )
