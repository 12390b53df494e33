"""An environment with neurogym's interface is learned; one without whole trials is refused."""

from types import SimpleNamespace

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.models.task import Task
from nwb_rnn.teachers.gym_task import GymTask


class Discrimination:
    """Fixation, then noisy evidence for left or right, then a choice: the interface of neurogym."""

    def __init__(self):
        self.dt = 50
        self.action_space = SimpleNamespace(n=3)
        self.seed(0)

    def seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def new_trial(self):
        choice, length = self.rng.integers(1, 3), self.rng.integers(8, 12)
        self.ob = np.zeros((length + 4, 3))
        self.ob[:length, 0] = 1
        self.ob[3:length, choice] = 1 + 0.5 * self.rng.standard_normal(length - 3)
        self.gt = np.r_[np.zeros(length, dtype=int), np.full(4, choice)]
        return {"choice": choice}


def test_trials_become_inputs_and_one_output_for_each_action():
    task = GymTask(Discrimination())
    assert isinstance(task, Task)
    assert task.bin_size == 0.05
    trials = task.draw(20, np.random.default_rng(0))
    inside = trials.weight > 0
    assert (trials.targets.sum(axis=2)[inside] == 1).all()
    assert (trials.targets[~inside] == 0).all()
    again = task.draw(20, np.random.default_rng(0))
    np.testing.assert_array_equal(trials.inputs, again.inputs)
    assert task.performance(trials, trials.targets) == {"correct": 1.0}


def test_a_network_learns_it():
    task = GymTask(Discrimination())
    model = nr.TaskRNN(units=30, seed=0).fit(task, iterations=200, learning_rate=1e-2, progress=False)
    assert model.score(task)["correct"] > 0.9


def test_other_environments_are_refused():
    with pytest.raises(InputError, match="no new_trial"):
        GymTask(SimpleNamespace(step=None, reset=None))
