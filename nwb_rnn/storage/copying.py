"""Copies of NWB objects in memory, free of the file they came from.

An object is made again from the arguments of its constructor; objects that it refers to are copied with
it, each once, so that a region still leads to its table and a group to its device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nwb_rnn.recordings.recording import Dropped

LARGEST = 64 * 2**20  # bytes of one dataset; larger ones are left out, except spike times
COMPRESS_FROM = 2**16  # bytes
_ALWAYS = ("spike_times", "spike_times_index", "obs_intervals", "obs_intervals_index")
_NEVER = ("waveforms",)  # one per spike
_NOT_COPIED = ("parent", "target_tables", "meanings_tables", "skip_post_init")


class NotCopied(Exception):
    """An object that cannot or should not be copied; the message says why."""


class Copier:
    """Copies containers one by one and remembers what was left out.

    Attributes
    ----------
    notes : what was left out, and why
    """

    def __init__(self) -> None:
        from pynwb import available_namespaces

        self.notes: list[Dropped] = []
        self._made: dict[int, Any] = {}
        self._known = set(available_namespaces())

    def all_of(self, containers: Iterable[Any], what: str) -> list[Any]:
        """Copies of those that can be copied; the others are noted."""
        copies = []
        for container in containers:
            try:
                copies.append(self.copy(container))
            except NotCopied as reason:
                self.notes.append(Dropped(what, (str(container.name),), str(reason)))
        return copies

    def one(self, container: Any, what: str) -> Any:
        """A copy, or None where there is nothing to copy or it cannot be copied, which is noted."""
        return next(iter(self.all_of([] if container is None else [container], what)), None)

    def copy(self, container: Any) -> Any:
        """A copy of a container and of what it refers to.

        Raises
        ------
        NotCopied : its type belongs to an extension that is not installed, or it refers to what is left out
        """
        if id(container) not in self._made:
            if container.namespace not in self._known:
                raise NotCopied(
                    f"its type {type(container).__name__!r} needs the package {container.namespace!r}"
                )
            arguments = self._table(container) if _is_table(container) else self._arguments(container)
            self._made[id(container)] = (self._construct(type(container), arguments), container)
        return self._made[id(container)][0]

    def _construct(self, kind: type, arguments: dict[str, Any]) -> Any:
        """Old files hold names and values that pynwb reads but no longer lets anyone write."""
        name = arguments.get("name")
        if isinstance(name, str) and name != plain_name(name):
            arguments["name"] = plain_name(name)
            self.notes.append(Dropped("name", (name,), f"NWB no longer allows it; now {plain_name(name)!r}"))
        try:
            return kind(**arguments)
        except (TypeError, ValueError) as error:
            raise NotCopied(f"pynwb refuses it: {str(error)[:200]}") from error

    def _arguments(self, container: Any, skip: Iterable[str] = ()) -> dict[str, Any]:
        from hdmf.utils import get_docval

        names = [a["name"] for a in get_docval(type(container).__init__)]
        values = {n: _attribute(container, n) for n in names if n not in (*_NOT_COPIED, *skip)}
        return {n: self._value(v, container, n) for n, v in values.items() if v is not None}

    def _table(self, table: Any) -> dict[str, Any]:
        arguments = self._arguments(table, skip=("columns", "colnames", "id"))
        columns, kept = [], []
        for name in table.colnames:
            try:
                columns += self._column(table, name)
                kept.append(name)
            except NotCopied as reason:
                groups = self._groups_by_name(table) if name == "group" else None
                if groups is None:
                    self.notes.append(Dropped("column", (f"{table.name}/{name}",), str(reason)))
                else:
                    columns.append(groups)
                    kept.append(name)
        return {**arguments, "id": read_data(table.id.data), "columns": columns, "colnames": kept}

    def _groups_by_name(self, table: Any) -> Any:
        """The groups of electrodes by their names, where the references to them cannot be read."""
        from hdmf.common import VectorData

        groups = getattr(table.parent, "electrode_groups", None)
        names = read_data(table["group_name"].data) if "group_name" in table.colnames else []
        if not groups or any(name not in groups for name in names):
            return None
        copies = [self.copy(groups[name]) for name in names]
        return VectorData(name="group", description=str(table["group"].description), data=copies)

    def _column(self, table: Any, name: str) -> list[Any]:
        """A column with its indices, the outermost index first."""
        if name in _NEVER:
            raise NotCopied("one waveform per spike; see the source")
        chain = [table[name]]
        while hasattr(chain[-1], "target"):
            chain.append(chain[-1].target)
        if "TimeSeriesReference" in type(chain[-1]).__name__:
            raise NotCopied("refers to a time series that is not copied")
        for part in chain:
            if nbytes(part.data) > LARGEST and part.name not in _ALWAYS:
                raise NotCopied(f"{nbytes(part.data) / 2**20:.0f} MiB; see the source")
        copies = [self.copy(part) for part in chain]
        if len(chain) == 1 and _must_be_ragged(table, name):
            from hdmf.common import VectorIndex

            ends = np.arange(1, len(table.id) + 1)
            copies.insert(0, VectorIndex(name=f"{name}_index", data=ends, target=copies[0]))
        return copies

    def _value(self, value: Any, container: Any, name: str) -> Any:
        from hdmf.container import AbstractContainer

        if isinstance(value, AbstractContainer):
            return self.copy(value)
        if isinstance(value, dict):
            return [self.copy(v) for v in value.values()]
        if isinstance(value, list | tuple) and value and isinstance(value[0], AbstractContainer):
            return [self.copy(v) for v in value]
        if not hasattr(value, "shape"):
            return value
        if nbytes(value) > LARGEST and container.name not in _ALWAYS:
            raise NotCopied(f"{name} has {nbytes(value) / 2**20:.0f} MiB; see the source")
        return self._data(value)

    def _data(self, value: Any) -> Any:
        """A dataset in memory: numbers as arrays, texts as lists, references as copies of their targets."""
        try:
            data = read_data(value)
        except Exception as error:
            if type(error).__name__ == "UnsafeDecodeError":
                raise NotCopied(
                    "pickled by whoever wrote the Zarr folder, which may run code, so not read"
                ) from error
            raise
        if isinstance(data, list) and data and hasattr(data[0], "object_id"):
            return [self.copy(item) for item in data]
        return compressed(data)


def _is_table(container: Any) -> bool:
    from hdmf.common import DynamicTable

    return isinstance(container, DynamicTable)


def _must_be_ragged(table: Any, name: str) -> bool:
    """Whether this column has an index by its type, which some old files left out."""
    return any(c["name"] == name and c.get("index") for c in type(table).__columns__)


def _attribute(container: Any, name: str) -> Any:
    """The value behind an argument of the constructor; for a column, its raw data."""
    fields = getattr(container, "fields", {})
    return fields[name] if name in fields else getattr(container, name, None)


def plain_name(name: str) -> str:
    """A name that NWB accepts: without slashes and colons."""
    return name.replace("/", "_").replace(":", "_")


def nbytes(data: Any) -> int:
    """Bytes of a dataset that may not have been read yet."""
    dtype, shape = getattr(data, "dtype", None), getattr(data, "shape", None)
    size = getattr(dtype, "itemsize", 8) if isinstance(dtype, np.dtype) else 8
    return int(np.prod(shape)) * size if shape is not None else size * len(data)


def read_data(data: Any) -> Any:
    """All of a dataset: an array of numbers, or a list of texts or objects."""
    if np.shape(data) == () and hasattr(data, "dtype"):
        return data[()]
    values = data[:] if hasattr(data, "__getitem__") else list(data)
    if isinstance(values, np.ndarray) and values.dtype.kind in "OS":
        values = values.tolist()
    if isinstance(values, list | tuple):
        return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in values]
    return values


def compressed(data: Any) -> Any:
    """Large arrays of numbers marked for compression in the file; everything else as it is."""
    from pynwb import H5DataIO

    if isinstance(data, np.ndarray) and data.dtype.kind in "fiub" and data.nbytes >= COMPRESS_FROM:
        return H5DataIO(data=data, compression="gzip", compression_opts=4, shuffle=True)
    return data
