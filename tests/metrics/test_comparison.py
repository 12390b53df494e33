"""Mean rates count observed bins only; latents are compared up to an affine map."""

import numpy as np
import pytest
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.comparison import affine_map, aligned_r2, mapped, mean_rate_correlation, mean_rates


def trials_of(counts, mask, bin_size=0.02):
    dims = ("trial", "time", "unit")[: mask.ndim]
    return xr.Dataset(
        {"counts": (("trial", "time", "unit"), counts), "mask": (dims, mask)}, attrs={"bin_size": bin_size}
    )


def test_mean_rates_leave_masked_bins_out():
    counts = np.zeros((1, 4, 2))
    counts[0, :, 0] = [1, 1, 0, 0]
    counts[0, :, 1] = [0, 2, 9, 9]
    mask = np.array([[True, True, False, False]])
    np.testing.assert_allclose(mean_rates(trials_of(counts, mask)), [50.0, 50.0])
    each = np.stack([mask, np.array([[True, True, True, False]])], axis=-1)
    np.testing.assert_allclose(mean_rates(trials_of(counts, each)), [50.0, 11 / 3 / 0.02])


def test_correlation_of_mean_rates():
    counts = np.arange(24.0).reshape(2, 4, 3)
    mask = np.ones((2, 4), dtype=bool)
    first = trials_of(counts, mask)
    assert mean_rate_correlation(first, trials_of(5 * counts + 1, mask)) == pytest.approx(1.0)
    assert mean_rate_correlation(first, trials_of(100 - counts, mask)) == pytest.approx(-1.0)
    assert np.isnan(mean_rate_correlation(first, trials_of(np.ones_like(counts), mask)))


def test_any_affine_image_of_the_truth_scores_one():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(200, 2))
    found = truth @ rng.normal(size=(2, 3)) + 4.0
    assert aligned_r2(found, truth) == pytest.approx(1.0)
    np.testing.assert_allclose(mapped(found, affine_map(found, truth)), truth, atol=1e-10)


def test_unrelated_latents_score_near_nothing():
    """R² of noise is about 3 / 2000; 0.02 is passed once in 10⁸."""
    rng = np.random.default_rng(1)
    assert aligned_r2(rng.normal(size=(2000, 3)), rng.normal(size=(2000, 2))) < 0.02


def test_lengths_must_agree():
    with pytest.raises(InputError, match="3 samples of one and 4 of the other"):
        aligned_r2(np.zeros((3, 1)), np.zeros((4, 1)))
