"""Which rows of which table of a file some ids mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def rows_of(ids: Sequence[Any] | np.ndarray, table: Any) -> np.ndarray | None:
    """Row numbers of `ids` in a table, or None where it lacks one of them.

    Ids that occur twice in a table stand for nothing, so row numbers are expected in their place.
    """
    held = np.asarray(table.id.data[:]).tolist()
    places = {value: row for row, value in enumerate(held)}
    if len(places) < len(held):
        places = {row: row for row in range(len(held))}
    wanted = np.asarray(ids).tolist()
    if not wanted or any(value not in places for value in wanted):
        return None
    return np.array([places[value] for value in wanted])


def region(name: str, description: str, ids: Any, table: Any) -> Any:
    """A `DynamicTableRegion` of the rows with these ids, or None where the table lacks one of them."""
    from hdmf.common import DynamicTableRegion

    rows = None if table is None else rows_of(ids, table)
    if rows is None:
        return None
    return DynamicTableRegion(name=name, description=description, data=rows, table=table)


def unit_table(nwbfile: Any, ids: Any, observed: str) -> Any:
    """The table that observed units are rows of: units for counts, ROIs or electrodes for signals.

    None where no table holds all ids, or where two tables do and it is not known which one is meant.
    """
    if observed == "counts":
        candidates = [nwbfile.units]
    else:
        candidates = [*_roi_tables(nwbfile), nwbfile.electrodes]
    fitting = [t for t in candidates if t is not None and rows_of(ids, t) is not None]
    return fitting[0] if len(fitting) == 1 else None


def _roi_tables(nwbfile: Any) -> Iterable[Any]:
    return [item for item in nwbfile.objects.values() if type_of(item) == "PlaneSegmentation"]


def type_of(item: Any) -> str:
    """The NWB type of an object; those of hdmf itself, such as columns, have none and give empty text."""
    return str(getattr(item, "neurodata_type", ""))


def trial_table(nwbfile: Any, name: str) -> Any:
    """The table of intervals or events of this name, or None."""
    tables = {**(nwbfile.intervals or {}), "trials": nwbfile.trials, "epochs": nwbfile.epochs}
    tables = {key: table for key, table in tables.items() if table is not None}
    if name in tables:
        return tables[name]
    last = name.split("/")[-1]
    found = [o for o in nwbfile.objects.values() if o.name == last and hasattr(o, "colnames")]
    return found[0] if len(found) == 1 else None


def default_module(nwbfile: Any, table: Any) -> str:
    """``"ophys"`` for ROIs, else ``"ecephys"``."""
    if table is not None:
        return "ophys" if type_of(table) == "PlaneSegmentation" else "ecephys"
    return "ophys" if nwbfile.imaging_planes and nwbfile.units is None else "ecephys"
