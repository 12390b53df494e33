"""Bits per spike against scipy, and for perfect and mean predictions."""

import numpy as np
import pytest
from scipy.stats import poisson

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.likelihood import bits_per_spike


def test_bits_per_spike_equals_its_definition():
    rng = np.random.default_rng(0)
    counts, expected = rng.poisson(1.5, (4, 10, 3)), rng.uniform(0.5, 3, (4, 10, 3))
    mask = rng.random((4, 10)) < 0.8
    seen, mean = counts[mask], counts[mask].mean(0)
    gain = poisson(expected[mask]).logpmf(seen).sum() - poisson(mean).logpmf(seen).sum()
    assert bits_per_spike(expected, counts, mask) == pytest.approx(gain / (seen.sum() * np.log(2)))
    flat = np.broadcast_to(mean, counts.shape)
    assert bits_per_spike(flat, counts, mask) == pytest.approx(0, abs=1e-12)
    assert bits_per_spike(counts.astype(float), counts, mask) > 0


def test_no_spike_is_refused():
    with pytest.raises(InputError, match="at least one spike"):
        bits_per_spike(np.ones((1, 2, 1)), np.zeros((1, 2, 1)), np.ones((1, 2), bool))
