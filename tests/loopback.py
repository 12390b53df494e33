"""What servers need that run in a thread of the tests' own process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collection() -> Iterator[None]:
    """No automatic garbage collection in this process while the block runs.

    h5py holds its global lock while a file-like object reads for it, and takes that lock to free one of its
    own objects (h5py's documentation of Python file-like objects). A test that reads HDF5 from a server in
    another thread therefore waits for that thread with the lock held. Were the collector to run in the
    server's thread then and find an HDF5 object that an earlier test left in a reference cycle, each thread
    would wait for the other for ever. Only the collector can free an HDF5 object there, as no server holds
    one; so with the collector off from before the server's threads start, they never ask for the lock. A
    collection that has begun in any other thread may wait for it, but nobody waits for that thread. What
    piles up meanwhile is collected after the block.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
        assert not gc.isenabled(), "something turned the collector on beside a running server"
    finally:
        if was_on:
            gc.enable()
