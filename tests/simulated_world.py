"""A small session on disk and a model fitted to it in seconds, for tests of what users call."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from nwb_rnn.cli import main
from nwb_rnn.recordings.recording import Traces
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
    """8 trials of 0.3 to 0.5 s of 10 units, written to `path`; the latents are in it as `hand_velocity`."""
    arrays = oscillator(observed=10, units=32, seed=1)
    options = {"trials": 8, "shortest": 0.3, "longest": 0.5, "seed": 1} | options
    session = simulate_session(arrays, **options)
    starts = session.recording.intervals["trials"].columns["start_time"]
    stamps = [
        s + (np.arange(len(z)) + 0.5) * session.bin_size for s, z in zip(starts, session.latents, strict=True)
    ]
    hand = Traces(
        "hand_velocity", np.concatenate(session.latents), np.concatenate(stamps), np.array(["x", "y"]), "a.u."
    )
    write_session(path, replace(session.recording, behaviour={"hand_velocity": hand}))
    return session


def run(*arguments, code: int = 0) -> str:
    """Output of a command, whose exit code must be `code`."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def quick_fits(monkeypatch) -> None:
    """Make every fit small, so that code for readers runs as it is written: few units and iterations.

    The numbers that come out mean nothing; what can be called, and with what, stays the same.
    """
    import nwb_rnn as nr

    make, fit, infer = nr.LowRankRNN.__init__, nr.LowRankRNN.fit, nr.LowRankRNN.infer
    small = {"iterations": 3, "particles": 4, "polish": 0, "progress": False, "backend": "reference"}

    def small_network(self, rank, units=12, *arguments, **settings):
        make(self, rank, min(units, 12), *arguments, **settings)

    def short_fit(self, trials, validation=None, **options):
        return fit(self, trials, validation, **{**options, **small})

    def short_infer(self, trials, **options):
        few = {"particles": 8, "backend": "reference"}
        if options.get("kind", "smoothed") == "smoothed":
            few["samples"] = 4
        return infer(self, trials, **{**options, **few})

    monkeypatch.setattr(nr.LowRankRNN, "__init__", small_network)
    monkeypatch.setattr(nr.LowRankRNN, "fit", short_fit)
    monkeypatch.setattr(nr.LowRankRNN, "infer", short_infer)
