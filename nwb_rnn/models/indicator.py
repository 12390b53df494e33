"""Fluorescence of an indicator that decays slowly: an autoregressive observation of first order.

    y_t = g y_{t−1} + η_t + N(0, s),   g = exp(−Δ / τ) for each unit, τ the decay time of the indicator

This is the calcium model of Vogelstein et al. (2010, J. Neurophysiol. 104) with the drive η_t in the place of
a spike train and with the noise in the innovations instead of on the measured trace. Then

    y_t − g y_{t−1} = η_t + N(0, s)

is a Gaussian observation of the latents of bin t alone: the filter, its optimal proposal and its compiled
backends stay exact, without a calcium state for each particle. The likelihood is that of each trace given its
first frame (and given the first one after a gap). Noise of the camera, which is in the trace and not in the
innovations, is taken for a fast part of s.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.errors import InputError

INDICATORS = ("none", "ar1")
_LARGEST_DECAY = 0.99  # per bin, of an estimate


def decay_of(time_constant: float, bin_size: float, units: int) -> Tensor:
    """g = exp(−Δ / τ) for every unit (D,); τ and Δ in s."""
    return torch.full((units,), math.exp(-bin_size / time_constant))


def estimated_decay(observed: Tensor, mask: Tensor) -> Tensor:
    """g (D,) of each unit as the ratio of its autocovariances at lags 2 and 1.

    White noise on the trace is in neither of them. A drive that is itself slow is taken for the indicator:
    give the time constant where it is known. `observed` and `mask` as in `TrialTensors`.
    """
    seen = mask.expand_as(observed).double()
    values = observed.double()
    mean = (values * seen).sum((0, 1)) / seen.sum((0, 1)).clamp(min=1)
    centred = (values - mean) * seen

    def covariance(lag: int) -> Tensor:
        pairs = (seen[:, lag:] * seen[:, :-lag]).sum((0, 1)).clamp(min=1)
        return (centred[:, lag:] * centred[:, :-lag]).sum((0, 1)) / pairs

    if observed.shape[1] < 3:
        raise InputError(
            f"trials of {observed.shape[1]} bins do not show how an indicator decays: "
            "give indicator_time_constant, or longer trials"
        )
    one, two = covariance(1), covariance(2)
    ratio = torch.where(one > 0, two / one.clamp(min=1e-300), torch.zeros_like(one))
    return ratio.clamp(0, _LARGEST_DECAY).to(observed.dtype)


def innovations(observed: Tensor, mask: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    """y_t − g y_{t−1} (B, T, D), and a mask that is 1 where both frames were observed."""
    both = mask.clone()
    both[:, 0] = 0
    both[:, 1:] *= mask[:, :-1]
    change = observed.clone()
    change[:, 1:] -= decay * observed[:, :-1]
    return change * both, both


def expected_trace(drive: np.ndarray, decay: np.ndarray) -> np.ndarray:
    """E[y_t] for an expected drive η (B, T, D), from a trace that was at rest with its first drive."""
    trace = np.array(drive, copy=True)
    trace[:, 0] = drive[:, 0] / (1 - decay)
    for t in range(1, trace.shape[1]):
        trace[:, t] += decay * trace[:, t - 1]
    return trace


def drawn_trace(drive: Tensor, innovation: Tensor, decay: Tensor) -> Tensor:
    """A trace from drawn innovations η + noise (B, T, D): y_0 from the law at rest with the first drive."""
    noise = innovation[:, 0] - drive[:, 0]
    trace = [drive[:, 0] / (1 - decay) + noise / torch.sqrt(1 - decay**2)]
    for t in range(1, drive.shape[1]):
        trace.append(decay * trace[-1] + innovation[:, t])
    return torch.stack(trace, dim=1)
