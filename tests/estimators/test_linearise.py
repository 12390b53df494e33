"""`LowRankRNN.linearise` against exact linear models, simulations and the Jacobians of fixed points."""

import numpy as np
import pytest
from scipy.signal import welch

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.teachers.oscillator import oscillator

BIN = 0.01


def linear_arrays(observation: str) -> dict:
    """A damped rotation at 9 Hz as a network of four identity units, seen by three channels."""
    rng = np.random.default_rng(3)
    angle = 2 * np.pi * 9 * BIN
    matrix = 0.93 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    left = rng.standard_normal((4, 2))
    arrays = {
        "activation": "identity",
        "observation": observation,
        "bin_size": BIN,
        "decay": 0.5,
        "left_vectors": left,
        "right_vectors": (matrix - 0.5 * np.eye(2)) @ np.linalg.pinv(left),
        "unit_bias": np.zeros(4),
        "input_weights": np.zeros((4, 0)),
        "transition_cholesky": np.array([[0.3, 0.0], [0.1, 0.2]]),
        "initial_mean": np.zeros(2),
        "initial_cholesky": np.eye(2),
        "readout_weights": 0.08 * rng.standard_normal((3, 2)),
        "readout_bias": np.full(3, 4.0),
    }
    if observation == "gaussian":
        return arrays | {"observation_noise": np.array([0.003, 0.006, 0.001])}
    return arrays | {"link": "exp"}


@pytest.mark.parametrize("observation", ["gaussian", "poisson"])
def test_predicted_spectra_are_those_of_simulated_series(observation):
    """1,170 windows: a standard error of 3 %. The bend of the exponential link is small at this depth."""
    model = nr.LowRankRNN.from_arrays(**linear_arrays(observation))
    system = model.linearise(trials=20, bins=500, seed=1)
    drawn = model.simulate(trials=30, bins=5000, seed=2)
    series = drawn["signal" if observation == "gaussian" else "counts"].values.astype(float)
    frequency, power = welch(series, fs=1 / BIN, nperseg=256, axis=1)
    inside = (frequency > 1) & (frequency < 49)
    power = power.mean(0)[inside]
    np.testing.assert_allclose(system.spectrum(frequency[inside]), power, rtol=0.2)
    mode = system.modes().iloc[0]
    assert mode.frequency == pytest.approx(9, abs=1e-4) and mode.modulus == pytest.approx(0.93, abs=1e-5)


def test_at_a_fixed_point_the_modes_are_its_eigenvalues():
    model = nr.LowRankRNN.from_arrays(**linear_arrays("gaussian"))
    points = model.fixed_points()
    system = model.linearise(at=points.location[0])
    np.testing.assert_allclose(system.jacobian, points.jacobian[0], atol=1e-12)
    np.testing.assert_allclose(system.readout, model.to_arrays()["readout_weights"], atol=1e-12)
    assert system.modes().frequency[0] == pytest.approx(points.frequencies[0, 0])


def test_a_noisy_cycle_turns_at_the_teachers_frequency():
    """The mean Jacobian over a limit cycle is damped, where that of its centre is unstable."""
    model = nr.LowRankRNN.from_arrays(**oscillator(frequency=3.0, observed=20))
    mode = model.linearise(seed=0).modes().iloc[0]
    assert mode.frequency == pytest.approx(3, abs=0.1)
    with pytest.raises(InputError, match="no stationary spectrum"):
        model.linearise(at=model.fixed_points().location[0]).modes()


def test_constant_input_moves_what_is_linearised():
    """One tanh unit: dF/dz = a + V (1 − tanh²(M z + W u)) M, and E[y|z] = g r + d has the slope g r'(z)."""
    arrays = {
        "activation": "tanh",
        "observation": "gaussian",
        "bin_size": BIN,
        "decay": 0.4,
        "left_vectors": np.ones((1, 1)),
        "right_vectors": np.full((1, 1), 0.5),
        "unit_bias": np.zeros(1),
        "input_weights": np.full((1, 1), 2.0),
        "transition_cholesky": np.full((1, 1), 0.1),
        "initial_mean": np.zeros(1),
        "initial_cholesky": np.eye(1),
        "readout_gain": np.full(1, 3.0),
        "readout_bias": np.zeros(1),
        "observation_noise": np.full(1, 0.2),
    }
    model = nr.LowRankRNN.from_arrays(**arrays)
    system = model.linearise(inputs=[0.5], at=[0.3])
    slope = 1 - np.tanh(1.3) ** 2
    assert system.jacobian[0, 0] == pytest.approx(0.4 + 0.5 * slope, rel=1e-6)
    assert system.readout[0, 0] == pytest.approx(3 * slope, rel=1e-6)
    assert system.noise_covariance[0, 0] == pytest.approx(0.01) and system.observation_noise[
        0
    ] == pytest.approx(0.2)
    assert model.linearise(inputs=[0.5], seed=0).jacobian[0, 0] < model.linearise(seed=0).jacobian[0, 0] - 0.1


def test_what_cannot_be_linearised_is_said():
    model = nr.LowRankRNN.from_arrays(**linear_arrays("gaussian"))
    with pytest.raises(InputError, match="2 latents"):
        model.linearise(at=np.zeros(3))
