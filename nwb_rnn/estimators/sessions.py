"""Several sessions with different units under one dynamics: their trials as one set, and one session's model.

Trials of all sessions lie side by side with the units of all of them, and the mask says that a session's
trials show its own units only. Everything that depends on a unit (readout, bias, noise, dispersion) is then
the session's own, everything else is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.matching import bin_size, describe
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.trials import check_trials, observed_name

_OF_UNITS = (
    "readout_weights",
    "readout_gain",
    "readout_bias",
    "observation_noise",
    "dispersion",
    "readout_network_output",
    "indicator_decay",
)


def as_one(trials: xr.Dataset | Sequence[xr.Dataset]) -> xr.Dataset:
    """Trials of several sessions as one Dataset; a Dataset comes back as it is.

    Unit u of session number s is called "s:u", as is its trial; `session` (trial) says which one it is from.
    Shorter trials are padded at the end and masked; the time axis is that of the longest.

    Raises
    ------
    InputError : no sessions, other bin widths, other inputs, or counts with signals.
    """
    if isinstance(trials, xr.Dataset):
        return trials
    if not isinstance(trials, Sequence):
        check_trials(trials)
    sessions = list(trials)
    _check(sessions)
    name = observed_name(sessions[0])
    longest = max(sessions, key=lambda s: s.sizes["time"])
    bins, units = longest.sizes["time"], [s.sizes["unit"] for s in sessions]
    rows, first = [], np.cumsum([0, *units])
    for s, session in enumerate(sessions):
        count, here = session.sizes["trial"], session.sizes["time"]
        values, seen = np.zeros((count, bins, first[-1])), np.zeros((count, bins, first[-1]), dtype=bool)
        own = slice(first[s], first[s + 1])
        values[:, :here, own] = session[name].transpose("trial", "time", "unit").values
        seen[:, :here, own] = _mask(session, name)
        inputs = np.zeros((count, bins, session.sizes["input"] if "inputs" in session else 0))
        if "inputs" in session:
            given = session["inputs"].transpose("trial", "time", "input").values
            inputs[:, :here], inputs[:, here:] = given, given[:, -1:]
        rows.append((values, seen, inputs))
    values, seen, inputs = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    dims = ("trial", "time", "unit")
    found = xr.Dataset(
        {name: (dims, values), "mask": (dims, seen)},
        coords={
            "trial": [name for s, x in enumerate(sessions) for name in _names(s, x["trial"])],
            "time": longest["time"].values,
            "unit": [name for s, x in enumerate(sessions) for name in _names(s, x["unit"])],
            "session": ("trial", np.repeat(np.arange(len(sessions)), [s.sizes["trial"] for s in sessions])),
        },
        attrs={"bin_size": bin_size(sessions[0]), "align_to": str(sessions[0].attrs.get("align_to", ""))},
    )
    if inputs.shape[2]:
        found["inputs"] = (("trial", "time", "input"), inputs)
        if "input" in sessions[0].coords:
            found = found.assign_coords(input=sessions[0]["input"].values)
    return found


def _names(session: int, ids: xr.DataArray) -> list[str]:
    return [f"{session}:{value}" for value in ids.values.tolist()]


def _mask(session: xr.Dataset, name: str) -> np.ndarray:
    if "mask" not in session:
        return np.ones(session[name].transpose("trial", "time", "unit").shape, dtype=bool)
    mask = session["mask"].broadcast_like(session[name]).transpose("trial", "time", "unit")
    return mask.values.astype(bool)


def _check(sessions: list[xr.Dataset]) -> None:
    if not sessions:
        raise InputError("an empty list of sessions was given; give the trials of at least one")
    facts = {
        "bin width (s)": [round(bin_size(s), 9) for s in sessions],
        "number of inputs": [s.sizes["input"] if "inputs" in s else 0 for s in sessions],
        "kind of data": [observed_name(s) for s in sessions],
    }
    for fact, values in facts.items():
        if len(set(values)) > 1:
            raise InputError(f"sessions of one model need the same {fact}; given: {values}")


def descriptions(trials: xr.Dataset | Sequence[xr.Dataset]) -> list[dict]:
    """What a model remembers of each session; nothing for a single Dataset."""
    if isinstance(trials, xr.Dataset):
        return []
    return [describe(s, s.sizes["input"] if "inputs" in s else 0) for s in trials]


def own_description(described: list[dict], session: int) -> dict:
    """The description of one session, with a note of the others that share its dynamics."""
    noted = ("source", "n_trials", "unit_ids", "align_to", "window")
    others = [{key: d[key] for key in noted} for s, d in enumerate(described) if s != session]
    return described[session] | {"shared_with": others, "session": session}


def own_part(
    config: LowRankConfig,
    parameters: LowRankParameters,
    encoder: ConvEncoder | None,
    described: list[dict],
    session: int,
) -> tuple[LowRankConfig, LowRankParameters, ConvEncoder | None]:
    """The shared network with the readout of one session, and an encoder that reads its units alone."""
    if not 0 <= session < len(described):
        raise InputError(
            f"session={session} is not one of the {len(described)} sessions of this model (from 0)"
            if described
            else "this model was fitted to one set of trials: fit([trials_a, trials_b]) makes one of sessions"
        )
    start = sum(len(d["unit_ids"]) for d in described[:session])
    units = slice(start, start + len(described[session]["unit_ids"]))
    own = {name: x[units].clone() for name, x in parameters.present().items() if name in _OF_UNITS}
    links = config.link.split(",")
    if len(links) > 1:
        config = replace(config, link=links[units])  # type: ignore[arg-type]
    reader = None if encoder is None else _own_encoder(config, encoder, units)
    return config, replace(parameters, **own), reader


def _own_encoder(config: LowRankConfig, encoder: ConvEncoder, units: slice) -> ConvEncoder:
    """The same potentials from the units of one session: the whole encoder scales up for those it misses."""
    state = encoder.state_dict()
    total = state["center"].shape[0]
    count = len(range(total)[units])
    own = ConvEncoder(config, count, torch.Generator())
    first = "convolutions.0.weight"
    changed = {first: state[first][:, units] * (total / count)}
    changed |= {name: state[name][units] for name in ("center", "spread")}
    own.load_state_dict(state | changed)
    return own.requires_grad_(False)
