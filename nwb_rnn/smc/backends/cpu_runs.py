"""Free runs on a CPU and their adjoint; `smc.free_runs` defines the mathematics.

The runs of a chunk take the place of the particles of a trial. Chunks, and the order in which their gradients
are added, depend on the number of runs alone, so the number of threads never changes a result.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.backends import cpu, cpu_problem
from nwb_rnn.smc.backends import cpu_rows as rows
from nwb_rnn.smc.backends.cpu_backward import pull_transition
from nwb_rnn.smc.backends.cpu_compile import kernels
from nwb_rnn.smc.backends.cpu_forward import transition
from nwb_rnn.smc.backends.cpu_steps import loop

_CHUNK = 32  # runs


def free_runs(parameters: LowRankParameters, activation: str, start: Tensor, innovations: Tensor) -> Tensor:
    """See `smc.free_runs.free_runs`."""
    p = parameters
    moved = (p.left_vectors, p.right_vectors, p.unit_bias, p.decay)
    return _Runs.apply(parameters, activation, start, innovations, *moved)


class _Runs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, parameters, activation, start, innovations, *moved):
        ctx.clipped, ctx.parts = activation == "clipped_relu", []
        ctx.like = parameters.left_vectors, parameters.decay
        decay = cpu_problem.array(parameters.decay).reshape(1)
        path = torch.empty_like(innovations)
        for first in range(0, len(start), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            room = cpu_problem.Particles(innovations[chunk].transpose(0, 1))
            spec = room.spec(activation, "none", "none", "none")
            network, _ = cpu_problem.network(room, parameters)
            latents = _as_rows(room, torch.cat([start[chunk, None], innovations[chunk]], 1))
            ctx.parts.append((chunk, room, spec, network, decay, latents))

        def work(first, last):
            for chunk, room, spec, network, decay, latents in ctx.parts[first:last]:
                runs = room.noise.shape[1]
                whole = -(-runs // spec.block) * spec.block
                means = room.packs(*latents.shape[1:])
                _forward(kernels(spec).advance, network, decay, latents, means, whole)
                path[chunk] = torch.from_numpy(latents[1:, :, :runs]).permute(2, 0, 1)

        cpu.in_threads(work, len(ctx.parts))
        return path

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, on_path):
        on_innovations, found = torch.empty_like(on_path), [()] * len(ctx.parts)

        def work(first, last):
            for i, (chunk, room, spec, network, decay, latents) in enumerate(ctx.parts[first:last], first):
                runs = room.noise.shape[1]
                on_latents = _as_rows(room, on_path[chunk])
                on_network, on_decay = room.packs(*network.shape), room.zeros(1)
                _backward(
                    kernels(spec).retreat, network, on_network, decay, on_decay, latents, on_latents,
                    room.packs(*latents.shape[1:]), runs,
                )  # fmt: skip
                on_innovations[chunk] = torch.from_numpy(on_latents[..., :runs]).permute(2, 0, 1)
                found[i] = (on_network, on_decay)

        cpu.in_threads(work, len(ctx.parts))
        on_network, on_decay = (torch.from_numpy(np.sum(x, axis=0)) for x in zip(*found, strict=True))
        left, decay = ctx.like
        units, rank = left.shape
        on = cpu_problem.unpack(on_network, units)
        on_bias = on[2 * rank] if ctx.clipped else -on[2 * rank + 1]
        on_moved = (on[:rank].T, on[rank : 2 * rank], on_bias, on_decay.reshape(decay.shape))
        return None, None, None, on_innovations, *on_moved


def _as_rows(room: cpu_problem.Particles, values: Tensor) -> np.ndarray:
    """(B, T, R) as (T, R, K'), aligned, with zeros past the last run."""
    found = room.packs(*values.shape[1:], room.stride)
    torch.from_numpy(found)[..., : len(values)] = values.detach().permute(1, 2, 0)
    return found


@loop
def _forward(advance, network, decay, latents, means, runs):
    """`latents` (1 + T, R, K') hold the start and the innovations, to which the means are added in place."""
    for t in range(1, latents.shape[0]):
        transition(advance, network, decay[0], latents[t - 1], means, runs)
        for r in range(means.shape[0]):
            rows.add_scaled(latents[t, r], 1.0, means[r])


@loop
def _backward(retreat, network, on_network, decay, on_decay, latents, on_latents, work, runs):
    """`on_latents` (T, R, K') come with what is asked of each z, and leave with what innovations get."""
    for t in range(on_latents.shape[0] - 1, -1, -1):
        on_decay[0] += pull_transition(
            retreat, network, on_network, decay[0], latents[t], on_latents[t], work, runs
        )
        if t > 0:
            for r in range(work.shape[0]):
                rows.add_scaled(on_latents[t - 1, r], 1.0, work[r])
