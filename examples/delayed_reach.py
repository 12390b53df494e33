"""A network trained on delayed reaches: does it reach, and where would it stand while it waits?

Run with `python examples/delayed_reach.py [folder] [iterations]`. Eight targets, a random delay, then go.
Writes `delayed_reach_desc-rnn.nwb` and a picture of the paths of the hand.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nwb_rnn as nr
from nwb_rnn.teachers.delayed_reach import DelayedReach


def main(folder: str = ".", iterations: str = "400") -> Path:
    """Train, reach to every target, look for fixed points of the wait, and draw."""
    task = DelayedReach()
    model = nr.TaskRNN(units=100, seed=0)
    model.fit(task, iterations=int(iterations), learning_rate=5e-3, progress=sys.stderr.isatty())
    print({name: round(float(value), 3) for name, value in model.score(task).items()})

    waiting = model.fixed_points(inputs=[1.0, 0.0, 1.0])  # the target to the right, and hold
    print(f"fixed points while it waits for go: {len(waiting.kind)}")

    trials = task.conditions()
    velocity = model.simulate(trials, noise=False)["outputs"].values
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
