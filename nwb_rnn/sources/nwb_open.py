"""Opening of NWB files: HDF5 or Zarr, on this machine or streamed over HTTP, with clear refusals."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwb_rnn.errors import NwbRnnError, SourceError

if TYPE_CHECKING:
    import requests
    from pynwb import NWBFile

PATIENCE = 30.0  # s to wait for a server
_SECRET = re.compile(r"(\?|#).*$|(?<=://)[^/@]*@")


@contextmanager
def open_nwb(location: str | os.PathLike) -> Iterator[NWBFile]:
    """An NWB file open for reading, closed again afterwards.

    Parameters
    ----------
    location : path of an HDF5 file or a Zarr folder, or an ``http(s)://`` or ``s3://`` address, of which
        only the byte ranges that are needed are fetched

    Raises
    ------
    SourceError : no such file, not NWB, truncated, held open for writing, or the server refuses
    """
    shown = public_location(location)
    with ExitStack() as stack:
        with explained(shown):
            io = _open_io(str(location), stack)
            stack.callback(_close, io)
            with quiet():
                nwbfile = io.read()
        yield nwbfile


def _open_io(location: str, stack: ExitStack) -> Any:
    if is_address(location):
        return _open_address(_https(location), stack)
    path = Path(location).expanduser()
    if not path.exists():
        near = [p.name for p in sorted(path.parent.glob("*.nwb"))[:8]] if path.parent.is_dir() else []
        hint = f"; NWB files in that folder: {', '.join(near)}" if near else ""
        raise SourceError(f"there is no file {str(path)!r}; check the path{hint}")
    if path.is_dir():
        return _open_zarr(str(path))
    return _open_hdf5(path, stack)


def _open_hdf5(path: Path, stack: ExitStack) -> Any:
    import h5py

    if path.stat().st_size == 0:
        raise SourceError(f"{str(path)!r} is empty (0 bytes); copy it again from where it came")
    if not h5py.is_hdf5(path):
        raise SourceError(
            f"{str(path)!r} is not NWB: it is no HDF5 file and no Zarr folder; give a file that ends in "
            ".nwb, or, if it was downloaded, download it again"
        )
    return _hdf5_io(stack.enter_context(h5py.File(path, "r")), str(path))


def _open_address(address: str, stack: ExitStack) -> Any:
    import h5py
    import remfile

    if address.rstrip("/").endswith(".zarr"):
        return _open_zarr(address)
    # a DANDI asset signs its address anew when it must, and knows its size
    size = getattr(address, "size", None) or size_of(address)
    remote = remfile.File(getattr(address, "signed", address), _size=size)
    stack.callback(_close, remote.session)
    patient(remote.session, PATIENCE)
    return _hdf5_io(stack.enter_context(h5py.File(remote, "r")), public_location(address))


def patient(session: requests.Session, seconds: float) -> None:
    """Make a request of the session fail once the server is silent for so long, where it would wait for ever.

    remfile and the dandi client ask without a limit, and ask again after such a failure. A read that hangs
    inside h5py also holds h5py's global lock, on which every other thread with HDF5 waits.
    """
    session.request = partial(session.request, timeout=seconds)


def size_of(address: str) -> int:
    """Bytes of a file on a server, which must serve parts of it.

    Raises
    ------
    SourceError : the server cannot be reached, refuses, or sends only whole files
    """
    import requests

    shown = public_location(address)
    try:
        answer = requests.get(address, headers={"Range": "bytes=0-0"}, stream=True, timeout=PATIENCE)
    except requests.RequestException as error:
        kind = type(error).__name__
        raise SourceError(f"cannot reach {shown!r} ({kind}); check the address and the connection") from None
    answer.close()
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if answer.status_code == 206 and total.isdigit():
        return int(total)
    if answer.status_code == 200:
        raise SourceError(
            f"the server of {shown!r} sends only whole files; download the file and read it from disk"
        )
    raise SourceError(
        f"the server did not give {shown!r} (status {answer.status_code}); check the address and the "
        "permission to read it"
    )


def _hdf5_io(file: Any, shown: str) -> Any:
    from pynwb import NWBHDF5IO

    if "nwb_version" not in file.attrs and b"NWB" not in bytes(
        str(file.attrs.get("neurodata_type", "")), "utf8"
    ):
        raise SourceError(
            f"{shown!r} is HDF5 but not NWB 2: it has no attribute 'nwb_version'. NWB 1 files and MATLAB "
            "files must be converted first, for instance with neuroconv"
        )
    with quiet():
        return NWBHDF5IO(file=file, mode="r", load_namespaces=True)


def _open_zarr(location: str) -> Any:
    from hdmf_zarr import NWBZarrIO

    if not is_address(location) and not any((Path(location) / n).exists() for n in (".zgroup", ".zmetadata")):
        raise SourceError(
            f"the folder {location!r} is not NWB: it holds no Zarr group; give an .nwb file or .nwb.zarr"
        )
    with quiet():
        return NWBZarrIO(location, mode="r", load_namespaces=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of pynwb and hdmf about old schemas and namespaces, which no reader can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def explained(shown: str) -> Iterator[None]:
    """Whatever goes wrong in h5py, zarr, remfile or pynwb, as one sentence that says what to do."""
    try:
        yield
    except (NwbRnnError, MemoryError):
        raise
    except PermissionError as error:
        raise SourceError(f"not allowed to read {shown!r}; check its permissions") from error
    except BlockingIOError as error:
        raise SourceError(
            f"{shown!r} is held open for writing by another program; close it there first"
        ) from error
    except Exception as error:
        reason = without_secrets(str(error) or type(error).__name__)[:300]
        cause = (
            None if is_address(shown) else error
        )  # a message of the network may hold an address with a secret
        raise SourceError(f"cannot read {shown!r}: {_advice(reason)} ({reason})") from cause


def _advice(reason: str) -> str:
    lower = reason.lower()
    if "truncated" in lower or "addr overflow" in lower:
        return "the file is truncated; copy or download it again"
    if "unable to lock" in lower or "already open for write" in lower:
        return "it is held open for writing; close it there first"
    if any(word in lower for word in ("status code", "http", "connection", "urlopen", "forbidden")):
        return "the server did not give it; check the address and the permission to read it"
    return "it is damaged, or not NWB; pynwb.validate may say more"


def is_address(location: str) -> bool:
    """Whether a location is an address on a network rather than a path."""
    return location.startswith(("http://", "https://", "s3://"))


def _https(address: str) -> str:
    """``s3://bucket/key`` as the address under which public buckets serve it."""
    if not address.startswith("s3://"):
        return address
    bucket, _, key = address[len("s3://") :].partition("/")
    return f"https://{bucket}.s3.amazonaws.com/{key}"


def public_location(location: str | os.PathLike) -> str:
    """A path, or an address without the part after ``?`` and without a password: these may be secrets."""
    text = os.fspath(location)
    return _SECRET.sub("", text) if is_address(text) else text


def without_secrets(text: str) -> str:
    """A message whose addresses have lost all that may be secret."""
    return re.sub(r"(?:https?|s3)://\S+", lambda found: public_location(found.group()), text)


def _close(io: Any) -> None:
    closing = getattr(io, "close", None)
    if closing is not None:
        closing()
