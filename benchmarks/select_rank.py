"""Does `select_rank` choose a teacher's rank? Three teachers of rank 2, counts and signals, five seeds.

    python benchmarks/select_rank.py [--seeds 5] [--ranks 1 2 3 4] [--iterations 150] [--trials 60]

The teachers are those of teachers.py (30 observed units, latent noise 0.1). One fit per rank with 64 units;
the fifth of the trials that `select_rank` holds out scores them. Prints the chosen rank of each teacher seed,
and the mean difference of held-out log p(y) per bin from the best rank.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import time

import numpy as np
import teachers

import nwb_rnn as nr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("seeds", 5), ("iterations", 150), ("trials", 60), ("bins", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4])
    options = parser.parse_args()
    for name in ("oscillator", "bistable", "ring"):
        for observation in ("gaussian", "poisson"):
            began, chosen, gaps = time.process_time(), [], []
            for seed in range(options.seeds):
                teacher = nr.LowRankRNN.from_arrays(**teachers.arrays_of(name, observation, seed))
                trials = teacher.simulate(options.trials, bins=options.bins, seed=seed).drop_vars("latents")
                found = nr.select_rank(
                    trials,
                    ranks=options.ranks,
                    seeds=(seed,),
                    network={"units": teachers.UNITS, "observation": observation},
                    iterations=options.iterations,
                    progress=False,
                )
                chosen.append(found.chosen)
                gaps.append([-found.gap(rank) for rank in options.ranks])
            spent = (time.process_time() - began) / options.seeds
            means = ", ".join(f"{gap:.3f}" for gap in np.mean(gaps, axis=0))
            print(
                f"{name}, {observation}: chosen {chosen}; behind the best {means} ({spent:.0f} s each)",
                flush=True,
            )


if __name__ == "__main__":
    main()
