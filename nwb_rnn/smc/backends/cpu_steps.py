"""The steps of one bin in the CPU backend and their adjoints, each a loop over the particles of a trial.

Particle arrays are (R, K), or (R, stride) with room for more; matrices (R·R,) are flat. The innermost loops
run over particles, which lie side by side.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# no flag that lets the compiler assume away NaN or inf
OPTIONS = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "reassoc"},
}
NONE, SYSTEMATIC, MULTINOMIAL = 0, 1, 2

_LOG_FACTORIALS = np.array([math.lgamma(n + 1.0) for n in range(256)])


@njit(**OPTIONS)
def copy(source, target, particles):
    """Copy the first K columns."""
    for r in range(target.shape[0]):
        for k in range(particles):
            target[r, k] = source[r, k]


@njit(**OPTIONS)
def clear(target):
    for r in range(target.shape[0]):
        for k in range(target.shape[1]):
            target[r, k] = 0


@njit(**OPTIONS)
def fill(target, value):
    for i in range(target.shape[0]):
        target[i] = value


@njit(**OPTIONS)
def gather(source, index, target):
    """target[:, k] = source[:, index[k]]"""
    for r in range(target.shape[0]):
        for k in range(index.shape[0]):
            target[r, k] = source[r, index[k]]


@njit(**OPTIONS)
def scatter(source, index, target):
    """target[:, index[k]] += source[:, k], the adjoint of `gather`."""
    for r in range(source.shape[0]):
        for k in range(index.shape[0]):
            target[r, index[k]] += source[r, k]


@njit(**OPTIONS)
def count_up(target):
    for i in range(target.shape[0]):
        target[i] = i


@njit(**OPTIONS)
def set_base(input_weights, filtered, pack, row):
    """Row of the pack = W v, for as many units as it has; nothing without input weights."""
    if input_weights.shape[0] == 0:
        return
    lanes = pack.shape[2]
    for i in range(pack.shape[0]):
        for w in range(lanes):
            pack[i, row, w] = 0
        for u in range(filtered.shape[0]):
            for w in range(lanes):
                pack[i, row, w] += input_weights[u, i * lanes + w] * filtered[u]


@njit(**OPTIONS)
def pull_base(input_weights, filtered, on_pack, row, on_weights, on_current, on_filtered):
    """Adjoint of `set_base`; moves the gradient in the pack to `on_current`."""
    if input_weights.shape[0] == 0:
        return
    lanes = on_pack.shape[2]
    for i in range(on_pack.shape[0]):
        at = i * lanes
        for u in range(filtered.shape[0]):
            total = 0.0
            for w in range(lanes):
                total += on_pack[i, row, w] * input_weights[u, at + w]
                on_weights[u, at + w] += on_pack[i, row, w] * filtered[u]
            on_filtered[u] += total
        for w in range(lanes):
            on_current[at + w] += on_pack[i, row, w]
            on_pack[i, row, w] = 0


@njit(**OPTIONS)
def log_mean_weight(log_weights, weights):
    """The log of the sum of the weights; they are divided by it, in logarithms and in `weights`."""
    highest = log_weights[0]
    for k in range(1, log_weights.shape[0]):
        if not log_weights[k] <= highest:  # a NaN wins
            highest = log_weights[k]
    total = 0.0
    for k in range(log_weights.shape[0]):
        weights[k] = math.exp(log_weights[k] - highest)
        total += weights[k]
    result = highest + math.log(total)
    for k in range(log_weights.shape[0]):
        log_weights[k] -= result
        weights[k] /= total
    return result


@njit(**OPTIONS)
def draw_ancestors(weights, uniforms, scheme, cumulative, out):
    """As `resampling.ancestors`, for one trial."""
    particles = weights.shape[0]
    if scheme == NONE:
        count_up(out)
        return
    total = 0.0
    for k in range(particles):
        total += weights[k]
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
def adapted_weights(constant, linear, metric, means, work, log_weights):
    """log_weights[k] += constant + μ_kᵀ linear − ½ μ_kᵀ metric μ_k"""
    rank, particles = linear.shape[0], log_weights.shape[0]
    for r in range(rank):
        for k in range(particles):
            work[k] = linear[r]
        for s in range(rank):
            half = metric[r * rank + s] / 2
            for k in range(particles):
                work[k] -= half * means[s, k]
        for k in range(particles):
            log_weights[k] += work[k] * means[r, k]
    for k in range(particles):
        log_weights[k] += constant


@njit(**OPTIONS)
def pull_adapted_weights(linear, metric, means, work, on_weights, on_means, on_linear, on_metric):
    """Adjoint of `adapted_weights`; returns the gradient on the constant."""
    rank, particles = linear.shape[0], on_weights.shape[0]
    for s in range(rank):
        total = 0.0
        for k in range(particles):
            work[k] = on_weights[k] * means[s, k]
            total += work[k]
            on_means[s, k] += on_weights[k] * linear[s]
        on_linear[s] += total
        for r in range(rank):
            symmetric = (metric[r * rank + s] + metric[s * rank + r]) / 2
            total = 0.0
            for k in range(particles):
                on_means[r, k] -= symmetric * work[k]
                total += work[k] * means[r, k]
            on_metric[r * rank + s] -= total / 2
    total = 0.0
    for k in range(particles):
        total += on_weights[k]
    return total


@njit(**OPTIONS)
def draw(gain, offset, scale, noise, means, latents):
    """z = A μ + g + L ε"""
    rank, particles = noise.shape
    for r in range(rank):
        for k in range(particles):
            latents[r, k] = offset[r]
        for s in range(rank):
            a, b = gain[r * rank + s], scale[r * rank + s]
            for k in range(particles):
                latents[r, k] += a * means[s, k] + b * noise[s, k]


@njit(**OPTIONS)
def pull_draw(gain, noise, means, on_latents, on_gain, on_offset, on_scale, on_means):
    """Adjoint of `draw`."""
    rank, particles = noise.shape
    for r in range(rank):
        total = 0.0
        for k in range(particles):
            total += on_latents[r, k]
        on_offset[r] += total
        for s in range(rank):
            a, total, other = gain[r * rank + s], 0.0, 0.0
            for k in range(particles):
                g = on_latents[r, k]
                total += g * means[s, k]
                other += g * noise[s, k]
                on_means[s, k] += a * g
            on_gain[r * rank + s] += total
            on_scale[r * rank + s] += other


@njit(**OPTIONS)
def whiten(metric, row, latents, means, out):
    """One row of metric (z − μ)."""
    rank = latents.shape[0]
    for k in range(out.shape[0]):
        out[k] = metric[row * rank] * (latents[0, k] - means[0, k])
    for s in range(1, rank):
        for k in range(out.shape[0]):
            out[k] += metric[row * rank + s] * (latents[s, k] - means[s, k])


@njit(**OPTIONS)
def proposal_ratio(metric, noise, latents, means, work, log_weights):
    """log_weights[k] += ½ |ε_k|² − ½ |metric (z_k − μ_k)|²"""
    rank, particles = noise.shape
    for r in range(rank):
        whiten(metric, r, latents, means, work)
        for k in range(particles):
            log_weights[k] += (noise[r, k] ** 2 - work[k] ** 2) / 2


@njit(**OPTIONS)
def pull_proposal_ratio(metric, latents, means, work, on_weights, on_latents, on_means, on_metric):
    """Adjoint of `proposal_ratio`."""
    rank, particles = latents.shape
    for r in range(rank):
        whiten(metric, r, latents, means, work)
        for k in range(particles):
            work[k] *= on_weights[k]
        for s in range(rank):
            m, total = metric[r * rank + s], 0.0
            for k in range(particles):
                total += work[k] * (latents[s, k] - means[s, k])
                on_latents[s, k] -= m * work[k]
                on_means[s, k] += m * work[k]
            on_metric[r * rank + s] -= total


@njit(**OPTIONS)
def pull_increment(weights, scheme, on_increment, on_log_weights, on_weights):
    """Gradients on the log weights before normalisation; `on_log_weights` counts without resampling."""
    rest = on_increment
    if scheme == NONE:
        for k in range(weights.shape[0]):
            rest -= on_log_weights[k]
    for k in range(weights.shape[0]):
        on_weights[k] = rest * weights[k]
        if scheme == NONE:
            on_weights[k] += on_log_weights[k]
            on_log_weights[k] = on_weights[k]


@njit(**OPTIONS)
def gather_parents(ancestors, parents, slots, source, latents, block):
    """Copy each particle that has children once into `latents`; source[k] is where k's parent went.

    Returns how many there are, rounded up to whole blocks, the last of which is filled up with zeros.
    """
    fill(slots, -1)
    count, rank = 0, parents.shape[0]
    for k in range(ancestors.shape[0]):
        parent = ancestors[k]
        if slots[parent] < 0:
            slots[parent] = count
            for r in range(rank):
                latents[r, count] = parents[r, parent]
            count += 1
        source[k] = slots[parent]
    whole = (count + block - 1) // block * block
    for r in range(rank):
        for k in range(count, whole):
            latents[r, k] = 0
    return whole


@njit(**OPTIONS)
def set_bin(observed, mask, pack, row):
    """Put a bin's observations and mask into two rows of the pack."""
    lanes, units = pack.shape[2], observed.shape[0]
    for i in range(pack.shape[0]):
        first = i * lanes
        for w in range(min(lanes, units - first)):
            pack[i, row, w] = observed[first + w]
            pack[i, row + 1, w] = mask[0] if mask.shape[0] == 1 else mask[first + w]


@njit(**OPTIONS)
def constant_terms(observed, mask, log_noise, counts):
    """The terms of log p(y | z) that do not depend on z."""
    total = 0.0
    for d in range(observed.shape[0]):
        seen = mask[0] if mask.shape[0] == 1 else mask[d]
        if counts:
            total -= seen * log_factorial(observed[d])
        else:
            total -= seen * log_noise[d] / 2
    return total


@njit(**OPTIONS)
def pull_log_noise(mask, on_log_weight, on_log_noise):
    """Adjoint of `constant_terms` on log(2 π variance); there is none for counts."""
    for d in range(on_log_noise.shape[0]):
        seen = mask[0] if mask.shape[0] == 1 else mask[d]
        on_log_noise[d] -= on_log_weight * seen / 2


@njit(**OPTIONS)
def log_factorial(y):
    if y >= 0 and y < 255:
        whole = int(y)
        if whole == y:
            return _LOG_FACTORIALS[whole]
    return math.lgamma(y + 1.0)


@njit(**OPTIONS)
def add_by_kind(kind, rows, out):
    """out[kind[i]] += rows[i], in order."""
    for i in range(kind.shape[0]):
        for j in range(rows.shape[1]):
            out[kind[i], j] += rows[i, j]
