"""Arrays that the CPU kernels share, grouped by what they are; all C-contiguous and of one floating dtype.

Axes: B trial, T bin, K particle, R latent, N' and D' units padded with zeros to whole vectors, J kind.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    left: np.ndarray  # (R, N'), M
    right: np.ndarray  # (R, N'), V
    bias: np.ndarray  # (N',), h
    input_weights: np.ndarray  # (U, N'), W
    decay: np.ndarray  # (1,)
    initial_mean: np.ndarray  # (R,)


class Readout(NamedTuple):
    weights: np.ndarray  # (R, D'), C of an affine readout
    bias: np.ndarray  # (D',)
    gain: np.ndarray  # (D',), of a one-to-one readout
    inverse_noise: np.ndarray  # (D',), 1 / variance
    log_noise: np.ndarray  # (D',), log(2 π variance)


class Data(NamedTuple):
    observed: np.ndarray  # (B, T, D)
    mask: np.ndarray  # (B, T, D) or (B, T, 1)
    filtered: np.ndarray  # (B, T, U)
    bins: np.ndarray  # (B,), how many bins of each trial to run
    noise: np.ndarray  # (B, T, K·R)
    uniforms: np.ndarray  # (B, T, 1) or (B, T, K)


class Proposal(NamedTuple):
    """Tables of `sequence.ProposalTerms`; what a proposal does not have is an array of size 0."""

    kind: np.ndarray  # (B, T) int64
    gain: np.ndarray  # (J, R, R)
    offset: np.ndarray  # (B, T, R)
    scale: np.ndarray  # (J, R, R)
    weight_constant: np.ndarray  # (B, T)
    weight_linear: np.ndarray  # (B, T, R)
    metric: np.ndarray  # (J, R, R), weight_quadratic if adapted, else whitener
    log_ratio: np.ndarray  # (J,)


class Path(NamedTuple):
    """What the forward pass leaves behind."""

    log_increments: np.ndarray  # (B, T)
    latents: np.ndarray  # (B, T, K·R)
    log_weights: np.ndarray  # (B, T, K), normalised; if adapted, those before resampling
    ancestors: np.ndarray  # (B, T, K) int64
    means: np.ndarray  # (B, T, K·R), μ: of the particles before resampling if adapted, else after


class Sums(NamedTuple):
    """Gradients summed over trials; the first axis is the chunk of trials that they are summed over."""

    left: np.ndarray  # (chunks, R, N')
    right: np.ndarray  # (chunks, R, N')
    base: np.ndarray  # (chunks, N'), on currents; moved to `current` after each bin if there are inputs
    current: np.ndarray  # (chunks, N'), base + current is on all currents; minus it on h, save clipped_relu
    bias: np.ndarray  # (chunks, N'), on h (clipped_relu)
    input_weights: np.ndarray  # (chunks, U, N')
    decay: np.ndarray  # (chunks, 1)
    initial_mean: np.ndarray  # (chunks, R)
    readout_weights: np.ndarray  # (chunks, R, D'); the same array as `left` for a one-to-one readout
    readout_bias: np.ndarray  # (chunks, D')
    readout_gain: np.ndarray  # (chunks, D')
    inverse_noise: np.ndarray  # (chunks, D')
    log_noise: np.ndarray  # (chunks, D')


class Local(NamedTuple):
    """Gradients that belong to one trial and bin."""

    filtered: np.ndarray  # (B, T, U)
    gain: np.ndarray  # (B, T, R, R), to be added up over the bins of each kind
    offset: np.ndarray  # (B, T, R)
    scale: np.ndarray  # (B, T, R, R)
    weight_constant: np.ndarray  # (B, T)
    weight_linear: np.ndarray  # (B, T, R)
    metric: np.ndarray  # (B, T, R, R)
    log_ratio: np.ndarray  # (B, T)
