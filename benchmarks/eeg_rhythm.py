r"""The rhythm of a fitted EEG model: does the linearisation turn as fast as the simulated spectrum says?

    python benchmarks/eeg_rhythm.py                       ranks 6, 8, 10, 12, three seeds each
    python benchmarks/eeg_rhythm.py --channels Fc3 Fc4 F3 F4 --ranks 10 --units 256 --learning-rate 1e-3
    python benchmarks/eeg_rhythm.py --channels Fc3 Fc4 F3 F4 --ranks 12 --units 256 --learning-rate 1e-3 \
        --first-seed 20 --seeds 5 --series 200 --window 1024 --no-points

Written before any model of these ranks was fitted. Known by then: the recording's own spectra; that models
of rank 3 have no narrow rhythm (fitted_dynamics.py); that linear systems by subspace identification, ranks
3 to 12, have no pair of modulus over 0.95 between 10 and 15 Hz.

Spectrum: Welch's method, Hann windows of 512 bins, 0.31 Hz apart, of each channel divided by its recorded
standard deviation, averaged over the channels of the fit. Height: that spectrum over its straight line in
logarithms, fitted to 2–5 and 15–40 Hz. Peak: where the height is largest between 5 and 15 Hz.

The model holds a rhythm if its simulated series (ten of 60.25 s) have a peak that is not at an edge of the
band, within 0.5 Hz of the recorded peak, at least 1.5 times its line. The rank is chosen by this alone: the
smallest for which all seeds hold it. Should none do, training may be changed, looking at simulated spectra
only, and every change is reported.

Changed since, before any linearisation of a model was looked at: with all 64 channels the first models, rank
8 and 12 of seed 0, did not hold the rhythm (simulated peaks at 5.94 Hz, 1.2 to 1.3 times the line), which is
2.6 % of these channels' variance. Linear systems by expectation maximisation hold it at rank 6 and 8 for the
four channels Fc3, Fc4, F3 and F4, of those where it is highest, and for 8 or 16 channels less or not at all.
So models of these four channels are fitted too, rank 6, then 8.

Changed again, by simulated spectra only: at the learning rate of 1e-2 four channels at rank 6 did not hold it
either (seeds 0 and 1: 5.94 and 8.44 Hz, 1.3 times the line), although the start from the data does. Trials
with seed 10 and 256 units: rank 6, 300 steps at 1e-3, holds; rank 6, 500 at 3e-3, peak at 13.12 Hz, does not;
rank 8, 500 at 3e-3 and 1,500 at 1e-3, holds. So the test is of 1,500 steps at 1e-3 with 256 units, rank 6,
then 8, seeds 0 to 2. The objective per bin is lower than at 1e-2 (0.5, and 2.2 to 2.3 at rank 6): the rhythm
is a small part of the likelihood. Rank 6 seed 0 (13.44 Hz) and rank 8 seed 1 (13.12 Hz, of seeds 0 to 2:
12.81, 13.12, 12.19) miss the recorded peak by more than 0.5 Hz; ranks 10 and 12 are next, as at first. Should
they miss it too, all models of this training are put to the test, and that they miss it is reported. (Rank
10 holds it; RESULTS.md has what came of the test.)

The test: of the eigenvalues of the mean Jacobian along the simulated latents, the pair of largest modulus
between 5 and 15 Hz; its frequency lies within 0.5 Hz of the peak of the simulated spectrum, in every seed.
(For Gaussian latents the mean Jacobian is the linear map nearest to the network; Bussgang 1952.)

Second, and no replacement for the first: the peak, by the same definition, of the spectrum that the mean
Jacobian and the noise predict for the same channels.

Confirmation, written after the first measure had failed and the second held at rank 10 (seeds 0 to 2), and
before any of the models it is about was fitted: `--first-seed 3 --seeds 5 --no-points` with the second line
above. The claim: in every one of these seeds whose simulation holds the rhythm, the peak of the spectrum that
the linearisation predicts lies within 0.5 Hz of the simulated peak. The first measure is printed beside it.
It failed: one of the five held the rhythm (12.50 Hz), with the prediction 0.62 Hz off; in the four others the
prediction was within 0.32 Hz. Simulated peaks of ten series scatter from 12.5 to 13.4 Hz between these seeds
and predicted ones hardly, so the sampling error of the former may be all there is to it.

So once more on seeds not fitted before, `--first-seed 8 --seeds 5 --no-points --series 200`, with twenty
times the simulation: in every seed whose simulated peak is inside the band and at least 1.5 times its line,
the predicted peak lies within 0.5 Hz of it. The SD of the peak of ten series, over the twenty tens, is
printed. (It held in all five; RESULTS.md.)

The first measure again, for a narrow rhythm. A pair of modulus 0.95 is 2.6 Hz wide, and a broad pair among
others is not where a spectrum peaks (`nwb_rnn.dynamics.spectra` has the equation); ten series and
frequencies 0.31 Hz apart leave the simulated peak uncertain by as much as the tolerance. Rank 12, same
channels and training, has a pair of modulus 0.98, 1 Hz wide. Pilot, 200 series, windows of 1,024 bins, 0.16
Hz apart: three models of seeds 0 (fitted today), 1 and 2 (fitted before the Gaussian training step
changed), pairs at 12.24, 12.24 and 12.21 Hz, moduli 0.984, 0.984 and 0.980, simulated peaks at 12.34 Hz in
all three, 2.3 to 2.5 times the line. Rank 14 and 16 were not looked at. Written after that pilot and before
any model of seeds 20 to 24 was fitted, `--ranks 12 --first-seed 20 --seeds 5 --series 200 --window 1024`:
in every one of the five whose simulated peak is inside the band (5.5 to 14.5 Hz) and at least 1.5 times its
line, however wide its pair turns out to be, the pair of largest modulus between 5 and 15 Hz of the mean
Jacobian lies within 0.5 Hz of the simulated peak. The predicted spectrum's peak, and that of the pair's own
part of it, are printed beside it.

It held in all five (RESULTS.md). Beyond rank 12 and these channels, written then, without a pilot, no model
of either kind having been fitted or looked at: `--ranks 12` for C3, C4, Cp3 and Cp4 (recorded peak 12.19
Hz, 3.1 times the line), then `--ranks 14` for the four frontal channels, each `--first-seed 30 --seeds 3
--series 200 --window 1024`. The claim: the same distance of at most 0.5 Hz in every model that counts as
above and whose pair is at most 1.3 Hz wide (modulus 0.975); models that count and have a broader pair are
reported beside them and not claimed. (RESULTS.md has what came of it.)

The fixed points are those read back from the NWB file: how many, whether proved complete, and at each the
pair of largest modulus between 5 and 15 Hz.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import eeg_quality
import numpy as np
from scipy.signal import welch

import nwb_rnn as nr
from nwb_rnn.dynamics import FixedPoints
from nwb_rnn.storage import load_fixed_points

BAND = (5.0, 15.0)  # Hz
LINE = ((2.0, 5.0), (15.0, 40.0))
TOLERANCE = 0.5  # Hz
LOWEST_HEIGHT = 1.5
TRIALS, DROPPED, KEPT = 10, 400, 9640
PYNWB_ALONE = """
import json, sys, pynwb
with pynwb.NWBHDF5IO(sys.argv[1], "r") as file:
    for table in file.read().objects.values():
        if type(table).__name__ == "FixedPointTable":
            columns = ("location", "stable", "eigenvalues_real", "eigenvalues_imag", "frequencies")
            print(json.dumps([table[name].data[:].tolist() for name in columns]))
assert not {"nwb_rnn", "ndx_latent_dynamics"} & set(sys.modules)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[6, 8, 10, 12])
    parser.add_argument("--channels", nargs="*", help="labels; all 64 when left out")
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--crop", type=int, default=160)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--polish", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--series", type=int, default=TRIALS, help="simulated, in tens")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--window", type=int, default=512, help="bins")
    parser.add_argument("--models", type=Path, help="folder where fitted models are kept, or taken from")
    parser.add_argument("--spectra-only", action="store_true", help="neither linearisation nor fixed points")
    parser.add_argument("--boxes", type=int, default=1_000_000, help="of a proof of completeness, at most")
    parser.add_argument("--no-points", action="store_true", help="no fixed points")
    options = parser.parse_args()
    trials = eeg_quality.read()
    if options.channels:
        trials = trials.isel(unit=np.isin(trials.label.values, options.channels))
    spread = trials.signal.values[0].astype(float).std(0)
    frequency, power = spectrum(trials.signal.values, spread, options.window)
    recorded, height = peak(frequency, power)
    print(f"recorded: {told(recorded, height)}", flush=True)
    for rank in options.ranks:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            started = time.perf_counter()
            model = fitted(options, trials, rank, seed)
            print(f"rank {rank} seed {seed}, {time.perf_counter() - started:.0f} s of fitting")
            test(model, recorded, spread, options)
            if not (options.spectra_only or options.no_points):
                fixed_points(model, options.boxes)


def fitted(options, trials, rank: int, seed: int) -> nr.LowRankRNN:
    """A model from the folder, or one fitted now and kept there."""
    if options.models is None:
        return fit(options, trials, rank, seed)
    path = options.models / f"rank_{rank}_seed_{seed}.npz"
    if path.exists():
        return nr.LowRankRNN.from_arrays(seed=seed, unit_ids=list(trials.unit.values), **np.load(path))
    model = fit(options, trials, rank, seed)
    options.models.mkdir(parents=True, exist_ok=True)
    np.savez(path, **model.to_arrays())
    return model


def fit(options, trials, rank: int, seed: int) -> nr.LowRankRNN:
    kinds = dict(activation="clipped_relu", observation="gaussian")
    model = nr.LowRankRNN(rank=rank, units=options.units, seed=seed, **kinds)
    return model.fit(
        trials,
        iterations=options.iterations,
        batch_size=10,
        particles=10,
        crop=options.crop,
        learning_rate=options.learning_rate,
        polish=options.polish,
        progress=False,
    )


def test(model, recorded: float, spread: np.ndarray, options) -> None:
    """Print the peak of the simulated spectrum beside what the linearisation says."""
    powers = []
    for ten in range(options.series // TRIALS):
        drawn = model.simulate(trials=TRIALS, bins=DROPPED + KEPT, seed=1000 + model.config.seed + 100 * ten)
        frequency, power = spectrum(drawn.signal.values[:, DROPPED:], spread, options.window)
        powers.append(power)
    simulated, height = peak(frequency, np.mean(powers, axis=0))
    if len(powers) > 1:
        scatter = np.std([peak(frequency, power)[0] for power in powers], ddof=1)
        print(f"  SD of the peak of ten series: {scatter:.2f} Hz")
    inside = BAND[0] + 0.5 < simulated < BAND[1] - 0.5
    holds = inside and abs(simulated - recorded) <= TOLERANCE and height >= LOWEST_HEIGHT
    print(f"  simulated: {told(simulated, height)}; holds the rhythm: {holds}", flush=True)
    if options.spectra_only:
        return
    system = model.linearise(trials=TRIALS, bins=4000, seed=1000 + model.config.seed)
    system = dataclasses.replace(
        system,
        readout=system.readout / spread[:, None],
        observation_noise=system.observation_noise / spread**2,
    )
    modes = system.modes()
    modes = modes[(modes.frequency >= BAND[0]) & (modes.frequency <= BAND[1])]
    turning = modes.frequency.iloc[0]
    print(f"  least damped pair of the mean Jacobian: {turning:.2f} Hz; match: {near(turning, simulated)}")
    for mode in modes.itertuples():
        print(
            f"    {mode.frequency:.2f} Hz, modulus {mode.modulus:.3f}, {mode.width:.2f} Hz wide, "
            f"{100 * mode.variance:.1f} % of the variance, its part highest at {mode.peak:.2f} Hz"
        )
    expected, height = peak(frequency, system.spectrum(frequency).mean(1))
    print(f"  its spectrum: {told(expected, height)}; match: {near(expected, simulated)}", flush=True)


def told(frequency: float, height: float) -> str:
    return f"{frequency:.2f} Hz, {height:.2f} times its line"


def near(first: float, second: float) -> bool:
    return bool(abs(first - second) <= TOLERANCE)


def fixed_points(model, boxes: int) -> None:
    """Write them to NWB, read them back, print."""
    started = time.perf_counter()
    points = model.fixed_points(max_boxes=boxes)
    if not points.complete:
        visited = model.simulate(trials=1, bins=4096, seed=1).latents.values[0].astype(float)
        points = model.fixed_points(method="newton", starts=visited)
    seconds = time.perf_counter() - started
    source = nr.read(recordings.folder() / "eeg" / "sub-S001_ses-R01_ecephys.nwb")
    with tempfile.TemporaryDirectory() as folder:
        out = nr.write(Path(folder), model, fixed_points=points, source=source, dandi=False)
        points = FixedPoints.from_dict(load_fixed_points(out))
        same = pynwb_finds(out, points)
    proved = "proved complete" if points.complete else "not proved complete"
    print(
        f"  {len(points)} fixed points, {proved}, {seconds:.1f} s; by pynwb alone the same: {same}",
        flush=True,
    )
    for kind, values in zip(points.kind, points.eigenvalues, strict=True):
        turning, modulus = pair(values, model.bin_size)
        shown = "none in the band" if np.isnan(turning) else f"{turning:.2f} Hz, modulus {modulus:.3f}"
        print(f"    {kind:14s} {shown}")


def pynwb_finds(path, points: FixedPoints) -> bool:
    """Whether a process that knows pynwb only finds the same points in the file."""
    told = subprocess.run(
        [sys.executable, "-c", PYNWB_ALONE, str(path)], check=True, capture_output=True, text=True
    ).stdout
    values = points.eigenvalues
    wanted = (points.location, points.stable, values.real, values.imag, points.frequencies)
    tables = [json.loads(line) for line in told.splitlines()]
    return len(tables) == 1 and all(np.array_equal(a, b) for a, b in zip(tables[0], wanted, strict=True))


def spectrum(series: np.ndarray, spread: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean over trials and channels of the spectra of series (trial, time, channel), each over its spread."""
    series = series.astype(float) / spread
    frequency, power = welch(series - series.mean(1, keepdims=True), fs=160, nperseg=window, axis=1)
    return frequency, power.mean((0, 2))


def peak(frequency: np.ndarray, power: np.ndarray) -> tuple[float, float]:
    """Frequency (Hz) and height of the peak, as the head of this file defines them."""
    within = [(frequency >= low) & (frequency <= high) for low, high in (BAND, *LINE)]
    x, y = np.log(np.maximum(frequency, 1e-9)), np.log(power)
    beside = within[1] | within[2]
    height = np.where(within[0], y - np.polyval(np.polyfit(x[beside], y[beside], 1), x), -np.inf)
    at = int(np.argmax(height))
    return float(frequency[at]), float(np.exp(height[at]))


def pair(eigenvalues: np.ndarray, bin_size: float) -> tuple[float, float]:
    """Frequency (Hz) and modulus of the pair of largest modulus in the band; NaN where there is none."""
    frequency = np.angle(eigenvalues) / (2 * np.pi * bin_size)
    size = np.where((frequency >= BAND[0]) & (frequency <= BAND[1]), np.abs(eigenvalues), -1.0)
    at = int(np.argmax(size))
    return (float(frequency[at]), float(size[at])) if size[at] >= 0 else (np.nan, np.nan)


if __name__ == "__main__":
    main()
