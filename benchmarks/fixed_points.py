"""Fixed points with proof: time of branch and bound, of enumeration, and of the general finder.

Run it with ``python benchmarks/fixed_points.py [--peer PATH] [--models FOLDER] [--rank-limit SECONDS]``,
one thread throughout. PATH is a checkout of mackelab/smc_rnns, whose enumerator then runs on the same
networks; FOLDER holds fitted models as the .npz of `LowRankRNN.to_arrays()`. Compilation is done before
any clock starts and is reported on its own; other times are the best of a few runs in this process.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import contextlib
import io
import resource
import sys
import time
from math import comb
from pathlib import Path

import numpy as np

from nwb_rnn.dynamics import FixedPoints, LowRankMap, find_fixed_points

COUNTED = ((64, 2), (128, 2), (256, 2), (32, 3), (64, 3), (24, 4))
PEER_CASES = ((64, 2), (128, 2), (256, 2), (32, 3), (24, 4))


def random_network(units: int, rank: int, seed: int, activation: str, gain: float = 3.0) -> LowRankMap:
    """Gaussian connectivity and kinks; `gain` sets how many fixed points there are."""
    rng = np.random.default_rng(seed)
    return LowRankMap(
        0.9,
        rng.normal(size=(units, rank)) / np.sqrt(rank),
        gain * rng.normal(size=(rank, units)) / units,
        rng.uniform(0, 2, units) if activation == "clipped_relu" else rng.normal(size=units),
        activation,
    )


def slow_shell(units: int, rank: int) -> LowRankMap:
    """Clipped units fitted so that the unit sphere nearly stands still: the hardest kind of model."""
    rng = np.random.default_rng(0)
    left, bias = rng.normal(size=(units, rank)), rng.uniform(0.2, 3.0, units) * rng.choice([-1, 1], units)
    current = rng.normal(size=units)
    z = rng.normal(size=(6000, rank))
    z *= (rng.uniform(0, 2.5, len(z)) / np.linalg.norm(z, axis=1))[:, None]
    size = np.linalg.norm(z, axis=1, keepdims=True)
    x = z @ left.T + current
    rates = np.maximum(x + bias, 0) - np.maximum(x, 0)
    normal = rates.T @ rates + 1e-6 * len(z) * np.eye(units)
    target = 0.1 * z + 0.1 * z * (1.0 - size) * np.exp(-size)
    return LowRankMap(0.9, left, np.linalg.solve(normal, rates.T @ target).T, bias, "clipped_relu", current)


def timed(call, repeats: int = 3):
    """(best seconds, result)."""
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        best = min(best, time.perf_counter() - start)
    return best, result


def row(*cells: object) -> None:
    """One line of a Markdown table, printed at once."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*cells: str) -> None:
    row(*cells)
    row(*["---"] * len(cells))


def verdict(points: FixedPoints) -> str:
    return f"{len(points)} points, {'proved complete' if points.complete else 'NOT proved'}"


def peer_enumerator(checkout: Path):
    """The published function, as a call on one of our networks that returns its points."""
    sys.path.insert(0, str(checkout))
    from fixed_points.find_fixed_points_analytic import find_fixed_points_analytic

    def run(network: LowRankMap) -> np.ndarray:
        decay = np.full(network.rank, network.decay)
        kinks = network.unit_bias - network.input_current
        with contextlib.redirect_stdout(io.StringIO()):
            _, _, found, _ = find_fixed_points_analytic(
                decay, network.right_vectors, network.left_vectors, np.zeros(network.rank), kinks
            )
        return np.array([np.ravel(z) for z in found]).reshape(-1, network.rank)

    return run


def compare_with_peer(checkout: Path | None) -> None:
    print("\n## Relu networks, branch and bound, enumeration and the published enumerator\n")
    peer = None if checkout is None else peer_enumerator(checkout)
    head("units, rank", "exact (s)", "enumeration (s)", "published (s)", "exact", "enumeration", "points")
    for units, rank in COUNTED:
        network = random_network(units, rank, 0, "relu")
        exact_time, exact = timed(lambda n=network: find_fixed_points(n, method="exact"), 20)
        listed_time, listed = timed(lambda n=network: find_fixed_points(n, method="enumerate"))
        regions = sum(comb(units, r) for r in range(rank + 1))
        if f"{regions:,} linear regions" not in listed.proof:
            raise SystemExit(f"{units}, {rank}: {listed.proof} but {regions:,} regions were expected")
        agree = len(exact) == len(listed) and np.allclose(exact.location, listed.location, atol=1e-7)
        cells = ["not run"] * 3
        if peer is not None and (units, rank) in PEER_CASES:
            peer_time, found = timed(lambda n=network: peer(n), 1)
            cells = [
                f"{peer_time:.2f}",
                f"{peer_time / exact_time:,.0f} x",
                f"{peer_time / listed_time:,.0f} x",
            ]
            agree = agree and len(found) == len(exact)
        same = f"{verdict(exact)}; {'all agree' if agree else 'DISAGREE'}"
        row(f"{units}, {rank}", f"{exact_time:.4f}", f"{listed_time:.3f}", *cells, same)


def time_random(limit: float) -> None:
    print("\n## Random networks, branch and bound\n")
    head("network", "units, rank", "seconds (worst of five seeds)", "points")
    for activation in ("clipped_relu", "relu"):
        for units, rank in ((256, 2), (512, 3), (1024, 3), (128, 4), (256, 4)):
            results = []
            for seed in range(5):
                network = random_network(units, rank, seed, activation)
                results.append(timed(lambda n=network: find_fixed_points(n), 2))
            worst = max(seconds for seconds, _ in results)
            points = ", ".join(str(len(found)) for _, found in results)
            proved = all(found.complete for _, found in results)
            row(
                activation,
                f"{units}, {rank}",
                f"{worst:.4f}",
                f"{points}; {'all' if proved else 'NOT all'} proved",
            )
    shell = slow_shell(512, 3)
    seconds, found = timed(lambda: find_fixed_points(shell))
    row("fitted slow sphere", "512, 3", f"{seconds:.3f}", verdict(found))
    print(f"\nLargest rank that 128 random clipped units allow in {limit:.0f} s:\n")
    head("rank", "seconds", "points")
    for rank in range(4, 13):
        network = random_network(128, rank, 0, "clipped_relu")
        seconds, found = timed(lambda n=network: find_fixed_points(n), 1)
        row(rank, f"{seconds:.2f}", verdict(found))
        if seconds > limit / 6:
            break


def time_models(folder: Path | None) -> None:
    print("\n## Fitted models\n")
    if folder is None:
        print("not run: give --models FOLDER")
        return
    head("model", "units, rank", "seconds", "points", "stable", "boxes")
    for path in sorted(folder.glob("*.npz")):
        arrays = np.load(path)
        network = LowRankMap(
            float(arrays["decay"]),
            arrays["left_vectors"],
            arrays["right_vectors"],
            arrays["unit_bias"],
            str(arrays["activation"]),
            bin_size=float(arrays["bin_size"]),
        )
        seconds, found = timed(lambda n=network: find_fixed_points(n))
        boxes = found.proof.split(" boxes")[0].split()[-1]
        row(
            path.stem,
            f"{network.units}, {network.rank}",
            f"{seconds:.3f}",
            verdict(found),
            found.stable.sum(),
            boxes,
        )


def time_trained_networks() -> None:
    print("\n## Networks trained on the 3-bit flip-flop, Levenberg–Marquardt from 1,024 starts\n")
    folder = Path(os.environ.get("NWB_RNN_DATA", Path(__file__).parents[2] / "shared" / "data")) / "networks"
    if not folder.is_dir():
        print(f"not run: no networks at {folder}; set NWB_RNN_DATA")
        return
    import torch

    torch.set_num_threads(1)
    head("network", "seconds", "points", "by unstable directions", "largest q")
    for name, kind in (("gru", torch.nn.GRU), ("tanh", torch.nn.RNN)):
        arrays = dict(np.load(folder / f"flipflop_{name}16.npz"))
        starts = arrays.pop("initial_states")
        module = kind(3, 16)
        module.load_state_dict({key: torch.tensor(value) for key, value in arrays.items()})
        seconds, found = timed(lambda m=module, s=starts: find_fixed_points(m, s))
        counts = np.bincount(found.unstable_directions).tolist()
        row(f"{name}, 16 units", f"{seconds:.2f}", len(found), counts, f"{found.residual.max():.0e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer", type=Path, help="checkout of mackelab/smc_rnns")
    parser.add_argument("--models", type=Path, help="folder of fitted models, .npz of to_arrays()")
    parser.add_argument("--rank-limit", type=float, default=60.0, help="seconds allowed for the largest rank")
    options = parser.parse_args()
    start = time.perf_counter()
    find_fixed_points(random_network(8, 2, 0, "relu"), method="exact")
    find_fixed_points(random_network(8, 2, 0, "relu"), method="enumerate")
    print(f"Imports and compilation (or loading from numba's cache): {time.perf_counter() - start:.1f} s")
    compare_with_peer(options.peer)
    time_random(options.rank_limit)
    time_models(options.models)
    time_trained_networks()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\nPeak memory of this process: {peak:.2f} GiB"
        + (" (the published enumerator included)" * bool(options.peer))
    )


if __name__ == "__main__":
    main()
