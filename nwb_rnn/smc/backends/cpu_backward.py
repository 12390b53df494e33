"""Backward pass of the CPU backend: the adjoint of `cpu_forward`, from a trial's last bin to its first."""

from __future__ import annotations

import numpy as np
from numba import njit

from nwb_rnn.smc.backends import cpu_steps as steps
from nwb_rnn.smc.backends.cpu_compile import call
from nwb_rnn.smc.backends.cpu_steps import OPTIONS


@njit(**OPTIONS)
def pull_transition(retreat, network, on_network, decay, latents, on_means, on_latents, particles, rank):
    """Adjoint of `transition`; returns the gradient on decay."""
    call(retreat, network, on_network, network.shape[0], latents, on_means, on_latents, particles)
    on_decay = 0.0
    for i in range(particles * rank):
        on_decay += on_means[i] * latents[i]
        on_latents[i] += decay * on_means[i]
    return on_decay


@njit(**OPTIONS)
def add_initial(on_means, on_initial, particles):
    rank = on_initial.shape[0]
    for k in range(particles):
        for r in range(rank):
            on_initial[r] += on_means[k * rank + r]


@njit(**OPTIONS)
def adapted(
    kernels,
    model,
    data,
    proposal,
    path,
    lengths,
    scheme,
    on_increments,
    sums,
    local,
    edges,
    first,
    last,
):
    """Chunks `first`..`last` − 1; chunk c holds trials edges[c]..edges[c + 1] − 1."""
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    bins = path.ancestors.shape[0] // lengths.shape[0]
    network = model.network.copy()
    latents, on_latents = np.zeros(particles * rank, network.dtype), np.zeros(particles * rank, network.dtype)
    on_means = np.zeros(particles * rank, network.dtype)
    on_weights = np.zeros(particles, network.dtype)
    on_log_weights = np.zeros(particles, network.dtype)
    for c in range(first, last):
        on_network = sums.network[c]
        for b in range(edges[c], edges[c + 1]):
            steps.fill(on_latents, 0.0)
            steps.fill(on_log_weights, 0.0)
            for i in range(b * bins + lengths[b] - 1, b * bins - 1, -1):
                steps.fill(on_means, 0.0)
                kind = proposal.kind[i]
                steps.pull_increment(
                    path.log_weights[i], scheme, on_increments[i], on_log_weights, on_weights
                )
                steps.pull_draw(
                    proposal.gain[kind],
                    data.noise[i],
                    path.means[i],
                    path.ancestors[i],
                    on_latents,
                    local.gain[i],
                    local.offset[i],
                    local.scale[i],
                    on_means,
                )
                local.weight_constant[i] = steps.pull_adapted_weights(
                    proposal.weight_linear[i],
                    proposal.metric[kind],
                    path.means[i],
                    on_weights,
                    on_means,
                    local.weight_linear[i],
                    local.metric[i],
                )
                if i == b * bins:
                    add_initial(on_means, sums.initial_mean[c], particles)
                    continue
                steps.copy(path.latents[i - 1], latents)
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                sums.decay[c, 0] += pull_transition(
                    kernels[1],
                    network,
                    on_network,
                    model.decay[0],
                    latents,
                    on_means,
                    on_latents,
                    particles,
                    rank,
                )
                steps.pull_base(
                    model.input_weights,
                    data.filtered[i - 1],
                    on_network,
                    2 * rank + 1,
                    sums.input_weights[c],
                    sums.current[c],
                    local.filtered[i - 1],
                )


@njit(**OPTIONS)
def weighted(
    kernels,
    model,
    data,
    proposal,
    path,
    lengths,
    scheme,
    on_increments,
    sums,
    local,
    edges,
    first,
    last,
):
    """As `adapted`, for a proposal that is weighted after the draw."""
    rank, particles = model.initial_mean.shape[0], path.ancestors.shape[1]
    bins = path.ancestors.shape[0] // lengths.shape[0]
    network, readout = model.network.copy(), model.readout.copy()
    latents, on_latents = np.zeros(particles * rank, network.dtype), np.zeros(particles * rank, network.dtype)
    on_means, on_parents = (
        np.zeros(particles * rank, network.dtype),
        np.zeros(particles * rank, network.dtype),
    )
    from_score = np.zeros(particles * rank, network.dtype)
    on_weights, on_log_weights = np.zeros(particles, network.dtype), np.zeros(particles, network.dtype)
    slots, source = np.zeros(particles, np.int64), np.zeros(particles, np.int64)
    itself, distance = np.arange(particles), np.zeros(rank, network.dtype)
    for c in range(first, last):
        on_network, on_readout = sums.network[c], sums.readout[c]
        for b in range(edges[c], edges[c + 1]):
            steps.fill(on_latents, 0.0)
            steps.fill(on_log_weights, 0.0)
            for i in range(b * bins + lengths[b] - 1, b * bins - 1, -1):
                kind = proposal.kind[i]
                steps.pull_increment(
                    path.log_weights[i], scheme, on_increments[i], on_log_weights, on_weights
                )
                for k in range(particles):
                    local.log_ratio[i] += on_weights[k]
                steps.copy(path.latents[i], latents)
                steps.set_base(model.readout_inputs, data.filtered[i], readout, rank + 3)
                steps.set_bin(data.observed[i], data.mask[i], readout, rank + 5)
                for d in range(data.observed.shape[1]):
                    seen = data.mask[i, min(d, data.mask.shape[1] - 1)]
                    sums.log_noise[c, d] -= local.log_ratio[i] * seen / 2
                call(
                    kernels[3],
                    readout,
                    on_readout,
                    readout.shape[0],
                    latents,
                    on_weights,
                    from_score,
                    particles,
                )
                steps.pull_base(
                    model.readout_inputs,
                    data.filtered[i],
                    on_readout,
                    rank + 3,
                    sums.input_weights[c],
                    sums.current[c],
                    local.filtered[i],
                )
                for j in range(particles * rank):
                    on_latents[j] += from_score[j]
                steps.fill(on_means, 0.0)
                steps.pull_proposal_ratio(
                    proposal.metric[kind],
                    latents,
                    path.means[i],
                    distance,
                    on_weights,
                    on_latents,
                    on_means,
                    local.metric[i],
                )
                steps.pull_draw(
                    proposal.gain[kind],
                    data.noise[i],
                    path.means[i],
                    itself,
                    on_latents,
                    local.gain[i],
                    local.offset[i],
                    local.scale[i],
                    on_means,
                )
                if i == b * bins:
                    add_initial(on_means, sums.initial_mean[c], particles)
                    continue
                count = steps.gather_parents(
                    path.ancestors[i], path.latents[i - 1], slots, source, latents, rank, 1
                )
                steps.fill(on_parents, 0.0)
                for k in range(particles):
                    for r in range(rank):
                        on_parents[source[k] * rank + r] += on_means[k * rank + r]
                steps.set_base(model.input_weights, data.filtered[i - 1], network, 2 * rank + 1)
                sums.decay[c, 0] += pull_transition(
                    kernels[1],
                    network,
                    on_network,
                    model.decay[0],
                    latents,
                    on_parents,
                    on_means,
                    count,
                    rank,
                )
                steps.pull_base(
                    model.input_weights,
                    data.filtered[i - 1],
                    on_network,
                    2 * rank + 1,
                    sums.input_weights[c],
                    sums.current[c],
                    local.filtered[i - 1],
                )
                for k in range(particles):
                    for r in range(rank):
                        kept = slots[k] >= 0
                        on_latents[k * rank + r] = on_means[slots[k] * rank + r] if kept else 0
