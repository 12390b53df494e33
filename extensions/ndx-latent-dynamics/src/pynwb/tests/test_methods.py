"""What the classes compute, against the equations written out."""

import math

import numpy as np
import pytest
from ndx_latent_dynamics.models import activate
from ndx_latent_dynamics.testing.mock import (
    mock_fixed_point_table,
    mock_low_rank_rnn,
    mock_rate_rnn,
    mock_task_rnn,
    mock_trial_aligned_latents,
)

BY_HAND = {
    "relu": lambda x, h: max(x - h, 0.0),
    "clipped_relu": lambda x, h: max(x + h, 0.0) - max(x, 0.0),
    "tanh": lambda x, h: math.tanh(x - h),
    "softplus": lambda x, h: math.log(1 + math.exp(x - h)),
    "identity": lambda x, h: x - h,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_activations_are_the_documented_functions(name):
    for current in (-1.5, 0.0, 0.3, 2.0):
        for bias in (-0.7, 0.0, 0.4):
            got = activate(name, np.array([current]), np.array([bias]))[0]
            assert got == pytest.approx(BY_HAND[name](current, bias), abs=1e-12)


def test_an_unknown_activation_is_refused_by_name():
    with pytest.raises(ValueError, match="'swish' is not one of relu"):
        activate("swish", np.zeros(1), np.zeros(1))


def test_a_step_of_a_low_rank_network_is_the_sum_over_units():
    model = mock_low_rank_rnn()
    z, v = np.array([0.3, -0.2]), np.array([0.5])
    expected = 0.9 * z
    for unit in range(6):
        current = model.left_vectors[unit] @ z + model.input_weights[unit] @ v
        rate = BY_HAND["clipped_relu"](current, model.unit_bias[unit])
        expected = expected + model.right_vectors[:, unit] * rate
    np.testing.assert_allclose(model.step(z, v), expected, rtol=1e-6)
    np.testing.assert_allclose(model.step(np.stack([z, z]), np.stack([v, v])), [expected] * 2, rtol=1e-6)


def test_expected_observations_of_both_readouts():
    z = np.array([0.3, -0.2])
    affine = mock_low_rank_rnn()
    predictor = affine.readout_weights @ z + affine.readout_bias
    np.testing.assert_allclose(affine.expected_observation(z), np.log1p(np.exp(predictor)), rtol=1e-6)
    gain, bias = np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3])
    single = mock_low_rank_rnn(
        readout="one_to_one", link="exp", readout_weights=None, readout_gain=gain, readout_bias=bias
    )
    expected = np.exp(gain * single.rates(z)[:3] + bias)
    np.testing.assert_allclose(single.expected_observation(z), expected, rtol=1e-6)


def test_connectivity_has_the_rank_of_the_model():
    connectivity = mock_low_rank_rnn(units=7, rank=2).connectivity()
    assert connectivity.shape == (7, 7)
    assert np.linalg.matrix_rank(connectivity) == 2


def test_a_step_of_a_rate_network_is_an_euler_step():
    model = mock_rate_rnn()
    x, u = np.linspace(-1, 1, 5), np.array([0.2, -0.4])
    current = model.recurrent_weights @ np.tanh(x) + model.input_weights @ u + model.unit_bias
    np.testing.assert_allclose(model.step(x, u), x + 0.002 / 0.05 * (current - x), rtol=1e-6)


def test_outputs_and_observed_units_of_a_rate_network():
    x = np.linspace(-1, 1, 10).reshape(2, 5)
    for model in (mock_rate_rnn(), mock_task_rnn()):
        rates = np.tanh(x)
        np.testing.assert_allclose(model.outputs(x), rates @ model.readout_weights.T + model.readout_bias)
        expected = np.stack([0.5 + 2 * rates[:, 3], -1 + 4 * rates[:, 1]], axis=-1)
        np.testing.assert_allclose(model.expected_observation(x), expected)
    weights, bias = np.arange(10.0).reshape(2, 5), np.array([0.1, 0.2])
    apart = mock_rate_rnn(
        observed_index=None, readout_weights=None, observed_weights=weights, observed_bias=bias
    )
    by_hand = [0.5, -1.0] + np.array([2.0, 4.0]) * (np.tanh(x) @ weights.T + bias)
    np.testing.assert_allclose(apart.expected_observation(x), by_hand)
    with pytest.raises(ValueError, match="has no outputs"):
        apart.outputs(x)


def test_eigenvalues_and_vectors_belong_to_the_jacobian():
    table = mock_fixed_point_table()
    vectors, values = table.eigenvectors(), table.eigenvalues()
    np.testing.assert_allclose(table["jacobian"].data @ vectors, vectors * values[:, None], atol=1e-12)


def test_a_trial_is_cut_where_its_mask_ends():
    latents = mock_trial_aligned_latents()
    assert latents.trial(0)[1].shape == (5, 2)
    time, mean = latents.trial(3)
    assert mean.shape == (4, 2)
    np.testing.assert_allclose(time, [0.01, 0.03, 0.05, 0.07])


def test_a_model_tells_its_parameters_scores_and_versions():
    model = mock_low_rank_rnn()
    arrays = model.to_numpy()
    assert arrays["first_weight"].shape == (4, 3, 5)
    assert arrays["causal"].shape == () and arrays["causal"].dtype == bool
    assert arrays["decay"].dtype == np.float32
    assert "seed" not in arrays and "software" not in arrays
    assert model.scores() == {"bits_per_spike": 0.1}
    assert model.versions() == {"nwb_rnn": "0.1.0"}
    assert model.read_json("configuration") == {"rank": 2}
