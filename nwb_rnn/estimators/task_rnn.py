"""`TaskRNN`: a network trained to perform a task, with the verbs fit, simulate, score and fixed_points."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.estimator import Estimator
from nwb_rnn.estimators.software import versions
from nwb_rnn.fitting.task_training import TaskTraining, noisy, train
from nwb_rnn.models.task import Task, TaskTrials, checked_task
from nwb_rnn.models.task_network import TaskConfig, TaskParameters, activate, run, start_parameters

if TYPE_CHECKING:
    from nwb_rnn.dynamics.fixed_points import FixedPoints

_NUMBERS = ("bin_size", "time_constant", "noise", "input_noise")
_TEXTS = ("activation", "output_names", "task", "task_configuration", "training")


class TaskRNN(Estimator[TaskConfig, TaskParameters]):
    """A network of rate units trained on a task by backpropagation through time.

        x_t = (1 − α) x_{t−1} + α (J r_{t−1} + W u_t + b) + noise,   r = φ(x),   output = R r + c,   α = Δ/τ

    Parameters
    ----------
    units : N
    activation : tanh, relu or softplus
    seed : of weights, trials and noise
    settings : further fields of `nwb_rnn.models.task_network.TaskConfig`: time_constant (s), rate_penalty,
        weight_penalty, noise, input_noise, gain, dale, excitatory, zero_diagonal

    Raises
    ------
    InputError : a setting that is unknown or out of range
    """

    def __init__(self, units: int = 100, activation: str = "tanh", seed: int = 0, **settings):
        super().__init__(TaskConfig, units=units, activation=activation, seed=seed, **settings)
        self._about: dict[str, str] = {}
        self.unit_sign = self.config.unit_sign  # (N,) 1 or −1, None without Dale's law

    @property
    def unit_ids(self) -> list:
        """0 to N − 1."""
        return list(range(self.config.units))

    def __repr__(self) -> str:
        c = self.config
        state = "not fitted" if self._parameters is None else self._about.get("task", "")[:120]
        return (
            f"TaskRNN(units={c.units}, activation={c.activation!r}, rate_penalty={c.rate_penalty}; {state})"
        )

    def fit(
        self,
        task: Task,
        iterations: int = 600,
        batch_size: int = 32,
        learning_rate: float = 3e-3,
        progress: bool = True,
        checkpoint: str | Path | None = None,
        callback: Callable[[dict], None] | None = None,
        **options,
    ) -> TaskRNN:
        """Train on new trials of a task in every step.

        Parameters
        ----------
        task : see `nwb_rnn.models.task.Task`
        iterations, batch_size, learning_rate, options : see `nwb_rnn.fitting.task_training.TaskTraining`
        checkpoint : a file; an interrupted fit called again with the same settings goes on from there
        callback : called with iteration, objective, validation, learning_rate and seconds at each check

        Returns
        -------
        The model itself. `history` holds the objective and the error on held-out trials without noise.

        Raises
        ------
        InputError : something that is no task, or whose bins are longer than the time constant
        DivergenceError : training left the finite numbers
        """
        task = checked_task(task)
        self._check_bins(task.bin_size)
        try:
            how = TaskTraining(
                iterations=iterations,
                batch_size=batch_size,
                learning_rate=learning_rate,
                progress=progress,
                checkpoint=None if checkpoint is None else Path(checkpoint),
                callback=callback,
                **options,
            )
        except TypeError as error:
            raise InputError(f"fit does not know an option: {error}") from error
        names = [str(n) for n in task.input_names]
        start = start_parameters(self.config, len(names), len(task.output_names))
        share = task.bin_size / self.config.time_constant
        self._parameters, self.history = train(start, self.config, task, share, how)
        self.data_description = {
            "bin_size": float(task.bin_size),
            "unit_ids": self.unit_ids,
            "input_names": names,
            "output_names": [str(n) for n in task.output_names],
        }
        c = self.config
        self._about = {
            "task": str(getattr(task, "description", type(task).__name__)),
            "task_configuration": json.dumps(getattr(task, "configuration", {})),
            "training": (
                "weighted mean squared error of the outputs + rate_penalty mean r^2 + weight_penalty "
                f"(mean J^2 + mean W^2 + mean R^2), rate_penalty={c.rate_penalty:g}, weight_penalty="
                f"{c.weight_penalty:g}; Adam, {iterations} steps of {batch_size} new trials, with noise"
            ),
        }
        self.software, self.scores = versions(), {}
        return self

    def simulate(
        self,
        trials: Task | TaskTrials,
        count: int = 64,
        seed: int | None = None,
        noise: bool = True,
        noise_scale: float = 1.0,
        input_noise_scale: float = 1.0,
    ) -> xr.Dataset:
        """Run the network on trials.

        Parameters
        ----------
        trials : trials, or a task that draws `count` of them
        seed : of trials and noise; by default the model's own
        noise : whether there is any
        noise_scale, input_noise_scale : times the noise of the configuration

        Returns
        -------
        Dataset shaped like trials: `signal` (trial, time, unit) rates, `outputs` and `targets` (trial, time,
        output), `inputs`, `mask`, and the columns of the trials; `time` is the middle of each bin, s.
        """
        seed = self.config.seed if seed is None else seed
        if not isinstance(trials, TaskTrials):
            trials = checked_task(trials).draw(count, np.random.default_rng(seed))
        x = self.currents(trials, seed, noise, noise_scale, input_noise_scale)
        p = self.parameters
        rates = activate(self.config.activation, x)
        outputs = rates @ p.readout_weights.T + p.readout_bias
        dims = ("trial", "time")
        width = self.bin_size
        coords: dict[str, Any] = {
            "trial": np.arange(x.shape[0]),
            "time": trials.origin + (np.arange(x.shape[1]) + 0.5) * width,
            "unit": self.unit_ids,
            "input": list(self.data_description.get("input_names", range(trials.inputs.shape[2]))),
            "output": list(self.data_description.get("output_names", range(outputs.shape[2]))),
        }
        coords |= {name: ("trial", np.asarray(values)) for name, values in trials.columns.items()}
        return xr.Dataset(
            {
                "signal": ((*dims, "unit"), rates.numpy()),
                "outputs": ((*dims, "output"), outputs.numpy()),
                "targets": ((*dims, "output"), trials.targets),
                "inputs": ((*dims, "input"), trials.inputs),
                "mask": (dims, trials.weight > 0),
            },
            coords=coords,
            attrs={"bin_size": width, "align_to": "simulated", "seed": seed, "source": "simulated"},
        )

    @torch.no_grad()
    def currents(
        self,
        trials: TaskTrials,
        seed: int = 0,
        noise: bool = True,
        noise_scale: float = 1.0,
        input_noise_scale: float = 1.0,
    ) -> torch.Tensor:
        """x (B, T, N) on trials; see `simulate`."""
        p, config = self.parameters, self.config
        if trials.inputs.shape[2] != p.input_weights.shape[1]:
            raise InputError(
                f"these trials have {trials.inputs.shape[2]} inputs and the network takes "
                f"{p.input_weights.shape[1]}"
            )
        scaled = TaskConfig(
            **self.configuration
            | {
                "noise": config.noise * noise_scale,
                "input_noise": config.input_noise * input_noise_scale,
            }
        )
        generator = torch.Generator().manual_seed(seed) if noise else None
        drawn = noisy(scaled, trials, generator, p.unit_bias.dtype)
        return run(p, config, self.bin_size / config.time_constant, *drawn).transpose(0, 1).contiguous()

    def score(self, task: Task, trials: TaskTrials | None = None, noise: bool = True, **options) -> dict:
        """Scores on trials of a task (200 new ones by default).

        Returns
        -------
        error : weighted mean squared error of the outputs
        r2 : weighted share of their variance that is explained
        and what the task's own `performance` says
        """
        if trials is None:
            trials = checked_task(task).draw(200, np.random.default_rng([self.config.seed, 10**9 + 1]))
        outputs = self.simulate(trials, noise=noise, **options)["outputs"].values
        weight = np.broadcast_to(trials.weight[..., None], trials.targets.shape)
        error = np.average(np.square(outputs - trials.targets), weights=weight)
        level = np.average(trials.targets, axis=(0, 1), weights=weight)
        spread = np.average(np.square(trials.targets - level), weights=weight)
        scores = {"error": float(error), "r2": float(1 - error / spread) if spread > 0 else float("nan")}
        if hasattr(task, "performance"):
            scores |= task.performance(trials, outputs)  # type: ignore[attr-defined]
        self.scores = dict(scores)
        return scores

    def fixed_points(
        self, inputs: Sequence[float] | None = None, starts: np.ndarray | None = None, **options
    ) -> FixedPoints:
        """Where x stands still without noise, for a constant input (U,), zero by default.

        Parameters
        ----------
        inputs : (U,)
        starts : (S, N) currents from which the search begins, such as some of `currents(trials)`; by default
            32 states drawn with a spread of one, and rest
        options : of `nwb_rnn.dynamics.find_fixed_points`
        """
        from nwb_rnn.dynamics import find_fixed_points
        from nwb_rnn.dynamics.driven_map import DrivenMap

        p, count = self.parameters, self.parameters.input_weights.shape[1]
        constant = np.zeros(count) if inputs is None else np.asarray(inputs, dtype=float)
        if constant.shape != (count,):
            raise InputError(f"inputs has shape {constant.shape}; this model takes {count} inputs")
        if starts is None:
            drawn = np.random.default_rng(self.config.seed).standard_normal((32, self.config.units))
            starts = np.concatenate([np.zeros((1, self.config.units)), drawn])
        network = DrivenMap(
            p.recurrent_weights.double().numpy(),
            p.input_weights.double().numpy() @ constant + p.unit_bias.double().numpy(),
            self.bin_size / self.config.time_constant,
            self.config.activation,
            self.bin_size,
        )
        points = find_fixed_points(network, np.asarray(starts, dtype=float), **options)
        return points.describe(constant) if inputs is not None else points

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every parameter and setting as a named numpy array; `from_arrays` makes the same model."""
        arrays = {n: getattr(self.parameters, n).numpy().copy() for n in TaskParameters.__dataclass_fields__}
        names = self.data_description.get("output_names", [])
        arrays |= {
            "activation": np.array(self.config.activation),
            "bin_size": np.array(self.bin_size),
            "time_constant": np.array([self.config.time_constant]),
            "noise": np.array([self.config.noise]),
            "input_noise": np.array(self.config.input_noise),
        }
        arrays |= {} if self.unit_sign is None else {"unit_sign": self.unit_sign}
        arrays |= {"output_names": np.array([str(n) for n in names])} if names else {}
        return arrays | {name: np.array(text) for name, text in self._about.items()}

    @classmethod
    def from_arrays(cls, *, seed: int = 0, input_names: Sequence[str] | None = None, **arrays) -> TaskRNN:
        """A model with known weights; names and shapes as `to_arrays` gives them.

        Raises
        ------
        InputError : an array that is missing, unknown, of the wrong shape, or not finite
        """
        fields = TaskParameters.__dataclass_fields__
        unknown = [n for n in arrays if n not in (*fields, *_NUMBERS, *_TEXTS, "unit_sign")]
        missing = [n for n in (*fields, "bin_size", "time_constant", "activation") if n not in arrays]
        if unknown or missing:
            raise InputError(f"TaskRNN.from_arrays: unknown arrays {unknown}, missing arrays {missing}")
        given = {n: np.asarray(arrays[n]) for n in fields}
        _check_shapes(given)
        _check_signs(given["recurrent_weights"], arrays.get("unit_sign"))
        numbers = {n: float(np.asarray(arrays[n]).reshape(-1)[0]) for n in _NUMBERS if n in arrays}
        settings = {n: v for n, v in numbers.items() if n != "bin_size"} | {"seed": seed}
        model = cls(len(given["unit_bias"]), str(arrays["activation"]), **settings)
        model._check_bins(numbers["bin_size"])
        outputs = arrays.get("output_names", [f"output{i}" for i in range(len(given["readout_bias"]))])
        width = given["input_weights"].shape[1]
        model._take(
            given,
            arrays,
            {
                "bin_size": numbers["bin_size"],
                "unit_ids": model.unit_ids,
                "input_names": [f"input{i}" for i in range(width)]
                if input_names is None
                else list(input_names),
                "output_names": [str(n) for n in np.asarray(outputs).tolist()],
            },
        )
        model.software = versions()
        return model

    @classmethod
    def restore(
        cls,
        arrays: dict[str, np.ndarray],
        configuration: dict,
        history: list,
        data_description: dict,
        software: dict,
        scores: dict,
    ) -> TaskRNN:
        """The model that storage read back: the same numbers, bit for bit."""
        model = cls(**configuration)
        model._take({n: arrays[n] for n in TaskParameters.__dataclass_fields__}, arrays, data_description)
        model.history, model.software, model.scores = history, software, scores
        return model

    def _take(self, weights: Mapping[str, np.ndarray], arrays: Mapping, description: dict) -> None:
        tensors = {n: torch.from_numpy(np.array(v)) for n, v in weights.items()}
        self._parameters = TaskParameters(**tensors)
        if "unit_sign" in arrays:
            self.unit_sign = np.asarray(arrays["unit_sign"], dtype=np.int8)
        self.data_description = description
        self._about = {n: str(arrays[n]) for n in ("task", "task_configuration", "training") if n in arrays}

    def _check_bins(self, bin_size: float) -> None:
        if not 0 < bin_size <= self.config.time_constant:
            raise InputError(
                f"bins of {bin_size:g} s do not resolve a time constant of {self.config.time_constant:g} s: "
                "give shorter bins or a longer time_constant"
            )


def _check_shapes(given: Mapping[str, np.ndarray]) -> None:
    units, inputs = len(given["unit_bias"]), given["input_weights"].shape[-1]
    outputs = len(given["readout_bias"])
    expected = {
        "recurrent_weights": (units, units),
        "input_weights": (units, inputs),
        "unit_bias": (units,),
        "readout_weights": (outputs, units),
        "readout_bias": (outputs,),
        "initial_state": (1, units),
    }
    for name, shape in expected.items():
        if given[name].shape != shape or not np.isfinite(given[name]).all():
            raise InputError(f"{name} has shape {given[name].shape}; expected {shape}, all finite")
        if given[name].dtype not in (np.float32, np.float64):
            raise InputError(f"{name} is {given[name].dtype}; expected float32 or float64")


def _check_signs(weights: np.ndarray, sign: np.ndarray | None) -> None:
    if sign is None:
        return
    sign = np.asarray(sign)
    if sign.shape != (len(weights),) or not np.isin(sign, (-1, 0, 1)).all() or (weights * sign < 0).any():
        raise InputError(
            f"unit_sign must hold {len(weights)} numbers out of -1, 0 and 1, "
            "and recurrent_weights (to, from) must have those signs"
        )
