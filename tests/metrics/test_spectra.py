"""Spectra have the right height and peak, and masks are honoured."""

import numpy as np
import pytest
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.spectra import spectrum


def made(values, mask=None, bin_size=0.01, name="signal"):
    mask = np.ones(values.shape[:2], dtype=bool) if mask is None else mask
    return xr.Dataset(
        {name: (("trial", "time", "unit"), values), "mask": (("trial", "time"), mask)},
        {"time": (np.arange(values.shape[1]) + 0.5) * bin_size},
        {"bin_size": bin_size},
    )


def test_power_of_white_noise_is_its_variance_over_the_nyquist_frequency():
    """One-sided: 2 σ² Δ at every frequency; the mean over 64 × 99 values is off by 5 % once in 10⁴."""
    values = np.random.default_rng(0).normal(0, 3.0, size=(64, 200, 1))
    _, power = spectrum(made(values), segment=2.0)
    assert power.mean() == pytest.approx(2 * 9.0 * 0.01, rel=0.05)


def test_a_sine_has_its_peak_at_its_frequency_and_its_power():
    time = (np.arange(400) + 0.5) * 0.01
    values = np.tile(2.0 * np.sin(2 * np.pi * 7.0 * time)[None, :, None], (3, 1, 2))
    frequency, power = spectrum(made(values), segment=2.0)
    assert frequency[power.argmax()] == pytest.approx(7.0)
    assert power.sum() * frequency[0] == pytest.approx(2.0, rel=1e-3)  # A² / 2


def test_pooling_sums_units_before_and_cancels_opposite_rhythms():
    wave = 1.0 + np.sin(2 * np.pi * 5.0 * (np.arange(200) + 0.5) * 0.01)
    values = np.stack([wave, 2.0 - wave], axis=-1)[None]
    counts = made(values, name="counts")
    assert spectrum(counts, pooled=True, segment=1.0)[1].max() < 1e-20
    assert spectrum(counts, pooled=False, segment=1.0)[1].max() > 1.0


def test_masked_bins_never_enter():
    rng = np.random.default_rng(1)
    values = rng.normal(size=(4, 300, 2))
    mask = np.ones((4, 300), dtype=bool)
    mask[:, 200:] = False
    spoilt = values.copy()
    spoilt[:, 200:] = 1e6
    np.testing.assert_array_equal(
        spectrum(made(spoilt, mask), segment=1.0)[1], spectrum(made(values[:, :200]), segment=1.0)[1]
    )


def test_too_short_is_refused():
    values = np.zeros((2, 50, 1))
    with pytest.raises(InputError, match="no trial has 1 s"):
        spectrum(made(values), segment=1.0)
    with pytest.raises(InputError, match="at least 4 bins"):
        spectrum(made(values), segment=0.02)


def test_wide_bins_still_get_a_spectrum():
    """At 2 Hz a stretch of 2 s would hold four bins: one frequency, which no figure shows."""
    time = (np.arange(240) + 0.5) * 0.5
    slow = made(np.sin(2 * np.pi * 0.125 * time)[None, :, None], bin_size=0.5)
    frequency, power = spectrum(slow)
    assert len(frequency) == 31
    assert frequency[power.argmax()] == pytest.approx(0.125)
