"""Co-smoothing on macaque premotor cortex (pmd_reach): held-out units on held-out trials, bits per spike.

    python benchmarks/pmd_reach.py --rank 4            one split, two baselines
    python benchmarks/pmd_reach.py --rank 8 --all      beside Gaussian-process factors and a GRU too
    python benchmarks/pmd_reach.py --rank 8 --folds 5  five folds over trials

61 units, 210 trials of 0.4 s, bins of 20 ms. The split: rng = numpy.random.default_rng(0), test trials
rng.permutation(210)[:42], held-out units rng.permutation(61)[:15]. Every method sees all units of the
training trials, and only the held-in units of the test trials.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import time

import numpy as np
import pmd_baselines as baselines

import nwb_rnn as nr
from nwb_rnn.metrics.likelihood import bits_per_spike


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--polish", type=int, help="steps of particle EM; by default those of the fit")
    parser.add_argument("--resampling-gradient", type=float, help="by default that of the fit")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--all", action="store_true", help="also GPFA and a GRU autoencoder")
    options = parser.parse_args()
    trials = read()
    rng = np.random.default_rng(0)
    order, units = rng.permutation(210), rng.permutation(61)
    held = np.isin(np.arange(61), units[:15])
    tests = np.array_split(order, options.folds) if options.folds else [order[:42]]
    rows: dict[str, list[tuple[float, float]]] = {}
    for fold, test in enumerate(tests):
        train = np.setdiff1d(order, test)
        for name, method in methods(options).items():
            started = time.perf_counter()
            score = method(trials, train, np.sort(test), held)
            rows.setdefault(name, []).append((score, time.perf_counter() - started))
            print(f"fold {fold}  {name:48s} {score:7.4f}  {rows[name][-1][1]:6.1f} s", flush=True)
    if options.folds:
        for name, scores in rows.items():
            values = np.array(scores)
            spread = values[:, 0].std(ddof=1)
            print(f"mean    {name:48s} {values[:, 0].mean():7.4f} ± {spread:.4f} (SD over folds)")


def read():
    path = recordings.folder() / "pmd_reach" / "sub-monkey_ses-ex1_ecephys.nwb"
    return nr.read(path).align("start_time", window=(0, 0.4), bin_size=0.02)


def methods(options) -> dict:
    found = {
        f"low-rank RNN, rank {options.rank}, seed {seed}": lambda *a, s=seed: low_rank(options, s, *a)
        for seed in range(options.seeds)
    }
    found["mean rate of the training trials"] = baselines.mean_rate
    found["smoothed held-in rates, Poisson regression"] = baselines.smoothed_regression
    found["condition averages"] = baselines.condition_averages
    if options.all:
        found["Gaussian-process factors (elephant), 8 latents"] = baselines.gaussian_process_factors
        for seed in range(options.seeds):
            name = f"bidirectional GRU autoencoder, 8 latents, seed {seed}"
            found[name] = lambda *a, s=seed: baselines.gru_autoencoder(*a, seed=s)
    return found


def low_rank(options, seed, trials, train, test, held) -> float:
    """A seventh of the training trials choose when to stop."""
    shuffled = np.random.default_rng(1).permutation(train)
    few = len(train) // 7
    model = nr.LowRankRNN(rank=options.rank, units=options.units, seed=seed)
    model.fit(
        trials.isel(trial=np.sort(shuffled[few:])),
        validation=trials.isel(trial=np.sort(shuffled[:few])),
        iterations=options.iterations,
        polish=options.polish,
        resampling_gradient=options.resampling_gradient,
        progress=False,
    )
    given = trials.isel(trial=test)
    latents = model.infer(given, held_out_units=trials.unit.values[held])
    counts = given.counts.values[..., held]
    return bits_per_spike(latents.rates.values[..., held], counts, given.mask.values)


if __name__ == "__main__":
    main()
