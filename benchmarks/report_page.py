"""Seconds and megabytes of the page about a model: linear track and EEG.

    python benchmarks/report_page.py

Fits are short, since the page's cost does not depend on them. Seconds are those of `nwb-rnn report` as a
process of its own, start included: on the clock, and of the processor.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nwb_rnn as nr

ITERATIONS = 30


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, fitted in (("linear track", linear_track), ("EEG", eeg)):
            path = Path(folder) / f"{name.replace(' ', '_')}.nwb"
            fitted(path)
            clock, processor, size = timed(path)
            print(
                f"{name:14s} {clock:5.1f} s ({processor:.1f} s of processor), {size / 1e6:.2f} MB", flush=True
            )


def linear_track(path: Path) -> None:
    recording = nr.read(
        recordings.folder() / "linear_track" / "sub-rat01_ses-lineartrack_behavior+ecephys.nwb"
    )
    trials = recording.align("start_time", until="stop_time", bin_size=0.01)
    model = nr.LowRankRNN(rank=3, units=128).fit(
        trials, iterations=ITERATIONS, crop=150, batch_size=32, polish=1, progress=False
    )
    stored(path, recording, trials, model)


def eeg(path: Path) -> None:
    recording = nr.read(recordings.folder() / "eeg" / "sub-S001_ses-R01_ecephys.nwb")
    trials = recording.segments(bin_size=1 / 160)
    model = nr.LowRankRNN(rank=3, units=512, observation="gaussian").fit(
        trials, iterations=ITERATIONS, crop=50, batch_size=10, particles=10, polish=1, progress=False
    )
    stored(path, recording, trials, model)


def stored(path: Path, recording, trials, model) -> None:
    model.score(trials, particles=32, samples=8)
    latents = model.infer(trials, particles=32, samples=8)
    nr.write(path, model, latents=latents, fixed_points=model.fixed_points(), source=recording, dandi=False)


def timed(path: Path) -> tuple[float, float, int]:
    """Seconds on the clock and of the processor, and bytes of the page."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = "from nwb_rnn.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", command, "report", str(path)], check=True, stdout=subprocess.DEVNULL
    )
    clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return clock, processor, path.with_suffix(".html").stat().st_size


if __name__ == "__main__":
    main()
