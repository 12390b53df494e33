"""Time of the particle filter in bins, particles, units and trials: it grows no faster than linearly.

Run it with ``python benchmarks/filter_cost.py [--out FILE] [--figure FILE]``. Each size is varied alone from
a base of 4 trials, 100 bins, 16 particles and 128 units (rank 3, 30 channels, Gaussian, optimal proposal):
milliseconds of one forward and backward pass of the compiled backend on one core, and the slope of log
time against log size over the upper half of the range, which is 1 where the cost is linear. FILE is JSON.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.backends import cpu, cpu_terms
from nwb_rnn.smc.sequence import SequenceInputs

BASE = {"trials": 4, "bins": 100, "particles": 16, "units": 128}
RANGES = {
    "bins": (100, 300, 1000, 3000, 10000),
    "particles": (10, 30, 100, 300, 1000),
    "units": (32, 128, 512, 2048, 8192),
    "trials": (1, 4, 16, 64, 256),
}
RANK, CHANNELS = 3, 30


def problem(trials: int, bins: int, particles: int, units: int):
    """Inputs of the backend, its random numbers, and the tensors that get gradients."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    parameters = LowRankParameters(
        left_vectors=normal(units, RANK),
        right_vectors=0.1 * normal(RANK, units) / units**0.5,
        input_weights=normal(units, 0),
        unit_bias=normal(units),
        decay=torch.tensor(0.9),
        transition_cholesky=0.3 * torch.eye(RANK),
        initial_mean=torch.zeros(RANK),
        initial_cholesky=torch.eye(RANK),
        readout_bias=torch.zeros(CHANNELS),
        readout_weights=normal(CHANNELS, RANK),
        observation_noise=torch.ones(CHANNELS),
    )
    leaves = [tensor.requires_grad_() for tensor in parameters.present().values()]
    observed = normal(trials, bins, CHANNELS)
    pattern = torch.zeros(trials, bins, dtype=torch.int64)
    inputs = SequenceInputs(
        parameters=parameters,
        activation="clipped_relu",
        observation="gaussian",
        link="identity",
        observed=observed,
        mask=torch.ones(trials, bins, 1),
        filtered=torch.zeros(trials, bins, 0),
        lengths=torch.full((trials,), bins),
        proposal=cpu_terms.optimal(parameters, observed, torch.ones(1, CHANNELS), pattern),
    )
    noise = normal(trials, bins, particles, RANK)
    return inputs, noise, torch.rand(trials, bins, 1, generator=generator), leaves


def milliseconds(**sizes: int) -> float:
    """Least thread time of a few passes."""
    inputs, noise, uniforms, leaves = problem(**(BASE | sizes))

    def once() -> float:
        start = time.thread_time()
        objective = cpu.run(inputs, noise, uniforms).log_increments.sum()
        torch.autograd.grad(objective, leaves, retain_graph=True, allow_unused=True)
        return time.thread_time() - start

    first = once()
    return 1e3 * min(once() for _ in range(3 if first > 0.3 else 10))


def slope(sizes, times) -> float:
    """d log time / d log size over the upper half."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(times[half:]), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write sizes, times and slopes as JSON")
    parser.add_argument("--figure", type=Path, help="draw them")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    milliseconds()
    report = {"base": BASE}
    for name, sizes in RANGES.items():
        times = [milliseconds(**{name: size}) for size in sizes]
        report[name] = {"size": sizes, "milliseconds": times, "slope": slope(sizes, times)}
        print(
            f"{name:10s} slope {report[name]['slope']:.2f}  "
            + "  ".join(f"{size}: {time:.1f} ms" for size, time in zip(sizes, times, strict=True))
        )
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    if arguments.figure is not None:
        draw(report, arguments.figure)


def draw(report: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(RANGES), figsize=(12, 3), sharey=True, layout="constrained")
    for ax, name in zip(axes, RANGES, strict=True):
        size, times = report[name]["size"], report[name]["milliseconds"]
        ax.loglog(size, times, "o-")
        ax.loglog(size, times[-1] * np.array(size) / size[-1], ":", color="0.6", label="linear")
        ax.set(xlabel=name, title=f"slope {report[name]['slope']:.2f}")
    axes[0].set_ylabel("ms, forward and backward")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
