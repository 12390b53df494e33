"""Slim copies of a session: what results refer to, without the recorded signals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from nwb_rnn.recordings.recording import Dropped
from nwb_rnn.storage.copying import Copier, NotCopied
from nwb_rnn.storage.metadata import Metadata, check_dandi, check_start
from nwb_rnn.storage.regions import type_of

_TEXTS = (
    "session_description",
    "experimenter",
    "experiment_description",
    "session_id",
    "institution",
    "keywords",
    "pharmacology",
    "protocol",
    "related_publications",
    "slices",
    "data_collection",
    "surgery",
    "virus",
    "stimulus_notes",
    "lab",
)
_LEFT_OUT = ("acquisition", "stimulus", "stimulus_template", "analysis", "scratch")
_BEHAVIOUR = "behavior"


def slim_copy(
    source: Any, metadata: Metadata, dandi: bool, software: dict[str, str]
) -> tuple[Any, list[Dropped]]:
    """A new NWB file in memory with the tables of a session and none of its signals.

    Parameters
    ----------
    source : open `pynwb.NWBFile`
    metadata : what the caller says about the session
    dandi : refuse where DANDI would refuse
    software : name -> version of what writes the file

    Returns
    -------
    The file, with a new identifier and new object ids, and what was left out.

    Raises
    ------
    StorageError : metadata that DANDI or NWB demands is missing
    """
    subject = _subject_fields(source, metadata)
    start = metadata.session_start_time or source.session_start_time
    if dandi:
        check_dandi(subject, start)
    copier = Copier()
    texts = {name: _plain(getattr(source, name, None)) for name in _TEXTS} | metadata.given()
    arguments = {name: value for name, value in texts.items() if value is not None}
    arguments |= _contents(source, copier)
    reference = source.timestamps_reference_time
    moved = source.session_start_time is not None and start != source.session_start_time
    notes = [*copier.notes, *_not_copied(source)]
    nwbfile = new_file(
        **{
            **arguments,
            "session_start_time": check_start(start),
            "timestamps_reference_time": None if moved else reference,
            "subject": _subject(source, subject),
            "notes": _notes(source, notes),
        },
        software=software,
    )
    return nwbfile, notes


def new_file(*, software: dict[str, str], session_description: str | None = None, **arguments: Any) -> Any:
    """An NWB file in memory with an identifier of its own."""
    from pynwb import NWBFile

    return NWBFile(
        identifier=str(uuid4()),
        session_description=session_description or "Results of nwb_rnn",
        was_generated_by=[[name, version] for name, version in software.items()],
        **{name: value for name, value in arguments.items() if value is not None},
    )


def _contents(source: Any, copier: Copier) -> dict[str, Any]:
    """Tables and what they refer to, as arguments of `pynwb.NWBFile`."""
    parts = {
        "device_models": copier.all_of(getattr(source, "device_models", {}).values(), "device"),
        "devices": copier.all_of(source.devices.values(), "device"),
        "electrode_groups": copier.all_of(source.electrode_groups.values(), "electrodes"),
        "imaging_planes": copier.all_of(source.imaging_planes.values(), "imaging plane"),
        "electrodes": copier.one(source.electrodes, "electrodes"),
        "units": copier.one(source.units, "units"),
        "trials": copier.one(source.trials, "table"),
        "epochs": copier.one(source.epochs, "table"),
        "invalid_times": copier.one(source.invalid_times, "table"),
        "intervals": copier.all_of(_others(source), "table"),
        "events": copier.all_of(_events(source), "table"),
        "lab_meta_data": copier.all_of(source.lab_meta_data.values(), "metadata"),
        "processing": [m for m in (_module(m, copier) for m in source.processing.values()) if m is not None],
    }
    return {name: value for name, value in parts.items() if value is not None and value != []}


def _others(source: Any) -> Iterable[Any]:
    """Interval tables apart from trials, epochs and invalid_times."""
    named = (source.trials, source.epochs, source.invalid_times)
    return [t for t in (source.intervals or {}).values() if not any(t is n for n in named)]


def _events(source: Any) -> Iterable[Any]:
    events = getattr(source, "events", None) or {}
    return events.values() if hasattr(events, "values") else events


def _module(module: Any, copier: Copier) -> Any:
    """Behaviour whole; of other modules only ROI tables, tables of intervals and tables of events."""
    from pynwb import ProcessingModule

    held = module.data_interfaces.values()
    wanted = held if module.name == _BEHAVIOUR else [item for item in held if _is_table_of_results(item)]
    for item in held:
        if not any(item is w for w in wanted):
            copier.notes.append(
                Dropped("signal", (f"{module.name}/{item.name}",), "not part of a derivative")
            )
    copies = copier.all_of(wanted, "signal")
    if not copies:
        return None
    return ProcessingModule(name=module.name, description=module.description, data_interfaces=copies)


def _is_table_of_results(item: Any) -> bool:
    if type_of(item) in ("ImageSegmentation", "PlaneSegmentation"):
        return True
    columns = set(getattr(item, "colnames", None) or ())
    return bool({"start_time", "stop_time"} <= columns or columns & {"timestamp", "timestamps"})


def _not_copied(source: Any) -> list[Dropped]:
    """The signals that a derivative never holds."""
    notes = []
    for place in _LEFT_OUT:
        names = tuple(sorted(getattr(source, place, None) or {}))
        if names:
            notes.append(Dropped("signal", names, f"{place} is not part of a derivative"))
    return notes


def _subject_fields(source: Any, metadata: Metadata) -> dict[str, Any]:
    """Fields of the subject that are known, those of the caller first."""
    from hdmf.utils import get_docval
    from pynwb.file import Subject

    known: dict[str, Any] = {}
    if source.subject is not None:
        names = [a["name"] for a in get_docval(type(source.subject).__init__)]
        known = {n: _plain(getattr(source.subject, n, None)) for n in names}
    else:
        known = dict.fromkeys(a["name"] for a in get_docval(Subject.__init__))
    known |= metadata.subject or {}
    return {n: v for n, v in known.items() if v is not None and v != "" and n != "skip_post_init"}


def _subject(source: Any, fields: dict[str, Any]) -> Any:
    from pynwb import available_namespaces
    from pynwb.file import Subject

    if not set(fields) - {"age__reference"}:
        return None
    if source.subject is not None and source.subject.namespace in available_namespaces():
        return type(source.subject)(**fields)
    return Subject(**fields)


def _notes(source: Any, left_out: list[Dropped]) -> str:
    from nwb_rnn.recordings.report import report

    said = f"{source.notes}\n" if source.notes else ""
    return (
        f"{said}Derivative of the NWB file with identifier {source.identifier!r} and object id "
        f"{source.object_id}. Left out: {report(left_out)}"
    )


def _plain(value: Any) -> Any:
    """Text, or a list of texts, read from the file."""
    if hasattr(value, "shape") and np_shape(value):
        return [v.decode() if isinstance(v, bytes) else str(v) for v in value[:]]
    return value


def np_shape(value: Any) -> tuple[int, ...]:
    """Shape of an array that may lie in a file."""
    return tuple(value.shape)


__all__ = ["Copier", "NotCopied", "new_file", "slim_copy"]
