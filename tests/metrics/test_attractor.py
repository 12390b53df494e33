"""D_stsp and D_H against closed forms and their limits."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.attractor import spectrum_distance, state_space_divergence


def test_divergence_of_two_single_kernels_is_that_of_two_gaussians():
    a, b = np.zeros((1, 3)), np.array([[1.0, -0.5, 0.5]])
    found = state_space_divergence(a, b, samples=20_000)
    # KL = |a − b|²/2 = 0.75, standard deviation |a − b| per sample: 5 standard errors, one in 10⁶
    assert found == pytest.approx(0.75, abs=5 * np.sqrt(1.5 / 20_000))


def test_divergence_is_zero_for_the_same_series_and_positive_for_a_shifted_one():
    series = np.random.default_rng(0).standard_normal((300, 4))
    assert state_space_divergence(series, series) == 0
    assert state_space_divergence(series, series + 2) > 1
    with pytest.raises(InputError, match="channels"):
        state_space_divergence(series, series[:, :2])


def test_samples_that_float32_cannot_see_are_left_out_only_as_published():
    near, far = np.zeros((50, 1)), np.concatenate([np.zeros((25, 1)), np.full((25, 1), 40.0)])
    kept = state_space_divergence(far, near)
    everything = state_space_divergence(far, near, as_published=False)
    assert kept < 1 < 100 < everything


def test_spectrum_distance_runs_from_zero_to_one():
    t = np.arange(4000)[:, None]
    slow, fast = np.sin(2 * np.pi * 0.05 * t), np.sin(2 * np.pi * 0.4 * t)
    assert spectrum_distance(slow, slow) == pytest.approx(0, abs=1e-6)
    assert spectrum_distance(slow, fast) == pytest.approx(1, abs=1e-3)
