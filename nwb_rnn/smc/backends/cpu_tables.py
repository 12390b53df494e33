"""Arrays that the CPU kernels share, grouped by what they are; all C-contiguous and of one floating dtype.

Axes: I trials × bins, R latents, K particles, K' the length of their rows, U inputs, J kinds; packs are
those of `cpu_blocks`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Model(NamedTuple):
    network: np.ndarray  # (N' / W, rows, W), pack of `cpu_units`
    readout: np.ndarray  # (D' / W, rows, W), pack of `cpu_readout`; empty if adapted
    input_weights: np.ndarray  # (U, N')
    readout_inputs: np.ndarray  # input_weights for a one-to-one readout, else (0, N')
    log_noise: np.ndarray  # (D,), log(2 π variance) of Gaussian observations, else empty
    decay: np.ndarray  # (1,)
    initial_mean: np.ndarray  # (R,)


class Data(NamedTuple):
    observed: np.ndarray  # (I, D)
    mask: np.ndarray  # (I, D) or (I, 1)
    filtered: np.ndarray  # (I, U)
    noise: np.ndarray  # (I, R, K')
    uniforms: np.ndarray  # (I, 1) or (I, K)


class Proposal(NamedTuple):
    """Tables of `sequence.ProposalTerms`; what a proposal does not have is an array of size 0."""

    kind: np.ndarray  # (I,) int64
    gain: np.ndarray  # (J, R·R)
    offset: np.ndarray  # (I, R)
    scale: np.ndarray  # (J, R·R)
    weight_constant: np.ndarray  # (I,)
    weight_linear: np.ndarray  # (I, R)
    metric: np.ndarray  # (J, R·R), weight_quadratic if adapted, else whitener
    log_ratio: np.ndarray  # (J,)


class Path(NamedTuple):
    """What the forward pass leaves behind; if adapted, weights are those before resampling."""

    log_increments: np.ndarray  # (I,)
    latents: np.ndarray  # (I, R, K')
    log_weights: np.ndarray  # (I, K'), normalised
    weights: np.ndarray  # (I, K'), normalised
    ancestors: np.ndarray  # (I, K) int64
    means: np.ndarray  # (I, R, K'), μ: of the particles before resampling if adapted, else after


class Work(NamedTuple):
    """Room that one thread works in; a loop cannot allocate, as counting references costs half its time."""

    network: np.ndarray  # Model.network, or a copy where inputs change it
    readout: np.ndarray  # copy of Model.readout
    grids: np.ndarray  # (6, R, K'), zeros at first
    rows: np.ndarray  # (4, K'), zeros at first
    places: np.ndarray  # (2, K) int64


class Sums(NamedTuple):
    """Gradients summed over trials; the first axis is the chunk of trials that they are summed over.

    The base rows of the packs are cleared after each bin if there are inputs, and end up in `current`.
    """

    network: np.ndarray  # (chunks, N' / W, rows, W)
    readout: np.ndarray  # (chunks, D' / W, gradient rows, W)
    current: np.ndarray  # (chunks, N')
    input_weights: np.ndarray  # (chunks, U, N')
    log_noise: np.ndarray  # (chunks, D)
    decay: np.ndarray  # (chunks, 1)
    initial_mean: np.ndarray  # (chunks, R)


class Local(NamedTuple):
    """Gradients that belong to one trial and bin; those of tables are to be added up over equal kinds."""

    filtered: np.ndarray  # (I, U)
    gain: np.ndarray  # (I, R·R)
    offset: np.ndarray  # (I, R)
    scale: np.ndarray  # (I, R·R)
    weight_constant: np.ndarray  # (I,)
    weight_linear: np.ndarray  # (I, R)
    metric: np.ndarray  # (I, R·R)
    log_ratio: np.ndarray  # (I,)
