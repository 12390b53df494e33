"""A small session on disk and a model fitted to it in seconds, for tests of what users call."""

from pathlib import Path

from click.testing import CliRunner

from nwb_rnn.cli import main
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.oscillator import oscillator
from nwb_rnn.teachers.session import SimulatedSession, simulate_session

SMALL_FIT = (
    "--iterations=3",
    "--units=12",
    "--particles=4",
    "--batch-size=4",
    "--backend=reference",
)


def small_session(path: Path, **options) -> SimulatedSession:
    """8 trials of 0.3 to 0.5 s of 10 units, written to `path`."""
    arrays = oscillator(observed=10, units=32, seed=1)
    options = {"trials": 8, "shortest": 0.3, "longest": 0.5, "seed": 1} | options
    session = simulate_session(arrays, **options)
    write_session(path, session.recording)
    return session


def run(*arguments, code: int = 0) -> str:
    """Output of a command, whose exit code must be `code`."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output
