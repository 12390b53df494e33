"""Read fitted models, latents and fixed points from NWB files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nwb_rnn.errors import StorageError
from nwb_rnn.sources.nwb_open import open_nwb, public_location
from nwb_rnn.storage.model_form import KINDS, StoredModel, stored_model
from nwb_rnn.storage.regions import type_of
from nwb_rnn.storage.result_form import stored_fixed_points, stored_latents

if TYPE_CHECKING:
    import xarray
    from pynwb import NWBFile

_ESTIMATORS = {
    "LowRankRNN": "nwb_rnn.estimators.low_rank_rnn",
    "RateRNN": "nwb_rnn.estimators.rate_rnn",
    "TaskRNN": "nwb_rnn.estimators.task_rnn",
}


@contextmanager
def opened(path: str | os.PathLike | NWBFile) -> Iterator[NWBFile]:
    """A file with our types known, closed again afterwards; one that is open already stays open.

    Opening takes longest of all: those who read several things open the file once with this.
    """
    import_module("ndx_latent_dynamics")
    if not isinstance(path, str | os.PathLike):
        yield path
        return
    with open_nwb(path) as nwbfile:
        yield nwbfile


def load(path: str | os.PathLike | NWBFile, name: str | None = None) -> Any:
    """The fitted model in an NWB file, with the same numbers bit for bit.

    Parameters
    ----------
    path : file, Zarr folder or address; or an open `pynwb.NWBFile`, which is left open
    name : of the model, where the file holds several

    Returns
    -------
    A `LowRankRNN`, `RateRNN` or `TaskRNN`.

    Raises
    ------
    SourceError : the file cannot be read
    StorageError : it holds no such model
    """
    stored = read_model(path, name)
    estimator = getattr(import_module(_ESTIMATORS[stored.kind]), stored.kind)
    return estimator.restore(
        arrays=stored.arrays,
        configuration=stored.configuration,
        history=stored.history,
        data_description=stored.data_description,
        software=stored.software,
        scores=stored.scores,
    )


def read_model(path: str | os.PathLike | NWBFile, name: str | None = None) -> StoredModel:
    """The numbers of a fitted model, without making an estimator of them."""
    with _chosen(path, KINDS, name, "fitted model") as container:
        return stored_model(container)


def load_latents(path: str | os.PathLike | NWBFile, name: str | None = None) -> xarray.Dataset:
    """Latents as `infer` returned them; columns of the table of trials come along as coordinates.

    Parameters
    ----------
    path, name : as for `load`; `name` is that of the latents or of their model
    """
    with _chosen(path, ("TrialAlignedLatents",), name, "set of latents") as container:
        return stored_latents(container)


def load_fixed_points(path: str | os.PathLike | NWBFile, name: str | None = None) -> dict[str, Any]:
    """Fixed points as a dict of arrays, for `nwb_rnn.dynamics.fixed_points.FixedPoints.from_dict`.

    Parameters
    ----------
    path, name : as for `load`; `name` is that of the table or of its model
    """
    with _chosen(path, ("FixedPointTable",), name, "table of fixed points") as container:
        return stored_fixed_points(container)


def contents(path: str | os.PathLike | NWBFile) -> dict[str, list[str]]:
    """Names of the models, sets of latents and tables of fixed points that a file holds."""
    kinds = {"models": KINDS, "latents": ("TrialAlignedLatents",), "fixed_points": ("FixedPointTable",)}
    with opened(path) as nwbfile:
        held = [(type_of(item), item.name) for item in nwbfile.objects.values()]
    return {what: sorted(name for kind, name in held if kind in types) for what, types in kinds.items()}


def read_about(path: str | os.PathLike | NWBFile, name: str | None = None) -> dict[str, Any]:
    """What a file says about a model besides its numbers.

    Returns
    -------
    name, kind, description, equations, identifier and object_id of the file, source_identifier,
    source_object_id and source_location of what the model was fitted to, and `latents` and `fixed_points`,
    the names of the objects that belong to it

    Raises
    ------
    SourceError, StorageError : as for `load`
    """
    with _chosen(path, KINDS, name, "fitted model") as model:
        nwbfile = model.get_ancestor("NWBFile")
        held = list(nwbfile.objects.values())

        def beside(kind: str) -> list[str]:
            of_type = [item for item in held if type_of(item) == kind]
            return sorted(item.name for item in of_type if _model_name(item) in (None, model.name))

        texts = ("description", "equations", "source_identifier", "source_object_id", "source_location")
        return {
            "name": model.name,
            "kind": type_of(model),
            "identifier": str(nwbfile.identifier),
            "object_id": str(nwbfile.object_id),
            **{text: str(getattr(model, text, None) or "") for text in texts},
            "latents": beside("TrialAlignedLatents"),
            "fixed_points": beside("FixedPointTable"),
        }


@contextmanager
def _chosen(
    path: str | os.PathLike | NWBFile, kinds: tuple[str, ...], name: str | None, what: str
) -> Iterator[Any]:
    """The one object of these types in a file, or the one with this name."""
    with opened(path) as nwbfile:
        found = [item for item in nwbfile.objects.values() if type_of(item) in kinds]
        wanted = _named(found, name)
        if len(wanted) != 1:
            location = path if isinstance(path, str | os.PathLike) else str(nwbfile.container_source)
            raise StorageError(_refusal(public_location(location), [i.name for i in found], name, what))
        yield wanted[0]


def _named(found: list[Any], name: str | None) -> list[Any]:
    """Those that a name, of an object or of its model, may stand for."""
    exact = [item for item in found if item.name == name]
    if exact:
        return exact
    wanted = [item for item in found if name in (None, _model_name(item))]
    models = {_model_name(item) for item in wanted}
    if len(wanted) > 1 and len(models) == 1:  # several tables of one model: the one with the usual name
        usual = [item for item in wanted if item.name == f"{next(iter(models))}_fixed_points"]
        return usual or wanted
    return wanted


def _model_name(item: Any) -> str | None:
    model = getattr(item, "model", None)
    return None if model is None else model.name


def _refusal(path: str, names: list[str], name: str | None, what: str) -> str:
    if not names:
        return f"{path!r} holds no {what}; give a file that nwb_rnn.write or `nwb-rnn fit` made"
    listed = ", ".join(repr(n) for n in sorted(names))
    if name is None:
        return f"{path!r} holds more than one {what}: {listed}; say which one with name="
    return f"{path!r} holds no {what} that {name!r} stands for; it has {listed}"
