"""Outputs and recorded units together: the gradient, the two terms apart, a small teacher, refusals."""

from dataclasses import replace

import numpy as np
import pytest

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.performance import (
    LEARNED,
    PerformanceData,
    PerformanceNetwork,
    PerformanceOptions,
    fit_performance,
    loss_and_gradient,
    random_network,
    shares_left,
    starting_currents,
)
from nwb_rnn.models.rate import rates_of
from tests.fitting.performance_cases import made_by, small


def random_data(seed: int = 3) -> PerformanceData:
    rng = np.random.default_rng(seed)
    masks = rng.random((2, 4, 9)) < 0.7
    shapes = [(4, 9, 2), (4, 9, 3), (4, 9, 2)]
    return PerformanceData(*(rng.standard_normal(s) for s in shapes), masks[0], masks[1])


def moved(network: PerformanceNetwork, name: str, change: np.ndarray) -> PerformanceNetwork:
    if name in LEARNED:
        value = getattr(network.parameters, name) + change
        return replace(network, parameters=network.parameters.with_weights(**{name: value}))
    return replace(network, **{name: getattr(network, name) + change})


@pytest.mark.parametrize("activation", ["tanh", "softplus"])
@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.7, 2.0)])
@pytest.mark.parametrize("held", [False, True])
def test_gradient_is_that_of_finite_differences(activation, weights, held):
    """With `held`, of trials whose first bin was recorded or not."""
    network, data, options = small(activation), random_data(), PerformanceOptions(*weights)
    assert len(np.unique(data.activity_mask[:, 0])) == 2
    data = replace(data, activity=0.5 + 0.2 * np.tanh(data.activity), hold_start=held)
    _, gradient = loss_and_gradient(network, data, options)
    rng = np.random.default_rng(5)
    for name, value in gradient.items():
        for _ in range(3):
            way = rng.standard_normal(value.shape)
            ends = [loss_and_gradient(moved(network, name, h * way), data, options)[0] for h in (1e-5, -1e-5)]
            slope = (np.dot(weights, ends[0]) - np.dot(weights, ends[1])) / 2e-5
            assert np.sum(value * way) == pytest.approx(slope, rel=1e-6, abs=1e-8), name


def test_gradient_with_noise_is_that_of_finite_differences_for_the_same_draws():
    network, data = small(), random_data()
    data = replace(data, activity=0.5 + 0.2 * np.tanh(data.activity), hold_start=True)
    options = PerformanceOptions(0.7, 2.0, state_noise=0.3)

    def loss(changed):
        return np.dot((0.7, 2.0), loss_and_gradient(changed, data, options, np.random.default_rng(8))[0])

    shares, gradient = loss_and_gradient(network, data, options, np.random.default_rng(8))
    assert shares != loss_and_gradient(network, data, options)[0]
    rng = np.random.default_rng(5)
    for name, value in gradient.items():
        way = rng.standard_normal(value.shape)
        slope = (loss(moved(network, name, 1e-5 * way)) - loss(moved(network, name, -1e-5 * way))) / 2e-5
        assert np.sum(value * way) == pytest.approx(slope, rel=1e-6, abs=1e-8), name


def test_noise_has_the_size_that_was_asked_for():
    """Without weights the currents are x_{t+1} = (1 − α) x_t + ε: a known variance after t steps."""
    network = small(units=6)
    silent = {
        "recurrent_weights": np.zeros((6, 6)),
        "input_weights": np.zeros((6, 2)),
        "unit_bias": np.zeros(6),
    }
    network = replace(
        network, parameters=network.parameters.with_weights(**silent, initial_state=np.zeros(6))
    )
    readout = replace(network, output_weights=np.eye(3, 6), output_bias=np.zeros(3), activation="relu")
    data = PerformanceData(np.zeros((4000, 8, 2)), np.zeros((4000, 8, 3)), np.zeros((4000, 8, 2)))
    options = PerformanceOptions(state_noise=0.05)
    left = loss_and_gradient(readout, data, options, np.random.default_rng(0))[0]
    variance = np.cumsum(np.r_[0.0, 0.05**2 * 0.9 ** (2 * np.arange(7))])
    # half of a centred Gaussian's squares are above 0; targets without variance are divided by 1
    assert left[0] == pytest.approx(4000 * 3 * variance.sum() / 2, rel=0.03)


def test_noise_in_training_makes_a_network_that_withstands_pushes():
    teacher, recorded = small(units=12, seed=2), np.arange(6)
    data, _ = made_by(teacher, recorded, 12, 30, 1)
    left = []
    for noise in (0.0, 0.1):
        options = PerformanceOptions(iterations=400, learning_rate=0.02, state_noise=noise)
        fitted = fit_performance(random_network(12, 2, 3, recorded, seed=9), data, options)
        pushed = replace(options, state_noise=0.1)
        left.append(sum(loss_and_gradient(fitted, data, pushed, np.random.default_rng(3))[0]))
    assert left[1] < 0.8 * left[0]


def test_shares_are_0_for_the_teacher_and_1_for_the_mean():
    teacher = small()
    data, _ = made_by(teacher, teacher.parameters.observed_index, 5, 12, 0)
    shares, gradient = loss_and_gradient(teacher, data, PerformanceOptions())
    assert max(shares) < 1e-24 and max(np.abs(g).max() for g in gradient.values()) < 1e-12
    flat = replace(teacher, output_weights=np.zeros((3, 6)), output_bias=data.outputs.mean(axis=(0, 1)))
    assert loss_and_gradient(flat, data, PerformanceOptions())[0][0] == pytest.approx(1.0, rel=1e-12)


def test_trials_start_at_their_recording_where_it_is_held():
    teacher = small()
    start = np.random.default_rng(0).standard_normal((4, 6))
    data, _ = made_by(teacher, teacher.parameters.observed_index, 4, 12, 0)
    currents = teacher.run(data.inputs, start)
    activity = rates_of(currents, "tanh")[..., [4, 1]]
    first = np.array([True, True, False, True])
    mask = np.ones((4, 12), dtype=bool)
    mask[:, 0] = first
    held = PerformanceData(data.inputs, data.outputs, activity, None, mask, hold_start=True)
    found = starting_currents(teacher, held)
    np.testing.assert_allclose(found[first][:, [4, 1]], start[first][:, [4, 1]], atol=1e-12)
    rest = [0, 2, 3, 5]
    assert (found[:, rest] == teacher.parameters.initial_state[rest]).all()
    assert (found[2] == teacher.parameters.initial_state).all()
    assert shares_left(teacher, held) == loss_and_gradient(teacher, held, PerformanceOptions())[0]


def test_activity_alone_is_a_fit_of_the_recorded_units():
    """Targets of the outputs play no part: the network is the same for others, and the units match."""
    teacher, recorded = small(units=12, seed=2), np.arange(6)
    data, _ = made_by(teacher, recorded, 6, 30, 1)
    start = random_network(12, 2, 3, recorded, seed=9)
    options = PerformanceOptions(0.0, 1.0, iterations=1000, learning_rate=0.02)
    fitted = fit_performance(start, data, options)
    other = fit_performance(start, replace(data, outputs=-3 * data.outputs + 1), options)
    assert np.array_equal(fitted.parameters.recurrent_weights, other.parameters.recurrent_weights)
    assert np.array_equal(fitted.output_weights, start.output_weights)
    assert fitted.history[-1]["activity"] < 2e-3 < 0.2 < fitted.history[0]["activity"]


def test_outputs_alone_do_not_look_at_the_recorded_units():
    teacher = small()
    data, _ = made_by(teacher, np.array([4, 1]), 4, 15, 1)
    start, options = random_network(6, 2, 3, np.array([4, 1]), seed=9), PerformanceOptions(1.0, 0.0, 20)
    one = fit_performance(start, data, options)
    two = fit_performance(start, replace(data, activity=0 * data.activity), options)
    assert np.array_equal(one.parameters.recurrent_weights, two.parameters.recurrent_weights)


def test_a_small_teacher_is_learned_also_on_new_inputs():
    teacher, recorded = small(units=12, seed=2), np.arange(6)
    data, _ = made_by(teacher, recorded, 12, 30, 1)
    fitted = fit_performance(
        random_network(12, 2, 3, recorded, seed=9),
        data,
        PerformanceOptions(iterations=1000, learning_rate=0.02),
    )
    assert fitted.history[-1]["outputs"] < 5e-3 and fitted.history[-1]["activity"] < 5e-3
    new, _ = made_by(teacher, recorded, 12, 30, 77)
    shares, _ = loss_and_gradient(fitted, new, PerformanceOptions())
    assert shares[0] < 0.1 and shares[1] < 0.1


def test_dale_and_masks_hold_exactly():
    sign = np.array([1, 1, 1, -1, -1, -1])
    mask = np.random.default_rng(0).random((6, 6)) < 0.6
    constraints = Constraints.make(6, mask, sign, True)
    data, _ = made_by(small(), np.array([4, 1]), 4, 15, 1)
    start = random_network(6, 2, 3, np.array([4, 1]), constraints=constraints)
    weights = fit_performance(start, data, PerformanceOptions(iterations=30), constraints).parameters
    found = weights.recurrent_weights
    assert (found[~mask] == 0).all() and (np.diag(found) == 0).all() and (found * sign >= 0).all()
    assert not np.array_equal(found, start.parameters.recurrent_weights)


def test_what_does_not_count_may_be_missing():
    data, _ = made_by(small(), np.array([4, 1]), 4, 15, 1)
    inside = np.ones((4, 15), dtype=bool)
    inside[1, 9:] = False
    holes = np.where(inside[..., None], data.outputs, np.nan)
    cut = PerformanceData(data.inputs, holes, data.activity, inside)
    shares, gradient = loss_and_gradient(small(), cut, PerformanceOptions())
    assert max(shares) < 1e-24 and all(np.isfinite(g).all() for g in gradient.values())
    with pytest.raises(InputError, match="not finite"):
        PerformanceData(data.inputs, holes, data.activity)


def test_refusals_say_what_is_wrong():
    data, _ = made_by(small(), np.array([4, 1]), 4, 15, 1)
    with pytest.raises(InputError, match="the network has"):
        fit_performance(random_network(6, 2, 3, np.arange(3)), data)
    none = PerformanceData(data.inputs, data.outputs, data.activity[..., :0])
    with pytest.raises(InputError, match="nothing to match"):
        fit_performance(random_network(6, 2, 3, np.arange(0)), none)
    with pytest.raises(InputError, match="different units"):
        random_network(6, 2, 3, np.array([1, 1]))
    with pytest.raises(InputError, match="one of them positive"):
        PerformanceOptions(0.0, 0.0)
    with pytest.raises(InputError, match="state_noise=-1"):
        PerformanceOptions(state_noise=-1)
    wild = small("relu")
    parameters = wild.parameters.with_weights(recurrent_weights=np.full((6, 6), 1e60))
    with pytest.raises(DivergenceError, match="learning_rate"):
        fit_performance(replace(wild, parameters=parameters), data)
