"""Milliseconds of one training iteration on a GPU, many fits at once, and a whole fit of 75,000 iterations.

    python benchmarks/low_rank_gpu.py [--peer PATH] [--fits 1 8 64] [--signal FILE --iterations 75000]

Settings and published code are those of `low_rank_eeg`, here both on the GPU: ours as a fit takes its
iterations, recorded once and started again, with one look at the outcome every 50; the published code as its
training loop does it, by the clock, each iteration waited for. FILE of --signal is an .npy array of samples ×
channels at 160 samples a second, such as the channels of eeg/sub-S001_ses-R01_ecephys.nwb; the fit's time is
that of `LowRankRNN.fit`, from the trials on, with all that it does at the start. Compilation is done before
any clock starts but that of the whole fit.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import low_rank_eeg
import numpy as np
import torch

import nwb_rnn as nr
from nwb_rnn.estimators.training import Training
from nwb_rnn.fitting.one_pass import OnePass

_ROUNDS, _SAMPLES_PER_SECOND = 9, 160


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="checkout of mackelab/smc_rnns")
    parser.add_argument("--only-peer", action="store_true", help="time the published code alone")
    parser.add_argument("--fits", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--signal", type=Path)
    parser.add_argument("--iterations", type=int, default=75_000)
    parser.add_argument("--learning-rate", type=float, nargs="*", default=[1e-3])
    parser.add_argument("--seeds", type=int, default=1, help="that many whole fits at once, for each rate")
    parser.add_argument("--save", default="", help="prefix for .npz files of the whole fits")
    parser.add_argument("--out", type=Path, help="write the numbers as JSON")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "torch sees no CUDA device\n")
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    print(report["device"], "torch", report["torch"])
    for name in low_rank_eeg.SETTINGS:
        report[name] = compare(name, options.peer, options.only_peer)
    if options.only_peer:
        return
    report["fits"] = {count: many(count) for count in options.fits}
    for count, milliseconds in report["fits"].items():
        print(f"{count} fits at once: {milliseconds:.3f} ms an iteration of all", flush=True)
    if options.signal is not None:
        report["fit_seconds"] = whole_fits(options)
        print(f"{options.iterations} iterations: {report['fit_seconds']:.1f} s", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(report, indent=2) + "\n")


def compare(name: str, peer: Path | None, only_peer: bool) -> dict[str, float]:
    """Median milliseconds of an iteration, ours and the published code's in turn."""
    steps: dict[str, tuple[Callable[[], None], int]] = {}
    if not only_peer:
        steps["ours"] = OnePass.of([low_rank_eeg.our_trainer(name, "auto", "cuda")]).run, 50
    if peer is not None:
        steps["published"] = low_rank_eeg.peer_step(name, peer.resolve(), "cuda"), 1
    taken = {label: [] for label in steps}
    for _ in range(_ROUNDS + 2):  # the first two compile and record
        for label, (run, count) in steps.items():
            taken[label].append(milliseconds(run) / count)
    found = {label: statistics.median(times[2:]) for label, times in taken.items()}
    spread = {label: f"{min(times[2:]):.3f} to {max(times[2:]):.3f}" for label, times in taken.items()}
    for label, value in found.items():
        gain = f"{found['published'] / value:.0f} x" if peer is not None else ""
        print(f"{name:7s} {label:10s} {value:8.3f} ms ({spread[label]}) {gain}", flush=True)
    return found


def many(count: int) -> float:
    """Milliseconds of one iteration of that many fits of the EEG setting."""
    together = OnePass.of([low_rank_eeg.our_trainer("eeg", "auto", "cuda", seed) for seed in range(count)])
    times = [milliseconds(together.run) / 50 for _ in range(7)]
    return statistics.median(times[2:])


def milliseconds(run: Callable[[], None]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - started)


def whole_fits(options) -> float:
    """Seconds of all fits in the published setting."""
    signal = np.load(options.signal)
    trials = nr.read(signal, rate=_SAMPLES_PER_SECOND).segments(bin_size=1 / _SAMPLES_PER_SECOND)
    started, models, fits = time.perf_counter(), {}, []
    for rate, seed in itertools.product(options.learning_rate, range(options.seeds)):
        model = nr.LowRankRNN(rank=3, units=512, activation="clipped_relu", observation="gaussian", seed=seed)
        fits.append(
            model.set_up_fit(
                trials,
                iterations=options.iterations,
                batch_size=10,
                particles=10,
                crop=50,
                learning_rate=rate,
                polish=0,
                device="cuda",
                progress=False,
            )
        )
        models[f"{options.save}{rate:g}_{seed}.npz"] = model
    Training.run_together(fits)
    seconds = time.perf_counter() - started
    if options.save:
        for name, model in models.items():
            np.savez(name, **model.to_arrays())
    return seconds


if __name__ == "__main__":
    main()
