"""Sentences about a recording: what it holds, and what was left out and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from nwb_rnn.recordings.recording import Dropped, Provenance, Recording

IDS_SHOWN = 8
IDS_KEPT = 200


def report(dropped: Iterable[Dropped]) -> str:
    """What was dropped and why, one line each."""
    lines = []
    for item in dropped:
        shown = ", ".join(str(i) for i in item.ids[:IDS_SHOWN])
        more = f", ... ({len(item.ids)} in all)" if len(item.ids) > IDS_SHOWN else ""
        plural = "s" if len(item.ids) != 1 else ""
        subject = f"{item.what}{plural} {shown}{more}" if item.ids else item.what
        lines.append(f"{subject}: {item.reason}")
    return "\n".join(lines) if lines else "nothing was dropped"


def dropped_as_json(dropped: Iterable[Dropped]) -> str:
    """The report as JSON text: a list of {what, count, ids (the first 200), reason}."""
    return json.dumps(
        [
            {
                "what": item.what,
                "count": len(item.ids),
                "ids": [_plain(i) for i in item.ids[:IDS_KEPT]],
                "reason": item.reason,
            }
            for item in dropped
        ]
    )


def provenance_as_json(provenance: Provenance) -> str:
    """Where the data came from, as JSON text."""
    return json.dumps(asdict(provenance))


def summary(recording: Recording) -> str:
    """One line: how much of what, and for how long."""
    parts = []
    if recording.spikes is not None:
        parts.append(f"{len(recording.units)} units, {len(recording.spikes.times)} spikes")
    parts += [
        f"signal {name!r} {traces.values.shape[0]} samples x {traces.values.shape[1]} channels"
        for name, traces in recording.signals.items()
    ]
    parts += [f"{len(t)} rows in {name!r}" for name, t in recording.intervals.items()]
    start, stop = recording.span
    where = recording.provenance.location or recording.provenance.kind
    return f"<Recording of {where}: {'; '.join(parts)}; {start:.6g} to {stop:.6g} s>"


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
