"""Co-smoothing in motor cortex: how well do some units tell what the others did, trial by trial?

Run with `python examples/reach_cosmoothing.py [folder] [iterations] [recording]`; trials of the recording are
taken from start_time for 0.4 s. Without one, a simulated session stands in. A quarter of the units is held
out of trials that the fit has not seen. Writes `reach_desc-rnn.nwb` and a picture of the latents of a trial.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nwb_rnn as nr
from nwb_rnn import plotting
from nwb_rnn.metrics.likelihood import bits_per_spike
from nwb_rnn.recordings.splits import hold_out_units, split_trials
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.session import simulate_session


def stand_in(folder: Path) -> Path:
    """Sixty trials of 0.4 s, as a file."""
    session = simulate_session(trials=60, shortest=0.4, longest=0.4, seed=2)
    return write_session(folder / "session.nwb", session.recording, overwrite=True)


def main(folder: str = ".", iterations: str = "600", recording: str = "") -> Path:
    """Read, split, fit, and score what was held out beside the mean rate."""
    home = Path(folder)
    source = nr.read(recording or stand_in(home))
    trials = source.align("start_time", window=(0.0, 0.4), bin_size=0.02)
    training, validation, test = split_trials(trials, (0.7, 0.1, 0.2), seed=0)
    held = hold_out_units(trials, 0.25, seed=0)[1]["unit"].values

    model = nr.LowRankRNN(rank=8, units=128, seed=0)
    model.fit(
        training,
        validation,
        iterations=int(iterations),
        polish=None if int(iterations) > 50 else 0,
        progress=sys.stderr.isatty(),
    )
    scores = model.score(test, held_out_units=held)
    print(f"co-smoothing  {scores['co_smoothing_bits_per_spike']:.3f} bits per spike of {len(held)} units")

    of_held = {"unit": np.isin(trials["unit"].values, held)}
    counts = test["counts"].isel(of_held).values
    mean = training["counts"].isel(of_held).mean(("trial", "time")).values
    print(
        f"mean rate     {bits_per_spike(np.broadcast_to(mean, counts.shape), counts, test.mask.values):.3f}"
    )

    latents = model.infer(trials)
    output = home / "reach_desc-rnn.nwb"
    figure = Figure(figsize=(6, 4), layout="constrained")
    plotting.latents(latents, trial=0, ax=figure.subplots())
    figure.savefig(output.with_suffix(".png"), dpi=130)
    return nr.write(output, model, latents=latents, source=source, overwrite=True, dandi=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
