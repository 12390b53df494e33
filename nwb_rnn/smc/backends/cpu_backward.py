"""Backward pass of the CPU backend: the adjoint of `cpu_forward`, from a trial's last bin to its first."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nwb_rnn.smc.backends import cpu_readout, cpu_units
from nwb_rnn.smc.backends.cpu_forward import (
    NONE,
    OPTIONS,
    block_of,
    gather_parents,
    padded,
    rank_of,
    set_base,
    set_bin,
)
from nwb_rnn.smc.backends.cpu_tables import Sums


@njit(**OPTIONS)
def pull_transition(spec, network, base, latents, count, on_means, on_latents, sums):
    """Adjoint of `transition` for `count` particles; on_means is zero past them, up to a whole block."""
    rank, block = rank_of(spec), block_of(spec)
    for first in range(0, count, block):
        cpu_units.retreat(
            spec,
            network.left,
            network.right,
            base,
            network.bias,
            latents,
            first * rank,
            on_means,
            on_latents,
            sums.left,
            sums.right,
            sums.base,
            sums.bias,
        )
    decay, on_decay = network.decay[0], np.float64(0)
    for i in range(count * rank):
        on_decay += on_means[i] * latents[i]
        on_latents[i] += decay * on_means[i]
    sums.decay[0] += on_decay


@njit(**OPTIONS)
def pull_base(network, filtered, sums, on_filtered):
    """Adjoint of `set_base`: spreads `sums.base` and clears it, if there are inputs."""
    on_base = sums.base
    for u in range(filtered.shape[0]):
        total = on_base[0] * network.input_weights[u, 0]
        for n in range(1, on_base.shape[0]):
            total += on_base[n] * network.input_weights[u, n]
        on_filtered[u] += total
        for n in range(on_base.shape[0]):
            sums.input_weights[u, n] += on_base[n] * filtered[u]
    if filtered.shape[0]:
        for n in range(on_base.shape[0]):
            sums.current[n] += on_base[n]
            on_base[n] = 0


@njit(**OPTIONS)
def pull_draw(spec, proposal, local, b, t, noise, on_latents, at, means, on_means, mean_at):
    """Adjoint of `draw` for one particle: adds to its μ's gradient and to the bin's."""
    rank, kind = rank_of(spec), proposal.kind[b, t]
    for r in range(rank):
        g = on_latents[at + r]
        local.offset[b, t, r] += g
        for s in range(rank):
            on_means[mean_at + s] += g * proposal.gain[kind, r, s]
            local.gain[b, t, r, s] += g * means[mean_at + s]
            local.scale[b, t, r, s] += g * noise[at + s]


@njit(**OPTIONS)
def pull_increment(path, b, t, scheme, on_increment, on_log_weights, on_weights):
    """Gradients on the log weights before normalisation, (K,); `on_log_weights` counts without resampling."""
    rest = on_increment
    if scheme == NONE:
        for k in range(on_log_weights.shape[0]):
            rest -= on_log_weights[k]
    for k in range(on_log_weights.shape[0]):
        on_weights[k] = rest * math.exp(path.log_weights[b, t, k])
        if scheme == NONE:
            on_weights[k] += on_log_weights[k]
            on_log_weights[k] = on_weights[k]


@njit(**OPTIONS)
def chunk_of(sums, c):
    """The sums of one chunk."""
    return Sums(
        sums.left[c],
        sums.right[c],
        sums.base[c],
        sums.current[c],
        sums.bias[c],
        sums.input_weights[c],
        sums.decay[c],
        sums.initial_mean[c],
        sums.readout_weights[c],
        sums.readout_bias[c],
        sums.readout_gain[c],
        sums.inverse_noise[c],
        sums.log_noise[c],
    )


@njit(cache=True, **OPTIONS)
def adapted(spec, network, data, proposal, path, scheme, on_increments, sums, local, edges, first, last):
    """Chunks `first`..`last` − 1; chunk c holds trials edges[c]..edges[c + 1] − 1."""
    for c in range(first, last):
        adapted_trials(
            spec,
            network,
            data,
            proposal,
            path,
            scheme,
            on_increments,
            chunk_of(sums, c),
            local,
            edges[c],
            edges[c + 1],
        )


@njit(cache=True, **OPTIONS)
def weighted(
    spec, network, readout, data, proposal, path, scheme, on_increments, sums, local, edges, first, last
):
    """As `adapted`, for a proposal that is weighted after the draw."""
    for c in range(first, last):
        weighted_trials(
            spec,
            network,
            readout,
            data,
            proposal,
            path,
            scheme,
            on_increments,
            chunk_of(sums, c),
            local,
            edges[c],
            edges[c + 1],
        )


@njit(**OPTIONS)
def adapted_trials(spec, network, data, proposal, path, scheme, on_increments, sums, local, first, last):
    """Trials `first`..`last` − 1."""
    rank, particles = rank_of(spec), path.ancestors.shape[2]
    whole = padded(spec, particles)
    base = np.zeros_like(network.bias)
    latents = np.zeros(whole * rank, path.latents.dtype)
    on_latents, on_means = np.zeros_like(latents), np.zeros_like(latents)
    on_weights = np.zeros(particles, path.latents.dtype)
    on_log_weights = np.zeros_like(on_weights)
    for b in range(first, last):
        on_latents[:] = 0
        on_log_weights[:] = 0
        for t in range(data.bins[b] - 1, -1, -1):
            on_means[:] = 0
            pull_increment(path, b, t, scheme, on_increments[b, t], on_log_weights, on_weights)
            noise, means = data.noise[b, t], path.means[b, t]
            for k in range(particles):
                parent = path.ancestors[b, t, k] * rank
                pull_draw(spec, proposal, local, b, t, noise, on_latents, k * rank, means, on_means, parent)
            pull_adapted_weights(spec, proposal, local, b, t, means, on_weights, on_means)
            if t == 0:
                for i in range(particles * rank):
                    sums.initial_mean[i % rank] += on_means[i]
                continue
            latents[: particles * rank] = path.latents[b, t - 1]
            filtered = data.filtered[b, t - 1]
            set_base(network, filtered, base)
            pull_transition(spec, network, base, latents, particles, on_means, on_latents, sums)
            pull_base(network, filtered, sums, local.filtered[b, t - 1])


@njit(**OPTIONS)
def pull_adapted_weights(spec, proposal, local, b, t, means, on_weights, on_means):
    """Adjoint of log w = constant + μᵀ linear − ½ μᵀ metric μ."""
    rank, kind = rank_of(spec), proposal.kind[b, t]
    for k in range(on_weights.shape[0]):
        g = on_weights[k]
        local.weight_constant[b, t] += g
        for r in range(rank):
            mean = means[k * rank + r]
            slope = proposal.weight_linear[b, t, r]
            local.weight_linear[b, t, r] += g * mean
            for s in range(rank):
                other = means[k * rank + s]
                slope -= (proposal.metric[kind, r, s] + proposal.metric[kind, s, r]) * other / 2
                local.metric[b, t, r, s] -= g * mean * other / 2
            on_means[k * rank + r] += g * slope


@njit(**OPTIONS)
def weighted_trials(spec, network, readout, data, proposal, path, scheme, on_increments, sums, local, first, last):
    """Trials `first`..`last` − 1."""
    rank, particles = rank_of(spec), path.ancestors.shape[2]
    like, whole = path.latents, padded(spec, particles)
    base = np.zeros_like(network.bias)
    latents = np.zeros(whole * rank, like.dtype)
    on_latents, on_means = np.zeros_like(latents), np.zeros_like(latents)
    on_score_latents, on_parents = np.zeros_like(latents), np.zeros_like(latents)
    slots = np.zeros(particles, np.int64)
    observed, seen = np.zeros_like(readout.bias), np.zeros_like(readout.bias)
    on_weights, on_log_weights = np.zeros(whole, like.dtype), np.zeros(particles, like.dtype)
    for b in range(first, last):
        on_latents[:] = 0
        on_log_weights[:] = 0
        for t in range(data.bins[b] - 1, -1, -1):
            pull_increment(path, b, t, scheme, on_increments[b, t], on_log_weights, on_weights)
            latents[: particles * rank] = path.latents[b, t]
            set_bin(readout, data, b, t, observed, seen)
            total = on_weights[0]
            for k in range(1, particles):
                total += on_weights[k]
            for d in range(data.observed.shape[2]):
                sums.log_noise[d] -= total * seen[d] / 2
            pull_likelihood(
                spec,
                network,
                readout,
                data,
                b,
                t,
                base,
                observed,
                seen,
                latents,
                on_weights,
                on_score_latents,
                sums,
                local,
            )
            for i in range(particles * rank):
                on_latents[i] += on_score_latents[i]
            on_means[:] = 0
            pull_weights(spec, proposal, data, path, local, b, t, on_weights, on_latents, on_means)
            if t == 0:
                for i in range(particles * rank):
                    sums.initial_mean[i % rank] += on_means[i]
                continue
            count = gather_parents(spec, path.ancestors[b, t], path.latents[b, t - 1], slots, latents)
            on_parents[:] = 0
            for k in range(particles):
                slot = slots[path.ancestors[b, t, k]]
                for r in range(rank):
                    on_parents[slot * rank + r] += on_means[k * rank + r]
            filtered = data.filtered[b, t - 1]
            set_base(network, filtered, base)
            pull_transition(spec, network, base, latents, count, on_parents, on_means, sums)
            pull_base(network, filtered, sums, local.filtered[b, t - 1])
            for k in range(particles):
                for r in range(rank):
                    on_latents[k * rank + r] = 0
                    if slots[k] >= 0:
                        on_latents[k * rank + r] = on_means[slots[k] * rank + r]


@njit(**OPTIONS)
def pull_likelihood(
    spec,
    network,
    readout,
    data,
    b,
    t,
    base,
    observed,
    seen,
    latents,
    on_scores,
    on_latents,
    sums,
    local,
):
    """Adjoint of `likelihood`."""
    rank, block = rank_of(spec), block_of(spec)
    filtered = data.filtered[b, t]
    set_base(network, filtered, base)
    for first in range(0, on_scores.shape[0], block):
        cpu_readout.pull_score(
            spec,
            readout.weights,
            readout.bias,
            readout.gain,
            base,
            network.bias,
            readout.inverse_noise,
            observed,
            seen,
            latents,
            first * rank,
            on_scores,
            first,
            on_latents,
            sums.readout_weights,
            sums.readout_bias,
            sums.readout_gain,
            sums.base,
            sums.bias,
            sums.inverse_noise,
        )
    pull_base(network, filtered, sums, local.filtered[b, t])


@njit(**OPTIONS)
def pull_weights(spec, proposal, data, path, local, b, t, on_weights, on_latents, on_means):
    """Adjoint of the draw and of log w − log p(y | z) = log_ratio + ½ |ε|² − ½ |whitener (z − μ)|²."""
    rank, kind = rank_of(spec), proposal.kind[b, t]
    noise, latents, means = data.noise[b, t], path.latents[b, t], path.means[b, t]
    distance = np.empty(rank, latents.dtype)
    for k in range(path.ancestors.shape[2]):
        g, at = on_weights[k], k * rank
        local.log_ratio[b, t] += g
        for r in range(rank):
            distance[r] = latents[at + r] - means[at + r]
        for r in range(rank):
            whitened = proposal.metric[kind, r, 0] * distance[0]
            for s in range(1, rank):
                whitened += proposal.metric[kind, r, s] * distance[s]
            for s in range(rank):
                local.metric[b, t, r, s] -= g * whitened * distance[s]
                pull = g * whitened * proposal.metric[kind, r, s]
                on_latents[at + s] -= pull
                on_means[at + s] += pull
        pull_draw(spec, proposal, local, b, t, noise, on_latents, at, means, on_means, at)


@njit(cache=True, **OPTIONS)
def add_by_kind(kind, rows, out):
    """out[kind[b, t]] += rows[b, t], in the order of trials and bins; rows (B, T, S), out (J, S)."""
    for b in range(kind.shape[0]):
        for t in range(kind.shape[1]):
            for i in range(rows.shape[2]):
                out[kind[b, t], i] += rows[b, t, i]
