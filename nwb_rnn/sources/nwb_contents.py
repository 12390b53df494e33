"""What an NWB file holds, sorted by what it is good for; nothing large is read here.

Types are told by their fields as well as by their names, so that extensions which are not installed
(events, other tables) are understood too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nwb_rnn.recordings.building import plain_column
from nwb_rnn.recordings.recording import Dropped, Table
from nwb_rnn.sources.nwb_tables import read_array, read_ragged, read_table

_BEHAVIOUR = {
    "Position",
    "CompassDirection",
    "EyeTracking",
    "PupilTracking",
    "BehavioralTimeSeries",
    "BehavioralEpochs",
}
_IMAGES = {"ImageSeries", "IndexSeries", "SpikeEventSeries"}


@dataclass
class Contents:
    """Objects of an NWB file by use; names are unique, the path where a short name is not.

    Attributes
    ----------
    units : the table of units, or None
    intervals : tables with start_time and stop_time, and IntervalSeries
    events : tables with timestamps, and series of events
    rois : RoiResponseSeries
    electrical : ElectricalSeries and membrane recordings
    series : other TimeSeries that may be behaviour, events or one neuron each
    others : names of what is not read
    notes : lines for the report
    """

    units: Any = None
    intervals: dict[str, Any] = field(default_factory=dict)
    events: dict[str, Any] = field(default_factory=dict)
    rois: dict[str, Any] = field(default_factory=dict)
    electrical: dict[str, Any] = field(default_factory=dict)
    series: dict[str, Any] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    notes: list[Dropped] = field(default_factory=list)

    def read_intervals(self, notes: list[Dropped]) -> dict[str, Table]:
        """Every table of intervals."""
        read = {name: _intervals(name, item, notes) for name, item in self.intervals.items()}
        return {name: table for name, table in read.items() if table is not None}

    def read_events(self, notes: list[Dropped]) -> dict[str, Table]:
        """Every table and series of events."""
        tables: dict[str, Table] = {}
        for name, item in self.events.items():
            if "event_times" in getattr(item, "colnames", ()) or ():
                tables |= _annotated(name, item)
                continue
            table = _events(name, item, notes)
            if table is not None:
                tables[name] = table
        return tables


def take_stock(nwbfile: Any) -> Contents:
    """Sort all objects of a file by what they are good for."""
    contents = Contents()
    contents.units = _one_table_of_units(nwbfile, contents.notes)
    for item in nwbfile.objects.values():
        shelf = _shelf(item)
        if shelf == "others":
            contents.others.append(path_of(item))
        elif shelf:
            getattr(contents, shelf)[path_of(item)] = item
    for shelf in ("intervals", "events", "rois", "electrical", "series"):
        items = getattr(contents, shelf)
        setattr(contents, shelf, shortest_names({path: items[path] for path in sorted(items)}))
    return contents


def _one_table_of_units(nwbfile: Any, notes: list[Dropped]) -> Any:
    """The units of the file, else the first other table of units; what is not read is reported."""
    found = {path_of(item): item for item in nwbfile.objects.values() if "Units" in kinds(item)}
    if not found:
        return None
    chosen = nwbfile.units if nwbfile.units is not None else found[min(found)]
    rest = tuple(sorted(path for path, item in found.items() if item is not chosen))
    if rest:
        notes.append(Dropped("unit", rest, "further tables of units, not read"))
    return chosen


def _shelf(item: Any) -> str:
    """Where an object belongs; empty for containers and what is of no use here."""
    names = kinds(item)
    if "Units" in names:
        return ""
    if hasattr(item, "colnames") and hasattr(item, "id"):
        return _table_shelf(item)
    if "TimeSeries" in names:
        return _series_shelf(item, names)
    if getattr(item, "timestamps", None) is not None and not hasattr(item, "rate"):
        return "events"
    return ""


def _table_shelf(table: Any) -> str:
    columns = set(table.colnames or ())
    if {"start_time", "stop_time"} <= columns:
        return "intervals"
    if columns & {"timestamp", "timestamps", "event_times"}:
        return "events"
    return ""


def _series_shelf(series: Any, names: set[str]) -> str:
    if "RoiResponseSeries" in names:
        return "rois"
    if names & _IMAGES or len(getattr(series.data, "shape", (0,)) or (0,)) > 2:
        return "others"
    if "ElectricalSeries" in names or "PatchClampSeries" in names:
        return "electrical"
    if "IntervalSeries" in names:
        return "intervals"
    if "AnnotationSeries" in names or "BehavioralEvents" in kinds(series.parent):
        return "events"
    if _looks_like_events(series):
        return "events"
    return "series"


def _looks_like_events(series: Any) -> bool:
    """Whole numbers or texts, one per sample, at times of their own: codes of events rather than a signal."""
    kind = getattr(getattr(series.data, "dtype", None), "kind", "O")
    if kinds(series.parent) & _BEHAVIOUR or len(getattr(series.data, "shape", (0,))) != 1:
        return False
    if series.timestamps is None or kind not in "iubOSU":
        return False
    if kind in "OSU":
        return True
    steps = np.diff(read_array(series.timestamps))
    return len(steps) == 0 or bool(np.ptp(steps) > 0.5 * np.median(steps))


def kinds(item: Any) -> set[str]:
    """Names of the classes of an object."""
    return {base.__name__ for base in type(item).__mro__}


def path_of(item: Any) -> str:
    """Where an object lies in its file, such as ``"ophys/DfOverF/RoiResponseSeries"``."""
    parts = [str(item.name)]
    while (item := getattr(item, "parent", None)) is not None and "NWBFile" not in kinds(item):
        parts.append(str(item.name))
    return "/".join(reversed(parts))


def shortest_names(items: dict[str, Any]) -> dict[str, Any]:
    """The last part of each path as name where no other has it too, else the path."""
    last = [path.split("/")[-1] for path in items]
    return {
        (s if last.count(s) == 1 else path): item for s, (path, item) in zip(last, items.items(), strict=True)
    }


def _intervals(name: str, item: Any, notes: list[Dropped]) -> Table | None:
    if "TimeSeries" not in kinds(item):
        return read_table(item, notes, name=name)
    marks, stamps = read_array(item.data), stamps_of(item)
    begins, ends = stamps[marks > 0], stamps[marks < 0]
    if len(begins) != len(ends) or np.any(ends < begins):
        notes.append(Dropped("event", (name,), "its begins and ends do not alternate, so it is not read"))
        return None
    return Table(name, np.arange(len(begins)), {"start_time": begins, "stop_time": ends})


def _events(name: str, item: Any, notes: list[Dropped]) -> Table | None:
    if hasattr(item, "colnames"):
        table = read_table(item, notes, name=name)
        source = "timestamp" if "timestamp" in table.columns else "timestamps"
        columns = {k: v for k, v in table.columns.items() if k != source}
        return (
            Table(name, table.ids, {"timestamp": table.columns[source], **columns})
            if source in table.columns
            else None
        )
    stamps = stamps_of(item) if "TimeSeries" in kinds(item) else read_array(item.timestamps)
    columns = {"timestamp": stamps}
    data = getattr(item, "data", None)
    values = plain_column(read_array(data)) if data is not None else None
    if values is not None and values.shape == stamps.shape:
        columns["data"] = values
        columns |= _labels(item, values)
    return Table(name, np.arange(len(stamps)), columns)


def _labels(item: Any, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Text of each code, where the object lists its labels."""
    labels = getattr(item, "labels", None)
    texts = plain_column(read_array(labels)) if labels is not None else None
    if texts is None or texts.dtype.kind != "U" or codes.dtype.kind not in "iu":
        return {}
    if len(codes) and (codes.min() < 0 or codes.max() >= len(texts)):
        return {}
    return {"label": texts[codes]}


def _annotated(name: str, item: Any) -> dict[str, Table]:
    """One table for each row of a table whose rows are kinds of events with ragged times."""
    times, offsets = read_ragged(item, "event_times")
    labels: Iterable[Any] = (
        read_array(item["label"].data) if "label" in item.colnames else range(len(offsets) - 1)
    )
    tables = {}
    for row, label in enumerate(labels):
        stamps = times[offsets[row] : offsets[row + 1]]
        text = label.decode() if isinstance(label, bytes) else str(label)
        tables[f"{name}/{text}"] = Table(f"{name}/{text}", np.arange(len(stamps)), {"timestamp": stamps})
    return tables


def stamps_of(series: Any) -> np.ndarray:
    """(T,) session seconds of the samples of a TimeSeries."""
    if series.timestamps is not None:
        return read_array(series.timestamps).astype(np.float64)
    samples = len(series.data)
    return float(series.starting_time or 0.0) + np.arange(samples) / float(series.rate)
