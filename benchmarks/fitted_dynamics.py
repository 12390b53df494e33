"""Fixed points of fitted models, stored in NWB, and their rhythm beside that of the simulated series.

    python benchmarks/fitted_dynamics.py [--seed N]

Fits the EEG recording (rank 3, 512 clipped units) and the linear track (rank 6, 128), writes derivatives
with their fixed points into a temporary folder, reads the points back, and prints: how many, whether proved
complete, and the oscillating pairs at the fixed points. For the linear track, the pair of the mean Jacobian
in 5–11 Hz, where the spectrum of all units' spikes together that it predicts is highest there, and where
that of simulated spikes is: 200 series of 41 s, windows of 10.24 s, 0.1 Hz apart. No pair of the EEG model
is narrow: there, the spectrum that the mean Jacobian and the noise predict for each latent stands beside
that of the simulated latent, by the frequency below which half of the power lies (0.5 to 40 Hz), by where
each stands highest over a 1/f line, and by the correlation of their logarithms.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import dataclasses
import tempfile
from pathlib import Path

import eeg_quality
import numpy as np
from scipy.signal import welch

import nwb_rnn as nr
from nwb_rnn.dynamics import FixedPoints, noise_spectrum
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
    describe("linear track", model, recording)
    theta(model)
    recording = nr.read(recordings.folder() / "eeg" / "sub-S001_ses-R01_ecephys.nwb")
    options = argparse.Namespace(
        rank=3,
        units=512,
        iterations=1500,
        learning_rate=1e-2,
        polish=0,
        match=0,
        resampling_gradient=None,
    )
    model = eeg_quality.fit(options, eeg_quality.read(), seed)
    describe("EEG", model, recording)
    for latent, (half, highest, r) in enumerate(rhythms(model)):
        print(f"  latent {latent}, linearised and simulated: half of the power below {half} Hz, r = {r:.3f}")
        print(f"    highest over 1/f at {highest} Hz")


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


def theta(model) -> None:
    """Print the linear-track model's rhythm: linearised, predicted and simulated."""
    powers = []
    for part in range(20):
        counts = model.simulate(trials=10, bins=4200, seed=part).counts.values[:, 104:].sum(2)
        frequency, power = welch(counts, fs=100, nperseg=1024, axis=1)
        powers.append(power.mean(0))
    band = (frequency >= 5) & (frequency <= 11)
    frequency, powers = frequency[band], np.array(powers)[:, band]
    scatter = np.std(frequency[np.argmax(powers, axis=1)], ddof=1)
    system = model.linearise(trials=20, bins=4000, seed=1)
    together = dataclasses.replace(
        system,
        readout=system.readout.sum(0, keepdims=True),
        observation_noise=system.observation_noise.sum(keepdims=True),
    )
    modes = together.modes()
    mode = modes[(modes.frequency >= 5) & (modes.frequency <= 11)].iloc[0]
    predicted, simulated = (
        frequency[np.argmax(x)] for x in (together.spectrum(frequency)[:, 0], powers.mean(0))
    )
    print(f"  mean Jacobian: {mode.frequency:.2f} Hz, modulus {mode.modulus:.3f}, {mode.width:.2f} Hz wide")
    print(f"  predicted spectrum: {predicted:.2f} Hz, the pair's part of it {mode.peak:.2f} Hz")
    print(f"  simulated spectrum: {simulated:.2f} Hz, SD of ten series {scatter:.2f} Hz")


def rhythms(model) -> list[tuple[list[float], list[float], float]]:
    """For each latent: half-power and 1/f-peak frequencies, linearised and simulated, and the correlation."""
    latents = model.simulate(trials=1, bins=40_000, seed=1).latents.values[0, 2000:].astype(float)
    frequency, power = welch(latents - latents.mean(0), fs=1 / model.bin_size, nperseg=1024, axis=0)
    inside = (frequency > 0.5) & (frequency < 40)
    arrays = model.to_arrays()
    factor = arrays["transition_cholesky"]
    jacobian = model.step_map().jacobian(latents[::20]).mean(0)
    predicted = noise_spectrum(jacobian, factor @ factor.T, frequency[inside], model.bin_size)
    found = []
    for pair in zip(predicted.T, power[inside].T, strict=True):
        half = [round(half_power(frequency[inside], x), 2) for x in pair]
        highest = [round(flattened_peak(frequency[inside], x), 1) for x in pair]
        found.append((half, highest, float(np.corrcoef(np.log(pair[0]), np.log(pair[1]))[0, 1])))
    return found


def flattened_peak(frequency: np.ndarray, power: np.ndarray) -> float:
    """Where a spectrum stands highest over a straight line in logarithms."""
    x, y = np.log(frequency), np.log(power)
    return float(frequency[np.argmax(y - np.polyval(np.polyfit(x, y, 1), x))])


def half_power(frequency: np.ndarray, power: np.ndarray) -> float:
    """The frequency below which half of the power lies."""
    share = np.cumsum(power) / power.sum()
    return float(np.interp(0.5, share, frequency))


if __name__ == "__main__":
    main()
