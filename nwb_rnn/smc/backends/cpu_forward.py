"""Forward pass of the CPU backend: whole trials, one after the other, in one compiled function.

Trial b occupies rows b · T to b · T + T − 1 of the arrays in `cpu_tables`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nwb_rnn.smc.backends import cpu_steps as steps
from nwb_rnn.smc.backends.cpu_compile import call
from nwb_rnn.smc.backends.cpu_steps import NONE, OPTIONS


@njit(**OPTIONS)
def transition(advance, network, decay, latents, means, particles, rank):
    """means = a z + V φ(M z + base; h); `particles` is a whole number of blocks."""
    call(advance, network, network.shape[0], latents, means, particles)
    for i in range(particles * rank):
        means[i] += decay * latents[i]


@njit(**OPTIONS)
def finish(path, first, last):
    """Bins after the last one of a trial repeat it and add nothing."""
    for i in range(first, last):
        path.log_increments[i] = 0
        steps.copy(path.log_weights[i - 1], path.log_weights[i])
        steps.copy(path.latents[i - 1], path.latents[i])
        steps.count_up(path.ancestors[i])


@njit(**OPTIONS)
def adapted(kernels, block, model, data, proposal, path, lengths, scheme, drawing, first, last):
    """Trials `first`..`last` − 1 with a proposal whose weight is known before the draw.

    `lengths` (B,) is how many bins to run; `scheme` is the resampling; `drawing` False takes the
    ancestors that `path` already holds.
    """
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    whole = (particles + block - 1) // block * block
    bins = path.ancestors.shape[0] // lengths.shape[0]
    network = model.network.copy()
    latents = np.zeros(whole * rank, network.dtype)
    means = np.zeros(whole * rank, network.dtype)
    weighted = np.zeros(particles, network.dtype)
    cumulative = np.zeros(particles, network.dtype)
    for b in range(first, last):
        for i in range(b * bins, b * bins + lengths[b]):
            if i == b * bins:
                for k in range(particles * rank):
                    means[k] = model.initial_mean[k % rank]
            else:
                steps.copy(path.latents[i - 1], latents[: particles * rank])
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                transition(kernels[0], network, model.decay[0], latents, means, whole, rank)
            steps.copy(means, path.means[i])
            if scheme == NONE and i > b * bins:
                steps.copy(path.log_weights[i - 1], weighted)
            else:
                steps.fill(weighted, -math.log(particles))
            kind = proposal.kind[i]
            steps.adapted_weights(
                proposal.weight_constant[i], proposal.weight_linear[i], proposal.metric[kind], means, weighted
            )
            path.log_increments[i] = steps.log_mean_weight(weighted, path.log_weights[i])
            if drawing:
                steps.draw_ancestors(weighted, data.uniforms[i], scheme, cumulative, path.ancestors[i])
            steps.draw(
                proposal.gain[kind],
                proposal.offset[i],
                proposal.scale[kind],
                data.noise[i],
                means,
                path.ancestors[i],
                path.latents[i],
            )
        finish(path, b * bins + lengths[b], (b + 1) * bins)


@njit(**OPTIONS)
def weighted(kernels, block, model, data, proposal, path, lengths, scheme, drawing, counts, first, last):
    """Trials `first`..`last` − 1 with a proposal that is weighted after the draw.

    `counts` is True for Poisson observations; the rest as in `adapted`.
    """
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    whole = (particles + block - 1) // block * block
    bins = path.ancestors.shape[0] // lengths.shape[0]
    network, readout = model.network.copy(), model.readout.copy()
    latents = np.zeros(whole * rank, network.dtype)
    means = np.zeros(whole * rank, network.dtype)
    slots, source = np.zeros(particles, np.int64), np.zeros(particles, np.int64)
    scores = np.zeros(whole, network.dtype)
    cumulative = np.zeros(particles, network.dtype)
    before, weights = np.zeros(particles, network.dtype), np.zeros(particles, network.dtype)
    distance = np.zeros(rank, network.dtype)
    for b in range(first, last):
        steps.fill(before, -math.log(particles))
        for i in range(b * bins, b * bins + lengths[b]):
            if drawing:
                steps.draw_ancestors(before, data.uniforms[i], scheme, cumulative, path.ancestors[i])
            if i == b * bins:
                steps.fill(source, 0)
                steps.copy(model.initial_mean, means[:rank])
            else:
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                count = steps.gather_parents(
                    path.ancestors[i], path.latents[i - 1], slots, source, latents, rank, block
                )
                transition(kernels[0], network, model.decay[0], latents, means, count, rank)
            for k in range(particles):
                for r in range(rank):
                    path.means[i, k * rank + r] = means[source[k] * rank + r]
            kind = proposal.kind[i]
            steps.draw(
                proposal.gain[kind],
                proposal.offset[i],
                proposal.scale[kind],
                data.noise[i],
                means,
                source,
                path.latents[i],
            )
            steps.copy(path.latents[i], latents[: particles * rank])
            steps.set_base(model.readout_inputs, data.filtered[i], readout, rank + 3)
            steps.set_bin(data.observed[i], data.mask[i], readout, rank + 5)
            constant = steps.constant_terms(data.observed[i], data.mask[i], model.log_noise, counts)
            call(kernels[2], readout, readout.shape[0], latents, scores, whole)
            constant += proposal.log_ratio[kind]
            for k in range(particles):
                weights[k] = scores[k] + constant + (before[k] if scheme == NONE else -math.log(particles))
            steps.proposal_ratio(
                proposal.metric[kind], data.noise[i], latents, path.means[i], distance, weights
            )
            path.log_increments[i] = steps.log_mean_weight(weights, path.log_weights[i])
            steps.copy(path.log_weights[i], before)
        finish(path, b * bins + lengths[b], (b + 1) * bins)
