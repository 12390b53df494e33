"""Compiled loops whose cache on disk is thrown away when any file that they are built from changes.

numba compares only the file that a loop stands in. A loop that calls functions of other files would go on
running their old code from the cache.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path


@functools.cache
def revision(pattern: str) -> int:
    """A number that changes with any file of this package that fits, such as "smc/backends/cpu*.py"."""
    files = sorted(Path(__file__).parent.glob(pattern))
    return zlib.crc32(b"".join(path.read_bytes() for path in files))


def compiled(function, pattern: str, **options):
    """`numba.njit(**options)` of a function; its cache holds while the files of `pattern` do."""
    from numba import njit

    loop = njit(**options)(function)
    index = getattr(getattr(loop, "_cache", None), "_cache_file", None)  # numba has no public way
    if hasattr(index, "_source_stamp"):
        index._source_stamp = (index._source_stamp, revision(pattern))
    return loop
