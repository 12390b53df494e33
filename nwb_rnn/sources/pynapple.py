"""Read pynapple objects, alone or in a dict.

pynapple rounds every time to the nanosecond when its objects are made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Provenance, Recording, Table, Traces
from nwb_rnn.sources.attached_tables import event_tables, interval_tables, plain_column

_FALLBACK = {"TsGroup": "units", "IntervalSet": "trials", "Ts": "events"}


def read_pynapple(
    source: Any,
    *,
    units: str | None = None,
    signals: Sequence[str] | None = None,
    intervals: Mapping[str, Any] | None = None,
    events: Mapping[str, Any] | None = None,
) -> Recording:
    """Read pynapple objects.

    Parameters
    ----------
    source : a TsGroup (spikes), a Tsd, TsdFrame or TsdTensor (a signal), or a dict or list of them with
        IntervalSets (tables of intervals) and Ts (events). In a list they are named after their kind:
        ``units``, ``trials``, ``events``, ``signal``
    units : which TsGroup holds the spikes, where there are several
    signals : names of the signals to fit; the others are behaviour. When left out, all are behaviour
        beside spikes, and all are signals without them
    intervals, events : further tables (see `Recording`)

    Returns
    -------
    Recording with the keys of the TsGroup as unit ids, metadata as columns, and the time support as
    intervals of observation, unless it just runs from the first spike to the last

    Raises
    ------
    InputError : nothing that can be fitted, an object of another kind, or several TsGroups
    """
    named = _named(source)
    kinds = {name: type(item).__name__ for name, item in named.items()}
    groups = [name for name, kind in kinds.items() if kind == "TsGroup"]
    group = _the_group(groups, units)
    traces = {n: _traces(n, named[n]) for n, kind in kinds.items() if kind.startswith("Tsd")}
    fitted = set(signals) if signals is not None else (set() if group else set(traces))
    if unknown := sorted(fitted - set(traces)):
        raise InputError(f"signals={unknown} are not among the pynapple signals: {sorted(traces)}")
    spikes, observed, table = _spikes(named[group]) if group else (None, None, None)
    return Recording.build(
        units=table,
        spikes=spikes,
        observed=observed,
        signals={name: t for name, t in traces.items() if name in fitted},
        behaviour={name: t for name, t in traces.items() if name not in fitted},
        intervals={
            **{n: _intervals(n, named[n]) for n, kind in kinds.items() if kind == "IntervalSet"},
            **interval_tables(intervals),
        },
        events={
            **{n: _events(n, named[n]) for n, kind in kinds.items() if kind == "Ts"},
            **event_tables(events),
        },
        provenance=Provenance("pynapple", tables=tuple(named)),
    )


def _named(source: Any) -> dict[str, Any]:
    if isinstance(source, Mapping) and type(source).__module__.split(".")[0] != "pynapple":
        items = [(str(name), item) for name, item in source.items()]
    else:
        held = list(source) if isinstance(source, list | tuple) else [source]
        items = [(_FALLBACK.get(type(item).__name__, "signal"), item) for item in held]
    named: dict[str, Any] = {}
    for name, item in items:
        if type(item).__module__.split(".")[0] != "pynapple":
            raise InputError(
                f"{name!r} is a {type(item).__name__}; expected pynapple objects (TsGroup, Ts, Tsd, "
                "TsdFrame, TsdTensor, IntervalSet). Give other tables with intervals= or events="
            )
        key, number = name, 1
        while key in named:
            key, number = f"{name}_{number}", number + 1
        named[key] = item
    return named


def _the_group(groups: list[str], chosen: str | None) -> str | None:
    if chosen is not None and chosen not in groups:
        raise InputError(f"units={chosen!r} is not a TsGroup of the source; it has {groups or 'none'}")
    if chosen is None and len(groups) > 1:
        raise InputError(f"several TsGroups could be the spikes: {groups}; pass units= the name of one")
    return chosen or next(iter(groups), None)


def _spikes(group: Any) -> tuple[list[np.ndarray], list[np.ndarray] | None, Table]:
    spikes = [np.asarray(group[key].times(), dtype=float) for key in group.index]
    facts = group.metadata
    columns = {str(name): plain_column(facts[name].to_numpy()) for name in facts.columns}
    columns.pop("rate", None)  # pynapple's own, computed from the spikes
    ids = columns.pop("unit_id", None)
    return spikes, _observed(group, spikes), Table("units", _or_keys(ids, group.index), columns)


def _or_keys(ids: np.ndarray | None, keys: Any) -> np.ndarray:
    """The ids that `to_pynapple` kept as metadata because pynapple's keys are integers, or the keys."""
    return plain_column(keys) if ids is None or len(set(ids.tolist())) < len(ids) else ids


def _observed(group: Any, spikes: list[np.ndarray]) -> list[np.ndarray] | None:
    """The time support for every unit, or None where pynapple made it up from the spikes."""
    support = np.column_stack([group.time_support.start, group.time_support.end])
    filled = [times for times in spikes if len(times)]
    if len(support) == 1 and filled:
        first, last = min(t[0] for t in filled), max(t[-1] for t in filled)
        if support[0, 0] == first and support[0, 1] == last:
            return None
    return [support for _ in spikes]


def _traces(name: str, series: Any) -> Traces:
    values = np.asarray(series.values)
    kind = type(series).__name__
    flat = values.reshape(len(values), -1)
    channels = plain_column(series.columns) if kind == "TsdFrame" else np.arange(flat.shape[1])
    columns = {}
    if kind == "TsdFrame":
        facts = series.metadata
        columns = {str(key): plain_column(facts[key].to_numpy()) for key in facts.columns}
    return Traces(name, flat, np.asarray(series.times(), dtype=float), channels, "unknown", columns)


def _intervals(name: str, epochs: Any) -> Table:
    columns = {"start_time": np.asarray(epochs.start, float), "stop_time": np.asarray(epochs.end, float)}
    facts = epochs.metadata
    columns |= {str(key): plain_column(facts[key].to_numpy()) for key in facts.columns}
    ids = columns.pop("id", None)
    return Table(name, _or_keys(ids, epochs.index), columns)


def _events(name: str, series: Any) -> Table:
    times = np.asarray(series.times(), dtype=float)
    return Table(name, np.arange(len(times)), {"timestamp": times})
