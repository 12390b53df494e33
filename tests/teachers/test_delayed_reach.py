"""The delayed reach: its timing to the bin, the movement it asks for, and how it is scored."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.teachers.delayed_reach import DelayedReach


def test_timing_is_exact():
    task = DelayedReach()
    trials = task.trials(np.array([0.0, np.pi / 2]), np.array([0.2, 0.5]))
    seen, go = 5, np.array([15, 30])
    assert trials.inputs.shape == (2, 30 + 5 + 25 + 10, 3)
    for i in range(2):
        assert (trials.inputs[i, :seen, :2] == 0).all()
        np.testing.assert_allclose(
            trials.inputs[i, seen:, :2], [[1, 0], [0, 1]][i] + 0 * trials.inputs[i, seen:, :2], atol=1e-12
        )
        assert (trials.inputs[i, : go[i], 2] == 1).all()
        assert (trials.inputs[i, go[i] :, 2] == 0).all()
        speed = np.linalg.norm(trials.targets[i], axis=1)
        assert (speed[: go[i] + 5] == 0).all()
        assert (speed[go[i] + 5 : go[i] + 30] > 0).all()
        assert (speed[go[i] + 30 :] == 0).all()
        assert trials.weight[i].sum() == go[i] + 40


def test_the_wanted_movement_ends_at_the_target_and_scores_as_perfect():
    task = DelayedReach()
    trials = task.draw(50, np.random.default_rng(0))
    goes = trials.columns["goes"] > 0
    assert 0 < (~goes).sum() < 20
    place = np.column_stack([trials.columns["target_x"], trials.columns["target_y"]])
    np.testing.assert_allclose(task.end_points(trials, trials.targets)[goes], place[goes], atol=1e-3)
    assert (trials.targets[~goes] == 0).all()
    scores = task.performance(trials, trials.targets)
    assert scores["reached"] == 1
    assert scores["reach_error_max"] < 1e-3
    assert scores["hold_error"] == 0
    assert task.performance(trials, 0 * trials.targets)["reach_error_median"] == pytest.approx(1)


def test_a_switched_target_jumps_before_go_and_is_what_counts():
    task = DelayedReach()
    trials = task.trials(np.zeros(1), np.array([0.4]), switched_to=np.array([np.pi]))
    np.testing.assert_allclose(trials.inputs[0, 19, :2], [1, 0])
    np.testing.assert_allclose(trials.inputs[0, 20, :2], [-1, 0], atol=1e-12)
    np.testing.assert_allclose(task.end_points(trials, trials.targets)[0], [-1, 0], atol=1e-3)


def test_delays_are_drawn_between_the_two_and_conditions_count_from_go():
    task = DelayedReach(targets=5)
    trials = task.draw(400, np.random.default_rng(1))
    delay = trials.columns["go_time"] - trials.columns["target_time"]
    assert delay.min() == pytest.approx(0.2)
    assert delay.max() == pytest.approx(0.8)
    conditions = task.conditions()
    assert len(conditions.inputs) == 5
    assert conditions.origin == pytest.approx(-0.6)


def test_impossible_tasks_are_refused():
    with pytest.raises(InputError, match="shortest <= longest"):
        DelayedReach(shortest=0.9)
