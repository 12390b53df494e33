"""Keep a checked copy of a DANDI asset on disk.

A download goes to a part file beside its final place, goes on where it was cut off, and takes its final
name only when its size and checksums are right. Nothing in a path or id that an archive sends can lead
out of the cache folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from nwb_rnn.errors import SourceError
from nwb_rnn.sources.dandi_address import printable
from nwb_rnn.sources.dandi_client import readable_size

if TYPE_CHECKING:
    import requests
    from dandi.dandiapi import BaseRemoteAsset
    from tqdm import tqdm

ATTEMPTS = 5  # in a row without a new byte
PAUSE = 0.5  # s before the second attempt; doubles each time
CHUNK = 1 << 18  # bytes; what is lost of a broken connection
_DIGESTS = ("dandi:dandi-etag", "dandi:sha2-256")


def cache_folder(given: str | os.PathLike | None = None) -> Path:
    """Where downloads are kept: `given`, or NWB_RNN_CACHE, or the user's cache folder of the system."""
    chosen = given or os.environ.get("NWB_RNN_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("nwb_rnn", appauthor=False)) / "dandi"


def cached_path(asset: BaseRemoteAsset, folder: Path) -> Path:
    """Where the copy of an asset is or will be: ``folder/archive/asset id/name``.

    Raises
    ------
    SourceError : the archive sent an asset id that is not one
    """
    if re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", asset.identifier) is None:
        raise SourceError(
            f"the archive sent {printable(asset.identifier)[:80]!r} where an asset id (a UUID) belongs"
        )
    archive = _plain_name(urlsplit(asset.client.api_url).netloc)
    path = folder / archive / asset.identifier.lower() / _plain_name(asset.path.rsplit("/", 1)[-1])
    if not path.resolve().is_relative_to(folder.resolve()):
        raise SourceError(
            f"the copy of {printable(asset.path)!r} would lie outside the cache folder {folder}"
        )
    return path


def _plain_name(text: str) -> str:
    """A file name of letters, digits and ``_ . + = @ -`` that starts with none of the marks."""
    name = re.sub(r"[^A-Za-z0-9_.+=@-]", "_", text).lstrip("._+=@-")
    stem, dot, ending = name.rpartition(".")
    return (stem[:120] + dot + ending[:20]) if dot else (name[:120] or "asset")


def is_cached(asset: BaseRemoteAsset, path: Path) -> bool:
    """True where a copy of the right size is there; its checksum was right when it got its name."""
    return path.is_file() and path.stat().st_size == asset.size


def download(asset: BaseRemoteAsset, path: Path, progress: bool = True) -> Path:
    """Download an asset to `path`, or go on with a download that was cut off.

    Parameters
    ----------
    asset : file to download; a Zarr asset has no single file
    path : see `cached_path`
    progress : say the size first, and show a bar on a terminal

    Raises
    ------
    SourceError : no room, the connection keeps failing (the part is kept), another process is
        downloading it, or the bytes are not those that the archive has checksums of (the part is removed)
    """
    digests = _digests(asset)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with _alone(path):
        _check_room(asset, path, part)
        if progress:
            _say(asset, path, part)
        _fetch(asset, part, progress)
        _verify(asset, part, digests)
        part.chmod(0o444)  # it stands for the archive's file: nothing may write into it
        os.replace(part, path)
    return path


def _digests(asset: BaseRemoteAsset) -> dict[str, str]:
    if asset.asset_type.name != "BLOB":
        raise SourceError(
            f"{printable(asset.path)!r} is a Zarr folder, which is not one file; leave download=False, or "
            "fetch it with `dandi download` and read the folder"
        )
    known = asset.get_raw_metadata().get("digest") or {}
    digests = {name: str(known[name]) for name in _DIGESTS if known.get(name)}
    if not digests:
        raise SourceError(
            f"the archive has no checksum of {printable(asset.path)!r} yet, so a copy cannot be checked; "
            "leave download=False to stream it, or try again later"
        )
    return digests


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the download of `path` for this process only."""
    from fasteners import InterProcessLock

    lock = InterProcessLock(path.with_name(path.name + ".lock"))
    if not lock.acquire(blocking=False):
        lock.lockfile.close()
        raise SourceError(f"another process is downloading {path}; wait for it, or leave download=False")
    try:
        yield
    finally:
        lock.release()


def _check_room(asset: BaseRemoteAsset, path: Path, part: Path) -> None:
    needed = asset.size - (part.stat().st_size if part.is_file() else 0)
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise SourceError(
            f"{readable_size(needed)} are needed and {readable_size(free)} are free in {path.parent}; "
            "pass cache= another folder, or leave download=False to stream"
        )


def _say(asset: BaseRemoteAsset, path: Path, part: Path) -> None:
    had = part.stat().st_size if part.is_file() else 0
    there = f", {readable_size(had)} of it there already" if had else ""
    print(f"{printable(asset.path)}: {readable_size(asset.size)}{there}, to {path}", file=sys.stderr)


def _fetch(asset: BaseRemoteAsset, part: Path, progress: bool) -> None:
    """Append to the part file until it is complete, however often the connection breaks."""
    import requests
    from tqdm import tqdm

    shown = {"unit": "B", "unit_scale": True, "disable": None if progress else True}
    fruitless = 0
    with open(part, "ab") as file, tqdm(total=asset.size, initial=file.tell(), **shown) as bar:
        while file.tell() < asset.size:
            start = file.tell()
            try:
                _append_rest(asset, file, part, bar)
                broken = "the connection closed early"
            except requests.RequestException as error:
                broken = _unless_final(error)
            fruitless = 0 if file.tell() > start else fruitless + 1
            if file.tell() < asset.size and fruitless == ATTEMPTS:
                raise SourceError(
                    f"the download of {printable(asset.path)!r} broke off {ATTEMPTS} times in a row after "
                    f"{readable_size(file.tell())} of {readable_size(asset.size)} ({broken}); the part is "
                    "kept: read it again to go on from there"
                )
            if fruitless:
                time.sleep(PAUSE * 2 ** (fruitless - 1))


def _append_rest(asset: BaseRemoteAsset, file: BinaryIO, part: Path, bar: tqdm) -> None:
    """One request for all that is missing, written as it comes."""
    start = file.tell()
    with _answers(asset) as answers:
        for chunk in asset.get_download_file_iter(chunk_size=CHUNK)(start):
            if start and answers[-1].status_code == 200:  # the whole file, though a range was asked for
                start = file.seek(file.truncate(0))
                bar.reset()
            _append(file, chunk, asset, part)
            bar.update(len(chunk))


@contextmanager
def _answers(asset: BaseRemoteAsset) -> Iterator[list[requests.Response]]:
    """The answers to the client's requests, closed at the end; its own iterator leaves broken ones open."""
    answers: list[requests.Response] = []
    hooks = asset.client.session.hooks["response"]

    def keep(answer: requests.Response, *_: object, **__: object) -> None:
        answers.append(answer)

    hooks.append(keep)
    try:
        yield answers
    finally:
        hooks.remove(keep)
        for answer in answers:
            answer.close()


def _append(file: BinaryIO, chunk: bytes, asset: BaseRemoteAsset, part: Path) -> None:
    if file.tell() + len(chunk) > asset.size:
        file.close()
        part.unlink()
        raise SourceError(
            f"the archive sent more bytes of {printable(asset.path)!r} than its size ({asset.size}); the "
            "part was removed. Read it again to start anew"
        )
    file.write(chunk)


def _unless_final(error: Exception) -> str:
    """Name of an error worth another attempt; an answer such as 403 or 404 is raised instead."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None and 400 <= status < 500 and status != 429:
        raise error
    return type(error).__name__


def _verify(asset: BaseRemoteAsset, part: Path, digests: dict[str, str]) -> None:
    for name, expected in digests.items():
        found = _digest(part, name)
        if found != expected.lower():
            part.unlink()
            raise SourceError(
                f"the copy of {printable(asset.path)!r} is not what the archive has: its {name} is {found}, "
                f"expected {printable(expected)[:80]}. It was removed; read it again to download anew"
            )


def _digest(part: Path, name: str) -> str:
    if name == "dandi:dandi-etag":
        from dandischema.digests.dandietag import DandiETag

        return DandiETag.from_file(part).as_str()
    with open(part, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
