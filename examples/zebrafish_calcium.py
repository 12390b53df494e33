"""Calcium imaging without trials: the last minutes forecast ROIs that were held out.

Run with `python examples/zebrafish_calcium.py [folder] [iterations] [recording]`; the recording holds the
fluorescence of ROIs. Without one, slow signals of a known network stand in. The recording is cut into equal
segments; the model is fitted to the first four fifths of them and scored on the last. Writes
`calcium_desc-rnn.nwb` and a picture of latents.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nwb_rnn as nr
from nwb_rnn import plotting
from nwb_rnn.recordings.splits import hold_out_units
from nwb_rnn.teachers.oscillator import oscillator

BINS = 50  # of a segment


def stand_in() -> nr.Recording:
    """A thousand frames of 20 ROIs at 2 Hz, turning once in 20 s."""
    slow = oscillator(frequency=0.05, bin_size=0.5, observed=20, observation="gaussian", growth=0.05)
    drawn = nr.LowRankRNN.from_arrays(**slow).simulate(trials=1, bins=1000, seed=1)
    return nr.read(drawn["signal"].values[0], rate=2.0)


def main(folder: str = ".", iterations: str = "500", recording: str = "") -> Path:
    """Read, cut, fit, and predict ROIs from the others in segments that were not fitted."""
    source = nr.read(recording) if recording else stand_in()
    period = source.traces.period
    segments = source.segments(length=BINS * period)
    first = np.arange(segments.sizes["trial"]) < 0.8 * segments.sizes["trial"]
    training, test = segments.isel(trial=first), segments.isel(trial=~first)
    held = hold_out_units(segments, 0.25, seed=0)[1]["unit"].values

    model = nr.LowRankRNN(rank=3, units=128, observation="gaussian", seed=0)
    model.fit(training, iterations=int(iterations), polish=0, progress=sys.stderr.isatty())
    scores = model.score(test, held_out_units=held)
    print(f"ROIs that were held out: R² {scores['co_smoothing_r2']:.3f} (0 is the mean of each)")

    latents = model.infer(segments)
    output = Path(folder) / "calcium_desc-rnn.nwb"
    figure = Figure(figsize=(6, 4), layout="constrained")
    plotting.latents(latents, trial=0, ax=figure.subplots())
    figure.savefig(output.with_suffix(".png"), dpi=130)
    metadata = {} if recording else {"session_start_time": "2024-01-01T09:00:00+00:00"}
    return nr.write(output, model, latents=latents, source=source, overwrite=True, dandi=False, **metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
