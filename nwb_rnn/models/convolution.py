"""Convolution over the bins of short trials, as products of matrices.

A discrete Fourier transform of L = T + K − 1 points turns the convolution of T bins with K weights into a
product for each frequency. Trials are short, so the transforms are products with small matrices too, and
with many channels all of it takes a third of the arithmetic of the sum over K, at no loss of accuracy.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

_GAIN = 1.5  # how much less arithmetic it has to be


def pays(bins: int, trials: int, channels_in: int, channels_out: int, kernel: int) -> bool:
    """Whether `convolve` is less work than the sum over the kernel."""
    points, pairs = bins + kernel - 1, channels_in * channels_out
    transforms = 2 * points * (bins * trials * (channels_in + channels_out) + kernel * pairs)
    products = 4 * points * trials * pairs
    return _GAIN * (transforms + products) < 2 * bins * trials * pairs * kernel


def convolve(x: Tensor, weight: Tensor, before: int) -> Tensor:
    """y[t] = Σ_k weight[:, :, k] x[t + k − before], with zeros outside of x, as in `torch.conv1d`.

    Parameters
    ----------
    x : (T, B, D)
    weight : (C, D, K)
    before : bins that the kernel reaches back, 0 to K − 1

    Returns
    -------
    (T, B, C)
    """
    bins, trials, inputs = x.shape
    outputs, _, kernel = weight.shape
    of_x, of_weight, back = (table.to(x) for table in _transforms(bins, kernel, before))
    frequencies = of_x.shape[0] // 2
    # (F, 2, B, D): real parts above imaginary ones, so that one product serves both
    spectrum = (of_x @ x.reshape(bins, -1)).view(frequencies, 2 * trials, inputs)
    taps = (of_weight @ weight.permute(2, 1, 0).reshape(kernel, -1)).view(frequencies, 2, inputs, outputs)
    real, imaginary = torch.bmm(spectrum, taps[:, 0]), torch.bmm(spectrum, taps[:, 1])
    # X times the conjugate of W
    product = torch.cat(
        [real[:, :trials] + imaginary[:, trials:], real[:, trials:] - imaginary[:, :trials]], dim=1
    )
    return (back @ product.view(2 * frequencies, -1)).view(bins, trials, outputs)


def unfolded(x: Tensor, weight: Tensor, before: int) -> Tensor:
    """As `convolve`, by one product of matrices with every bin's neighbours side by side.

    On a GPU that is fewer and shorter steps than the library's convolution, always the same digits, and as
    good for many models at once.
    """
    kernel = weight.shape[2]
    neighbours = torch.nn.functional.pad(x, (0, 0, 0, 0, before, kernel - 1 - before)).unfold(0, kernel, 1)
    return neighbours.flatten(2) @ weight.flatten(1).T


@functools.lru_cache(maxsize=64)
def _transforms(bins: int, kernel: int, before: int) -> tuple[Tensor, Tensor, Tensor]:
    """(2 F, T) for x, (2 F, K) for weights, and (T, 2 F) back from products; cosine and sine rows in turn."""
    points = bins + kernel - 1
    frequency = torch.arange(points // 2 + 1, dtype=torch.float64)[:, None]

    def rows(places: Tensor) -> Tensor:
        angle = 2 * math.pi / points * (frequency * places % points)
        return torch.stack([torch.cos(angle), -torch.sin(angle)], dim=1).flatten(0, 1)

    time = torch.arange(bins, dtype=torch.float64)
    counted = torch.full_like(frequency, 2.0)  # frequencies stand for their negatives too, but for these
    counted[0] = 1
    if points % 2 == 0:
        counted[-1] = 1
    back = rows(time) * counted.repeat_interleave(2, 0) / points
    return rows(time + before), rows(torch.arange(kernel, dtype=torch.float64)), back.T
