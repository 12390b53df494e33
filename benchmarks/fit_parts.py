"""Where the time of a fit of counts goes: processor seconds of each part, on one thread.

    python benchmarks/fit_parts.py                         the demo's session, the linear track, pmd_reach
    python benchmarks/fit_parts.py demo --beside FOLDER    beside another checkout of the package

With `--beside` both packages fit in turns, `--rounds` times, each time in a process of its own, and the least
seconds of each part stand beside each other, with the largest difference between the fitted parameters (in
root mean squares of each). With `--polish 0` that shows whether both do the same; after particle EM it does
not, as one rounding that changes which particle is chosen changes all later draws. A first fit of a few
trials loads or compiles what is compiled and is not counted.

    demo          as `nwb-rnn demo`: rank 2, 64 units, 120 iterations, a fifth of the trials for validation
    linear_track  as `linear_track.py --rank 3`, seed 0
    pmd_reach     as `pmd_reach.py --rank 8`, seed 0
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import nwb_rnn as nr

# functions of each part, in the modules that call them; time of a part inside another is not counted twice
PARTS = {
    "start": ["estimators.training:starting_module"],
    "start: counts as signals": [
        "fitting.linear_start:_candidates",
        "fitting.linear_start:smooth",
        "fitting.linear_start:poisson_regression",
    ],
    "start: modes": [
        "fitting.laplace:smooth_counts",
        "fitting.laplace:_smooth",
        "fitting.linear_start:smooth_counts",
    ],
    "start: readout": ["fitting.laplace:_maximise_readout"],
    "training": ["fitting.trainer:Trainer.iterate"],
    "validation": ["fitting.trainer:Trainer._score", "fitting.trainer:Trainer._score_without_encoder"],
    "polish": ["fitting.trainer:polish"],
    "polish: proposals": ["fitting.particle_em:prepare", "fitting.particle_em:prepare_around"],
    "polish: filter": ["fitting.particle_em:run_filter"],
    "polish: backward simulation": ["fitting.particle_em:backward_simulation"],
    "polish: M step of the dynamics": ["fitting.particle_em:maximise_dynamics"],
    "polish: M step of the readout": ["fitting.particle_em:maximise_readout"],
}


class Clock:
    """Processor seconds of each part, without those of parts inside it."""

    def __init__(self):
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._inside: list[str] = []
        self._since = time.process_time()

    def watch(self) -> None:
        for part, functions in PARTS.items():
            for where in functions:
                module, _, path = where.partition(":")
                *owners, name = path.split(".")
                owner = functools.reduce(getattr, owners, importlib.import_module(f"nwb_rnn.{module}"))
                if hasattr(owner, name):
                    setattr(owner, name, self._timed(part, getattr(owner, name)))

    def clear(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def _timed(self, part, function):
        @functools.wraps(function)
        def timed(*values, **options):
            self._tick()
            self._inside.append(part)
            try:
                return function(*values, **options)
            finally:
                self._tick()
                self._inside.pop()

        return timed

    def _tick(self) -> None:
        now = time.process_time()
        if self._inside:
            self.seconds[self._inside[-1]] += now - self._since
        self._since = now


def demo():
    from nwb_rnn.cli.walk import DEFAULTS
    from nwb_rnn.teachers.session import simulate_session

    recording = simulate_session(seed=0).recording
    trials = recording.align(DEFAULTS["event"], until=DEFAULTS["until"], bin_size=DEFAULTS["bin_size"])
    held = np.arange(trials.sizes["trial"]) % 5 == 4
    how = {"iterations": DEFAULTS["iterations"], "validation": trials.isel(trial=held)}
    return {"rank": 2, "units": DEFAULTS["units"]}, trials.isel(trial=~held), how


def linear_track():
    path = recordings.folder() / "linear_track" / "sub-rat01_ses-lineartrack_behavior+ecephys.nwb"
    trials = nr.read(path).align("start_time", until="stop_time", bin_size=0.01)
    how = {"iterations": 300, "crop": 150, "batch_size": 32, "learning_rate": 1e-3}
    return {"rank": 3, "units": 128}, trials, how


def pmd_reach():
    path = recordings.folder() / "pmd_reach" / "sub-monkey_ses-ex1_ecephys.nwb"
    trials = nr.read(path).align("start_time", window=(0, 0.4), bin_size=0.02)
    train = np.setdiff1d(np.arange(210), np.random.default_rng(0).permutation(210)[:42])
    order = np.random.default_rng(1).permutation(train)
    few = len(train) // 7
    how = {"iterations": 600, "validation": trials.isel(trial=np.sort(order[:few]))}
    return {"rank": 8, "units": 128}, trials.isel(trial=np.sort(order[few:])), how


CASES = {"demo": demo, "linear_track": linear_track, "pmd_reach": pmd_reach}


def measure(case: str, changes: dict, file: Path) -> dict[str, float]:
    """Fit in this process; parameters go to `file` (.npz)."""
    network, trials, how = CASES[case]()
    how |= changes
    clock = Clock()
    clock.watch()
    warm = how | {"iterations": 2, "polish": 2}
    nr.LowRankRNN(**network, seed=0).fit(trials.isel(trial=slice(0, 6)), progress=False, **warm)
    clock.clear()
    began = time.process_time()
    model = nr.LowRankRNN(**network, seed=0).fit(trials, progress=False, **how)
    seconds = {"all": time.process_time() - began} | clock.seconds
    np.savez(file, **model.to_arrays())
    return seconds


def in_turns(case: str, changes: dict, packages: list[Path], rounds: int) -> None:
    least: list[dict[str, float]] = [{} for _ in packages]
    arrays: list[dict[str, np.ndarray]] = [{} for _ in packages]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parameters.npz"
        for _ in range(rounds):
            for which, package in enumerate(packages):
                environment = os.environ | {"PYTHONPATH": str(package)}
                command = [
                    sys.executable,
                    __file__,
                    case,
                    "--into",
                    str(file),
                    "--changes",
                    json.dumps(changes),
                ]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                found = json.loads(done.stdout.splitlines()[-1])
                least[which] = {part: min(s, least[which].get(part, s)) for part, s in found.items()}
                arrays[which] = dict(np.load(file))
    print(f"{case}{''.join(f', {name} {value}' for name, value in changes.items())}")
    for part in least[0]:
        values = [found[part] for found in least]
        if max(values) >= 0.05:
            ratio = f"  {values[1] / max(values[0], 1e-3):5.1f}" if len(values) == 2 else ""
            print(f"    {part:32s}" + "".join(f"  {value:6.2f}" for value in values) + ratio, flush=True)
    if len(packages) == 2:
        print(f"    parameters differ by {difference(*arrays):.2g}", flush=True)


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    numbers = [name for name, value in one.items() if value.dtype.kind == "f" and value.size]
    size = {name: max(np.sqrt((one[name] ** 2).mean()), 1e-12) for name in numbers}
    return max(float(np.abs(one[name] - other[name]).max() / size[name]) for name in numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    parser.add_argument("--iterations", type=int, help="by default those of each case")
    parser.add_argument("--polish", type=int, help="by default those of the fit")
    parser.add_argument("--beside", type=Path, help="root of another checkout")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--changes", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.into is not None:
        print(json.dumps(measure(options.cases[0], json.loads(options.changes), options.into)))
        return
    changes = {name: getattr(options, name) for name in ("iterations", "polish")}
    changes = {name: value for name, value in changes.items() if value is not None}
    packages = [Path(nr.__file__).parents[1]] + ([options.beside] if options.beside else [])
    for case in options.cases or CASES:
        in_turns(case, changes, packages, options.rounds)


if __name__ == "__main__":
    main()
