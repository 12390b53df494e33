"""Read spikeinterface sortings and sorting analyzers.

A sorting stores spikes as sample numbers. Its times are what `get_unit_spike_train_in_seconds` gives:
the time of that sample in the recording it was registered to, or sample number over sampling frequency
plus the start time. Spikes that were not on the sampling grid before are therefore moved by up to half
a sample (17 µs at 30 kHz).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Provenance, Recording, Table
from nwb_rnn.sources.attached_tables import event_tables, interval_tables, plain_column

_TABLES = ("quality_metrics", "template_metrics")  # extensions of an analyzer that hold one row per unit


def read_spikeinterface(
    source: Any,
    *,
    segment: int | None = None,
    intervals: Mapping[str, Any] | None = None,
    events: Mapping[str, Any] | None = None,
) -> Recording:
    """Read a sorting, or a sorting analyzer with what it computed about each unit.

    Parameters
    ----------
    source : `BaseSorting` or `SortingAnalyzer`
    segment : which segment, counted from 0; needed where there are several
    intervals, events : tables that a sorting has no place for, such as ``{"trials": DataFrame}`` with
        ``start_time`` and ``stop_time`` in s of the sorting's clock, or ``{"go": times}``

    Returns
    -------
    Recording with the sorting's unit ids; its properties become unit columns, and of an analyzer also the
    quality and template metrics, the unit locations (x, y, z in µm), and the channel and peak (µV, where
    the analyzer holds scaled templates) of the largest template

    Raises
    ------
    InputError : neither of the two, or several segments and `segment` left out
    """
    from spikeinterface.core import BaseSorting, SortingAnalyzer

    analyzer = source if isinstance(source, SortingAnalyzer) else None
    sorting = source.sorting if analyzer is not None else source
    if not isinstance(sorting, BaseSorting):
        raise InputError(
            f"a {type(source).__name__} of spikeinterface holds no sorted spikes; expected a sorting "
            "(BaseSorting) or a SortingAnalyzer"
        )
    index = _segment(sorting, segment)
    spikes = [
        np.asarray(sorting.get_unit_spike_train_in_seconds(unit, segment_index=index), dtype=float)
        for unit in sorting.unit_ids
    ]
    columns = _properties(sorting)
    if analyzer is not None:
        columns |= _computed(analyzer)
    return Recording.build(
        units=Table("units", plain_column(sorting.unit_ids), columns),
        spikes=spikes,
        intervals=interval_tables(intervals),
        events=event_tables(events),
        provenance=_provenance(source, sorting),
        span=_span(analyzer, sorting, index),
    )


def _segment(sorting: Any, segment: int | None) -> int:
    count = sorting.get_num_segments()
    if segment is None and count > 1:
        raise InputError(
            f"the sorting has {count} segments, each with its own clock; pass segment= a number from 0 to "
            f"{count - 1}"
        )
    chosen = 0 if segment is None else segment
    if not 0 <= chosen < count:
        raise InputError(f"segment={segment}, but the sorting has {count} (counted from 0)")
    return chosen


def _properties(sorting: Any) -> dict[str, np.ndarray]:
    """Properties of the sorting with one number or text per unit."""
    columns = {}
    for key in sorting.get_property_keys():
        values = np.asarray(sorting.get_property(key))
        if values.ndim == 1 and values.dtype.names is None:
            columns[str(key)] = plain_column(values)
    return columns


def _computed(analyzer: Any) -> dict[str, np.ndarray]:
    """What the analyzer computed about its units, as columns; extensions that are absent add none."""
    columns: dict[str, np.ndarray] = {}
    for name in _TABLES:
        extension = analyzer.get_extension(name)
        if extension is not None:
            frame = extension.get_data().reindex(analyzer.unit_ids)
            columns |= {str(key): plain_column(frame[key].to_numpy()) for key in frame.columns}
    locations = analyzer.get_extension("unit_locations")
    if locations is not None:
        places = np.asarray(locations.get_data(), dtype=float)
        columns |= {axis: places[:, i] for i, axis in zip(range(places.shape[1]), "xyz", strict=False)}
    if analyzer.get_extension("templates") is not None:
        columns |= _peaks(analyzer)
    return columns


def _peaks(analyzer: Any) -> dict[str, np.ndarray]:
    """Channel with the largest mean waveform of each unit, and its signed peak."""
    templates = np.asarray(analyzer.get_extension("templates").get_data(operator="average"))
    at = np.abs(templates).max(axis=1).argmax(axis=1)
    waveforms = np.take_along_axis(templates, at[:, None, None], axis=2)[:, :, 0]
    peak = np.take_along_axis(waveforms, np.abs(waveforms).argmax(axis=1)[:, None], axis=1)[:, 0]
    return {"peak_channel": plain_column(np.asarray(analyzer.channel_ids)[at]), "peak_amplitude": peak}


def _span(analyzer: Any, sorting: Any, index: int) -> tuple[float, float] | None:
    """(start, stop), s, of the recording that was sorted; None where it is not known."""
    if sorting.has_recording():
        recording = sorting._recording
        return float(recording.get_start_time(index)), float(recording.get_end_time(index))
    start = sorting.segments[index]._t_start or 0.0
    if analyzer is not None:
        return start, start + analyzer.get_num_samples(index) / analyzer.sampling_frequency
    return None


def _provenance(source: Any, sorting: Any) -> Provenance:
    given = getattr(sorting, "_kwargs", None) or {}
    location = next((str(given[key]) for key in ("file_path", "folder_path") if given.get(key)), "")
    folder = getattr(source, "folder", None)
    return Provenance("spikeinterface", location=str(folder or location), tables=(type(source).__name__,))
