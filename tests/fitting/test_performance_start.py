"""The start from recorded units: what is regressed, a circuit that is recovered, masks and signs."""

from dataclasses import replace

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.performance import (
    PerformanceData,
    PerformanceOptions,
    fit_performance,
    random_network,
    shares_left,
)
from nwb_rnn.fitting.performance_start import PENALTIES, recorded_start, target_currents
from nwb_rnn.models.rate import currents_of, rates_of
from tests.fitting.performance_cases import made_by, small

QUIET = PerformanceOptions(state_noise=0.0)


def sampled(units: int = 12, recorded: int = 4, trials: int = 20, bins: int = 40):
    """A teacher with inputs, its first units recorded, and all its rates; a blank of the same sizes."""
    teacher = small(units=units, seed=2)
    data, rates = made_by(teacher, np.arange(recorded), trials, bins, 1)
    return teacher, data, rates, random_network(units, 2, 3, np.arange(recorded), seed=9)


def test_with_all_units_recorded_it_is_the_ridge_of_their_currents():
    """The normal equations of the penalty that was chosen hold for J, W, b and the readout."""
    _, data, rates, blank = sampled(recorded=12)
    found, p = recorded_start(blank, data, QUIET), blank.parameters
    x = currents_of(data.activity, "tanh")
    q = np.concatenate([rates, data.inputs, np.ones((*rates.shape[:2], 1))], axis=2)
    asked = ((x[:, 1:] - (1 - p.alpha) * x[:, :-1]) / p.alpha).reshape(-1, 12)
    rows = q[:, :-1].reshape(-1, 15)
    weights = [found.parameters.recurrent_weights, found.parameters.input_weights]
    theta = np.concatenate([*weights, found.parameters.unit_bias[:, None]], axis=1)
    pull = (asked - rows @ theta.T).T @ rows  # λ Θ, with a thousandth of λ for the bias
    known = [lam for lam in PENALTIES if np.allclose(pull[:, :-1], lam * theta[:, :-1], rtol=1e-6, atol=1e-8)]
    assert len(known) == 1
    np.testing.assert_allclose(pull[:, -1], 1e-3 * known[0] * theta[:, -1], rtol=1e-4, atol=1e-8)
    read = rates.reshape(-1, 12)
    missed = data.outputs.reshape(-1, 3) - read @ found.output_weights.T - found.output_bias
    np.testing.assert_allclose(missed.T @ read, known[0] * found.output_weights, rtol=1e-6, atol=1e-8)
    assert sum(shares_left(found, data)) < 0.02


def test_the_penalty_is_that_of_the_least_noisy_free_run():
    """Noise in the state asks for smaller weights."""
    _, data, _, blank = sampled(recorded=12)
    sizes = [
        np.abs(
            recorded_start(blank, data, PerformanceOptions(state_noise=n)).parameters.recurrent_weights
        ).mean()
        for n in (0.0, 0.3)
    ]
    assert sizes[1] < 0.8 * sizes[0]


def test_free_units_are_mixtures_of_recorded_currents_and_outputs_now_and_before():
    _, data, _, blank = sampled()
    x = target_currents(blank, data, QUIET)
    own = currents_of(data.activity, "tanh")
    assert (x[..., :4] == own).all()
    signals = np.concatenate([own, data.outputs], axis=2)
    before = np.empty_like(signals)
    before[:, 0] = signals[:, 0].mean(axis=0)
    for t in range(39):
        before[:, t + 1] = before[:, t] + 0.1 * (signals[:, t] - before[:, t])
    known = np.concatenate([signals, before, np.ones((20, 40, 1))], axis=2).reshape(-1, 15)
    wanted = x[..., 4:].reshape(-1, 8)
    weights, *_ = np.linalg.lstsq(known, wanted, rcond=None)
    np.testing.assert_allclose(known @ weights, wanted, atol=1e-8)
    assert np.linalg.matrix_rank(wanted - wanted.mean(axis=0)) == 8


def test_free_units_say_more_of_the_unrecorded_ones_than_the_recorded_units_do_now():
    """A circuit of 30 units that starts anywhere, six of them recorded: regressions of the others."""
    weights = 1.5 / np.sqrt(30) * np.random.default_rng(4).standard_normal((30, 30))
    teacher = random_network(30, 0, 0, np.arange(6), seed=2)
    teacher = replace(teacher, parameters=teacher.parameters.with_weights(recurrent_weights=weights))
    nothing = np.zeros((40, 60, 0))
    currents = teacher.run(nothing, np.random.default_rng(5).standard_normal((40, 30)))
    rates = rates_of(currents, "tanh")
    data = PerformanceData(nothing, nothing, rates[..., :6])
    x = target_currents(teacher, data, replace(QUIET, output_weight=0.0))
    hidden = currents[:, 10:, 6:]

    def left(known):
        known = np.concatenate([known[:, 10:], np.ones((40, 50, 1))], axis=2)
        train, test = (v.reshape(1000, -1) for v in (known[:20], known[20:]))
        found, *_ = np.linalg.lstsq(train, hidden[:20].reshape(1000, -1), rcond=1e-6)
        wanted = hidden[20:].reshape(1000, -1)
        return np.sum((wanted - test @ found) ** 2) / np.sum((wanted - wanted.mean(axis=0)) ** 2)

    assert left(x) < 0.8 * left(x[..., :6])


def test_targets_without_weight_are_not_looked_at():
    _, data, _, blank = sampled()
    alone = replace(QUIET, activity_weight=0.0)
    one = recorded_start(blank, data, alone)
    two = recorded_start(blank, replace(data, activity=0 * data.activity), alone)
    assert np.array_equal(one.parameters.recurrent_weights, two.parameters.recurrent_weights)
    units = replace(QUIET, output_weight=0.0)
    one, two = (recorded_start(blank, d, units) for d in (data, replace(data, outputs=3 - data.outputs)))
    assert np.array_equal(one.parameters.recurrent_weights, two.parameters.recurrent_weights)
    assert np.array_equal(one.output_weights, blank.output_weights)


def test_dale_and_masks_hold_exactly_after_start_and_training():
    _, data, _, blank = sampled()
    sign = np.where(np.arange(12) < 6, 1, -1)
    mask = np.random.default_rng(0).random((12, 12)) < 0.6
    both = Constraints.make(12, mask=mask, sign=sign, zero_diagonal=True)
    begun = recorded_start(blank, data, QUIET, both)
    trained = fit_performance(begun, data, replace(QUIET, iterations=5, state_noise=0.05), both)
    for network in (begun, trained):
        weights = network.parameters.recurrent_weights
        assert (weights[~mask] == 0).all() and (np.diag(weights) == 0).all()
        assert (weights[:, :6] >= 0).all() and (weights[:, 6:] <= 0).all() and (weights != 0).any()


def test_bins_that_do_not_count_are_not_regressed():
    """What stands in them plays no part."""
    _, data, _, blank = sampled()
    mask = np.ones((20, 40), dtype=bool)
    mask[:5, 25:] = mask[7, :3] = False
    starts = []
    for value in (0.0, 0.9):
        activity, outputs = data.activity.copy(), data.outputs.copy()
        activity[~mask], outputs[~mask] = value, value
        part = PerformanceData(data.inputs, outputs, activity, mask, mask)
        starts.append(recorded_start(blank, part, QUIET).parameters.recurrent_weights)
    assert np.array_equal(*starts)


def test_the_same_seed_gives_the_same_start_and_nothing_is_refused():
    _, data, _, blank = sampled()
    options = PerformanceOptions(state_noise=0.02)
    one, two, other = (recorded_start(blank, data, options, seed=s).parameters for s in (3, 3, 4))
    assert np.array_equal(one.recurrent_weights, two.recurrent_weights)
    assert not np.array_equal(one.recurrent_weights, other.recurrent_weights)
    nothing = PerformanceData(data.inputs, data.outputs[..., :0], data.activity[..., :0])
    with pytest.raises(InputError, match="start='random'"):
        recorded_start(random_network(12, 2, 0, np.arange(0)), nothing, options)
