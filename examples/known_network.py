"""A network with known weights: its spikes, its fixed point, and the flow around it.

Run with `python examples/known_network.py [folder]`; writes `known_network.png` there.
"""

import sys
from pathlib import Path

from matplotlib.figure import Figure

import nwb_rnn as nr
from nwb_rnn import plotting
from nwb_rnn.teachers.oscillator import oscillator


def main(folder: str = ".") -> Path:
    """Make the network, simulate and infer, and draw what is known about it."""
    arrays = oscillator(frequency=3.0, observed=30)
    model = nr.LowRankRNN.from_arrays(**arrays)
    trials = model.simulate(trials=5, bins=150, seed=1)
    latents = model.infer(trials)
    points = model.fixed_points()
    print(points)

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plotting.raster(trials, ax=left)
    plotting.flow_field(model, latents, points, ax=right).legend(loc="upper right")
    path = Path(folder) / "known_network.png"
    figure.savefig(path, dpi=130)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
