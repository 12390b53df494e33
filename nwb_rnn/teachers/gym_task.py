"""Environments with the interface of gym (neurogym, gymnasium) as tasks for `TaskRNN`.

neurogym's supervised tasks give, for a whole trial, observations `ob` (T, U) and what is right at each step,
`gt` (T,) actions or (T, O) values, after `new_trial()`. Actions become one output each, 1 where right.
Environments without them are refused: what to do would have to be found by trial and error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.models.task import TaskTrials


class GymTask:
    """A task made of an environment; nothing of gym is imported.

    Parameters
    ----------
    environment : with `new_trial()`, `ob` and `gt` (also inside wrappers, as `unwrapped`), and `dt` in ms
    bin_size : s; by default `dt` of the environment

    Raises
    ------
    InputError : something else
    """

    def __init__(self, environment: Any, bin_size: float | None = None):
        inner = getattr(environment, "unwrapped", environment)
        if not callable(getattr(inner, "new_trial", None)):
            raise InputError(
                f"{type(inner).__name__} has no new_trial(); expected an environment that gives whole trials "
                "(ob and gt after new_trial), as those of neurogym do"
            )
        if bin_size is None and not hasattr(inner, "dt"):
            raise InputError(f"{type(inner).__name__} has no dt: give bin_size, s")
        self.environment = inner
        self.bin_size = float(inner.dt) / 1000 if bin_size is None else float(bin_size)
        self._seed(0)
        observed, right = self._trial()
        space = getattr(inner, "action_space", None)
        self._actions = int(space.n) if right.ndim == 1 and hasattr(space, "n") else None
        if right.ndim == 1 and self._actions is None:
            raise InputError(
                f"{type(inner).__name__} has actions `gt` (T,) and no action_space.n to count them"
            )
        outputs = self._actions if right.ndim == 1 else right.shape[1]
        self.input_names = tuple(f"observation{i}" for i in range(observed.shape[1]))
        self.output_names = tuple(f"action{i}" for i in range(int(outputs or 0)))
        self.description = (
            f"Trials of the environment {type(inner).__name__}; outputs say what is right at each step."
        )
        self.configuration = {"environment": type(inner).__name__, "bin_size": self.bin_size}

    def draw(self, trials: int, rng: np.random.Generator) -> TaskTrials:
        """New trials of the environment, of unequal lengths; those that are over have weight 0."""
        self._seed(int(rng.integers(2**31)))
        drawn = [self._trial() for _ in range(trials)]
        bins = max(len(observed) for observed, _ in drawn)
        inputs = np.zeros((trials, bins, len(self.input_names)))
        targets = np.zeros((trials, bins, len(self.output_names)))
        weight = np.zeros((trials, bins))
        for i, (observed, right) in enumerate(drawn):
            length = len(observed)
            inputs[i, :length], weight[i, :length] = observed, 1.0
            targets[i, :length] = right if self._actions is None else np.eye(self._actions)[right.astype(int)]
        return TaskTrials(inputs, targets, weight)

    def performance(self, trials: TaskTrials, outputs: np.ndarray) -> dict[str, float]:
        """correct : share of trials whose action at the last step is the right one."""
        if self._actions is None:
            return {}
        last = trials.weight.sum(axis=1).astype(int) - 1
        rows = np.arange(len(last))
        right = trials.targets[rows, last].argmax(axis=1)
        return {"correct": float(np.mean(outputs[rows, last].argmax(axis=1) == right))}

    def _trial(self) -> tuple[np.ndarray, np.ndarray]:
        self.environment.new_trial()
        observed, right = getattr(self.environment, "ob", None), getattr(self.environment, "gt", None)
        if observed is None or right is None or np.ndim(observed) != 2 or len(observed) != len(right):
            raise InputError(
                f"{type(self.environment).__name__} gave no ob (T, U) and gt (T,) or (T, O) after new_trial()"
            )
        return np.asarray(observed, dtype=float), np.asarray(right)

    def _seed(self, seed: int) -> None:
        """Trials come from the task's generator, not from the environment's own."""
        if hasattr(self.environment, "seed"):
            self.environment.seed(seed)
        elif hasattr(self.environment, "rng"):
            self.environment.rng = np.random.RandomState(seed)
