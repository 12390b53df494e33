"""The six exceptions that this package raises on purpose.

Each message says what was given, what was expected and what to do next.
"""


class NwbRnnError(Exception):
    """Base of every error that nwb_rnn raises on purpose."""


class InputError(NwbRnnError, ValueError):
    """An argument, or the data in it, cannot be used as given."""


class SourceError(NwbRnnError, OSError):
    """A recording cannot be read: no such file, not NWB, truncated, not allowed."""


class NotFittedError(NwbRnnError, RuntimeError):
    """A verb that needs a fitted model was called before `fit`."""


class DivergenceError(NwbRnnError, ArithmeticError):
    """Training left the finite numbers; the last good state is kept on the model."""


class StorageError(NwbRnnError, OSError):
    """A result cannot be written or read back; files that were there stay whole."""
