"""Write a fitted model and what came out of it into an NWB file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.recordings.recording import Dropped, Recording
from nwb_rnn.sources.nwb_open import quiet
from nwb_rnn.storage import model_form, regions, result_form
from nwb_rnn.storage.atomic import check_target, check_writable, locked, replacing
from nwb_rnn.storage.metadata import Metadata
from nwb_rnn.storage.naming import check_ending, derivative_name
from nwb_rnn.storage.source_file import check_identity, local_path, opened, origin_of

if TYPE_CHECKING:
    import xarray

    from nwb_rnn.dynamics.fixed_points import FixedPoints

MODES = ("auto", "append", "derivative")


@dataclass(frozen=True)
class Results:
    """What is written, and under which names.

    Attributes
    ----------
    model, latents, fixed_points, simulation : see `write`; None is not written
    name : of the model; the other objects are called after it
    module : processing module; None chooses by what was observed
    """

    model: Any
    latents: xarray.Dataset | None
    fixed_points: FixedPoints | Mapping[str, FixedPoints] | None
    simulation: xarray.Dataset | None
    name: str
    module: str | None

    def __post_init__(self):
        given = (self.model, self.latents, self.fixed_points, self.simulation)
        if all(part is None for part in given):
            raise InputError("nothing to write: give model=, latents=, fixed_points= or simulation=")
        tables = [("fixed_points", table) for table in self.tables]
        for label, text in (("name", self.name), ("module", self.module), *tables):
            if text is not None and (not text or "/" in text or ":" in text):
                raise InputError(f"{label}={text!r} must be a text without slashes and colons")
        if self.latents is not None:
            result_form.check_latents(self.latents)

    @property
    def tables(self) -> Mapping[str, FixedPoints]:
        """Tables of fixed points by their names in the file."""
        if isinstance(self.fixed_points, Mapping):
            return self.fixed_points
        return {} if self.fixed_points is None else {f"{self.name}_fixed_points": self.fixed_points}


def write(
    path: str | os.PathLike,
    model: Any = None,
    *,
    latents: xarray.Dataset | None = None,
    fixed_points: FixedPoints | Mapping[str, FixedPoints] | None = None,
    simulation: xarray.Dataset | None = None,
    source: Recording | str | os.PathLike | None = None,
    overwrite: bool = False,
    mode: str = "auto",
    module: str | None = None,
    name: str | None = None,
    dandi: bool = True,
    **metadata: Any,
) -> Path:
    """Write results into an NWB file, whole or not at all.

    A file at `path` stays as it was until the new one is complete, and takes its place in one step.

    Parameters
    ----------
    path : the file, or a folder: then a derivative gets the name of `derivative_name` in it
    model : a fitted LowRankRNN, RateRNN or TaskRNN
    latents : what ``model.infer(trials)`` returned; written aligned to trials, and in session time
    fixed_points : what ``model.fixed_points()`` returned; several, such as one for each input, as a dict
        of table name -> fixed points
    simulation : what ``model.simulate(...)`` returned
    source : the recording that the results belong to (or path or address of its NWB file, or an open
        `pynwb.NWBFile`). None makes a file with metadata and results only
    overwrite : replace a file that exists at `path`
    mode : "derivative" writes a slim copy of the source (units, electrodes, ROIs, intervals, behaviour,
        no signals) with a new identifier; "append" writes the whole source with the results added, in
        place where `path` is the source itself; "auto" is a derivative, and append only when `path` is
        an existing file and no `source` is given
    module : processing module; "ophys" for ROIs and else "ecephys" by default
    name : of the model in the file, for several in one file; "low_rank_rnn" and the like by default
    dandi : refuse a derivative that DANDI would refuse; False writes it all the same
    metadata : of a derivative, where the source lacks it or is to be corrected: subject (dict of subject_id,
        species, sex, age or date_of_birth, ...), session_start_time, session_description, session_id,
        experimenter, experiment_description, institution, lab, keywords, related_publications

    Returns
    -------
    The path of the file.

    Raises
    ------
    StorageError : `path` exists, the source is read-only or held open elsewhere (append), metadata that
        DANDI demands is missing (each is named with its argument), or the disk is full; files that were
        there stay as they were
    SourceError : the source cannot be read
    InputError : an argument that cannot be used
    """
    import_module("ndx_latent_dynamics")  # before any file is opened: types register on import
    if mode not in MODES:
        raise InputError(f"mode={mode!r} is not known; choose from {', '.join(MODES)}")
    results = Results(model, latents, fixed_points, simulation, name or _default_name(model), module)
    said = _metadata(metadata)
    path = Path(path).expanduser()
    if path.is_dir():
        path = _named(path, source)
    check_ending(path)
    if mode == "auto":
        mode = "append" if source is None and path.is_file() else "derivative"
    if mode == "append":
        return _append(path, source, results, overwrite, said)
    return _derive(path, source, results, overwrite, said, dandi)


def _metadata(given: dict[str, Any]) -> Metadata:
    unknown = set(given) - set(Metadata.__dataclass_fields__)
    if unknown:
        known = ", ".join(Metadata.__dataclass_fields__)
        raise InputError(f"write does not know {', '.join(sorted(unknown))}; metadata may be {known}")
    return Metadata(**given)


def _default_name(model: Any) -> str:
    names = {"LowRankRNN": "low_rank_rnn", "RateRNN": "rate_rnn", "TaskRNN": "task_rnn"}
    return "low_rank_rnn" if model is None else names[model_form.kind_of(model)]


def _named(folder: Path, source: Any) -> Path:
    if not isinstance(source, Recording):
        raise InputError(
            f"{str(folder)!r} is a folder, and only a Recording as source= says what to call the file; give "
            "the path of a file"
        )
    return derivative_name(source, folder)


def _same_file(one: Path | None, other: Path) -> bool:
    return one is not None and one.exists() and other.exists() and os.path.samefile(one, other)


# derivative ------------------------------------------------------------------------------------------


def _derive(path: Path, source: Any, results: Results, overwrite: bool, said: Metadata, dandi: bool) -> Path:
    from pynwb import NWBHDF5IO

    from nwb_rnn.storage.derivative import slim_copy
    from nwb_rnn.storage.from_recording import file_of_recording

    if _same_file(local_path(source), path):
        raise StorageError(
            f"{str(path)!r} is the source itself, which a derivative never replaces; give another path, or "
            "mode='append' to add the results to it"
        )
    check_target(path, overwrite)
    with opened(source) as held, quiet():
        origin = origin_of(source, held)
        if held is None:
            recording = source if isinstance(source, Recording) else None
            nwbfile = file_of_recording(recording, said, dandi, _software())
        else:
            nwbfile, _ = slim_copy(held, said, dandi, _software())
    _add(nwbfile, results, origin)
    with replacing(path, overwrite) as temporary:
        with quiet(), NWBHDF5IO(str(temporary), "w") as io:
            io.write(nwbfile)
        _check(temporary, results)
    return path


def _software() -> dict[str, str]:
    """Name -> version of what writes a file."""
    found = {}
    for name in ("nwb_rnn", "ndx-latent-dynamics", "pynwb", "hdmf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a distribution"
    return found


# append ----------------------------------------------------------------------------------------------


def _append(path: Path, source: Any, results: Results, overwrite: bool, said: Metadata) -> Path:
    if not said.is_empty:
        raise InputError(
            "append leaves the metadata of the source as it is; give metadata only to a derivative "
            "(mode='derivative')"
        )
    origin_path = path if source is None else local_path(source)
    if origin_path is None or not origin_path.is_file():
        raise StorageError(
            f"results can be appended only to an HDF5 file on this machine, not to "
            f"{str(source)[:200]!r}; write a derivative instead (mode='derivative')"
        )
    in_place = _same_file(origin_path, path)
    if in_place:
        check_writable(origin_path)
    else:
        check_target(path, overwrite)
    with locked(origin_path), replacing(path, overwrite or in_place) as temporary:
        shutil.copyfile(origin_path, temporary)
        _add_to_file(temporary, source if source is not None else path, results)
        _check(temporary, results)
    return path


def _add_to_file(path: Path, source: Any, results: Results) -> None:
    import h5py
    from pynwb import NWBHDF5IO

    if not h5py.is_hdf5(path):
        raise StorageError(f"{str(local_path(source))!r} is no HDF5 file, so nothing can be appended to it")
    with quiet(), NWBHDF5IO(str(path), "a", load_namespaces=True) as io:
        nwbfile = io.read()
        check_identity(source, nwbfile)
        _add(nwbfile, results, origin_of(source, nwbfile))
        io.write(nwbfile)


# what is added ---------------------------------------------------------------------------------------


def _add(nwbfile: Any, results: Results, origin: model_form.Origin) -> list[Dropped]:
    """Put results into a file in memory; returns what was left out."""
    ids, observed = _observed(results)
    table = regions.unit_table(nwbfile, ids, observed)
    name, notes = results.name, []
    stored = _stored(nwbfile, name) if results.model is None else None
    beside = None if stored is None else stored.parent.name
    module = _module(nwbfile, results.module or beside or regions.default_module(nwbfile, table))
    if results.model is not None:
        units = regions.region("observed_units", "the units that were fitted", ids, table)
        stored = _put(module, model_form.model_container(results.model, name, origin, units))
    if results.latents is not None:
        notes += _add_latents(nwbfile, module, results, stored, table)
    for table_name, points in results.tables.items():
        _put(module, result_form.fixed_point_container(points, table_name, stored))
    if results.simulation is not None:
        _put(module, result_form.simulation_table(results.simulation, f"{name}_simulation"))
    return notes


def _add_latents(nwbfile: Any, module: Any, results: Results, stored: Any, table: Any) -> list[Dropped]:
    latents: Any = results.latents
    name = results.name
    trials = regions.region(
        "trials",
        "the trials of these latents",
        latents["trial"].values,
        regions.trial_table(nwbfile, str(latents.attrs.get("table", "trials"))),
    )
    units = None
    if "unit" in latents.coords:
        units = regions.region("observed_units", "units of the rates", latents["unit"].values, table)
    _put(module, result_form.latents_container(latents, f"{name}_latents", stored, trials, units))
    series, notes = result_form.session_series(latents, f"{name}_latents_session_time")
    if series is not None:
        _put(module, series)
    return notes


def _stored(nwbfile: Any, name: str) -> Any:
    """The model of that name that the file holds already, or None."""
    found = (item for item in nwbfile.objects.values() if regions.type_of(item) in model_form.KINDS)
    return next((item for item in found if item.name == name), None)


def _observed(results: Results) -> tuple[Any, str]:
    """Ids of the observed units, and whether they are counted spikes or signals."""
    if results.model is not None:
        described = results.model.data_description
        return described.get("unit_ids", []), str(described.get("observed", "counts"))
    if results.latents is not None and "unit" in results.latents.coords:
        signal = "signal_name" in results.latents.attrs
        return results.latents["unit"].values, "signal" if signal else "counts"
    return np.zeros(0, int), "counts"


def _module(nwbfile: Any, name: str) -> Any:
    if name in nwbfile.processing:
        return nwbfile.processing[name]
    return nwbfile.create_processing_module(name, "Fitted dynamics of the recorded activity, and more")


def _put(module: Any, container: Any) -> Any:
    if container.name in module.data_interfaces:
        raise StorageError(f"the module {module.name!r} holds {container.name!r} already; give another name=")
    module.add(container)
    return container


def _check(path: Path, results: Results) -> None:
    """Read the model back from the new file and compare it bit for bit, before the file is kept."""
    if results.model is None:
        return
    from nwb_rnn.storage.reading import read_model

    stored = read_model(path, results.name)
    model_form.check_same(results.model, stored, str(path))
