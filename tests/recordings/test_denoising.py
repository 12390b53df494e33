"""Smoothing in components: the posterior of its model, sizes of noise and error, gaps."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.denoising import (
    denoise,
    edge,
    noise_of,
    posterior_spread,
    smooth_components,
    smooth_each,
)
from nwb_rnn.recordings.smoothing import smooth
from tests.estimators.rate_cases import trials_of


def waves(bins: int = 800, units: int = 40, noise: float = 0.1):
    """Six slow waves mixed into the units, and what is seen of them."""
    rng = np.random.default_rng(0)
    time = np.arange(bins)[:, None] / bins
    latents = np.sin(2 * np.pi * (rng.uniform(1, 12, 6) * time + rng.random(6)))
    clean = latents @ rng.standard_normal((6, units)) / 3
    return clean, clean + noise * rng.standard_normal(clean.shape)


def whole(values):
    return values[None], np.ones((1, len(values)), dtype=bool)


def test_components_are_posterior_means_of_the_stated_model():
    rng = np.random.default_rng(1)
    scores, ratios = rng.standard_normal((30, 3)).cumsum(axis=0), np.array([0.1, 1e-3, 10.0])
    second = np.diff(np.eye(30), 2, axis=0)
    found = smooth_each(scores, ratios)
    for k, ratio in enumerate(ratios):
        dense = np.linalg.solve(np.eye(30) + second.T @ second / ratio, scores[:, k])
        np.testing.assert_allclose(found[:, k], dense, atol=1e-9)


@pytest.mark.parametrize("ratio", [1e-4, 1e-2])
def test_posterior_spread_is_the_middle_of_the_dense_posterior(ratio):
    second = np.diff(np.eye(400), 2, axis=0)
    covariance = np.linalg.inv(np.eye(400) + second.T @ second / ratio)
    difference = np.diff(np.eye(400), axis=0)
    left, step = posterior_spread(np.array([ratio]))
    assert left[0] == pytest.approx(covariance[200, 200], rel=1e-3)
    assert step[0] == pytest.approx((difference @ covariance @ difference.T)[200, 200], rel=1e-2)


def test_white_noise_lies_at_the_edge():
    from scipy.ndimage import gaussian_filter1d

    light = gaussian_filter1d(np.random.default_rng(2).standard_normal((3000, 60)), 3.0, axis=0)
    largest = np.linalg.eigvalsh(light.T @ light / 3000)[-1]
    assert 0.85 * edge(3000, 60, 3.0) < largest < 1.1 * edge(3000, 60, 3.0)


def test_noise_is_known_and_the_result_is_nearer_than_any_gaussian():
    clean, seen = waves()
    found = smooth_components(*whole(seen), 3.0)
    np.testing.assert_allclose(found.noise, 0.1, rtol=0.2)
    assert found.components == 6
    error = np.sqrt(np.mean((found.values[0] - clean) ** 2))
    best = min(
        np.sqrt(np.mean((smooth(trials_of(seen), width).signal.values[0] - clean) ** 2))
        for width in (0.01, 0.02, 0.04, 0.08)
    )
    assert error < 0.6 * best


def test_error_is_known_to_a_third_for_data_of_the_stated_model():
    """Not better: the cosine transform takes the slope at the ends for roughness."""
    rng = np.random.default_rng(4)
    latents = (3e-3 * rng.standard_normal((1500, 5))).cumsum(axis=0).cumsum(axis=0)
    clean = latents @ rng.standard_normal((5, 40)) / 3
    found = smooth_components(*whole(clean + 0.1 * rng.standard_normal(clean.shape)), 3.0)
    missed = found.values[0] - clean
    assert np.sqrt(np.mean(found.error**2)) == pytest.approx(np.sqrt(np.mean(missed**2)), rel=1 / 3)
    step = np.sqrt(np.mean(np.diff(missed, axis=0) ** 2))
    assert np.sqrt(np.mean(found.step_error**2)) == pytest.approx(step, rel=1 / 3)


def test_data_without_noise_stay_as_they_are():
    clean, _ = waves()
    found = smooth_components(*whole(clean), 3.0)
    assert np.abs(found.values[0] - clean).max() < 2e-3
    assert found.error.max() < 2e-3


def test_stretches_are_smoothed_by_themselves_and_the_rest_is_left():
    clean, seen = waves()
    values, mask = whole(seen)
    mask[0, 300:340] = False
    mask[0, 795:] = False
    mask[0, 790] = False  # leaves four bins, too few
    found = smooth_components(values, mask, 3.0).values
    np.testing.assert_array_equal(found[0, 300:340], seen[300:340])
    np.testing.assert_array_equal(found[0, 790:], seen[790:])
    other = values.copy()
    other[0, 300:340] = 7.0
    np.testing.assert_array_equal(
        smooth_components(other, mask, 3.0).values[~(other == 7.0)], found[~(other == 7.0)]
    )
    assert np.sqrt(np.mean((found[0, :300] - clean[:300]) ** 2)) < 0.06


def test_counts_become_rates_with_a_note():
    clean, _ = waves()
    counts = np.random.default_rng(3).poisson(0.5 * np.clip(1 + clean, 0, None)).astype(float)
    made = denoise(trials_of(counts, name="counts"))
    assert "components" in made.attrs["smoothing"] and made.attrs["physical_unit"] == "spikes/s"
    truth = 50 * np.clip(1 + clean, 0, None)
    fixed = smooth(trials_of(counts / 0.01), 0.05).signal.values[0]
    ours = made.signal.values[0]
    assert np.mean((ours - truth) ** 2) < 0.6 * np.mean((fixed - truth) ** 2)
    np.testing.assert_allclose(made.noise.values, noise_of([counts / 0.01]))


def test_too_short_is_refused():
    with pytest.raises(InputError, match="at least 8"):
        smooth_components(np.zeros((2, 5, 3)), np.ones((2, 5), dtype=bool), 3.0)
