"""A network of the recorded units themselves: seven reach directions are fitted, the eighth is run freely.

Run with `python examples/m1_data_constrained.py [folder] [iterations] [rates]`; the file of rates is an .npz
with `firing_rate` (unit, bin, direction), bins of 10 ms. Without one, rates of a random network stand in.
`iterations` of backpropagation follow the closed form where they make the free run better; 0 leaves them out.
Writes `m1_desc-rnn.nwb` and a picture of the free run.
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import nwb_rnn as nr

PERIOD = 0.01  # s


def stand_in(units: int = 30, bins: int = 120, directions: int = 8) -> np.ndarray:
    """(unit, bin, direction) rates of a random network, with a starting state for each direction."""
    random = np.random.default_rng(0)
    connections = 1.3 * random.normal(size=(units, units)) / np.sqrt(units)
    angles = 2 * np.pi * np.arange(directions) / directions
    state = np.stack([np.cos(angles), np.sin(angles)], 1) @ random.normal(size=(2, units))
    rates = np.empty((units, bins, directions))
    for t in range(bins):
        rates[:, t] = 20 + 15 * np.tanh(state.T)
        state = state + 0.1 * (np.tanh(state) @ connections.T - state)
    return rates


def as_recording(rates: np.ndarray) -> nr.Recording:
    """Directions as trials, one after the other."""
    units, bins, directions = rates.shape
    starts = bins * PERIOD * np.arange(directions)
    values = rates.transpose(2, 1, 0).reshape(-1, units)
    return nr.read(
        {
            "signals": {"rates": {"values": values, "rate": 1 / PERIOD, "unit": "Hz"}},
            "trials": {
                "start_time": starts,
                "stop_time": starts + bins * PERIOD,
                "direction": np.arange(directions),
            },
        }
    )


def explained(recorded: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance over time and units about each unit's mean."""
    residual = np.square(recorded - predicted).sum()
    return float(1 - residual / np.square(recorded - recorded.mean(0)).sum())


def main(folder: str = ".", iterations: str = "200", rates: str = "") -> Path:
    """Fit all directions but one, run the last one freely from its first bins, and draw it."""
    given = np.load(rates)["firing_rate"] if rates else stand_in()
    source = as_recording(given)
    trials = source.align("start_time", until="stop_time", bin_size=PERIOD)
    training, test = trials.isel(trial=slice(0, -1)), trials.isel(trial=[-1])

    model = nr.RateRNN(activation="tanh", time_constant=0.1, seed=0)
    if int(iterations):
        model.fit(training, method="auto", iterations=int(iterations))
    else:
        model.fit(training, method="ridge")
    free = model.free_run(test, warm_up=5)["rates"].values[0]
    recorded = test["signal"].values[0]
    mean = training["signal"].values.mean(0)
    print(f"held-out direction, free run      {explained(recorded, free):.3f} of the variance")
    print(f"mean of the other directions      {explained(recorded, mean):.3f}")
    print(f"one step ahead                    {model.score(test)['one_step_r2']:.3f}")

    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    time = test["time"].values
    for i, unit in enumerate(np.argsort(recorded.std(0))[-4:]):
        ax.plot(time, recorded[:, unit], color=f"C{i}", label=f"unit {unit}")
        ax.plot(time, free[:, unit], color=f"C{i}", ls="--")
    ax.set(xlabel="time (s)", ylabel="rate (spikes/s)", title="recorded (line) and free run (dashed)")
    ax.legend()
    output = Path(folder) / "m1_desc-rnn.nwb"
    figure.savefig(output.with_suffix(".png"), dpi=130)
    metadata = {"session_start_time": "2024-01-01T09:00:00+00:00"}
    return nr.write(output, model, source=source, overwrite=True, dandi=False, **metadata)


if __name__ == "__main__":
    main(*sys.argv[1:])
