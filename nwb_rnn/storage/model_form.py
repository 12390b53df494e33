"""Fitted models as types of ndx-latent-dynamics, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.sources.dandi_address import is_dandi_address
from nwb_rnn.sources.nwb_open import is_address, public_location
from nwb_rnn.storage.equations import low_rank_equations, rate_equations

KINDS = ("LowRankRNN", "RateRNN", "TaskRNN")
_EQUATIONS = {"LowRankRNN": low_rank_equations, "RateRNN": rate_equations, "TaskRNN": rate_equations}
_TEXTS = ("activation", "observation", "readout", "link", "cell", "task", "task_configuration", "training")
_SWITCHES = ("filter_inputs",)
_GROUPS = {
    "encoder_": ("proposal_network", "Convolutions that propose latents given observations."),
    "readout_network_": ("readout_network", "Network from latents to the predictor."),
}
_FURTHER = ("further_parameters", "Parameters without a dataset of their own.")


@dataclass(frozen=True)
class Origin:
    """The file that a model was fitted to.

    Attributes
    ----------
    identifier, object_id : of the NWB file; empty for data that came from elsewhere
    location : a DANDI asset, a URL without credentials, or a file name
    """

    identifier: str = ""
    object_id: str = ""
    location: str = ""


@dataclass(frozen=True)
class StoredModel:
    """What `nwb_rnn.load` needs to make an estimator again."""

    kind: str
    arrays: dict[str, np.ndarray]
    configuration: dict
    history: list[dict]
    data_description: dict
    software: dict[str, str]
    scores: dict[str, float]


def model_container(model: Any, name: str, origin: Origin, observed_units: Any) -> Any:
    """The type of ndx-latent-dynamics that holds an estimator.

    Parameters
    ----------
    model : a fitted LowRankRNN, RateRNN or TaskRNN
    name : of the object in the file
    origin : what it was fitted to
    observed_units : `DynamicTableRegion`, or None where the file has no table of them

    Raises
    ------
    InputError : `model` is no estimator of this package
    """
    import ndx_latent_dynamics as ndx

    kind = kind_of(model)
    arrays = {key: np.asarray(value) for key, value in model.to_arrays().items()}
    description = without_folders(model.data_description)
    parts = {
        **_parameters(getattr(ndx, kind), arrays),
        "description": repr(model)[:1000],
        "equations": getattr(model, "equations", None) or _EQUATIONS[kind](arrays),
        "configuration": to_json(model.configuration),
        "data_description": to_json(description),
        "software": [[str(k), str(v)] for k, v in model.software.items()] or None,
        "input_names": [str(n) for n in description.get("input_names", [])] or None,
        "observed_unit_ids": plain_ids(description.get("unit_ids", [])),
        "observed_units": observed_units,
        "seed": int(model.configuration.get("seed", 0)),
        "source_identifier": origin.identifier,
        "source_object_id": origin.object_id,
        "source_location": origin.location,
        "fit_history": _history_table(model.history),
        **_scores(model.scores),
    }
    return getattr(ndx, kind)(name=name, **{k: v for k, v in parts.items() if v is not None})


def kind_of(model: Any) -> str:
    """The type that stores an estimator, by the name of its class or of one it extends."""
    for base in type(model).__mro__:
        if base.__name__ in KINDS and hasattr(model, "to_arrays"):
            return base.__name__
    raise InputError(f"model must be a fitted {', '.join(KINDS)}; a {type(model).__name__} was given")


def stored_model(container: Any) -> StoredModel:
    """Everything that a stored model holds, read from its open file."""
    arrays = container.to_numpy()
    for name in _TEXTS:
        if getattr(container, name, None) is not None:
            arrays[name] = np.array(str(getattr(container, name)))
    for name in _SWITCHES:
        if getattr(container, name, None) is not None:
            arrays[name] = np.array(bool(getattr(container, name)))
    return StoredModel(
        kind=container.neurodata_type,
        arrays=arrays,
        configuration=container.read_json("configuration"),
        history=_history_rows(container.fit_history),
        data_description=container.read_json("data_description"),
        software=container.versions(),
        scores=container.scores(),
    )


def check_same(model: Any, stored: StoredModel, path: str) -> None:
    """Refuse a file whose numbers are not those of the model, bit for bit.

    Raises
    ------
    StorageError : an array is missing or differs
    """
    written = {name: np.asarray(value) for name, value in model.to_arrays().items()}
    wrong = sorted(set(written) ^ set(stored.arrays))
    wrong += [n for n in written if n in stored.arrays and not _identical(written[n], stored.arrays[n])]
    if wrong:
        raise StorageError(
            f"{', '.join(wrong)} did not come back from {path!r} as written, so the file was discarded; "
            "check the disk, and please report this with the versions of pynwb and hdmf"
        )


def _identical(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind == "U":
        return one.shape == other.shape and bool(np.all(one == other))
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def _parameters(kind: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Arrays as arguments of the type: its own datasets and attributes, and groups for all others."""
    from hdmf.utils import get_docval

    own = {a["name"]: a.get("shape") for a in get_docval(kind.__init__)}
    parts: dict[str, Any] = {}
    rest: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        if name in _TEXTS and name in own:
            parts[name] = str(array)
        elif name in _SWITCHES and name in own:
            parts[name] = int(array)
        elif name in own and _fits(array, own[name]):
            parts[name] = array[()] if array.ndim == 0 else array
        else:
            group = next(
                (g for prefix, g in _GROUPS.items() if name.startswith(prefix) and g[0] in own), _FURTHER
            )
            rest.setdefault(group, {})[name] = array
    return parts | {group: _group(group, text, held) for (group, text), held in rest.items()}


def _fits(array: np.ndarray, shape: Any) -> bool:
    """Whether an array has as many axes as the dataset of its name; no shape stands for a single value."""
    return array.ndim == (0 if shape is None else len(shape))


def _group(name: str, description: str, arrays: Mapping[str, np.ndarray]) -> Any:
    from ndx_latent_dynamics import ParameterArray, ParameterGroup

    group = ParameterGroup(name=name, description=description)
    for key, array in arrays.items():
        scalar = array.ndim == 0
        group.add_parameter_arrays(
            ParameterArray(
                name=key,
                description=key.replace("_", " "),
                data=array.reshape(1) if scalar else array,
                scalar=int(scalar),
            )
        )
    return group


def _history_table(history: list[dict]) -> Any:
    """One row per check; a value that is None becomes NaN, a column of nothing else is left out."""
    from ndx_latent_dynamics import FitHistoryTable

    if not history:
        return None
    table = FitHistoryTable(
        name="fit_history", description="How the fit went, one row per check", id=np.arange(len(history))
    )
    for name in dict.fromkeys(key for row in history for key in row):
        values = [row.get(name) for row in history]
        if all(v is None for v in values):
            continue
        if all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in values):
            data = np.array(values, dtype=np.int64)
        elif all(v is None or isinstance(v, int | float | np.number) for v in values):
            data = np.array([np.nan if v is None else float(v) for v in values])
        else:
            data = [str(v) for v in values]
        table.add_column(name=name, description=name.replace("_", " "), data=data)
    return table


def _history_rows(table: Any) -> list[dict]:
    """The rows again; NaN where a validation score was not computed becomes None."""
    if table is None:
        return []
    columns = {name: list(table[name].data[:]) for name in table.colnames}
    rows = [{name: _python(values[i]) for name, values in columns.items()} for i in range(len(table))]
    for row in rows:
        score = row.get("validation")
        row["validation"] = None if score is None or np.isnan(score) else score
    return rows


def _scores(scores: Mapping[str, float]) -> dict[str, Any]:
    if not scores:
        return {}
    wrong = [name for name, value in scores.items() if np.ndim(value) or isinstance(value, str)]
    if wrong:
        raise InputError(f"scores must be numbers; {', '.join(wrong)} are not")
    return {"score_names": list(scores), "score_values": np.array([float(v) for v in scores.values()])}


def plain_ids(ids: Any) -> np.ndarray | list[str] | None:
    """Ids as an array of integers or a list of texts."""
    array = np.asarray(ids)
    if array.size == 0:
        return None
    return array if array.dtype.kind in "iu" else [str(v) for v in array.tolist()]


def without_folders(description: Mapping[str, Any]) -> dict[str, Any]:
    """The description of data whose source is a file of this machine by its name alone: files are shared."""
    described = dict(description)
    source = described.get("source")
    if isinstance(source, dict) and source.get("location"):
        described["source"] = {**source, "location": public_name(str(source["location"]))}
    for name in ("sessions", "shared_with"):  # of a model of several sessions
        if name in described:
            described[name] = [without_folders(other) for other in described[name]]
    return described


def public_name(location: str) -> str:
    """A DANDI address, an address without credentials, or the name of a file without its folder."""
    if is_dandi_address(location) or is_address(location):
        return public_location(location)
    return location.replace("\\", "/").rstrip("/").split("/")[-1]


def to_json(value: Any) -> str:
    """JSON text; numpy numbers and arrays become plain ones."""
    return json.dumps(value, default=_python, ensure_ascii=False)


def _python(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode()
    return value if isinstance(value, int | float | bool | list) else str(value)
