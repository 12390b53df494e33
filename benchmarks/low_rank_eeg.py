"""Milliseconds of one training iteration on one core: compiled backend, readable backend, published code.

Run it with ``python benchmarks/low_rank_eeg.py [--peer PATH] [--rounds N] [--out FILE]``. PATH is a checkout
of mackelab/smc_rnns, which then runs the same settings in the same process, turn by turn with ours. Two
settings, on random data, of which the cost does not depend:

    eeg       64 channels, Gaussian, rank 3, 512 clipped units, 10 particles, batch 10, 50 bins, optimal
              proposal, full noise
    spikes    61 units, Poisson, rank 4, 128 clipped units, 16 particles, batch 28, 50 bins, encoder proposal
              with kernels 21, 11, 1 and 64 channels

An iteration is everything from a batch in memory to updated parameters: encoder, proposal terms, filter,
gradients, optimiser, checks for NaN. Times are those of the thread on the core, which other work on the
machine disturbs least; the wall clock is beside them. Compilation is done before any clock starts.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nwb_rnn.fitting.options import TrainingOptions
from nwb_rnn.fitting.start import starting_module
from nwb_rnn.fitting.trainer import Trainer
from nwb_rnn.models.low_rank import LowRankConfig
from nwb_rnn.smc.trials import TrialTensors

SETTINGS = {
    "eeg": {"observed": 64, "rank": 3, "units": 512, "particles": 10, "batch": 10, "bins": 50},
    "spikes": {"observed": 61, "rank": 4, "units": 128, "particles": 16, "batch": 28, "bins": 50},
}
GOALS = {"eeg": 40, "spikes": 7}


def recording(name: str) -> torch.Tensor:
    """Observations (B, T, D): standard normal or counts of 0.5 a bin."""
    size, generator = SETTINGS[name], torch.Generator().manual_seed(0)
    shape = (size["batch"], size["bins"], size["observed"])
    if name == "eeg":
        return torch.randn(shape, generator=generator)
    return torch.poisson(torch.full(shape, 0.5), generator=generator)


def our_trainer(name: str, backend: str, device: str = "cpu", seed: int = 0) -> Trainer:
    """A fit of a setting; its `iterate` is one iteration with everything that it does in a fit."""
    size, observed = SETTINGS[name], recording(name)
    config = LowRankConfig(
        rank=size["rank"],
        units=size["units"],
        observation="gaussian" if name == "eeg" else "poisson",
        encoder_kernels=(21, 11, 1),
        encoder_channels=64,
        seed=seed,
    )
    trials = TrialTensors(
        observed=observed,
        mask=torch.ones(*observed.shape[:2], 1),
        inputs=torch.zeros(*observed.shape[:2], 0),
        lengths=torch.full((size["batch"],), size["bins"]),
        patterns=torch.ones(1, size["observed"]),
        pattern=torch.zeros(observed.shape[:2], dtype=torch.int64),
    )
    proposal = "optimal" if name == "eeg" else "encoder"
    options = TrainingOptions(
        iterations=10**6,
        batch_size=size["batch"],
        particles=size["particles"],
        proposal=proposal,
        backend=backend,
        device=device,
        progress=False,
    )
    return Trainer(starting_module(config, trials, proposal, "random", None), trials, None, options)


def peer_step(name: str, path: Path, device: str = "cpu") -> Callable[[], None]:
    """One iteration of the published training loop, through its own functions."""
    sys.path[:0] = [str(path), str(path / "vi_rnn")]
    from vi_rnn.inference import filtering_posterior, filtering_posterior_optimal_proposal
    from vi_rnn.vae import VAE

    size, observed = SETTINGS[name], recording(name).transpose(1, 2).contiguous().to(device)
    noise = "full" if name == "eeg" else "diag"
    model = {
        "dim_x": size["observed"],
        "dim_z": size["rank"],
        "dim_N": size["units"],
        "rnn_params": {
            "transition": "low_rank",
            "activation": "clipped_relu",
            "observation": "affine",
            "readout_from": "z",
            "obs_likelihood": "Gauss" if name == "eeg" else "Poisson",
            "obs_nonlinearity": "identity" if name == "eeg" else "softplus",
            "noise_z": noise,
            "noise_z_t0": noise,
            "noise_x": "diag",
            "decay": 0.9,
            "init_noise_z": 0.1,
            "init_noise_z_t0": 1,
            "init_noise_x": 0.1,
            "initial_state": "trainable",
            "weight_dist": "uniform",
            "simulate_input": False,
            **dict.fromkeys(
                (
                    "train_noise_x",
                    "train_noise_z",
                    "train_noise_z_t0",
                    "train_neuron_bias",
                    "train_obs_bias",
                    "train_obs_weights",
                ),
                True,
            ),
        },
    }
    if name == "spikes":
        model["enc_architecture"] = "CNN"
        model["enc_params"] = {
            "init_kernel_sizes": [21, 11, 1],
            "n_channels": [64, 64],
            "padding_location": "causal",
            "padding_mode": "constant",
            "nonlinearity": "gelu",
            "init_scale": 0.1,
            "constant_var": False,
        }
    with contextlib.redirect_stdout(io.StringIO()):
        vae = VAE(model)
    vae.to_device(torch.device(device))
    vae.train()
    run = filtering_posterior_optimal_proposal if name == "eeg" else filtering_posterior
    optimiser = torch.optim.RAdam(vae.parameters(), lr=1e-3)
    inputs = torch.zeros(size["batch"], 0, size["bins"], device=device)

    def step():
        optimiser.zero_grad()
        objective, _, _ = run(vae, observed, inputs, size["particles"], "systematic", 0)
        objective.mean().item()
        loss = -objective.mean()
        if torch.isnan(loss):
            raise ArithmeticError("the published code returned NaN")
        loss.backward()
        optimiser.step()

    return step


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds by name: median and least thread time, and median wall time; names take turns."""
    taken = {name: ([], []) for name in steps}
    for step in steps.values():
        for _ in range(3):
            step()
    for _ in range(rounds):
        for name, step in steps.items():
            for _ in range(10 if name == "compiled" else 1):
                wall, thread = time.perf_counter(), time.thread_time()
                step()
                taken[name][0].append(1e3 * (time.thread_time() - thread))
                taken[name][1].append(1e3 * (time.perf_counter() - wall))
    return {
        name: {"median": statistics.median(thread), "least": min(thread), "wall": statistics.median(wall)}
        for name, (thread, wall) in taken.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="checkout of mackelab/smc_rnns")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report = {}
    for name in SETTINGS:
        steps = {
            "compiled": our_trainer(name, "cpu").iterate,
            "reference": our_trainer(name, "reference").iterate,
        }
        if arguments.peer is not None:
            steps["published"] = peer_step(name, arguments.peer.resolve())
        report[name] = measure(steps, arguments.rounds)
        slowest = report[name].get("published", report[name]["reference"])
        for label, row in report[name].items():
            gain = slowest["median"] / row["median"]
            print(
                f"{name:7s} {label:10s} {row['median']:8.2f} ms  least {row['least']:8.2f}  "
                f"wall {row['wall']:8.2f}  {gain:6.1f} x"
            )
        if arguments.peer is not None:
            print(f"{name:7s} goal: {GOALS[name]} x the published code")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
