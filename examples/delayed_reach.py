"""A network trained on delayed reaches: does it reach, where does it wait, and is it like motor cortex?

Run with `python examples/delayed_reach.py [folder] [iterations] [rates]`. Eight targets, a random delay, then
go. The file of rates is an .npz with `firing_rate` (unit, bin, direction): averages in bins of 10 ms from
0.8 s before movement onset, eight directions from 0 in steps of 45 degrees. Without one, cosine-tuned units
whose state turns during movement stand in. Writes `delayed_reach_desc-rnn.nwb`, a picture of the paths of the
hand, and `comparison.png`, the network beside the recording.
"""

import sys
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import nwb_rnn as nr
from nwb_rnn.teachers.delayed_reach import DelayedReach

BIN, BEFORE = 0.02, 0.8  # s
DIRECTIONS = np.arange(8) * np.pi / 4


def as_trials(rates: np.ndarray) -> xr.Dataset:
    """Rates (direction, bin, unit) about movement onset, spikes/s."""
    time = -BEFORE + BIN * (np.arange(rates.shape[1]) + 0.5)
    return xr.Dataset(
        {"signal": (("trial", "time", "unit"), rates)},
        coords={"time": time, "direction": ("trial", DIRECTIONS)},
        attrs={"bin_size": BIN, "align_to": "movement onset"},
    )


def recorded(path: str) -> xr.Dataset:
    """Averages from a file, two bins of 10 ms as one."""
    rates = np.load(path)["firing_rate"]
    pairs = rates.shape[1] // 2
    return as_trials(rates[:, : 2 * pairs].reshape(len(rates), pairs, 2, -1).mean(axis=2).transpose(2, 1, 0))


def stand_in(units: int = 40, bins: int = 60, frequency: float = 1.0) -> xr.Dataset:
    """Units that prepare with the cosine of the direction, and turn from there when the hand moves."""
    random = np.random.default_rng(0)
    time = -BEFORE + BIN * (np.arange(bins) + 0.5)
    prepared = np.clip((time + 0.7) / 0.2, 0, 1)
    angle = DIRECTIONS[:, None] + 2 * np.pi * frequency * np.maximum(time, 0)
    state = prepared[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    tuning = random.normal(size=(2, units))
    onset = np.exp(-0.5 * ((time - 0.1) / 0.1) ** 2)[:, None] * random.normal(size=units)
    return as_trials(20 + 6 * state @ tuning + 4 * onset)


def main(folder: str = ".", iterations: str = "400", rates: str = "") -> Path:
    """Train, reach to every target, look for fixed points of the wait, compare, and draw."""
    task = DelayedReach()
    model = nr.TaskRNN(units=100, seed=0)
    model.fit(task, iterations=int(iterations), learning_rate=5e-3, progress=sys.stderr.isatty())
    print({name: round(float(value), 3) for name, value in model.score(task).items()})

    waiting = model.fixed_points(inputs=[1.0, 0.0, 1.0])  # the target to the right, and hold
    print(f"fixed points while it waits for go: {len(waiting.kind)}")

    trials = recorded(rates) if rates else stand_in()
    compared = nr.compare(model, trials, shift=task.reaction, delay=0.7)
    print(compared)
    compared.plot().savefig(Path(folder) / "comparison.png", dpi=110)

    velocity = model.simulate(task.conditions(), noise=False)["outputs"].values
    path = np.cumsum(velocity, axis=1) * task.bin_size
    figure = Figure(figsize=(4, 4), layout="constrained")
    ax = figure.subplots()
    for trace in path:
        ax.plot(*trace.T)
    ax.set(xlabel="x (distance of a target)", ylabel="y (distance of a target)", aspect="equal")
    output = Path(folder) / "delayed_reach_desc-rnn.nwb"
    figure.savefig(output.with_suffix(".png"), dpi=130)
    metadata = {"session_start_time": "2024-01-01T09:00:00+00:00"}
    return nr.write(output, model, fixed_points=waiting, overwrite=True, dandi=False, **metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
