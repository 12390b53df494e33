"""Seconds and megabytes of the page about a model: linear track and EEG.

    python benchmarks/report_page.py

Fits are short, since the page's cost does not depend on them. Seconds are those of `nwb-rnn report` as a
process of its own, start included: on the clock, and of the processor, the least of a few runs. The load
that is printed beside them says how many other processes wanted the processors meanwhile.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nwb_rnn as nr

ITERATIONS = 30
RUNS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, fitted in (("linear track", linear_track), ("EEG", eeg)):
            path = Path(folder) / f"{name.replace(' ', '_')}.nwb"
            fitted(path)
            runs = [timed(path) for _ in range(RUNS)]
            clock, processor = ([run[i] for run in runs] for i in (0, 1))
            print(
                f"{name:14s} {min(clock):5.1f} to {max(clock):.1f} s, {min(processor):.1f} to "
                f"{max(processor):.1f} s of processor, {runs[0][2] / 1e6:.2f} MB, load "
                f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors",
                flush=True,
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
    command = [sys.executable, "-c", "from nwb_rnn.cli import main; main()", "report", "--overwrite"]
    subprocess.run([*command, str(path)], check=True, stdout=subprocess.DEVNULL)
    clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return clock, processor, path.with_suffix(".html").stat().st_size


if __name__ == "__main__":
    main()
