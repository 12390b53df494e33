"""How a trained network does its task: fixed points for each input, noise it bears, targets it never saw."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.task_rnn import TaskRNN
from nwb_rnn.metrics.populations import Row
from nwb_rnn.teachers.delayed_reach import DelayedReach

NOISE_SCALES = (0.0, 1.0, 3.0, 10.0, 30.0)
_STARTS = 24


@dataclass(frozen=True, eq=False)
class Mechanism:
    """
    Attributes
    ----------
    rows : lines of the table
    scales : (S,) times the noise of training
    recurrent, inputs : (S,) median error of reaches, over the distance, with that noise on x or on the inputs
    points : name of an input -> list of arrays (P, N), stable fixed points for each target under it
    """

    rows: list[Row]
    scales: np.ndarray
    recurrent: np.ndarray
    inputs: np.ndarray
    points: dict[str, list[np.ndarray]]


def reach_task_of(model: TaskRNN) -> DelayedReach:
    """The delayed reach that a model was trained on, from the numbers stored with it.

    Raises
    ------
    InputError : it was trained on something else
    """
    said = str(model.to_arrays().get("task_configuration", "{}"))
    settings = json.loads(said)
    if not set(settings) == set(DelayedReach.__dataclass_fields__):
        raise InputError("this network was not trained on a delayed reach: give its task, task=...")
    return DelayedReach(**settings)


def mechanism(model: TaskRNN, task: DelayedReach) -> Mechanism:
    """Fixed points and modes with the target seen and hold on, and after go; noise; generalisation.

    Generalisation: the target jumps to the opposite side 0.1 s before go, or lies between the trained
    directions, or at 0.7 and 1.3 times the trained distance; errors are relative to the distance.
    """
    rows, points = _fixed_point_rows(model, task)
    trials = task.conditions()
    curves = []
    for name in ("noise_scale", "input_noise_scale"):
        other = "input_noise_scale" if name == "noise_scale" else "noise_scale"
        curves.append([_error(model, task, trials, **{name: s, other: 1.0}) for s in NOISE_SCALES])
    for curve, where in zip(curves, ("recurrent", "input"), strict=True):
        for scale, error in zip(NOISE_SCALES, curve, strict=True):
            rows.append(Row("robustness", f"reach error, {where} noise × {scale:g}", model=error))
    rows += _generalisation_rows(model, task)
    return Mechanism(rows, np.array(NOISE_SCALES), *[np.array(c) for c in curves], points)


def _fixed_point_rows(model: TaskRNN, task: DelayedReach) -> tuple[list[Row], dict[str, list[np.ndarray]]]:
    trials = task.conditions()
    x = model.currents(trials, noise=False).double().numpy()
    go = round(float(trials.columns["go_time"][0]) / task.bin_size)
    rows, points = [], {}
    for name, step in (("preparation", go - 1), ("after go", go)):
        found = []
        for c in range(len(x)):
            starts = x[c, np.linspace(max(step - 10, 0), x.shape[1] - 1, _STARTS).astype(int)]
            found.append(
                model.fixed_points(trials.inputs[c, step], starts=starts, n_starts=_STARTS, rounds=1)
            )
        stable = [f.location[f.stable] for f in found]
        modes = [f.eigenvalues[f.stable][:, 0] for f in found if f.stable.any()]
        slowest = [float(np.max(f.time_constants[f.stable][:, 0])) for f in found if f.stable.any()]
        turning = [
            float(f.frequencies[p][np.argmax(np.abs(f.eigenvalues[p]) * (f.frequencies[p] > 0))])
            for f in found
            for p in np.flatnonzero(f.stable)
        ]
        ahead = [
            float(np.linalg.norm(s - x[c, step], axis=1).min() / np.linalg.norm(x[c, step]))
            for c, s in enumerate(stable)
            if len(s)
        ]
        rows += [
            Row(
                "mechanism", f"fixed points per target, {name}", model=float(np.mean([len(f) for f in found]))
            ),
            Row("mechanism", f"of them stable, {name}", model=float(np.mean([len(s) for s in stable]))),
            Row("mechanism", f"slowest mode there, {name} (s)", model=_median(slowest)),
            Row(
                "mechanism",
                f"leading |λ| there, {name}",
                model=_median([float(np.abs(m).max()) for m in modes]),
            ),
            Row("mechanism", f"frequency of its slowest turning mode, {name} (Hz)", model=_median(turning)),
            Row("mechanism", f"distance of the state from it, {name}", model=_median(ahead)),
        ]
        points[name] = stable
    return rows, points


def _generalisation_rows(model: TaskRNN, task: DelayedReach) -> list[Row]:
    angles, delay = task.directions, np.full(task.targets, 0.5 * (task.shortest + task.longest))
    apart = np.pi / task.targets
    tests = {
        "trained targets": task.trials(angles, delay),
        "target switched to the opposite": task.trials(angles, delay, switched_to=angles + np.pi),
        "target switched to a neighbour": task.trials(angles, delay, switched_to=angles + 2 * apart),
        "directions between": task.trials(angles + apart, delay),
        "0.7 of the distance": task.trials(angles, delay, distance=0.7 * task.distance),
        "1.3 of the distance": task.trials(angles, delay, distance=1.3 * task.distance),
    }
    return [
        Row("generalisation", f"reach error, {name}", model=_error(model, task, trials))
        for name, trials in tests.items()
    ]


def _error(model: TaskRNN, task: DelayedReach, trials, **scales) -> float:
    """Median over targets and four draws of the noise."""
    found = [
        task.performance(trials, model.simulate(trials, seed=s, **scales)["outputs"].values) for s in range(4)
    ]
    return float(np.median([f["reach_error_median"] for f in found]))


def _median(values: list[float]) -> float:
    return float(np.median(values)) if values else float("nan")
