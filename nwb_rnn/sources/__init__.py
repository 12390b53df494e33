"""Anything a lab has becomes one `Recording`."""

from __future__ import annotations

import os
from typing import Any

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording
from nwb_rnn.sources.dandi_address import is_dandi_address

__all__ = ["read"]

_ACCEPTED = (
    "a path or URL of an NWB file (HDF5 or Zarr), 'DANDI:<dandiset>/<path>', an open pynwb NWBFile, "
    "a spikeinterface sorting, neo SpikeTrains, Segment or Block, a pynapple object, a dict of arrays "
    "or an xarray object"
)


def read(source: Any, **options: Any) -> Recording:
    """Read a recording from whatever holds it.

    Parameters
    ----------
    source : a path or URL of an NWB file (HDF5 or Zarr), ``"DANDI:000140/sub-.../....nwb"``, an open
        `pynwb.NWBFile` (left open), a spikeinterface sorting or sorting analyzer, neo spike trains,
        Segment or Block, a pynapple object, a dict of arrays, or an xarray object
    options : of the reader in question, see `nwb_rnn.sources.nwb.read_nwb`, `.dandi.read_dandi`,
        `.spikeinterface.read_spikeinterface`, `.neo.read_neo`, `.pynapple.read_pynapple` and
        `.arrays.read_arrays`

    Raises
    ------
    SourceError : the source cannot be read
    InputError : the source is not one of the above, or holds nothing that can be fitted
    """
    if isinstance(source, Recording):
        return source
    if is_dandi_address(source):
        from nwb_rnn.sources.dandi import read_dandi

        return read_dandi(source, **options)
    if isinstance(source, str | os.PathLike):
        from nwb_rnn.sources.nwb import read_nwb

        return read_nwb(source, **options)
    return _read_object(source, options)


def _read_object(source: Any, options: dict[str, Any]) -> Recording:
    """Choose the reader by the package that the object, or the first object in it, comes from."""
    packages = _packages(source)
    if "pynwb" in packages:
        from nwb_rnn.sources.nwb import read_nwb

        return read_nwb(source, **options)
    if "spikeinterface" in packages:
        from nwb_rnn.sources.spikeinterface import read_spikeinterface

        return read_spikeinterface(source, **options)
    if "neo" in packages:
        from nwb_rnn.sources.neo import read_neo

        return read_neo(source, **options)
    if "pynapple" in packages:
        from nwb_rnn.sources.pynapple import read_pynapple

        return read_pynapple(source, **options)
    if isinstance(source, dict | list | tuple) or packages & {"numpy", "xarray"}:
        from nwb_rnn.sources.arrays import read_arrays

        return read_arrays(source, **options)
    raise InputError(f"cannot read a recording from {type(source).__name__}; expected {_ACCEPTED}")


def _packages(source: Any) -> set[str]:
    """Top packages of the classes of `source` and, for a collection, of what is in it."""
    held = [source]
    if isinstance(source, dict):
        held += list(source.values())
    elif isinstance(source, list | tuple):
        held += list(source)[:1]
    return {base.__module__.split(".")[0] for item in held for base in type(item).__mro__}
