"""The autoregressive indicator: exact likelihood, decay estimates, traces."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from nwb_rnn.errors import InputError
from nwb_rnn.models import indicator
from nwb_rnn.models.low_rank import LowRankConfig


def test_innovations_have_the_density_of_the_trace_given_its_first_frame():
    """Against the joint Gaussian of y_1 .. y_5 given y_0, written out as one matrix."""
    rng = np.random.default_rng(0)
    g, s, drive, trace = 0.8, 0.3, rng.standard_normal(6), rng.standard_normal(6)
    y = torch.as_tensor(trace).reshape(1, 6, 1)
    change, both = indicator.innovations(y, torch.ones_like(y), torch.tensor([g], dtype=torch.float64))
    assert both[0, :, 0].tolist() == [0, 1, 1, 1, 1, 1]
    found = scipy.stats.norm.logpdf(change[0, 1:, 0].numpy(), drive[1:], math.sqrt(s)).sum()
    response = np.tril(g ** np.abs(np.subtract.outer(np.arange(5), np.arange(5))))
    mean = response @ drive[1:] + g ** np.arange(1, 6) * trace[0]
    expected = scipy.stats.multivariate_normal.logpdf(trace[1:], mean, s * response @ response.T)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_gap_hides_the_frame_after_it_too():
    y = torch.arange(5.0).reshape(1, 5, 1)
    mask = torch.tensor([1.0, 1, 0, 1, 1]).reshape(1, 5, 1)
    change, both = indicator.innovations(y * mask, mask, torch.tensor([0.5]))
    assert both.flatten().tolist() == [0, 1, 0, 0, 1]
    assert change.flatten().tolist() == [0, 1.0, 0, 0, 2.5]


def test_the_decay_is_estimated_in_spite_of_white_noise():
    """20 traces of 4,000 frames, white drive: standard error of g about 0.01; bound 0.05."""
    generator = torch.Generator().manual_seed(3)
    decay = torch.tensor([0.5, 0.8, 0.95])
    drive = torch.zeros(20, 4000, 3)
    drawn = indicator.drawn_trace(drive, torch.randn(drive.shape, generator=generator), decay)
    noisy = drawn + 0.5 * torch.randn(drive.shape, generator=generator)
    found = indicator.estimated_decay(noisy, torch.ones(20, 4000, 1))
    assert (found - decay).abs().max() < 0.05
    assert indicator.estimated_decay(torch.zeros(2, 9, 1), torch.ones(2, 9, 1)).tolist() == [0.0]


def test_traces_start_at_rest():
    """A constant drive gives η / (1 − g) from the first bin on, with variance s / (1 − g²) throughout."""
    decay = torch.tensor([0.9])
    drive = torch.full((20_000, 4, 1), 0.5)
    noise = torch.randn(drive.shape, generator=torch.Generator().manual_seed(1))
    trace = indicator.drawn_trace(drive, drive + noise, decay)
    expected = indicator.expected_trace(drive.numpy(), decay.numpy())
    np.testing.assert_allclose(expected, 5.0, rtol=1e-5)
    # 20,000 draws: the mean within 5 standard errors, the variance within 5 %
    np.testing.assert_allclose(trace.mean(0).numpy(), 5.0, atol=5 * 2.3 / math.sqrt(20_000))
    np.testing.assert_allclose(trace.var(0).numpy(), 1 / 0.19, rtol=0.05)


def test_the_time_constant_is_turned_into_a_decay_per_bin():
    assert indicator.decay_of(0.5, 0.05, 2).tolist() == pytest.approx([math.exp(-0.1)] * 2)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (dict(indicator="ar1"), "fluorescence"),
        (dict(observation="gaussian", indicator="ar1", indicator_time_constant=0.0), "positive"),
        (dict(observation="gaussian", indicator="ar2"), "ar1"),
    ],
)
def test_wrong_settings_are_refused(settings, word):
    with pytest.raises(InputError, match=word):
        LowRankConfig(2, 8, **settings)
