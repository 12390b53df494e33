"""Fit the trials at hand to the units and inputs a model was fitted on."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.smc.trials import observed_name


def describe(trials: xr.Dataset, inputs: int) -> dict:
    """What a model must remember of its data: units, bins, alignment, source."""
    attrs = trials.attrs
    names = [str(x) for x in trials["input"].values] if "input" in trials.coords else []
    return {
        "unit_ids": np.asarray(trials["unit"].values).tolist(),
        "bin_size": bin_size(trials),
        "align_to": str(attrs.get("align_to", "")),
        "window": [float(x) for x in attrs.get("window", [])],
        "source": _as_json(attrs.get("source", "{}")),
        "dropped": _as_json(attrs.get("dropped", "[]")),
        "n_trials": int(trials.sizes["trial"]),
        "trial_ids": np.asarray(trials["trial"].values).tolist(),
        "input_names": names or [f"input_{i}" for i in range(inputs)],
        "observed": observed_name(trials),
    }


def bin_size(trials: xr.Dataset) -> float:
    """Bin width in seconds, from the attributes or from the time axis."""
    if "bin_size" in trials.attrs:
        return float(trials.attrs["bin_size"])
    if trials.sizes["time"] > 1:
        return float(np.median(np.diff(trials["time"].values)))
    raise InputError("the trials do not say how wide a bin is; set trials.attrs['bin_size'] (s)")


def check_observations(trials: xr.Dataset, observation: str) -> None:
    """Refuse data that the observation law cannot have made, and data without a single spike."""
    name = observed_name(trials)
    if observation == "gaussian":
        return
    if name == "signal":
        raise InputError(
            f"observation={observation!r} is for spike counts, and these trials hold a continuous signal: "
            "use observation='gaussian'"
        )
    values = trials[name].values
    finite = values[np.isfinite(values)]
    if (finite < 0).any():
        raise InputError(f"counts hold negative numbers; observation={observation!r} needs counts ≥ 0")
    if values.size and not finite.any():
        raise InputError(
            "there is not one spike in these trials: check the alignment window, the units and the mask"
        )


def matched(trials: xr.Dataset, description: dict, inputs: int) -> xr.Dataset:
    """The same trials with exactly the model's units, in its order; missing units are masked.

    Raises
    ------
    InputError : a unit the model does not know, another bin width, or other inputs.
    """
    ids = description["unit_ids"]
    given = trials["unit"].values.tolist()
    unknown = [u for u in given if u not in set(ids)]
    if unknown:
        raise InputError(
            f"the model was fitted to {len(ids)} units and does not know unit {unknown[0]!r}"
            f"{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''}; give trials of the units "
            f"{ids[:5]}{'…' if len(ids) > 5 else ''} (all or some of them)"
        )
    if len(given) != len(set(given)):
        raise InputError("the trials name the same unit twice; unit ids must be different")
    here, there = bin_size(trials), description["bin_size"]
    if not np.isclose(here, there, rtol=1e-6):
        raise InputError(
            f"the model was fitted with bins of {there:g} s and these trials have bins of {here:g} s: "
            f"align again with bin_size={there:g}"
        )
    found = trials.sizes["input"] if "inputs" in trials else 0
    if found != inputs:
        raise InputError(
            f"the model takes {inputs} inputs and these trials have {found}: align with inputs=…"
        )
    if given == ids:
        return trials
    return _reindexed(trials, ids)


def _reindexed(trials: xr.Dataset, ids: list) -> xr.Dataset:
    name = observed_name(trials)
    mask = (
        trials["mask"] if "mask" in trials else xr.ones_like(trials[name].isel(unit=0, drop=True), dtype=bool)
    )
    mask = mask.broadcast_like(trials[name]).transpose("trial", "time", "unit")
    kept = trials.drop_vars([n for n in trials.variables if "unit" in trials[n].dims and n != "unit"])
    values = trials[name].reindex(unit=ids, fill_value=0)
    return kept.drop_vars("unit").assign({name: values, "mask": mask.reindex(unit=ids, fill_value=False)})


def _as_json(text):
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
