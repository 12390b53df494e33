"""What a task is to a network: inputs, wanted outputs, and how much each moment counts.

Anything with the attributes and the method of `Task` can be trained on; nothing has to be inherited.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from nwb_rnn.errors import InputError


@dataclass(frozen=True, eq=False)
class TaskTrials:
    """
    Attributes
    ----------
    inputs : (B, T, U)
    targets : (B, T, O) wanted outputs
    weight : (B, T) how much an error counts at each moment; 0 where nothing is asked or a trial is over
    columns : name -> (B,) what is known of each trial, such as its direction
    origin : time of the first bin's start, s, on the clock that the columns and figures use
    """

    inputs: np.ndarray
    targets: np.ndarray
    weight: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    origin: float = 0.0

    def __post_init__(self):
        shape = self.inputs.shape[:2]
        if self.inputs.ndim != 3 or self.targets.ndim != 3 or 0 in self.inputs.shape[:2]:
            raise InputError(
                f"inputs {self.inputs.shape} and targets {self.targets.shape}; expected (trial, time, input) "
                "and (trial, time, output)"
            )
        if self.targets.shape[:2] != shape or self.weight.shape != shape:
            raise InputError(
                f"inputs, targets and weight have {shape}, {self.targets.shape[:2]} and {self.weight.shape} "
                "trials and bins; expected the same"
            )


@runtime_checkable
class Task(Protocol):
    """A task that `TaskRNN.fit` takes.

    `draw(trials, rng)` returns that many new trials, a `TaskTrials`. A task may also have `conditions()`, one
    trial of each condition with fixed timing, `performance(trials, outputs)`, a dict of named scores, and
    `description` and `configuration`, a text and a dict of numbers that are stored with the model.
    """

    bin_size: float
    input_names: Sequence[str]
    output_names: Sequence[str]

    def draw(self, trials: int, rng: np.random.Generator) -> TaskTrials: ...


def checked_task(task: object) -> Task:
    """The task, or an error that names what it lacks."""
    lacking = [n for n in ("bin_size", "input_names", "output_names", "draw") if not hasattr(task, n)]
    if lacking:
        raise InputError(
            f"a {type(task).__name__} is no task: it lacks {', '.join(lacking)}; see "
            "nwb_rnn.models.task.Task, or wrap a gym environment with nwb_rnn.teachers.gym_task.GymTask"
        )
    return task  # type: ignore[return-value]
