"""NWB files, by path, by address or already open, become a `Recording`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Dropped, Provenance, Recording
from nwb_rnn.recordings.selection import chosen_rows
from nwb_rnn.sources.nwb_contents import Contents, take_stock
from nwb_rnn.sources.nwb_open import explained, open_nwb, public_location, quiet
from nwb_rnn.sources.nwb_series import read_signals, read_traces
from nwb_rnn.sources.nwb_tables import LONGEST_TEXT, read_observed, read_spikes, read_units

if TYPE_CHECKING:
    from pynwb import NWBFile

_TEXTS = ("session_description", "experiment_description", "institution", "lab", "session_id", "notes")
_SUBJECT = (
    "subject_id",
    "species",
    "sex",
    "age",
    "genotype",
    "strain",
    "description",
    "date_of_birth",
    "weight",
)


def read_nwb(
    source: str | os.PathLike | NWBFile,
    *,
    signal: str | None = None,
    units: str | Sequence[Any] | np.ndarray | None = None,
    span: tuple[float, float] | None = None,
    keep_rejected: bool = False,
) -> Recording:
    """Read an NWB file.

    All tables and spikes are read at once and the file is closed again. Signals of more than
    `nwb_rnn.sources.nwb_series.LARGE` bytes are not read unless named, and then by stretches, when they
    are aligned; the file must still be there then.

    Parameters
    ----------
    source : path of an HDF5 file or Zarr folder; ``http(s)://`` or ``s3://`` address, streamed by ranges
        of bytes; or an open `pynwb.NWBFile`, which is left open
    signal : name of the signal that `align` is to use, even beside spikes; any series of numbers can be
        one. This also reads one that is too large to be read unasked
    units : read only these units: a condition over their columns, ids, or booleans
    span : (start, stop) s: read only the spikes in between
    keep_rejected : keep ROIs that the segmentation marks as rejected

    Returns
    -------
    Recording : with ``description["session_start_time"]`` as ISO text

    Raises
    ------
    SourceError : the file cannot be read
    InputError : it holds no units and no signal, or not those asked for
    """
    with _opened(source) as (nwbfile, location):
        return read_open(nwbfile, location, signal, units, span, keep_rejected)


def read_open(
    nwbfile: NWBFile,
    location: str,
    signal: str | None = None,
    units: str | Sequence[Any] | np.ndarray | None = None,
    span: tuple[float, float] | None = None,
    keep_rejected: bool = False,
) -> Recording:
    """Read a file that is open, and is to be opened at `location` when a large signal of it is needed."""
    with quiet(), explained(public_location(location)):
        contents = take_stock(nwbfile)
        notes = list(contents.notes)
        parts: dict[str, Any] = {}
        if contents.units is not None:
            parts = _read_units(contents, units, span, notes)
        signals = read_signals(contents, location, signal, keep_rejected, notes)
        preferred = _named(signals, signal, contents) if signal else ""
        if not signals and "spikes" not in parts:
            raise InputError(_nothing(nwbfile, contents, location, notes))
        intervals, events = contents.read_intervals(notes), contents.read_events(notes)
        behaviour = read_traces(contents, location, notes)
        tables = [*(["units"] if parts else []), *intervals, *events]
        return Recording.build(
            **parts,
            signals=signals,
            traces=signals[preferred] if preferred else None,
            preferred=preferred,
            intervals=intervals,
            events=events,
            behaviour=behaviour,
            provenance=_provenance(nwbfile, location, [*tables, *signals, *behaviour]),
            dropped=notes,
            description=_description(nwbfile, notes),
        )


@contextmanager
def _opened(source: Any) -> Iterator[tuple[Any, str]]:
    """The open file and where it lies; closed again only if it was opened here."""
    if isinstance(source, str | os.PathLike):
        with open_nwb(source) as nwbfile:
            yield nwbfile, os.fspath(source)
    else:
        yield source, str(getattr(source, "container_source", None) or "")


def _read_units(contents: Contents, choice: Any, span: Any, notes: list[Dropped]) -> dict[str, Any]:
    table = contents.units
    if "spike_times" not in table.colnames:
        notes.append(Dropped("unit", tuple(range(len(table.id))), "the table of units holds no spike times"))
        return {}
    units = read_units(table, notes)
    rows = None
    if choice is not None:
        passes = chosen_rows(units, choice)
        rows = np.flatnonzero(passes)
        if not len(rows):
            raise InputError(f"no unit of {len(passes)} fulfils units={choice!r}; loosen the condition")
        if len(rows) < len(units):
            notes.append(Dropped("unit", tuple(units.ids[~passes].tolist()), f"not read: units={choice!r}"))
        units = units.take(rows)
    if span is not None:
        notes.append(Dropped("sample", (), f"spikes outside {span[0]:g} to {span[1]:g} s were not read"))
    return {"units": units, "spikes": read_spikes(table, rows, span), "observed": read_observed(table, rows)}


def _named(signals: dict[str, Any], name: str, contents: Contents) -> str:
    matches = [n for n in signals if n == name] or [n for n in signals if n.split("/")[-1] == name]
    if len(matches) != 1:
        has = ", ".join(repr(n) for n in [*signals, *contents.series]) or "none"
        raise InputError(f"there is no signal {name!r} in this file; it has {has}")
    return matches[0]


def _nothing(nwbfile: Any, contents: Contents, location: str, notes: list[Dropped]) -> str:
    reasons = "; ".join(note.reason for note in notes if note.what in ("unit", "signal"))
    tables = ", ".join(repr(n) for n in contents.intervals) or "none"
    others = ", ".join([*contents.series, *contents.others][:12]) or "none"
    name = public_location(location) or nwbfile.identifier
    why = f" ({reasons})" if reasons else ""
    return (
        f"{name!r} has no units with spike times and no ROI responses or electrical series{why}; "
        f"tables: {tables}; other data: {others}. "
        "Name a series of numbers with signal=, or sort the spikes or extract the ROI responses first"
    )


def _provenance(nwbfile: Any, location: str, tables: Sequence[str]) -> Provenance:
    subject = nwbfile.subject
    return Provenance(
        kind="nwb",
        location=public_location(location),
        identifier=_short(nwbfile.identifier),
        object_id=_short(nwbfile.object_id),
        session_id=_short(nwbfile.session_id),
        subject_id=_short(subject.subject_id if subject is not None else ""),
        tables=tuple(tables),
    )


def _short(text: Any) -> str:
    return str(text or "")[:1000]


def _description(nwbfile: Any, notes: list[Dropped]) -> dict[str, str]:
    found = {name: getattr(nwbfile, name, None) for name in _TEXTS}
    start = nwbfile.session_start_time
    found["session_start_time"] = start.isoformat() if start is not None else None
    if nwbfile.subject is not None:
        found |= {
            f"subject_{n.removeprefix('subject_')}": getattr(nwbfile.subject, n, None) for n in _SUBJECT
        }
    texts = {k: str(v) for k, v in found.items() if v is not None}
    long = tuple(k for k, v in texts.items() if len(v) > LONGEST_TEXT)
    if long:
        notes.append(Dropped("column", long, f"text of more than {LONGEST_TEXT} characters refused"))
    return {k: v for k, v in texts.items() if k not in long}
