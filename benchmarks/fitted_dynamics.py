"""Fixed points of fitted models, stored in NWB, and their rhythm beside that of the simulated series.

    python benchmarks/fitted_dynamics.py [--seed N]

Fits the EEG recording (rank 3, 512 clipped units) and the linear track (rank 6, 128), writes derivatives with
their fixed points into a temporary folder, reads the points back, and prints: how many, whether proved
complete, the oscillating pairs at the fixed points, the pair of the mean Jacobian along a simulation, and the
peak of the simulated spectrum (pooled spikes on the track; the latents of the EEG model, after removing 1/f).
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import tempfile
from pathlib import Path

import eeg_quality
import linear_track
import numpy as np
from scipy.signal import welch

import nwb_rnn as nr
from nwb_rnn.dynamics import FixedPoints
from nwb_rnn.storage import load_fixed_points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    seed = parser.parse_args().seed
    path = recordings.folder() / "linear_track" / "sub-rat01_ses-lineartrack_behavior+ecephys.nwb"
    recording = nr.read(path)
    trials = recording.align("start_time", until="stop_time", bin_size=0.01)
    model = nr.LowRankRNN(rank=6, units=128, seed=seed)
    training = dict(iterations=300, crop=150, batch_size=32, learning_rate=1e-3, progress=False)
    model.fit(trials, **training)
    drawn = model.simulate(trials=10 * trials.sizes["trial"], like=trials)
    describe("linear track", model, recording)
    print(f"  mean Jacobian: {linear_track.theta_pair(model)}; simulated spikes: {linear_track.theta(drawn)}")
    recording = nr.read(recordings.folder() / "eeg" / "sub-S001_ses-R01_ecephys.nwb")
    options = argparse.Namespace(rank=3, units=512, iterations=1500, learning_rate=1e-2, polish=0)
    model = eeg_quality.fit(options, eeg_quality.read(), seed)
    describe("EEG", model, recording)
    print(f"  simulated latents: {flattened_peaks(model)} Hz")


def describe(name: str, model, recording) -> None:
    """Write, read back, print."""
    with tempfile.TemporaryDirectory() as folder:
        out = nr.write(Path(folder), model, fixed_points=model.fixed_points(), source=recording, dandi=False)
        points = FixedPoints.from_dict(load_fixed_points(out))
    kinds, counts = np.unique(points.kind, return_counts=True)
    listed = ", ".join(f"{c} {k}" for c, k in zip(counts, kinds, strict=True))
    print(f"{name}: {len(points)} fixed points, complete={points.complete}: {listed}")
    for point in range(len(points)):
        turning = points.frequencies[point] > 0.05
        pairs = zip(
            points.frequencies[point][turning], np.abs(points.eigenvalues[point][turning]), strict=True
        )
        unique = sorted({(round(float(f), 2), round(float(m), 3)) for f, m in pairs})
        shown = "; ".join(f"{f} Hz, modulus {m}" for f, m in unique) or "no oscillation"
        print(f"  {points.kind[point]:14s} {shown}")


def flattened_peaks(model) -> list[float]:
    """The frequency where each latent's spectrum stands highest over a 1/f line."""
    latents = model.simulate(trials=1, bins=40_000, seed=1).latents.values[0, 2000:]
    frequency, power = welch(latents - latents.mean(0), fs=1 / model.bin_size, nperseg=1024, axis=0)
    inside = (frequency > 0.5) & (frequency < 40)
    x = np.log(frequency[inside])
    peaks = []
    for column in np.log(power[inside]).T:
        peaks.append(
            round(float(frequency[inside][np.argmax(column - np.polyval(np.polyfit(x, column, 1), x))]), 2)
        )
    return peaks


if __name__ == "__main__":
    main()
