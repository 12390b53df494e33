"""Convolution by products of matrices against torch's own."""

import pytest
import torch

from nwb_rnn.models.convolution import convolve, pays, unfolded


@pytest.mark.parametrize("way", [convolve, unfolded])
@pytest.mark.parametrize("before", [0, 2, 4])
@pytest.mark.parametrize("bins", [1, 2, 9, 10])
def test_values_and_gradients_equal_the_sum_over_the_kernel(bins, before, way):
    generator = torch.Generator().manual_seed(bins)
    x = torch.randn(bins, 3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), (before, 4 - before))
    direct = torch.nn.functional.conv1d(padded, weight).permute(2, 0, 1)
    found = way(x, weight, before)
    torch.testing.assert_close(found, direct, rtol=1e-11, atol=1e-11)
    on = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad(y, (x, weight), on) for y in (found, direct)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_single_precision_is_as_accurate_as_the_direct_sum():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 28, 61, generator=generator)
    weight = torch.randn(64, 61, 21, generator=generator) / 36
    padded = torch.nn.functional.pad(x.permute(1, 2, 0), (20, 0))
    exact = torch.nn.functional.conv1d(padded.double(), weight.double()).permute(2, 0, 1)
    assert float((convolve(x, weight, 20) - exact).abs().max()) < 1e-5


def test_long_trials_and_short_kernels_take_the_direct_sum():
    assert pays(50, 28, 61, 64, 21)
    assert not pays(10_000, 2, 61, 64, 21)
    assert not pays(50, 28, 61, 64, 2)
