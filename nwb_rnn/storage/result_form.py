"""Latents, fixed points and simulated trials as NWB objects, and back."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Dropped
from nwb_rnn.storage.copying import compressed
from nwb_rnn.storage.model_form import plain_ids, to_json, without_folders
from nwb_rnn.storage.session_time import in_session_time, valid_bins

if TYPE_CHECKING:
    import xarray

    from nwb_rnn.dynamics.fixed_points import FixedPoints

_DIMS = {
    "latent_mean": ("trial", "time", "latent"),
    "latent_std": ("trial", "time", "latent"),
    "rates": ("trial", "time", "unit"),
    "log_likelihood": ("trial",),
    "effective_sample_size": ("trial", "time"),
    "latent_samples": ("trial", "sample", "time", "latent"),
    "outputs": ("trial", "time", "output"),
}
_OWN_ATTRIBUTES = ("align_to", "kind", "particles", "seed", "bin_size", "window", "source", "dropped")
LONGEST_TEXT = 15_000  # characters; attributes end at 64 KB
_TABLE_ATTRIBUTES = ("method", "complete", "proof", "bin_size", "unseen")


def latents_container(latents: xarray.Dataset, name: str, model: Any, trials: Any, units: Any) -> Any:
    """`TrialAlignedLatents` of what `infer` returns.

    Parameters
    ----------
    latents : see `nwb_rnn.LowRankRNN.infer`
    name : of the object in the file
    model : the stored model, or None
    trials, units : `DynamicTableRegion`, or None

    Raises
    ------
    InputError : `latents` lacks latent_mean with dimensions trial, time and latent
    """
    from ndx_latent_dynamics import TrialAlignedLatents

    check_latents(latents)
    attributes = latents.attrs
    others = {k: v for k, v in attributes.items() if k not in _OWN_ATTRIBUTES}
    parts = {
        **{n: compressed(latents[n].transpose(*d).values) for n, d in _DIMS.items() if n in latents},
        "description": "Latents inferred by nwb_rnn",
        "mask": compressed(valid_bins(latents).astype(np.int8)),
        "time": latents["time"].values.astype(float),
        "event_time": latents["event_time"].values.astype(float) if "event_time" in latents else None,
        "align_to": str(attributes["align_to"])[:1000] if "align_to" in attributes else None,
        "kind": str(attributes["kind"]) if "kind" in attributes else None,
        "particles": int(attributes["particles"]) if "particles" in attributes else None,
        "seed": int(attributes["seed"]) if "seed" in attributes else None,
        "bin_size": float(attributes["bin_size"]) if "bin_size" in attributes else None,
        "window": np.array(attributes["window"], dtype=float)
        if len(attributes.get("window", ())) == 2
        else None,
        "trials": trials,
        "trial_ids": plain_ids(latents["trial"].values),
        "observed_units": units,
        "observed_unit_ids": plain_ids(latents["unit"].values) if "unit" in latents.coords else None,
        "output_names": _output_names(latents),
        "source": _source(attributes.get("source")),
        "dropped": _as_text(attributes.get("dropped")),
        "settings": to_json(others),
        "model": model,
    }
    return TrialAlignedLatents(name=name, **{k: v for k, v in parts.items() if v is not None})


def check_latents(latents: Any) -> None:
    """Refuse what is not the result of an inference."""
    dims = latents["latent_mean"].dims if hasattr(latents, "dims") and "latent_mean" in latents else None
    if dims is None or set(dims) != {"trial", "time", "latent"}:
        given = type(latents).__name__ if dims is None else f"latent_mean with dimensions {dims}"
        raise InputError(
            "latents must be an xarray.Dataset with latent_mean (trial, time, latent), as "
            f"model.infer(trials) returns; got {given}"
        )


def stored_latents(container: Any) -> xarray.Dataset:
    """What `latents_container` was made from; columns of the table of trials come back as coordinates."""
    import xarray

    def values(name: str) -> np.ndarray:
        from ndx_latent_dynamics.models import plain_array

        return plain_array(getattr(container, name))

    variables = {n: (d, values(n)) for n, d in _DIMS.items() if getattr(container, n, None) is not None}
    if container.mask is not None:
        variables["mask"] = (("trial", "time"), values("mask").astype(bool))
    count, _, rank = variables["latent_mean"][1].shape
    coords: dict[str, Any] = {"time": values("time"), "latent": np.arange(rank)}
    coords["trial"] = np.arange(count) if container.trial_ids is None else values("trial_ids")
    if container.observed_unit_ids is not None:
        coords["unit"] = values("observed_unit_ids")
    if getattr(container, "output_names", None) is not None:  # from version 0.2 of the extension on
        coords["output"] = values("output_names")
    if container.event_time is not None:
        coords["event_time"] = ("trial", values("event_time"))
    coords |= _trial_columns(container.trials, {*coords, *variables})
    attributes = json.loads(container.settings) if container.settings else {}
    for name in _OWN_ATTRIBUTES:
        value = getattr(container, name)
        if value is not None:
            attributes[name] = [float(v) for v in value[:]] if name == "window" else _plain(value)
    return xarray.Dataset(variables, coords, attributes)


def _output_names(latents: xarray.Dataset) -> list[str] | None:
    if "outputs" not in latents:
        return None
    count = latents.sizes["output"]
    names = latents["output"].values if "output" in latents.coords else range(count)
    return [str(name) for name in names]


def _trial_columns(region: Any, taken: set[str]) -> dict[str, Any]:
    """Columns of the table of trials with one number or text per row."""
    if region is None:
        return {}
    from nwb_rnn.sources.nwb_tables import read_table

    table = read_table(region.table, []).take(np.asarray(region.data[:]))
    return {k: ("trial", v) for k, v in table.columns.items() if k not in taken and "/" not in k}


def session_series(latents: xarray.Dataset, name: str) -> tuple[Any, list[Dropped]]:
    """Mean latents in session time as a plain `TimeSeries`, or None, with what was left out."""
    from pynwb import TimeSeries

    if "event_time" not in latents or latents.attrs.get("warp"):
        reason = "time is warped" if latents.attrs.get("warp") else "the latents have no event_time"
        return None, [Dropped("signal", (name,), f"{reason}, so there is no series in session time")]
    stamps, values, notes = in_session_time(latents)
    if not len(stamps):
        return None, [Dropped("signal", (name,), "no bin lies inside a trial")]
    comments = "Mean latents of the bins inside trials, in order; gaps between trials."
    if notes:
        comments += f" {notes[0].reason}."
    series = TimeSeries(
        name=name,
        data=compressed(values),
        timestamps=compressed(stamps),
        unit="a.u.",
        description="Latents inferred by nwb_rnn, in session time",
        comments=comments,
    )
    return series, notes


def fixed_point_container(points: FixedPoints, name: str, model: Any) -> Any:
    """`FixedPointTable` of the fixed points of a model."""
    from ndx_latent_dynamics import FixedPointTable

    if not hasattr(points, "to_dict"):
        raise InputError(
            f"fixed_points must be what model.fixed_points() returns; a {type(points).__name__} was given"
        )
    values = points.to_dict()
    count = len(values["location"])
    constant = values.pop("inputs", None)
    attributes = {n: values.pop(n) for n in _TABLE_ATTRIBUTES if n in values}
    described = "" if constant is None else f" for the constant input {np.asarray(constant).tolist()}"
    table = FixedPointTable(
        name=name,
        description=f"Fixed points of the model without noise{described}",
        id=np.arange(count),
        method=str(attributes.get("method", "")),
        complete=int(attributes.get("complete", 0)),
        proof=_shortened(str(attributes.get("proof", ""))),
        bin_size=float(attributes.get("bin_size", 1.0)),
        unseen=float(attributes.get("unseen", np.nan)),
        model=model,
    )
    if constant is not None:
        values["inputs"] = np.tile(np.asarray(constant, dtype=float), (count, 1))
    known = {c["name"]: c["description"] for c in FixedPointTable.__columns__}
    for key, value in values.items():
        data = np.asarray(value)
        if data.ndim == 0 or len(data) != count:
            raise InputError(f"{key} of the fixed points has shape {data.shape}; expected {count} rows")
        table.add_column(
            name=key,
            description=known.get(key, key.replace("_", " ")),
            data=data.astype(str).tolist() if data.dtype.kind in "US" and count else compressed(data),
        )
    return table


def _shortened(text: str) -> str:
    """A text that fits into an attribute of HDF5."""
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} [cut here]"


def stored_fixed_points(table: Any) -> dict[str, Any]:
    """The dict that `FixedPoints.to_dict` gave, for `FixedPoints.from_dict`."""
    from ndx_latent_dynamics.models import plain_array

    values: dict[str, Any] = {name: plain_array(table[name].data) for name in table.colnames}
    for name in _TABLE_ATTRIBUTES:
        value = getattr(table, name)
        if value is not None:
            values[name] = bool(value) if name == "complete" else _plain(value)
    if "inputs" in values:
        inputs = values.pop("inputs")
        if len(inputs):
            values["inputs"] = inputs[0]
    return values


def simulation_table(simulation: xarray.Dataset, name: str) -> Any:
    """Simulated trials as a plain `DynamicTable`, one row per trial, with the times of its bins."""
    from hdmf.common import DynamicTable

    observed = [n for n in ("counts", "signal") if n in getattr(simulation, "data_vars", ())]
    if not observed:
        raise InputError("simulation must be what model.simulate(...) returns, with counts or signal")
    trials, bins = simulation.sizes["trial"], simulation.sizes["time"]
    text = ", ".join(f"{k}: {simulation.attrs[k]}" for k in ("bin_size", "seed") if k in simulation.attrs)
    table = DynamicTable(
        name=name,
        description=f"Trials simulated from the fitted model by nwb_rnn, one row each ({text})",
        id=np.arange(trials),
    )
    times = np.broadcast_to(simulation["time"].values.astype(float), (trials, bins))
    table.add_column(
        "time", "centre of each bin, s from the event (trial, time)", data=compressed(times.copy())
    )
    for key, variable in simulation.data_vars.items():
        if variable.dims[:1] != ("trial",):
            variable = variable.transpose("trial", ...)
        values = variable.values
        data = values.astype(np.int8) if values.dtype.kind == "b" else values
        table.add_column(str(key), f"{key} ({', '.join(map(str, variable.dims))})", data=compressed(data))
    return table


def _source(value: Any) -> str | None:
    """Where the data came from as JSON text, without the folders of this machine."""
    if isinstance(value, str):
        with suppress(json.JSONDecodeError):
            value = json.loads(value)
    return _as_text(without_folders({"source": value})["source"])


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else to_json(value)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
