"""Two proofs and a search on 200 random models: does a long search ever find what the proofs lack?

    python benchmarks/fixed_point_agreement.py [--starts 10000] [--first 0] [--last 200]

The models are those of tests/dynamics/test_exact.py (rank 1 to 4, relu and clipped_relu, with and without
input). Each is solved by branch and bound and by enumeration; a Levenberg-Marquardt search from `starts`
random places then runs, and each of its points has to be in both lists. Prints one line per ten models and
the totals. About ten seconds a model on one core at 10,000 starts.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from nwb_rnn.dynamics import find_fixed_points

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "dynamics"))
from random_maps import random_map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--last", type=int, default=200)
    options = parser.parse_args()
    proved = searched = missing = 0
    began = time.perf_counter()
    for seed in range(options.first, options.last):
        rank, clipped, driven = 1 + seed % 4, (seed // 4) % 2, (seed // 8) % 2
        units = {1: 40, 2: 20, 3: 10, 4: 7}[rank]
        network = random_map(units, rank, seed, ("relu", "clipped_relu")[clipped], with_input=bool(driven))
        exact = find_fixed_points(network, method="exact")
        listed = find_fixed_points(network, method="enumerate")
        if not (exact.complete and listed.complete and len(exact) == len(listed)):
            raise SystemExit(
                f"model {seed}: {len(exact)} and {len(listed)} points, {exact.proof}; {listed.proof}"
            )
        found = find_fixed_points(network, method="newton", n_starts=options.starts, seed=seed, rounds=0)
        size = 1.0 + np.abs(found.location).max(axis=1, initial=0.0)
        for points in (exact, listed):
            if len(found):
                apart = np.linalg.norm(found.location[:, None] - points.location, axis=2)
                missing += int((apart.min(axis=1, initial=np.inf) > 1e-6 * size).sum())
        proved, searched = proved + len(exact), searched + len(found)
        if seed % 10 == 9:
            seconds = time.perf_counter() - began
            print(
                f"models {options.first} to {seed}: {proved} points, search {searched}, missing {missing}"
                f" ({seconds:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
