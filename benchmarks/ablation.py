"""What each part of training buys: pmd_reach as in `pmd_reach.py`, with one part changed at a time.

    python benchmarks/ablation.py --seeds 2 [--iterations 600] [--only WORD]

Co-smoothing in bits per spike on the one split of that script, rank 8, and the seconds that a fit takes.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import time

import numpy as np
import pmd_reach

import nwb_rnn as nr
from nwb_rnn.metrics.likelihood import bits_per_spike

VARIANTS = {
    "as it is": {},
    "start from random weights": {"start": "random"},
    "constant learning rate": {"final_fraction": 1.0},
    "no gradient clipping": {"clip_norm": 1e9},
    "no units hidden from the encoder": {"encoder_dropout": 0.0},
    "no particle EM at the end": {"polish": 0},
    "no early stopping, no choice by validation": {"validation": None},
    "4 particles": {"particles": 4},
    "64 particles": {"particles": 64},
    "bootstrap proposal": {"proposal": "bootstrap"},
    "negative binomial counts": {"observation": "negative_binomial"},
    "exp link": {"link": "exp"},
}
_OF_MODEL = ("encoder_dropout", "observation", "link")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--only", default="", help="variants whose name holds this")
    options = parser.parse_args()
    trials = pmd_reach.read()
    rng = np.random.default_rng(0)
    order, units = rng.permutation(210), rng.permutation(61)
    held = np.isin(np.arange(61), units[:15])
    train, test = np.setdiff1d(order, order[:42]), np.sort(order[:42])
    for name, change in VARIANTS.items():
        if options.only not in name:
            continue
        found, seconds = [], []
        for seed in range(options.seeds):
            started = time.process_time()
            found.append(score(trials, train, test, held, seed, options.iterations, dict(change)))
            seconds.append(time.process_time() - started)
        shown = ", ".join(f"{value:.3f}" for value in found)
        print(f"| {name} | {shown} | {np.mean(seconds):.0f} |", flush=True)


def score(trials, train, test, held, seed, iterations, change) -> float:
    shuffled = np.random.default_rng(1).permutation(train)
    few = len(train) // 7
    settings = {name: change.pop(name) for name in _OF_MODEL if name in change}
    model = nr.LowRankRNN(rank=8, seed=seed, **settings)
    how = {"iterations": iterations, "validation": trials.isel(trial=np.sort(shuffled[:few]))}
    model.fit(trials.isel(trial=np.sort(shuffled[few:])), progress=False, **how | change)
    given = trials.isel(trial=test)
    latents = model.infer(given, held_out_units=trials.unit.values[held])
    return bits_per_spike(latents.rates.values[..., held], given.counts.values[..., held], given.mask.values)


if __name__ == "__main__":
    main()
