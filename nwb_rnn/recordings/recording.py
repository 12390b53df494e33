"""What was recorded, in plain numpy, whatever file or tool it came from.

Every time is in seconds of the session. Units and channels keep the ids of the table they came
from, and nothing is left out silently: `Recording.dropped` says what was dropped, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Spikes:
    """Spike times of all units in one flat array.

    Attributes
    ----------
    times : (S,) float64, s, ascending within each unit
    offsets : (D + 1,) int64; unit ``i`` owns ``times[offsets[i]:offsets[i + 1]]``
    """

    times: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Traces:
    """Signals sampled at common times: calcium, EEG, LFP, position, ...

    Attributes
    ----------
    name : name in the source
    values : (T, C) float, NaN where missing
    timestamps : (T,) float64, s, ascending; gaps allowed
    channels : (C,) names or ids of the columns
    physical_unit : such as ``"volts"``
    """

    name: str
    values: np.ndarray
    timestamps: np.ndarray
    channels: np.ndarray
    physical_unit: str = "unknown"


@dataclass(frozen=True)
class Provenance:
    """Where a recording came from; written into every result.

    Attributes
    ----------
    kind : ``"nwb"``, ``"dandi"``, ``"spikeinterface"``, ``"neo"``, ``"pynapple"`` or ``"arrays"``
    location : path, URL or DANDI address; empty for data made in memory
    identifier, object_id, session_id, subject_id : of the NWB file, where it has them
    tables : what was read, such as ``("units", "trials")``
    """

    kind: str
    location: str = ""
    identifier: str = ""
    object_id: str = ""
    session_id: str = ""
    subject_id: str = ""
    tables: tuple[str, ...] = ()


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
