"""The solvers of rate networks against exact cases: ridge, RLS, constraints, gradients, full-FORCE."""

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.backprop import TrainableRate, activation_of, roll_out
from nwb_rnn.fitting.closed_form import Normal, ridge
from nwb_rnn.fitting.constraints import Constraints, constrained_ridge
from nwb_rnn.fitting.free_run import explained_variance
from nwb_rnn.fitting.full_force import full_force
from nwb_rnn.fitting.rate_data import RateData, regression
from nwb_rnn.fitting.rls import rls, rls_frozen
from nwb_rnn.models.rate import RateParameters, currents_of, free_run, rates_of, slopes_of


def network(units: int, inputs: int = 1, seed: int = 0) -> RateParameters:
    rng = np.random.default_rng(seed)
    return RateParameters(
        recurrent_weights=1.5 / np.sqrt(units) * rng.standard_normal((units, units)),
        input_weights=rng.standard_normal((units, inputs)),
        unit_bias=0.1 * rng.standard_normal(units),
        time_constant=0.1,
        bin_size=0.02,
        noise=np.zeros(units),
        rate_gain=np.ones(units),
        rate_offset=np.zeros(units),
        observed_index=np.arange(units),
        initial_state=rng.standard_normal(units),
    )


def data_of(p: RateParameters, bins: int = 400, seed: int = 1) -> RateData:
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((2, bins, p.input_weights.shape[1]))
    x = free_run(p, "tanh", rng.standard_normal((2, len(p.unit_bias))), inputs)
    return RateData(np.tanh(x), np.ones(inputs.shape[:2], dtype=bool), inputs, p.alpha, "tanh")


@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus"])
def test_currents_are_the_inverse_of_rates_and_slopes_their_derivative(activation):
    x = np.linspace(0.05, 3, 50) if activation == "relu" else np.linspace(-3, 3, 50)
    np.testing.assert_allclose(currents_of(rates_of(x, activation), activation), x, atol=1e-9)
    step = 1e-6
    numeric = (rates_of(x + step, activation) - rates_of(x - step, activation)) / (2 * step)
    np.testing.assert_allclose(slopes_of(x, activation), numeric, atol=1e-8)


def test_ridge_without_noise_finds_every_weight():
    """Six units and their input, no noise: the regression has one exact solution."""
    p = network(6)
    data = data_of(p)
    found = ridge(Normal.of(regression(data)), 1e-12, 6, Constraints.make(6))
    np.testing.assert_allclose(found.recurrent, p.recurrent_weights, atol=1e-6)
    np.testing.assert_allclose(found.inputs, p.input_weights, atol=1e-6)
    np.testing.assert_allclose(found.bias, p.unit_bias, atol=1e-6)


def test_rls_over_frozen_rates_is_ridge():
    rng = np.random.default_rng(0)
    x, d = rng.standard_normal((300, 17)), rng.standard_normal((300, 5))
    exact = np.linalg.solve(x.T @ x + 0.7 * np.eye(17), x.T @ d).T
    np.testing.assert_allclose(rls_frozen(x, d, 0.7), exact, atol=1e-10)


def test_rls_while_running_follows_its_equations():
    """The compiled pass against the equations written out in numpy, with a gap in the recording."""
    data = data_of(network(7), bins=30)
    mask = data.mask.copy()
    mask[1, 12:15] = False
    data = RateData(data.rates, mask, data.inputs, data.alpha, "tanh")
    start = 0.3 * np.random.default_rng(3).standard_normal((7, 9))
    found = rls(data, start, Constraints.make(7), passes=2, start_variance=0.5)
    theta, inverse = start.copy(), 0.5 * np.eye(9)
    for _ in range(2):
        for b in range(2):
            x = currents_of(data.rates[b, 0], "tanh")
            for t in range(30):
                heard = data.inputs[b, max(t - 1, 0)]
                q = np.concatenate([np.tanh(x), heard, [1.0]])
                if t > 0:
                    x = x + data.alpha * (theta @ q - x)
                    q[:7] = np.tanh(x)
                if not mask[b, t]:
                    continue
                error = q[:7] - data.rates[b, t]
                k = inverse @ q
                c = 1 / (1 + q @ k)
                inverse -= c * np.outer(k, k)
                theta -= c * np.outer(error, k)
    np.testing.assert_allclose(found, theta, atol=1e-10)


@pytest.mark.parametrize("signed", [False, True])
def test_constrained_ridge_is_bounded_least_squares(signed):
    rng = np.random.default_rng(5)
    x, d = rng.standard_normal((80, 9)), rng.standard_normal((80, 8))
    mask = rng.random((8, 8)) < 0.7
    sign = np.where(rng.random(8) < 0.5, 1, -1) if signed else None
    constraints = Constraints.make(8, mask, sign, zero_diagonal=True)
    found = constrained_ridge(x.T @ x, d.T @ x, np.full(9, 2.0), constraints)
    low, high = constraints.bounds(9)
    stacked = np.concatenate([x, np.sqrt(2.0) * np.eye(9)])
    for i in range(8):
        free = low[i] < high[i]
        wanted = np.zeros(9)
        target = np.concatenate([d[:, i], np.zeros(9)])
        wanted[free] = lsq_linear(stacked[:, free], target, (low[i, free], high[i, free]), tol=1e-13).x
        np.testing.assert_allclose(found[i], wanted, atol=1e-5)
    assert np.all(found[:, :8][~constraints.mask] == 0)


def test_constraints_of_another_network_are_refused():
    with pytest.raises(InputError, match="mask"):
        Constraints.make(3, np.ones((4, 4)))
    with pytest.raises(InputError, match="unit_sign"):
        Constraints.make(3, sign=np.array([1, 2, 0]))


@pytest.mark.parametrize("rank", [None, 2])
def test_gradients_of_the_roll_out_are_finite_differences(rank):
    p, data = network(5), data_of(network(5), bins=12)
    module = TrainableRate(p, Constraints.make(5), rank, sparse=rank is not None)
    known = torch.tensor(currents_of(data.rates, "tanh"))
    present, inputs = torch.tensor(data.mask, dtype=torch.float64), torch.tensor(data.inputs)

    def loss() -> torch.Tensor:
        x = roll_out(module, known[:, 0], known, present, inputs, 0.2, activation_of("tanh"), 0.3)
        return ((torch.tanh(x) - 0.1) ** 2).sum()

    loss().backward()
    for name, parameter in module.named_parameters():
        at = tuple(s - 1 for s in parameter.shape)
        with torch.no_grad():
            ends = []
            for push in (1e-6, -1e-6):
                parameter[at] += push
                ends.append(float(loss()))
                parameter[at] -= push
        slope = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(float(parameter.grad[at]), slope, rtol=1e-5, err_msg=name)


def test_the_torch_roll_out_is_the_numpy_free_run():
    p = network(5)
    inputs = np.random.default_rng(0).standard_normal((3, 20, 1))
    start = np.random.default_rng(1).standard_normal((3, 5))
    module = TrainableRate(p, Constraints.make(5), None, False)
    nothing, never = torch.zeros(3, 20, 5, dtype=torch.float64), torch.zeros(3, 20, dtype=torch.float64)
    args = (torch.tensor(start), nothing, never, torch.tensor(inputs), p.alpha, torch.tanh, 0.0)
    with torch.no_grad():
        ours = roll_out(module, *args).numpy()
    np.testing.assert_allclose(ours, free_run(p, "tanh", start, inputs), atol=1e-12)


def test_full_force_learns_two_sines():
    """Sum of two sines, ten trials: normalised error of a free run below 1e-3."""
    time = np.arange(1000) * 0.01
    target = (np.sin(2 * np.pi * time) + 0.5 * np.sin(4 * np.pi * time))[None, :, None]
    inputs = np.zeros((1, 1000, 0))
    student = full_force(target, inputs, units=200, alpha=0.1, trials=10, gain=1.3, seed=0)
    x, made = student.start.copy(), []
    for _ in range(1000):
        r = np.tanh(x)
        made.append(student.readout @ r)
        x = x + 0.1 * (student.recurrent @ r - x)
    error = np.sum((np.array(made) - target[0]) ** 2) / np.sum(target**2)
    assert error < 1e-3


def test_explained_variance_of_known_series():
    y = np.array([[[0.0, 10.0], [2.0, 12.0]]])
    level = np.array([[[1.0, 11.0], [1.0, 11.0]]])
    mask = np.ones((1, 2), dtype=bool)
    assert explained_variance(y, y, mask) == 1
    assert explained_variance(y, level, mask) == pytest.approx(1 - 4 / 104)
    assert explained_variance(y, level, mask, per_unit=True) == 0
