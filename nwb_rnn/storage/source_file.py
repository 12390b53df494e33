"""The NWB file that results belong to, opened from whatever names it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from nwb_rnn.errors import InputError, SourceError
from nwb_rnn.recordings.recording import Recording
from nwb_rnn.sources.dandi_address import is_dandi_address
from nwb_rnn.sources.nwb_open import is_address, open_nwb
from nwb_rnn.storage.model_form import Origin, public_name


def location_of(source: Any) -> str | None:
    """Path or address of the NWB file behind a source; None where there is none."""
    if source is None:
        return None
    if isinstance(source, Recording):
        provenance = source.provenance
        return provenance.location or None if provenance.kind in ("nwb", "dandi") else None
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    if hasattr(source, "session_start_time"):
        return str(getattr(source, "container_source", None) or "") or None
    raise InputError(
        f"source must be a Recording, a path or address of an NWB file, or an open NWBFile, not a "
        f"{type(source).__name__}"
    )


def local_path(source: Any) -> Path | None:
    """The path of the NWB file behind a source, where it is a file on this machine."""
    location = location_of(source)
    if location is None or is_address(location) or is_dandi_address(location):
        return None
    return Path(location).expanduser()


@contextmanager
def opened(source: Any) -> Iterator[Any]:
    """The NWB file behind a source, open for reading; None where there is none.

    Raises
    ------
    SourceError : it cannot be opened, or is not the file that a recording was read from
    """
    location = location_of(source)
    if hasattr(source, "session_start_time"):
        yield source
    elif location is None:
        yield None
    elif is_dandi_address(location):
        with _opened_asset(location) as nwbfile:
            check_identity(source, nwbfile)
            yield nwbfile
    else:
        try:
            with ExitStack() as stack:
                nwbfile = stack.enter_context(open_nwb(location))
                check_identity(source, nwbfile)
                yield nwbfile
        except SourceError as error:
            if isinstance(source, Recording) and is_address(location):
                raise SourceError(
                    f"{error}. If the address needs a signature or a password, give the whole address as "
                    "source= in place of the recording"
                ) from error
            raise


def check_identity(source: Any, nwbfile: Any) -> None:
    """Refuse a file that took the place of the one a recording was read from."""
    known = source.provenance.object_id if isinstance(source, Recording) else ""
    if known and known != nwbfile.object_id:
        raise SourceError(
            f"{public_name(location_of(source) or '')!r} is not the file that the recording was read from "
            f"(object id {nwbfile.object_id}, expected {known}); read the recording again, or give the path "
            "of its file as source=. For another DANDI archive than the main one, set DANDI_INSTANCE to its "
            "address"
        )


@contextmanager
def _opened_asset(location: str) -> Iterator[Any]:
    """An asset of a DANDI archive: the copy on disk if there is one, else streamed."""
    from nwb_rnn.sources.dandi_address import parse_address
    from nwb_rnn.sources.dandi_cache import cache_folder, cached_path, is_cached
    from nwb_rnn.sources.dandi_client import connected, find_asset
    from nwb_rnn.sources.dandi_stream import AssetUrl

    address = parse_address(location)
    with connected(address, None) as client:
        asset = find_asset(client, address, None)
        copy = cached_path(asset, cache_folder(None))
        with open_nwb(copy if is_cached(asset, copy) else AssetUrl(asset)) as nwbfile:
            yield nwbfile


def origin_of(source: Any, nwbfile: Any) -> Origin:
    """What to say of where results come from: no folder of this machine, no credentials."""
    location = public_name(location_of(source) or "")
    if nwbfile is not None:
        return Origin(str(nwbfile.identifier), str(nwbfile.object_id), location)
    if isinstance(source, Recording):
        provenance = source.provenance
        return Origin(provenance.identifier, provenance.object_id, location or provenance.kind)
    return Origin("", "", location)
