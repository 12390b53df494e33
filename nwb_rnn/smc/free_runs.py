"""Latents of a low-rank RNN that runs freely from given states with given innovations, differentiable.

    z_t = a z_{t−1} + V φ(M z_{t−1}; h) + ε_t,     z_0 the start

Without inputs. This loop in torch is the definition; `backends.cpu_runs` does the same in compiled code.
"""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters, transition_mean


def free_runs(parameters: LowRankParameters, activation: str, start: Tensor, innovations: Tensor) -> Tensor:
    """Latents z_1 … z_T (B, T, R) from `start` (B, R) and ε (B, T, R), which includes its covariance.

    Gradients flow to `innovations` and to M, V, h and a, not to the start.
    """
    if _compiled(parameters, activation, innovations):
        from nwb_rnn.smc.backends import cpu_runs

        return cpu_runs.free_runs(parameters, activation, start, innovations)
    return definition(parameters, activation, start, innovations)


def definition(parameters: LowRankParameters, activation: str, start: Tensor, innovations: Tensor) -> Tensor:
    """As `free_runs`, in torch."""
    latents, nothing = start.detach(), start.new_zeros(len(start), parameters.input_weights.shape[1])
    path = []
    for innovation in innovations.unbind(1):
        latents = transition_mean(parameters, activation, latents, nothing) + innovation
        path.append(latents)
    return torch.stack(path, 1)


def _compiled(parameters: LowRankParameters, activation: str, innovations: Tensor) -> bool:
    if innovations.dtype != parameters.left_vectors.dtype or importlib.util.find_spec("numba") is None:
        return False
    from nwb_rnn.smc.backends import cpu

    return cpu.supports_network(parameters.left_vectors, activation, "none") is None
