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
def transition(advance, network, decay, latents, means, particles):
    """means = a z + V φ(M z + base; h); `particles` is a whole number of blocks."""
    call(advance, network, network.shape[0], latents, means, particles, latents.shape[1])
    for r in range(latents.shape[0]):
        for k in range(particles):
            means[r, k] += decay * latents[r, k]


@njit(**OPTIONS)
def finish(path, first, last):
    """Bins after the last one of a trial repeat it and add nothing."""
    for i in range(first, last):
        path.log_increments[i] = 0
        for k in range(path.ancestors.shape[1]):
            path.log_weights[i, k] = path.log_weights[i - 1, k]
            path.weights[i, k] = path.weights[i - 1, k]
        steps.copy(path.latents[i - 1], path.latents[i], path.ancestors.shape[1])
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
    latents, means = np.zeros((rank, whole), network.dtype), np.zeros((rank, whole), network.dtype)
    chosen = np.zeros((rank, particles), network.dtype)
    cumulative, work = np.zeros(particles, network.dtype), np.zeros(particles, network.dtype)
    for b in range(first, last):
        for i in range(b * bins, b * bins + lengths[b]):
            if i == b * bins:
                for r in range(rank):
                    steps.fill(means[r], model.initial_mean[r])
            else:
                steps.copy(path.latents[i - 1], latents, particles)
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                transition(kernels[0], network, model.decay[0], latents, means, whole)
            steps.copy(means, path.means[i], particles)
            log_weights, weights = path.log_weights[i], path.weights[i]
            steps.fill(log_weights, -math.log(particles))
            if scheme == NONE and i > b * bins:
                for k in range(particles):
                    log_weights[k] = path.log_weights[i - 1, k]
            kind = proposal.kind[i]
            steps.adapted_weights(
                proposal.weight_constant[i],
                proposal.weight_linear[i],
                proposal.metric[kind],
                means,
                work,
                log_weights,
            )
            path.log_increments[i] = steps.log_mean_weight(log_weights, weights)
            if drawing:
                steps.draw_ancestors(weights, data.uniforms[i], scheme, cumulative, path.ancestors[i])
            steps.gather(means, path.ancestors[i], chosen)
            steps.draw(
                proposal.gain[kind],
                proposal.offset[i],
                proposal.scale[kind],
                data.noise[i],
                chosen,
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
    latents, means = np.zeros((rank, whole), network.dtype), np.zeros((rank, whole), network.dtype)
    slots, source = np.zeros(particles, np.int64), np.zeros(particles, np.int64)
    scores = np.zeros(whole, network.dtype)
    cumulative, work = np.zeros(particles, network.dtype), np.zeros(particles, network.dtype)
    before, equal = np.zeros(particles, network.dtype), -math.log(particles)
    for b in range(first, last):
        steps.fill(before, 1 / particles)
        for i in range(b * bins, b * bins + lengths[b]):
            if drawing:
                steps.draw_ancestors(before, data.uniforms[i], scheme, cumulative, path.ancestors[i])
            if i == b * bins:
                steps.fill(source, 0)
                for r in range(rank):
                    means[r, 0] = model.initial_mean[r]
            else:
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                count = steps.gather_parents(
                    path.ancestors[i], path.latents[i - 1], slots, source, latents, block
                )
                transition(kernels[0], network, model.decay[0], latents, means, count)
            steps.gather(means, source, path.means[i])
            kind = proposal.kind[i]
            steps.draw(
                proposal.gain[kind],
                proposal.offset[i],
                proposal.scale[kind],
                data.noise[i],
                path.means[i],
                path.latents[i],
            )
            steps.copy(path.latents[i], latents, particles)
            steps.set_base(model.readout_inputs, data.filtered[i], readout, rank + 3)
            steps.set_bin(data.observed[i], data.mask[i], readout, rank + 5)
            constant = steps.constant_terms(data.observed[i], data.mask[i], model.log_noise, counts)
            call(kernels[2], readout, readout.shape[0], latents, scores, whole, whole)
            constant += proposal.log_ratio[kind]
            log_weights, weights = path.log_weights[i], path.weights[i]
            for k in range(particles):
                log_weights[k] = scores[k] + constant + equal
                if scheme == NONE and i > b * bins:
                    log_weights[k] += path.log_weights[i - 1, k] - equal
            steps.proposal_ratio(
                proposal.metric[kind], data.noise[i], latents, path.means[i], work, log_weights
            )
            path.log_increments[i] = steps.log_mean_weight(log_weights, weights)
            for k in range(particles):
                before[k] = weights[k]
        finish(path, b * bins + lengths[b], (b + 1) * bins)
