"""Which units (or channels of a signal) to keep: by condition, id, rate or region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.expressions import evaluate
from nwb_rnn.recordings.masks import merged
from nwb_rnn.recordings.recording import Dropped, Observed, Recording, Spikes, Table

_REGION_COLUMNS = ("region", "brain_region", "location", "brain_area", "area", "electrode_location")


def select_units(
    recording: Recording,
    choice: str | Sequence[Any] | np.ndarray | None = None,
    *,
    min_rate: float | None = None,
    region: str | Sequence[str] | None = None,
) -> Recording:
    """Keep the units that pass every given condition; the others are listed in `Recording.dropped`.

    Parameters
    ----------
    choice : a condition over the columns of the units, ``rate`` (spikes/s while observed), ``n_spikes``
        and ``id``, such as ``"quality == 'good' and rate > 1"``; or a list of ids; or (D,) booleans
    min_rate : smallest mean rate, spikes/s
    region : one or several regions, compared without regard to case; where none is equal,
        a region that contains the text counts

    Raises
    ------
    InputError : no unit passes, an id or region is not there, or a condition cannot be read
    """
    kept = np.ones(len(recording.units), dtype=bool)
    notes = list(recording.dropped)

    def only(passes: np.ndarray, reason: str) -> None:
        nonlocal kept
        lost = recording.units.ids[kept & ~passes]
        if len(lost):
            notes.append(Dropped("unit", tuple(lost.tolist()), reason))
        kept = kept & passes

    if choice is not None:
        only(
            chosen_units(recording, choice),
            "not chosen" if not isinstance(choice, str) else f"fails {choice!r}",
        )
    if region is not None:
        only(in_region(recording.units, region), f"not in region {region!r}")
    if min_rate is not None:
        only(mean_rates(recording) >= min_rate, f"mean rate below {min_rate:g} spikes/s")
    if not kept.any():
        reasons = "; ".join(note.reason for note in notes[len(recording.dropped) :])
        raise InputError(f"no unit of {len(kept)} is left ({reasons}); loosen the conditions")
    return replace(take_units(recording, np.flatnonzero(kept)), dropped=tuple(notes))


def chosen_units(recording: Recording, choice: str | Sequence[Any] | np.ndarray) -> np.ndarray:
    """(D,) bool for a condition, a list of ids, or booleans."""
    if isinstance(choice, str):
        return evaluate(choice, unit_columns(recording), recording.units.name)
    return chosen_rows(recording.units, choice)


def chosen_rows(units: Table, choice: str | Sequence[Any] | np.ndarray) -> np.ndarray:
    """(D,) bool for a condition over the columns of a table alone, a list of ids, or booleans."""
    if isinstance(choice, str):
        return evaluate(choice, {"id": units.ids, **units.columns}, units.name)
    choice = np.asarray(choice)
    if choice.dtype.kind == "b":
        if choice.shape != (len(units),):
            raise InputError(f"a choice of units by booleans needs {len(units)} of them, not {choice.shape}")
        return choice
    known = set(units.ids.tolist())
    missing = [i for i in choice.ravel().tolist() if i not in known]
    if missing:
        raise InputError(f"there are no units with ids {missing[:10]}; ids are {_some(units.ids)}")
    return np.isin(units.ids, choice)


def unit_columns(recording: Recording) -> dict[str, np.ndarray]:
    """Columns a condition over units may name."""
    extra: dict[str, np.ndarray] = {"id": recording.units.ids}
    if recording.spikes is not None:
        extra |= {"rate": mean_rates(recording), "n_spikes": recording.spikes.counts()}
    return {**extra, **recording.units.columns}


def mean_rates(recording: Recording) -> np.ndarray:
    """(D,) spikes per second of each unit over the time it was observed (else over the span)."""
    if recording.spikes is None:
        raise InputError("rates need spikes; this recording holds only signals, so choose channels otherwise")
    seconds = np.full(len(recording.units), recording.span[1] - recording.span[0])
    if recording.observed is not None:
        for unit in range(len(recording.units)):
            intervals = merged(recording.observed.of(unit))
            if len(intervals):
                seconds[unit] = (intervals[:, 1] - intervals[:, 0]).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(seconds > 0, recording.spikes.counts() / seconds, 0.0)


def in_region(units: Table, region: str | Sequence[str]) -> np.ndarray:
    """(D,) bool, True for units whose region is, or if none is then contains, one of these."""
    wanted = {name.lower() for name in ([region] if isinstance(region, str) else region)}
    column = next((c for c in _REGION_COLUMNS if c in units.columns), None)
    if column is None:
        has = ", ".join(units.columns) or "no column"
        raise InputError(
            f"the units have no column of regions ({', '.join(_REGION_COLUMNS)}); they have {has}"
        )
    lower = [str(v).lower() for v in units.columns[column]]
    found = np.array([text in wanted for text in lower])
    if not found.any():
        found = np.array([any(name in text for name in wanted) for text in lower])
    if not found.any():
        raise InputError(f"no unit is in {region!r}; regions are {_some(np.unique(units.columns[column]))}")
    return found


def take_units(recording: Recording, rows: np.ndarray) -> Recording:
    """The recording with only the units (or channels) at positions `rows`, in that order."""
    if recording.spikes is None:
        traces = recording.traces.take(rows)
        signals = {**recording.signals, traces.name: traces}
        return replace(recording, units=recording.units.take(rows), traces=traces, signals=signals)
    times, offsets = take_ragged(recording.spikes.times, recording.spikes.offsets, rows)
    observed = recording.observed
    if observed is not None:
        observed = Observed(*take_ragged(observed.intervals, observed.offsets, rows))
    return replace(
        recording, units=recording.units.take(rows), spikes=Spikes(times, offsets), observed=observed
    )


def take_ragged(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a ragged array, with their own offsets."""
    parts = [values[offsets[row] : offsets[row + 1]] for row in rows]
    new = np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)
    return (np.concatenate(parts) if parts else values[:0]), new


def _some(values: np.ndarray) -> str:
    shown = ", ".join(str(v) for v in values[:20])
    return shown + (f", ... ({len(values)} in all)" if len(values) > 20 else "")
