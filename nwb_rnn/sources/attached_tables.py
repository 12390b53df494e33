"""Trials and events given beside spikes, for sources that have no place for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Table


def interval_tables(given: Mapping[str, Any] | None) -> dict[str, Table]:
    """Tables of intervals from what a user gave.

    Parameters
    ----------
    given : name -> `Table`, pandas DataFrame or mapping of columns, with ``start_time`` and
        ``stop_time`` in s; every further column that holds one value per row is kept

    Raises
    ------
    InputError : not a mapping of tables
    """
    return {str(name): _table(str(name), table) for name, table in _mapping(given, "intervals").items()}


def event_tables(given: Mapping[str, Any] | None) -> dict[str, Table]:
    """Tables of events: name -> times (s), or a table with a column ``timestamp``."""
    tables = {}
    for name, table in _mapping(given, "events").items():
        if not isinstance(table, Mapping | Table) and not hasattr(table, "columns"):
            table = {"timestamp": table}
        tables[str(name)] = _table(str(name), table)
    return tables


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(
            f"{what}= must map names to tables, such as {{'trials': table}}; it is a {type(given).__name__}"
        )
    return given


def _table(name: str, given: Any) -> Table:
    if isinstance(given, Table):
        return given
    if not isinstance(given, Mapping) and not hasattr(given, "columns"):
        raise InputError(
            f"table {name!r} must be a mapping of columns or a DataFrame, not a {type(given).__name__}"
        )
    names = given.keys() if isinstance(given, Mapping) else given.columns
    columns = {str(column): plain_column(given[column]) for column in names}
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise InputError(f"the columns of table {name!r} have different lengths: {sorted(lengths)}")
    rows = lengths.pop() if lengths else 0
    ids = columns.pop("id", None)
    return Table(name, np.arange(rows) if ids is None else ids, columns)


def plain_column(values: Any) -> np.ndarray:
    """(n,) numbers, booleans or text; mixed values become text, None becomes NaN among numbers."""
    array = np.asarray(values)
    if array.dtype.kind in "biufU":
        return array
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    held = array.tolist()
    if all(value is None or isinstance(value, bool | int | float | np.number) for value in held):
        return np.array([np.nan if value is None else value for value in held], dtype=float)
    return np.array(["" if value is None else str(value) for value in held])


def scalar_columns(rows: list[Mapping[str, Any]], skip: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Columns from one mapping per row: every name that all rows have, with one number or text each."""
    if not rows:
        return {}
    plain = (bool, int, float, str, np.number, np.bool_, np.str_)
    names = [name for name in rows[0] if name not in skip and all(name in row for row in rows)]
    return {
        str(name): plain_column([row[name] for row in rows])
        for name in names
        if all(isinstance(row[name], plain) for row in rows)
    }
