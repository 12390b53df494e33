"""What was recorded, in plain numpy, whatever file or tool it came from.

Every time is in seconds of the session. Units and channels keep the ids of the table they came
from, and nothing is left out silently: `Recording.dropped` says what was dropped, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

    from nwb_rnn.recordings.on_demand import OnDemand


_JITTER = 1e-3
"""Share of the sampling period by which the steps of a regular signal may differ."""


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of one length: units, trials, or any other table of intervals or events.

    Attributes
    ----------
    name : name of the table in its source, such as ``"trials"``
    ids : (n,) row ids of the source, integers or text
    columns : name -> (n,) array of numbers, booleans or text
    """

    name: str
    ids: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: np.ndarray) -> Table:
        """The same table with only `rows`, (m,) positions or an (n,) boolean choice."""
        return replace(self, ids=self.ids[rows], columns={k: v[rows] for k, v in self.columns.items()})


@dataclass(frozen=True, eq=False)
class Spikes:
    """Spike times of all units in one flat array.

    Attributes
    ----------
    times : (S,) float64, s, ascending within each unit
    offsets : (D + 1,) int64; unit ``i`` owns ``times[offsets[i]:offsets[i + 1]]``
    """

    times: np.ndarray
    offsets: np.ndarray

    def of(self, unit: int) -> np.ndarray:
        """Spike times, s, of the unit at position `unit`, as a view."""
        return self.times[self.offsets[unit] : self.offsets[unit + 1]]

    def counts(self) -> np.ndarray:
        """(D,) number of spikes of each unit."""
        return np.diff(self.offsets)


@dataclass(frozen=True, eq=False)
class Observed:
    """When each unit was observed; outside of it a missing spike means nothing.

    Attributes
    ----------
    intervals : (K, 2) float64, s, start and stop, ascending within each unit
    offsets : (D + 1,) int64; unit ``i`` owns ``intervals[offsets[i]:offsets[i + 1]]``
    """

    intervals: np.ndarray
    offsets: np.ndarray

    def of(self, unit: int) -> np.ndarray:
        """(k, 2) intervals, s, of the unit at position `unit`, as a view."""
        return self.intervals[self.offsets[unit] : self.offsets[unit + 1]]


@dataclass(frozen=True, eq=False)
class Traces:
    """Signals sampled at common times: calcium, EEG, LFP, position, ...

    Attributes
    ----------
    name : name in the source
    values : (T, C) float, NaN where missing; an `OnDemand` where a file holds more than fits
    timestamps : (T,) float64, s, ascending; gaps allowed
    channels : (C,) names or ids of the columns
    physical_unit : such as ``"volts"``
    columns : what is known of each channel, name -> (C,) array, such as a region
    """

    name: str
    values: np.ndarray | OnDemand
    timestamps: np.ndarray
    channels: np.ndarray
    physical_unit: str = "unknown"
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def period(self) -> float:
        """Time between two samples, s: exact for regular sampling, else the median; NaN below two samples."""
        if len(self.timestamps) < 2:
            return float("nan")
        steps = np.diff(self.timestamps)
        median = float(np.median(steps))
        if np.all(np.abs(steps - median) <= _JITTER * median):
            return float(f"{(self.timestamps[-1] - self.timestamps[0]) / len(steps):.14g}")
        return median

    def take(self, channels: np.ndarray) -> Traces:
        """The same with only the channels at some positions."""
        held = isinstance(self.values, np.ndarray)
        return replace(
            self,
            values=self.values[:, channels] if held else self.values.take(channels),
            channels=self.channels[channels],
            columns={k: v[channels] for k, v in self.columns.items()},
        )

    def channel_table(self) -> Table:
        """The channels as a table of units."""
        return Table(self.name, self.channels, self.columns)


@dataclass(frozen=True)
class Provenance:
    """Where a recording came from; written into every result.

    Attributes
    ----------
    kind : ``"nwb"``, ``"dandi"``, ``"spikeinterface"``, ``"neo"``, ``"pynapple"`` or ``"arrays"``
    location : path, URL or DANDI address; empty for data made in memory
    identifier, object_id, session_id, subject_id : of the NWB file, where it has them
    tables : what was read, such as ``("units", "trials")``
    asset_id : of the file on a DANDI archive, where it came from one; a new version gets a new id
    """

    kind: str
    location: str = ""
    identifier: str = ""
    object_id: str = ""
    session_id: str = ""
    subject_id: str = ""
    tables: tuple[str, ...] = ()
    asset_id: str = ""


@dataclass(frozen=True)
class Dropped:
    """One line of the report of what was left out.

    Attributes
    ----------
    what : ``"unit"``, ``"trial"``, ``"event"``, ``"column"`` or ``"sample"``
    ids : ids of the rows left out
    reason : a short sentence
    """

    what: str
    ids: tuple
    reason: str


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """One session: spikes or signals, what happened when, and where all of it came from.

    Make one with `nwb_rnn.read`, or from parts with `Recording.build`, which checks them.

    Attributes
    ----------
    units : one row per unit (or, without spikes, per channel of `traces`)
    spikes : spike times, or None
    traces : the signal that `align` uses when there are no spikes, or None
    signals : every signal that can be fitted, by name; holds `traces` too
    intervals : tables of intervals, by name, with columns ``start_time`` and ``stop_time``, s
    events : tables of moments, by name, with a column ``timestamp``, s
    behaviour : position, speed and other covariates, by name
    observed : when each unit was observed, or None where the source does not say
    provenance : where it came from
    dropped : what was left out so far, and why
    span : (start, stop) of the recording, s
    description : short texts such as ``session_description``, ``subject_id``, ``species``
    preferred : name of the signal that `align` and `segments` use; empty for the spikes, if there are any
    """

    units: Table
    spikes: Spikes | None
    traces: Traces | None
    signals: Mapping[str, Traces]
    intervals: Mapping[str, Table]
    events: Mapping[str, Table]
    behaviour: Mapping[str, Traces]
    observed: Observed | None
    provenance: Provenance
    dropped: tuple[Dropped, ...]
    span: tuple[float, float]
    description: Mapping[str, str]
    preferred: str = ""

    @staticmethod
    def build(
        *,
        units: Table | None = None,
        spikes: Spikes | Sequence[Any] | None = None,
        traces: Traces | None = None,
        signals: Mapping[str, Traces] | None = None,
        intervals: Mapping[str, Table] | None = None,
        events: Mapping[str, Table] | None = None,
        behaviour: Mapping[str, Traces] | None = None,
        observed: Observed | Sequence[Any] | None = None,
        provenance: Provenance | None = None,
        dropped: Sequence[Dropped] = (),
        span: tuple[float, float] | None = None,
        description: Mapping[str, str] | None = None,
        preferred: str = "",
    ) -> Recording:
        """Check the parts and put them together.

        Spike times that are not finite are dropped and reported, unsorted ones are sorted; ids that
        occur twice give way to row numbers, and that is reported too.

        Parameters
        ----------
        units : one row per unit; made up as 0, 1, 2, ... when left out
        spikes : `Spikes`, or one array of spike times (s) per unit
        traces : the default signal; the first of `signals` when left out
        signals, intervals, events, behaviour, provenance, dropped, description, preferred : see `Recording`
        observed : `Observed`, or one (k, 2) array of intervals (s) per unit
        span : (start, stop) of the recording, s; the extent of all that is in it when left out. Given
            without `observed`, every unit counts as observed from start to stop, and only then

        Raises
        ------
        InputError : where lengths disagree, a table lacks its time column, or nothing is recorded
        """
        from nwb_rnn.recordings.building import build

        return build(
            units=units,
            spikes=spikes,
            traces=traces,
            signals=signals or {},
            intervals=intervals or {},
            events=events or {},
            behaviour=behaviour or {},
            observed=observed,
            provenance=provenance or Provenance(kind="arrays"),
            dropped=tuple(dropped),
            span=span,
            description=description or {},
            preferred=preferred,
        )

    def align(self, event: str | Sequence[float] | np.ndarray, **options: Any) -> xarray.Dataset:
        """Cut trials around an event and bin them; see `nwb_rnn.recordings.alignment.align`."""
        from nwb_rnn.recordings.alignment import align

        return align(self, event, **options)

    def segments(self, **options: Any) -> xarray.Dataset:
        """Cut the whole recording into equal trials; see `nwb_rnn.recordings.segments.segments`."""
        from nwb_rnn.recordings.segments import segments

        return segments(self, **options)

    def select_units(self, choice: Any = None, **options: Any) -> Recording:
        """Keep some units; see `nwb_rnn.recordings.selection.select_units`."""
        from nwb_rnn.recordings.selection import select_units

        return select_units(self, choice, **options)

    def report(self) -> str:
        """What was dropped and why, one line each."""
        from nwb_rnn.recordings.report import report

        return report(self.dropped)

    def to_neo(self) -> Any:
        """The recording as a `neo.Block`."""
        from nwb_rnn.recordings import export

        return export.to_neo(self)

    def to_spikeinterface(self, **options: Any) -> Any:
        """The spikes as a spikeinterface sorting."""
        from nwb_rnn.recordings import export

        return export.to_spikeinterface(self, **options)

    def to_pynapple(self) -> Any:
        """The recording as a dict of pynapple objects."""
        from nwb_rnn.recordings import export

        return export.to_pynapple(self)

    def __repr__(self) -> str:
        from nwb_rnn.recordings.report import summary

        return summary(self)
