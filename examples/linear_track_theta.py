"""Theta in hippocampal spikes: does a fitted network turn at the rhythm that the recorded units share?

Run with `python examples/linear_track_theta.py [folder] [iterations] [recording]`; the recording has laps as
trials with start_time and stop_time. Without one, spikes of a known network that turns at 8 Hz stand in.
Writes `linear_track_desc-rnn.nwb` and a picture of the spectra.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nwb_rnn as nr
from nwb_rnn import plotting
from nwb_rnn.metrics.spectra import spectrum
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.oscillator import oscillator
from nwb_rnn.teachers.session import simulate_session

THETA = (5.0, 11.0)  # Hz


def stand_in(folder: Path) -> Path:
    """A simulated session of 8 Hz, as a file."""
    session = simulate_session(oscillator(frequency=8.0, observed=30), trials=20, shortest=1.5, longest=2.5)
    return write_session(folder / "session.nwb", session.recording, overwrite=True)


def peak(trials) -> str:
    """Where the spectrum of all spikes together is highest within theta."""
    frequency, power = spectrum(trials, segment=1.28)
    within = (frequency >= THETA[0]) & (frequency <= THETA[1])
    at = np.argmax(np.where(within, power, 0))
    return f"{frequency[at]:.1f} Hz, {power[at] / np.median(power):.1f} times the median power"


def main(folder: str = ".", iterations: str = "300", recording: str = "") -> Path:
    """Read, fit on windows of 1.5 s, simulate, and compare spectra and fixed points."""
    home = Path(folder)
    source = nr.read(recording or stand_in(home))
    trials = source.align("start_time", until="stop_time", bin_size=0.01)

    model = nr.LowRankRNN(rank=6, units=128, seed=0)
    model.fit(
        trials,
        iterations=int(iterations),
        crop=150,
        batch_size=32,
        learning_rate=1e-3,
        polish=None if int(iterations) > 50 else 0,
        progress=sys.stderr.isatty(),
    )
    simulated = model.simulate(trials=2 * trials.sizes["trial"], like=trials)
    points = model.fixed_points()
    print(f"recorded   {peak(trials)}")
    print(f"simulated  {peak(simulated)}")
    print(points)

    figure = Figure(figsize=(6, 4), layout="constrained")
    plotting.power_spectra(trials, simulated, ax=figure.subplots())
    output = home / "linear_track_desc-rnn.nwb"
    figure.savefig(output.with_suffix(".png"), dpi=130)
    return nr.write(output, model, fixed_points=points, source=source, overwrite=True, dandi=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
