"""Hippocampal spikes on a linear track: do spikes simulated from the fit look like the recorded ones?

    python benchmarks/linear_track.py --rank 3            mean rates and spectra (the report's figures)
    python benchmarks/linear_track.py --rank 6 --seeds 5  theta: peak, peak over floor, eigenvalue pair

41 laps as trials of unequal length, bins of 10 ms, 31 units, Poisson. Spectra are of the spikes of all
units together, by Welch's method with windows of 2.56 s within laps; the floor is the mean of 14–40 Hz.
Each recorded lap is simulated ten times, five times over: medians with the range.

A recorded lap ends where the track does, and long laps are those of a rat that was slow or stopped; a
simulated lap of the same length may run past the end. Mean rates are therefore also compared over the bins
that all laps have, the first 246 (chosen after simulated laps of better fits were seen to run past the end).
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import time

import numpy as np
from scipy.signal import welch

import nwb_rnn as nr

SIMULATIONS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, default=6)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--polish", type=int, help="steps of particle EM; by default those of the fit")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    options = parser.parse_args()
    path = recordings.folder() / "linear_track" / "sub-rat01_ses-lineartrack_behavior+ecephys.nwb"
    trials = nr.read(path).align("start_time", until="stop_time", bin_size=0.01)
    shortest = int(trials.mask.sum("time").min())
    print("recorded           theta {:.1f} Hz, {:.2f} x floor".format(*theta(trials)))
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        started = time.perf_counter()
        model = nr.LowRankRNN(rank=options.rank, units=options.units, seed=seed)
        model.fit(
            trials,
            iterations=options.iterations,
            polish=options.polish,
            crop=150,
            batch_size=32,
            learning_rate=1e-3,
            progress=False,
        )
        seconds = time.perf_counter() - started
        figures = []
        for simulation in range(SIMULATIONS):
            drawn = model.simulate(trials=10 * trials.sizes["trial"], like=trials, seed=simulation)
            figures.append([*theta(drawn), *(correlation(trials, drawn, bins) for bins in (None, shortest))])
        low, (peak, height, whole, early), high = np.quantile(figures, (0, 0.5, 1), axis=0)
        print(
            f"rank {options.rank} seed {seed}  theta {peak:.1f} Hz ({low[0]:.1f} to {high[0]:.1f}), "
            f"{height:.2f} x floor ({low[1]:.2f} to {high[1]:.2f})  pair {theta_pair(model)}  "
            f"mean rates r = {whole:.3f} ({low[2]:.3f} to {high[2]:.3f}), of the first {shortest} bins "
            f"{early:.3f} ({low[3]:.3f} to {high[3]:.3f})  {seconds:.0f} s",
            flush=True,
        )


def correlation(recorded, drawn, bins: int | None) -> float:
    """Over units, of mean rates in the first `bins` of each lap."""
    return float(np.corrcoef(mean_rates(recorded, bins), mean_rates(drawn, bins))[0, 1])


def mean_rates(trials, bins: int | None = None) -> np.ndarray:
    """(D,) mean count per observed bin."""
    mask = trials.mask.values[:, :bins]
    return trials.counts.values[:, :bins][mask].mean(0)


def theta(trials) -> tuple[float, float]:
    """Frequency of the highest peak in 5–11 Hz, and its height over the floor."""
    pooled, mask, total = trials.counts.values.sum(2), trials.mask.values, 0.0
    for counts, inside in zip(pooled, mask, strict=True):
        lap = counts[inside]
        if len(lap) >= 256:
            frequency, power = welch(lap - lap.mean(), fs=100, nperseg=256)
            total = total + power
    band = (frequency >= 5) & (frequency <= 11)
    floor = total[(frequency >= 14) & (frequency <= 40)].mean()
    at = np.argmax(np.where(band, total, 0))
    return frequency[at], total[at] / floor


def theta_pair(model) -> str:
    """The complex eigenvalue pair nearest 7.5 Hz of the mean Jacobian along simulated laps."""
    a = model.to_arrays()
    latents = (
        model.simulate(trials=20, bins=400, seed=1).latents.values[:, 100:].reshape(-1, model.config.rank)
    )
    current = latents @ a["left_vectors"].T
    slope = ((current > -a["unit_bias"]).astype(float) - (current > 0)).mean(0)
    jacobian = a["decay"] * np.eye(model.config.rank) + (a["right_vectors"] * slope) @ a["left_vectors"]
    values = np.linalg.eigvals(jacobian)
    frequency = np.angle(values) / (2 * np.pi * model.bin_size)
    chosen = np.argmin(np.abs(frequency - 7.5))
    return f"{frequency[chosen]:.1f} Hz, modulus {abs(values[chosen]):.3f}"


if __name__ == "__main__":
    main()
