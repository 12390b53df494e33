"""Backward simulation on a CPU, whole trials in one compiled pass; `smc.smoother` defines the mathematics.

Rows of all arrays but the uniforms are trials × bins, as in `cpu_forward`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.backends import cpu, cpu_problem
from nwb_rnn.smc.backends import cpu_rows as rows
from nwb_rnn.smc.backends import cpu_steps as steps
from nwb_rnn.smc.backends.cpu_compile import kernels
from nwb_rnn.smc.backends.cpu_forward import transition
from nwb_rnn.smc.backends.cpu_steps import loop
from nwb_rnn.smc.sequence import SequenceResult


def backward_simulation(
    parameters: LowRankParameters,
    activation: str,
    whitener: Tensor,
    filtered: Tensor,
    result: SequenceResult,
    uniforms: Tensor,
) -> Tensor:
    """Trajectories (B, T, S, R) chosen by uniforms (T, B, S, 1).

    `whitener` (R, R) is the inverse of the transition's Cholesky factor.
    """
    batch, bins, _, rank = result.latents.shape
    room = cpu_problem.Particles(result.latents)
    spec = room.spec(activation, "none", "none", "none")
    network, input_weights = cpu_problem.network(room, parameters)
    latents, log_weights, filtered_rows = (
        cpu_problem.array(x).reshape(batch * bins, *x.shape[2:])
        for x in (result.latents, result.log_weights, filtered)
    )
    chances = cpu_problem.array(uniforms[..., 0])
    path = torch.empty(batch, bins, chances.shape[2], rank, dtype=result.latents.dtype)
    model = (
        kernels(spec).advance,
        spec.block,
        input_weights,
        cpu_problem.array(parameters.decay).reshape(1),
        cpu_problem.array(whitener).reshape(-1),
    )
    data = (filtered_rows, latents, log_weights, chances)

    def work(first, last):
        own = network.copy() if len(input_weights) else network  # its row of currents changes with every bin
        grids = room.packs(4, rank, room.stride)
        trajectories = path.numpy().reshape(batch * bins, -1, rank)
        backward(*model, *data, own, grids, room.packs(3, room.stride), trajectories, first, last)

    cpu.in_threads(work, batch)
    return path


@loop
def backward(
    advance, block, input_weights, decay, whitener, filtered, latents, log_weights, uniforms,
    network, grids, lines, path, first, last,
):  # fmt: skip
    """Trials `first`..`last` − 1. Room to work in: `grids` (4, R, K') and `lines` (3, K'), zeros at first."""
    bins, (particles, rank) = uniforms.shape[0], latents.shape[1:]
    samples = path.shape[1]
    now, means, white, difference = grids[0], grids[1], grids[2], grids[3]
    row, weights, cumulative = lines[0], lines[1], lines[2]
    whole = (particles + block - 1) // block * block
    for b in range(first, last):
        for t in range(bins - 1, -1, -1):
            i = b * bins + t
            if t < bins - 1:
                for k in range(particles):
                    for r in range(rank):
                        now[r, k] = latents[i, k, r]
                steps.set_base(input_weights, filtered[i], network, 2 * rank + 1)
                transition(advance, network, decay[0], now, means, whole)
                for r in range(rank):
                    steps.whiten(whitener, r, means, white[r])
            for s in range(samples):
                rows.fill(row, 0.0)
                for k in range(particles):
                    row[k] = log_weights[i, k]
                if t < bins - 1:
                    for r in range(rank):
                        goal = whitener[r * rank] * path[i + 1, s, 0]
                        for q in range(1, rank):
                            goal += whitener[r * rank + q] * path[i + 1, s, q]
                        rows.copy(difference[r], white[r])
                        rows.add(difference[r], -goal)
                        rows.add_product(row, -0.5, difference[r], difference[r])
                chosen = _pick(row, weights, cumulative, uniforms[t, b, s], particles)
                for r in range(rank):
                    path[i, s, r] = latents[i, chosen, r]


@loop
def _pick(log_weights, weights, cumulative, uniform, particles):
    """The first particle at which the sum of the weights exceeds its share `uniform`."""
    highest = log_weights[0]
    for k in range(1, particles):
        highest = max(highest, log_weights[k])
    rows.exponentials(weights, log_weights, highest, particles)
    total = weights[0]
    cumulative[0] = total
    for k in range(1, particles):
        total += weights[k]
        cumulative[k] = total
    position = uniform * total
    low, high = 0, particles - 1
    while low < high:
        middle = (low + high) // 2
        if cumulative[middle] <= position:
            low = middle + 1
        else:
            high = middle
    return low
