"""Ctrl-C that waits for the end of a step, so that what is saved is a whole state."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interruption:
    """`asked` turns True at the first Ctrl-C; a second one raises KeyboardInterrupt at once."""

    asked: bool = False


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Hold back one SIGINT while the block runs; outside the main thread nothing changes."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(signum, frame):
        if interruption.asked:
            raise KeyboardInterrupt
        interruption.asked = True

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, previous)
