"""Outputs and recorded units by RLS: batch ridge exactly, the teacher's currents, a teacher, constraints."""

from dataclasses import replace

import numpy as np
import pytest

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.performance import PerformanceData, random_network, shares_left
from nwb_rnn.fitting.performance_rls import BlockRLS, RLSOptions, fit_performance_rls, teacher
from nwb_rnn.models.rate import currents_of
from tests.fitting.performance_cases import made_by, small

VARIANCE = 0.8


def ridge(regressors: list, targets: list) -> np.ndarray:
    """(D, K) weights of all rows so far."""
    x, d = np.concatenate(regressors), np.concatenate(targets)
    return np.linalg.solve(x.T @ x + np.eye(x.shape[1]) / VARIANCE, x.T @ d).T


def random_case(trials: int = 3, bins: int = 14, seed: int = 0):
    """Activity, outputs and inputs that nothing made, and the network that training starts from."""
    rng = np.random.default_rng(seed)
    activity = np.tanh(0.7 * rng.standard_normal((trials, bins, 4)))
    inputs, outputs = rng.standard_normal((trials, bins, 2)), rng.standard_normal((trials, bins, 3))
    data = PerformanceData(inputs, outputs, activity, hold_start=True)
    return data, random_network(7, 2, 3, np.array([5, 0, 3, 2]), seed=seed)


def test_blocks_of_rows_are_ridge_also_without_some_columns():
    """One P gives the regression on all columns, and that on the others alone."""
    rng = np.random.default_rng(1)
    learner, left = BlockRLS(9, VARIANCE), slice(5, 7)
    whole, part = np.zeros((4, 9)), np.zeros((2, 7))
    seen, first, second = [], [], []
    for _ in range(6):
        q = rng.standard_normal((5, 9))
        d, y = rng.standard_normal((5, 4)), rng.standard_normal((5, 2))
        alone = np.delete(q, left, axis=1)
        learner.see(q)
        whole -= (q @ whole.T - d).T @ learner.gain(q)
        part -= (alone @ part.T - y).T @ learner.gain(q, left)
        seen.append(q)
        first.append(d)
        second.append(y)
        np.testing.assert_allclose(whole, ridge(seen, first), atol=1e-10)
        np.testing.assert_allclose(
            part, ridge([np.delete(s, left, axis=1) for s in seen], second), atol=1e-10
        )


def test_the_teacher_asks_for_the_recording_and_for_its_own_currents():
    data, start = random_case()
    p, options = start.parameters, RLSOptions(drive=0.7, seed=4)
    wanted = teacher(start, data, options)
    known = currents_of(data.activity, "tanh")
    index, others = p.observed_index, np.setdiff1d(np.arange(7), p.observed_index)
    np.testing.assert_allclose(
        known[:, 1:], (1 - p.alpha) * known[:, :-1] + p.alpha * wanted.currents[..., index], atol=1e-12
    )
    heard = 0.7 * np.random.default_rng(4).uniform(-1, 1, (7, 3))
    for b in range(3):
        x = wanted.start[b].copy()
        for t in range(13):
            x[index] = known[b, t]
            asked = p.recurrent_weights @ np.tanh(x) + p.input_weights @ data.inputs[b, t]
            asked += heard @ data.outputs[b, t]
            np.testing.assert_allclose(wanted.currents[b, t][others], asked[others], atol=1e-12)
            x = x + p.alpha * (asked - x)


@pytest.mark.parametrize("apart", [False, True])
def test_the_running_student_has_the_ridge_of_all_it_saw_in_every_bin(apart):
    """Against batch ridge solved anew in each bin; `apart`: outputs are wanted elsewhere than the units."""
    data, start = random_case()
    mask = np.ones((3, 14), dtype=bool)
    if apart:
        mask[1, 3:9] = mask[2, 11:] = False
        data = replace(data, output_mask=mask)
    options = RLSOptions(passes=1, start_variance=VARIANCE, seed=4)
    found = fit_performance_rls(start, data, options)
    wanted = teacher(start, data, options)
    theta, readout = np.zeros((7, 10)), np.zeros((3, 8))
    x = wanted.start.copy()
    seen, asked, heard, outputs = [], [], [], []
    for t in range(14):
        q = np.concatenate([np.tanh(x), data.inputs[:, t], np.ones((3, 1))], axis=1)
        x = x + start.parameters.alpha * (q @ theta.T - x)
        counts = mask[:, t] if apart else np.full(3, t < 13)
        if counts.any():
            heard.append(np.delete(q, slice(7, 9), axis=1)[counts])
            outputs.append(data.outputs[counts, t])
            readout = ridge(heard, outputs)
        if t < 13:
            seen.append(q)
            asked.append(wanted.currents[:, t])
            theta = ridge(seen, asked)
    p = found.parameters
    made = np.concatenate([p.recurrent_weights, p.input_weights, p.unit_bias[:, None]], axis=1)
    np.testing.assert_allclose(made, theta, atol=1e-9)
    np.testing.assert_allclose(found.output_weights, readout[:, :-1], atol=1e-9)
    np.testing.assert_allclose(found.output_bias, readout[:, -1], atol=1e-9)


def small_case(seed: int = 1) -> PerformanceData:
    """Outputs of about size 1, the same scale for every seed."""
    first, data = (made_by(small(units=12, seed=2), np.arange(6), 12, 30, s)[0] for s in (1, seed))
    return replace(data, outputs=data.outputs / first.outputs.std(axis=(0, 1)), hold_start=True)


def test_a_small_teacher_is_learned_also_on_new_inputs():
    data = small_case()
    start = random_network(36, 2, 3, np.arange(6), seed=9)
    fitted = fit_performance_rls(start, data, RLSOptions(start_variance=1.0))
    outputs, activity = shares_left(fitted, data)
    assert outputs < 3e-3 and activity < 3e-4
    assert fitted.history[0]["outputs"] > 5 * outputs
    outputs, activity = shares_left(fitted, small_case(77))
    assert outputs < 0.2 and activity < 0.02


@pytest.mark.parametrize("signed", [False, True])
def test_dale_and_masks_hold_exactly(signed):
    rng = np.random.default_rng(0)
    mask, sign = rng.random((36, 36)) < 0.8, np.where(rng.permutation(36) < 18, 1, -1)
    constraints = Constraints.make(36, mask, sign if signed else None, True)
    start = random_network(36, 2, 3, np.arange(6), constraints=constraints, seed=9)
    data = small_case()
    fitted = fit_performance_rls(start, data, constraints=constraints)
    found = fitted.parameters.recurrent_weights
    assert (found[~mask] == 0).all() and (np.diag(found) == 0).all()
    assert np.count_nonzero(found) > 300
    if signed:
        assert (found * sign >= 0).all()
    outputs, activity = shares_left(fitted, data)
    assert outputs < 0.02 and activity < 0.01


def test_what_was_not_recorded_is_not_learned_from():
    """Activity that does not count may be anything."""
    data, start = random_case()
    mask = np.ones((3, 14), dtype=bool)
    mask[0, 5:8] = mask[2, :2] = False
    one = replace(data, activity_mask=mask)
    other = replace(data, activity_mask=mask, activity=np.where(mask[..., None], data.activity, 0.3))
    found = [fit_performance_rls(start, d, RLSOptions(passes=2)) for d in (one, other)]
    np.testing.assert_array_equal(*(n.parameters.recurrent_weights for n in found))
    assert np.isfinite(found[0].output_weights).all()


def test_refusals_say_what_is_wrong():
    data, start = random_case()
    with pytest.raises(InputError, match="the network has"):
        fit_performance_rls(random_network(6, 2, 3, np.arange(3)), data)
    for wrong in ({"passes": 0}, {"start_variance": 0.0}, {"drive": -1.0}):
        with pytest.raises(InputError, match="passes="):
            RLSOptions(**wrong)
    wild = replace(start, activation="relu")
    wild = replace(wild, parameters=wild.parameters.with_weights(recurrent_weights=np.full((7, 7), 1e200)))
    with pytest.raises(DivergenceError, match="lower gain"):
        fit_performance_rls(wild, replace(data, activity=np.abs(data.activity)))
