"""Forward pass of the CPU backend: whole trials, one after the other, in one compiled function."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numba.extending import overload

from nwb_rnn.smc.backends import cpu_readout, cpu_units

# no flag that lets the compiler assume away NaN or inf
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}
NONE, SYSTEMATIC, MULTINOMIAL = 0, 1, 2

_LOG_FACTORIALS = np.array([math.lgamma(n + 1.0) for n in range(256)])


def rank_of(spec):
    """R, known to the compiler."""


def block_of(spec):
    """Particles of a block, known to the compiler."""


@overload(rank_of)
def _rank_of(spec):
    rank = spec.spec.rank
    return lambda spec: rank


@overload(block_of)
def _block_of(spec):
    particles = spec.spec.block
    return lambda spec: particles


@njit(**OPTIONS)
def padded(spec, particles):
    """K rounded up to whole blocks."""
    block = block_of(spec)
    return (particles + block - 1) // block * block


@njit(**OPTIONS)
def set_base(network, filtered, base):
    """base = W v, the current that all particles of a trial share."""
    if filtered.shape[0]:
        base[:] = 0
        for u in range(filtered.shape[0]):
            for n in range(base.shape[0]):
                base[n] += network.input_weights[u, n] * filtered[u]


@njit(**OPTIONS)
def transition(spec, network, base, latents, count, means):
    """means = a z + V φ(M z + base) for the first `count` particles of the flat arrays."""
    rank, block = rank_of(spec), block_of(spec)
    for first in range(0, count, block):
        cpu_units.advance(spec, network.left, network.right, base, network.bias, latents, first * rank, means)
    for i in range(count * rank):
        means[i] += network.decay[0] * latents[i]


@njit(**OPTIONS)
def log_mean_weight(log_weights, out):
    """The log of the sum of the weights; `out` gets the log weights divided by it."""
    highest = log_weights[0]
    for k in range(1, log_weights.shape[0]):
        if not log_weights[k] <= highest:  # a NaN wins
            highest = log_weights[k]
    total = 0.0
    for k in range(log_weights.shape[0]):
        total += math.exp(log_weights[k] - highest)
    result = highest + math.log(total)
    for k in range(log_weights.shape[0]):
        out[k] = log_weights[k] - result
    return result


@njit(**OPTIONS)
def draw_ancestors(log_weights, uniforms, scheme, cumulative, out):
    """As `resampling.ancestors`, for one trial."""
    particles = log_weights.shape[0]
    highest = log_weights[0]
    for k in range(1, particles):
        highest = max(highest, log_weights[k])
    total = 0.0
    for k in range(particles):
        total += math.exp(log_weights[k] - highest)
        cumulative[k] = total
    last = cumulative[particles - 1]
    if scheme == SYSTEMATIC:
        j = 0
        for k in range(particles):
            position = (k + uniforms[0]) / particles * last
            while j < particles - 1 and cumulative[j] <= position:
                j += 1
            out[k] = j
        return
    for k in range(particles):
        low, high = 0, particles - 1
        while low < high:
            middle = (low + high) // 2
            if cumulative[middle] <= uniforms[k] * last:
                low = middle + 1
            else:
                high = middle
        out[k] = low


@njit(**OPTIONS)
def draw(spec, proposal, b, t, noise, latents, at, means, mean_at):
    """z = A μ + g + L ε for the particle whose numbers start at `at`, its μ at `mean_at`."""
    rank, kind = rank_of(spec), proposal.kind[b, t]
    for r in range(rank):
        z = proposal.offset[b, t, r]
        for s in range(rank):
            z += proposal.gain[kind, r, s] * means[mean_at + s]
            z += proposal.scale[kind, r, s] * noise[at + s]
        latents[at + r] = z


@njit(**OPTIONS)
def finish(path, b, bins):
    """Bins after the last one of a trial repeat it and add nothing."""
    for t in range(bins, path.log_increments.shape[1]):
        path.log_increments[b, t] = 0
        path.log_weights[b, t] = path.log_weights[b, t - 1]
        path.latents[b, t] = path.latents[b, t - 1]
        keep_ancestors(path, b, t)


@njit(**OPTIONS)
def keep_ancestors(path, b, t):
    for k in range(path.ancestors.shape[2]):
        path.ancestors[b, t, k] = k


@njit(cache=True, **OPTIONS)
def adapted(spec, network, data, proposal, path, scheme, drawing, first, last):
    """Trials `first`..`last` − 1 with a proposal whose weight is known before the draw.

    `scheme` is the resampling; `drawing` False takes the ancestors that `path` already holds.
    """
    rank, particles = rank_of(spec), path.ancestors.shape[2]
    like = path.latents
    base = np.zeros_like(network.bias)
    latents = np.zeros(padded(spec, particles) * rank, like.dtype)
    means = np.zeros_like(latents)
    weighted, cumulative = np.empty(particles, like.dtype), np.empty(particles, like.dtype)
    for b in range(first, last):
        for t in range(data.bins[b]):
            if t == 0:
                for i in range(particles * rank):
                    means[i] = network.initial_mean[i % rank]
            else:
                latents[: particles * rank] = path.latents[b, t - 1]
                set_base(network, data.filtered[b, t - 1], base)
                transition(spec, network, base, latents, particles, means)
            path.means[b, t] = means[: particles * rank]
            kind = proposal.kind[b, t]
            for k in range(particles):
                value = proposal.weight_constant[b, t]
                for r in range(rank):
                    slope = proposal.weight_linear[b, t, r]
                    for s in range(rank):
                        slope -= proposal.metric[kind, r, s] * means[k * rank + s] / 2
                    value += slope * means[k * rank + r]
                weighted[k] = value - math.log(particles)
                if scheme == NONE and t > 0:
                    weighted[k] = value + path.log_weights[b, t - 1, k]
            path.log_increments[b, t] = log_mean_weight(weighted, path.log_weights[b, t])
            if drawing and scheme == NONE:
                keep_ancestors(path, b, t)
            elif drawing:
                draw_ancestors(weighted, data.uniforms[b, t], scheme, cumulative, path.ancestors[b, t])
            noise, drawn = data.noise[b, t], path.latents[b, t]
            for k in range(particles):
                chosen = path.ancestors[b, t, k] * rank
                draw(spec, proposal, b, t, noise, drawn, k * rank, means, chosen)
        finish(path, b, data.bins[b])


@njit(**OPTIONS)
def gather_parents(spec, ancestors, parents, slots, latents):
    """Copy each particle that has children once into `latents` (flat); `slots` says where.

    Returns how many there are. Slots past them are filled with zeros up to a whole block.
    """
    rank, count = rank_of(spec), 0
    slots[:] = -1
    for k in range(ancestors.shape[0]):
        parent = ancestors[k]
        if slots[parent] < 0:
            slots[parent] = count
            for r in range(rank):
                latents[count * rank + r] = parents[parent * rank + r]
            count += 1
    for i in range(count * rank, padded(spec, count) * rank):
        latents[i] = 0
    return count


@njit(**OPTIONS)
def set_bin(readout, data, b, t, observed, seen):
    """Copy a bin's observations and mask; returns the terms of the log likelihood without z (Gaussian)."""
    constant = 0.0
    for d in range(data.observed.shape[2]):
        observed[d] = data.observed[b, t, d]
        seen[d] = data.mask[b, t, min(d, data.mask.shape[2] - 1)]
        constant -= seen[d] * readout.log_noise[d] / 2
    return constant


@njit(**OPTIONS)
def log_factorials(observed, seen, units):
    """Σ_d log y_d! over the units seen."""
    total = 0.0
    for d in range(units):
        y = observed[d]
        if seen[d] == 0:
            continue
        if y >= 0 and y < 255 and y == math.floor(y):
            total += seen[d] * _LOG_FACTORIALS[int(y)]
        else:
            total += seen[d] * math.lgamma(y + 1.0)
    return total


@njit(cache=True, **OPTIONS)
def weighted(spec, network, readout, data, proposal, path, scheme, drawing, counts, first, last):
    """Trials `first`..`last` − 1 with a proposal that is weighted after the draw.

    `counts` is True for Poisson observations; `scheme` and `drawing` as in `adapted`.
    """
    rank, particles = rank_of(spec), path.ancestors.shape[2]
    like, whole = path.latents, padded(spec, particles)
    base = np.zeros_like(network.bias)
    latents = np.zeros(whole * rank, like.dtype)
    means = np.zeros_like(latents)
    slots = np.zeros(particles, np.int64)
    observed, seen = np.zeros_like(readout.bias), np.zeros_like(readout.bias)
    scores, cumulative = np.zeros(whole, like.dtype), np.empty(particles, like.dtype)
    weights, distance = np.empty(particles, like.dtype), np.empty(rank, like.dtype)
    before = np.empty(particles, like.dtype)
    for b in range(first, last):
        before[:] = -math.log(particles)
        for t in range(data.bins[b]):
            if drawing and scheme == NONE:
                keep_ancestors(path, b, t)
            elif drawing:
                draw_ancestors(before, data.uniforms[b, t], scheme, cumulative, path.ancestors[b, t])
            if t == 0:
                slots[:] = 0
                for r in range(rank):
                    means[r] = network.initial_mean[r]
            else:
                set_base(network, data.filtered[b, t - 1], base)
                count = gather_parents(spec, path.ancestors[b, t], path.latents[b, t - 1], slots, latents)
                transition(spec, network, base, latents, count, means)
            noise, drawn, kept = data.noise[b, t], path.latents[b, t], path.means[b, t]
            for k in range(particles):
                chosen = slots[path.ancestors[b, t, k]] * rank
                draw(spec, proposal, b, t, noise, drawn, k * rank, means, chosen)
                for r in range(rank):
                    kept[k * rank + r] = means[chosen + r]
            latents[: particles * rank] = drawn
            constant = set_bin(readout, data, b, t, observed, seen)
            if counts:
                constant -= log_factorials(observed, seen, data.observed.shape[2])
            likelihood(spec, network, readout, data, b, t, base, observed, seen, latents, scores)
            kind = proposal.kind[b, t]
            for k in range(particles):
                value = scores[k] + constant + proposal.log_ratio[kind]
                for r in range(rank):
                    distance[r] = drawn[k * rank + r] - kept[k * rank + r]
                for r in range(rank):
                    whitened = proposal.metric[kind, r, 0] * distance[0]
                    for s in range(1, rank):
                        whitened += proposal.metric[kind, r, s] * distance[s]
                    value += (noise[k * rank + r] ** 2 - whitened**2) / 2
                weights[k] = value + (before[k] if scheme == NONE else -math.log(particles))
            path.log_increments[b, t] = log_mean_weight(weights, path.log_weights[b, t])
            before[:] = path.log_weights[b, t]
        finish(path, b, data.bins[b])


@njit(**OPTIONS)
def likelihood(spec, network, readout, data, b, t, base, observed, seen, latents, scores):
    """scores (K) = Σ_d seen log p(y_d | z) without the terms that do not depend on z."""
    rank, block = rank_of(spec), block_of(spec)
    set_base(network, data.filtered[b, t], base)
    for first in range(0, scores.shape[0], block):
        cpu_readout.score(
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
            scores,
            first,
        )
