"""Files that appear whole or not at all.

A new version is written beside the old one and then takes its name in one step. Whatever happens on the
way, a crash or a full disk included, the name leads to a whole file: the old one or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nwb_rnn.errors import NwbRnnError, StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_STALE = 600.0  # s; a temporary file this old that nobody holds open was left by a killed process


@contextmanager
def replacing(path: Path, overwrite: bool) -> Iterator[Path]:
    """The path of a temporary file in the same folder, which becomes `path` when the block ends well.

    Parameters
    ----------
    path : where the new file is to be
    overwrite : False refuses where `path` exists, also where it comes to exist during the block

    Raises
    ------
    StorageError : `path` exists, its folder is missing or may not be written to, or the disk is full; the
        temporary file is removed, what was at `path` is untouched
    """
    path = check_target(path, overwrite)
    _remove_stale(path)
    with explained(path):
        temporary = _reserve(path)
    try:
        with explained(path):
            yield temporary
            _to_disk(temporary)
            _take_the_name(temporary, path, overwrite)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def check_target(path: Path, overwrite: bool) -> Path:
    """`path` with links followed, where a file can be written.

    Raises
    ------
    StorageError : `path` exists and `overwrite` is False, it is a folder, or its folder is missing
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise StorageError(f"{str(path)!r} is a folder; give the path of a file")
    if path.exists() and not overwrite:
        raise StorageError(_exists(path))
    if not path.parent.is_dir():
        raise StorageError(
            f"there is no folder {str(path.parent)!r} to write {path.name!r} to; make it first"
        )
    return path


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Trouble with the disk as a StorageError that says what to do."""
    try:
        yield
    except NwbRnnError:
        raise
    except (OSError, RuntimeError) as error:
        reason = _reason(error, path)
        if reason is None:
            raise
        raise StorageError(reason) from error


def _reason(error: Exception, path: Path) -> str | None:
    text, number = str(error), getattr(error, "errno", None)
    whole = f"nothing at {str(path)!r} was changed"
    if number in _FULL or any(f"errno = {n}," in text for n in _FULL) or "No space left" in text:
        return f"the disk is full, so {path.name!r} was not written; {whole}. Free some space and write again"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"not allowed to write in the folder {str(path.parent)!r}; {whole}. Change its permissions or "
            "write to another folder"
        )
    if isinstance(error, OSError):
        return f"cannot write {str(path)!r}: {text[:300]}; {whole}"
    return None


def _exists(path: Path) -> str:
    return f"{str(path)!r} exists already; give another path, or overwrite=True (--overwrite) to replace it"


def _reserve(path: Path) -> Path:
    """A new empty file beside `path`, with the permissions that `path` has or would get."""
    temporary = path.with_name(f".{path.name[:180]}.{secrets.token_hex(6)}.partial")
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    os.close(handle)
    if path.exists():
        shutil.copymode(path, temporary)
        os.chmod(temporary, stat.S_IMODE(os.stat(temporary).st_mode) | stat.S_IWUSR)
    return temporary


def _take_the_name(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
    else:
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise StorageError(_exists(path)) from None
        except OSError:  # a file system without hard links
            if path.exists():
                raise StorageError(_exists(path)) from None
            os.replace(temporary, path)
        else:
            temporary.unlink()
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_stale(path: Path) -> None:
    """Remove what processes that were killed left behind while they wrote this very file."""
    for left in path.parent.glob(f".{glob.escape(path.name[:180])}.*.partial"):
        with contextlib.suppress(OSError, StorageError):
            if time.time() - left.stat().st_mtime > _STALE:
                with locked(left):
                    left.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file for ourselves, so that HDF5, which honours such locks, cannot open it elsewhere meanwhile.

    Raises
    ------
    StorageError : another program, or another part of this one, holds the file open
    """
    try:
        import fcntl
    except ImportError:  # Windows: a file that is open elsewhere cannot be replaced there anyway
        yield
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageError(
                f"{str(path)!r} is held open, by another program or by this one; close it there first, or "
                "write a derivative instead (mode='derivative')"
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # a file system without locks
                raise
        if os.fstat(handle).st_ino != path.stat().st_ino:
            raise StorageError(f"{str(path)!r} was replaced by another program just now; try again")
        yield
    finally:
        os.close(handle)


def check_writable(path: Path) -> None:
    """Refuse a file that is marked as read-only.

    Raises
    ------
    StorageError : nobody, or not this user, may write to the file
    """
    marked = not path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    if marked or not os.access(path, os.W_OK):
        raise StorageError(
            f"{str(path)!r} is read-only, so nothing is added to it; make it writable, or write a "
            "derivative instead (mode='derivative')"
        )
