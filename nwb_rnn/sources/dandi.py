"""Read a recording from a DANDI archive: streamed, or from a checked copy on disk."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording
from nwb_rnn.sources.dandi_address import DandiAddress, is_dandi_address, parse_address, printable
from nwb_rnn.sources.dandi_cache import cache_folder, cached_path, download, is_cached
from nwb_rnn.sources.dandi_client import connected, find_asset, readable_size

if TYPE_CHECKING:
    from pathlib import Path

    from dandi.dandiapi import BaseRemoteAsset

__all__ = ["is_dandi_address", "read_dandi"]

Download = Literal["ask"] | bool


def read_dandi(
    source: str,
    *,
    version: str | None = None,
    instance: str | None = None,
    token: str | None = None,
    asset: str | int | None = None,
    download: Download = False,
    cache: str | os.PathLike | None = None,
    progress: bool = True,
    **options: Any,
) -> Recording:
    """Read one NWB file of a DANDI archive.

    Parameters
    ----------
    source : ``"DANDI:000140/sub-X/sub-X_ses-Y.nwb"``; with a version, ``"DANDI:000140/0.220113.0408/…"``;
        with a pattern that one file matches, ``"DANDI:000140/**/*.nwb"`` (a star matches any characters,
        slashes too); the set alone where it holds one NWB file; or the web address of an asset
    version : ``"draft"`` or such as ``"0.220113.0408"``; the most recent published one when left out
    instance : another archive: its name (``"sandbox"``, ``"ember-dandi"``, …) or the address of its API
    token : key of a user who may read an embargoed set; when left out, the environment variable of the
        archive, which is DANDI_API_KEY for the main one. It is sent to that archive only, and shown nowhere
    asset : where a pattern matches several files, a text that only one path holds, or a number
    download : False reads only the parts needed, over the network (a copy made before is used if there
        is one); True makes a copy first, which is resumed if it was cut off and checked against the
        archive's checksums; ``"ask"`` shows the size and asks, on a terminal, and else streams
    cache : folder of the copies; NWB_RNN_CACHE or the system's cache folder when left out
    progress : say the size of a download, and show a bar on a terminal
    options : of `nwb_rnn.sources.nwb.read_nwb`

    Raises
    ------
    InputError : not an address, several files match, an unknown archive, or a malformed token
    SourceError : the archive does not answer or does not allow it, no file matches, a download is cut
        off or is not what the archive has, or the file is not NWB
    """
    if download not in (True, False, "ask"):
        raise InputError(f"download={download!r}: expected True, False or 'ask'")
    address = parse_address(source, version, instance)
    with connected(address, token) as client:
        found = find_asset(client, address, asset)
        location = asset_location(address, found)
        copy = _copy(found, download, cache_folder(cache), progress)
        recording = _read(found, copy, options)
    provenance = replace(recording.provenance, kind="dandi", location=location, asset_id=found.identifier)
    return replace(recording, provenance=provenance)


def asset_location(address: DandiAddress, asset: BaseRemoteAsset) -> str:
    """The address that names this very asset, such as ``DANDI:000140/0.220113.0408/sub-X/sub-X.nwb``."""
    dandiset = getattr(asset, "dandiset_id", "")
    version = getattr(asset, "version_id", "")
    exact = replace(address, dandiset=dandiset, version=version, path=asset.path, asset=asset.identifier)
    return str(exact) if dandiset else printable(asset.api_url)


def _copy(asset: BaseRemoteAsset, wanted: Download, folder: Path, progress: bool) -> Path | None:
    """The copy on disk, made now if wanted; None to stream."""
    path = cached_path(asset, folder)
    if is_cached(asset, path):
        return path
    if wanted == "ask":
        wanted = _agreed(asset, path)
    return download(asset, path, progress) if wanted else None


def _agreed(asset: BaseRemoteAsset, path: Path) -> bool:
    """Whether the user at the terminal wants a copy; False where nobody can be asked."""
    if not sys.stdin.isatty():
        return False
    question = (
        f"{printable(asset.path)} is {readable_size(asset.size)}. Download to {path}? [y/N: stream it] "
    )
    return input(question).strip().lower() in ("y", "yes")


def _read(asset: BaseRemoteAsset, copy: Path | None, options: dict[str, Any]) -> Recording:
    from nwb_rnn.sources.nwb import read_nwb

    if copy is not None:
        return read_nwb(copy, **options)
    from nwb_rnn.sources.dandi_stream import AssetUrl

    return read_nwb(AssetUrl(asset), **options)
