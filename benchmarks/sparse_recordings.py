"""Sparse recordings: do outputs and a recorded subset together give more than outputs alone?

    python benchmarks/sparse_recordings.py [--seeds 5] [--iterations 450] [--rate 0.01]
    python benchmarks/sparse_recordings.py --bounds               (no training)
    python benchmarks/sparse_recordings.py --pilot                (settings, on seed 10)

The teacher is a stability-optimised circuit of 200 units that reaches (0.4 s of preparation, 0.6 s of
movement, bins of 10 ms, without noise). Networks of 200 units get the cue (cos θ, sin θ, cos 2θ, sin 2θ)
during preparation and are trained on eight directions; the eight between them are held out. All networks of
a seed start from the same weights; each seed records other units. Scores are R², 1 − squared error over
squared distance from each output's (or unit's) mean over directions and bins:

"Slower" is training on outputs alone at 0.3 of the learning rate, which generalises otherwise.

- trained, held out: outputs
- new cue: outputs after cues of the trained directions with noise, against those of the teacher whose
  prepared states have the same noise
- pushed: outputs of the movement after each current of the network was pushed at its start by noise of
  half the currents' size; the targets stay. The teacher itself, so pushed, is the last row
- unrecorded: activity of the teacher's unrecorded units in held-out directions, from ten principal
  components of the network's own unrecorded units by a ridge regression fitted to the trained directions.
  The same regression from the start network, before training, is the floor

``--bounds`` prints what the regression gives without any network: from components of the teacher's recorded
units, and of its unrecorded units themselves, which is what ten components can reach.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import time

import numpy as np

from nwb_rnn.fitting.performance import (
    PerformanceData,
    PerformanceNetwork,
    PerformanceOptions,
    fit_performance,
    random_network,
)
from nwb_rnn.models.rate import rates_of
from nwb_rnn.teachers.reach_circuit import ReachCircuit, gain, reach_circuit

UNITS, PREPARED, MOVING, COMPONENTS = 200, 40, 60, 10
SHARES = (0.1, 0.2, 0.5, 1.0)
ROWS = ("outputs only", "outputs only, slower", "combined", "before training")
COLUMNS = ("trained", "held out", "new cue", "pushed", "unrecorded")


def cues(directions: np.ndarray) -> np.ndarray:
    """(C, 4)."""
    return np.stack([f(k * directions) for k in (1, 2) for f in (np.cos, np.sin)], axis=1)


def timed(values: np.ndarray) -> np.ndarray:
    """(C, bins, ·) on during preparation, zero in movement."""
    return np.repeat(values[:, None], PREPARED + MOVING, axis=1) * on()[:, None]


def on() -> np.ndarray:
    return (np.arange(PREPARED + MOVING) < PREPARED).astype(float)


def teacher_run(teacher: ReachCircuit, prepared: np.ndarray) -> np.ndarray:
    """(C, bins, N) currents, from rest."""
    drive = prepared - gain(prepared) @ teacher.circuit.weights.T
    return teacher.currents(np.zeros((len(prepared), UNITS)), PREPARED + MOVING, timed(drive))


def r2(wanted: np.ndarray, found: np.ndarray) -> float:
    spread = np.sum((wanted - wanted.mean(axis=(0, 1))) ** 2)
    return float(1 - np.sum((wanted - found) ** 2) / spread)


def aligned(train: tuple, test: tuple) -> float:
    """R² of a regression from components of the first of each pair on the second."""
    source, wanted = (x.reshape(-1, x.shape[2]) for x in train)
    mean = source.mean(axis=0)
    axes = np.linalg.svd(source - mean, full_matrices=False)[2][:COMPONENTS].T
    known = (source - mean) @ axes
    level, price = wanted.mean(axis=0), 1e-3 * np.mean(known**2) * len(known)
    weights = np.linalg.solve(known.T @ known + price * np.eye(known.shape[1]), known.T @ (wanted - level))
    return r2(test[1], (test[0] - mean) @ axes @ weights + level)


def bounds(teacher: ReachCircuit, seeds: int) -> None:
    """Unrecorded units in held-out directions from components of the recorded ones, and of themselves."""
    print("| recorded | from the recorded units | from the unrecorded units |\n|---|---|---|")
    for share in SHARES[:-1]:
        rows = []
        for seed in range(seeds):
            judge, order = Judge(teacher, seed), order_of(seed)
            count = round(share * UNITS)
            train, test = (judge.scaled(judge.paths[n]) for n in ("trained", "held out"))
            hidden = (train[..., order[count:]], test[..., order[count:]])
            pairs = ((train[..., order[:count]], test[..., order[:count]]), hidden)
            rows.append([aligned((x[0], hidden[0]), (x[1], hidden[1])) for x in pairs])
        spread = zip(np.mean(rows, axis=0), np.std(rows, axis=0), strict=True)
        print(f"| {share:.0%} | " + " | ".join(f"{m:.3f} ± {d:.3f}" for m, d in spread) + " |")


def pilot(teacher: ReachCircuit, iterations: int, rate: float) -> None:
    """Gain of the start, size of its input weights, weight of the activity; a seed of its own."""
    seed = 10
    judge, order = Judge(teacher, seed), order_of(seed)
    print("| gain | inputs | recorded | activity weight | " + " | ".join(COLUMNS) + " | left |")
    print("|---|---|---|---|" + "---|" * (len(COLUMNS) + 1))
    for gain_, size in ((1.2, 1.0), (1.2, 0.1), (0.8, 0.3), (0.8, 0.1), (0.4, 0.1)):
        begin = random_network(UNITS, 4, 6, order, time_constant=0.2, gain=gain_, seed=seed)
        for share, weight in ((0.1, 0.0), (0.1, 1.0), (0.2, 1.0), (0.1, 5.0)):
            recorded = np.sort(order[: round(share * UNITS)])
            weights = {"input_weights": size * begin.parameters.input_weights}
            parameters = begin.parameters.with_weights(observed_index=recorded, **weights)
            network = PerformanceNetwork(parameters, begin.output_weights, begin.output_bias, "tanh")
            options = PerformanceOptions(1.0, weight, iterations, rate)
            network = fit_performance(network, judge.data(recorded), options)
            cells = [f"{v:.3f}" for v in judge.scores(network, recorded)]
            left = network.history[-1]
            row = [f"{gain_:g}", f"{size:g}", f"{share:.0%}", f"{weight:g}", *cells]
            print(f"| {' | '.join(row)} | {left['outputs']:.4f}, {left['activity']:.3f} |", flush=True)


def order_of(seed: int) -> np.ndarray:
    """The order in which units get recorded."""
    return np.random.default_rng([seed, 3]).permutation(UNITS)


def push(currents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return currents + 0.5 * currents.std() * rng.standard_normal(currents.shape)


class Judge:
    """Targets of one seed, and the scores of a network."""

    def __init__(self, teacher: ReachCircuit, seed: int):
        self.seed, self.teacher = seed, teacher
        rng = np.random.default_rng([seed, 1])
        known = cues(teacher.directions)
        axes = np.linalg.lstsq(known, teacher.prepared, rcond=None)[0]
        noisy = known[::2] + 0.3 * rng.standard_normal(known[::2].shape)
        self.cues = {"trained": known[::2], "held out": known[1::2], "new cue": noisy}
        self.paths = {name: teacher_run(teacher, cue @ axes) for name, cue in self.cues.items()}
        self.outputs = {name: teacher.muscles(x) for name, x in self.paths.items()}
        activity = gain(self.paths["trained"])
        low, high = activity.min(axis=(0, 1)), activity.max(axis=(0, 1))
        self.middle, self.size = (low + high) / 2, 1.25 * (high - low) / 2

    def data(self, recorded: np.ndarray) -> PerformanceData:
        rates = self.scaled(self.paths["trained"])[..., recorded]
        return PerformanceData(timed(self.cues["trained"]), self.outputs["trained"], rates)

    def scaled(self, paths: np.ndarray) -> np.ndarray:
        """The teacher's activity in the range of tanh."""
        return (gain(paths) - self.middle) / self.size

    def scores(self, network: PerformanceNetwork, recorded: np.ndarray) -> list[float]:
        paths = {name: network.run(timed(cue)) for name, cue in self.cues.items()}
        found = [r2(self.outputs[name], network.outputs(x)) for name, x in paths.items()]
        rng = np.random.default_rng([self.seed, 2])
        go = paths["trained"][:, PREPARED]
        free = network.run(np.zeros((len(go), MOVING, 4)), push(go, rng))
        found.append(r2(self.outputs["trained"][:, PREPARED:], network.outputs(free)))
        hidden = np.setdiff1d(np.arange(UNITS), recorded)
        if not len(hidden):
            return [*found, np.nan]
        pairs = [
            (rates_of(paths[n][..., hidden], "tanh"), self.scaled(self.paths[n])[..., hidden])
            for n in ("trained", "held out")
        ]
        return [*found, aligned(*pairs)]

    def teacher_pushed(self) -> float:
        go = self.paths["trained"][:, PREPARED]
        free = self.teacher.currents(push(go, np.random.default_rng([self.seed, 2])), MOVING)
        return r2(self.outputs["trained"][:, PREPARED:], self.teacher.muscles(free))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=450)
    parser.add_argument("--rate", type=float, default=1e-2)
    parser.add_argument("--bounds", action="store_true", help="regressions without a network")
    parser.add_argument("--pilot", action="store_true", help="settings of the start, on seed 10")
    given = parser.parse_args()
    teacher, began = reach_circuit(UNITS, conditions=16), time.process_time()
    if given.bounds or given.pilot:
        return bounds(teacher, given.seeds) if given.bounds else pilot(teacher, given.iterations, given.rate)
    table: dict[tuple[float, str], list] = {}
    pushed = []
    for seed in range(given.seeds):
        judge = Judge(teacher, seed)
        pushed.append(judge.teacher_pushed())
        order = order_of(seed)
        start = random_network(UNITS, 4, 6, order, time_constant=0.2, seed=seed)
        only = slow = None
        for share in SHARES:
            recorded = np.sort(order[: round(share * UNITS)])
            data = judge.data(recorded)
            begin = PerformanceNetwork(
                start.parameters.with_weights(observed_index=recorded),
                start.output_weights,
                start.output_bias,
                "tanh",
            )
            how = {"iterations": given.iterations, "learning_rate": given.rate}
            if only is None:
                only = fit_performance(begin, data, PerformanceOptions(1.0, 0.0, **how))
                slow = fit_performance(
                    begin, data, PerformanceOptions(1.0, 0.0, given.iterations, 0.3 * given.rate)
                )
            both = fit_performance(begin, data, PerformanceOptions(1.0, 1.0, **how))
            networks = (only, slow, both, begin)
            for name, network in zip(ROWS, networks, strict=True):
                table.setdefault((share, name), []).append(judge.scores(network, recorded))
            last, alone = both.history[-1], only.history[-1]["outputs"]
            print(
                f"seed {seed}, {share:.0%}: left of the outputs {alone:.4f} alone, "
                f"{last['outputs']:.4f} combined; of the recorded units {last['activity']:.3f}",
                flush=True,
            )
        show(table, pushed, time.process_time() - began)


def show(table: dict[tuple[float, str], list], pushed: list[float], seconds: float) -> None:
    """Means and standard deviations over the seeds that are done, and how often which training was ahead."""
    print(f"\n{len(pushed)} seeds, {seconds:.0f} s of processor time\n")
    print(f"| recorded | trained on | {' | '.join(COLUMNS)} |")
    print("|---|---|" + "---|" * len(COLUMNS))
    for (share, name), rows in table.items():
        values = np.array(rows)
        shown = values[:, 4:] if name == "before training" else values
        spread = zip(shown.mean(axis=0), shown.std(axis=0), strict=True)
        cells = ["–" if np.isnan(m) else f"{m:.3f} ± {s:.3f}" for m, s in spread]
        cells = [""] * (len(COLUMNS) - len(cells)) + cells
        print(f"| {share:.0%} | {name} | {' | '.join(cells)} |")
    print(f"| | the teacher | | | | {np.mean(pushed):.3f} ± {np.std(pushed):.3f} | |")
    for other in ROWS[:2]:
        for share in SHARES:
            apart = np.array(table[share, "combined"]) - np.array(table[share, other])
            better, gained = (apart > 0).sum(axis=0), np.round(apart.mean(axis=0), 3)
            spread = np.round(apart.std(axis=0), 3)
            print(f"{share:.0%}: combined above {other} in {better} of {len(apart)}; by {gained} ± {spread}")
    print(flush=True)


if __name__ == "__main__":
    main()
