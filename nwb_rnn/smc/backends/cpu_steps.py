"""The steps of one bin in the CPU backend and their adjoints, each a loop over the particles of a trial.

Particle arrays are (R, K') and weights (K',), rows of `cpu_rows` with K particles; matrices (R·R,) are flat.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from nwb_rnn.numba_cache import compiled
from nwb_rnn.smc.backends import cpu_rows as rows
from nwb_rnn.smc.backends.cpu_spec import FILES

# no flag that lets the compiler assume away NaN or inf
allocating_loop = functools.partial(
    compiled,
    pattern=FILES,
    nogil=True,
    cache=True,
    error_model="numpy",
    fastmath={"contract", "nsz", "reassoc"},
)
# a loop that allocates nothing counts no references to the parts of arrays that it passes on
loop = functools.partial(allocating_loop, _nrt=False)
NONE, SYSTEMATIC, MULTINOMIAL = 0, 1, 2

_LOG_FACTORIALS = np.array([math.lgamma(n + 1.0) for n in range(256)])


@loop
def copy(source, target):
    for r in range(target.shape[0]):
        rows.copy(target[r], source[r])


@loop
def clear(target):
    for r in range(target.shape[0]):
        rows.fill(target[r], 0.0)


@loop
def fill(target, value):
    for i in range(target.shape[0]):
        target[i] = value


@loop
def gather(source, index, target):
    """target[:, k] = source[:, index[k]]"""
    for r in range(target.shape[0]):
        for k in range(index.shape[0]):
            target[r, k] = source[r, index[k]]


@loop
def scatter(source, index, target):
    """target[:, index[k]] += source[:, k], the adjoint of `gather`."""
    for r in range(source.shape[0]):
        for k in range(index.shape[0]):
            target[r, index[k]] += source[r, k]


@loop
def count_up(target):
    for i in range(target.shape[0]):
        target[i] = i


@loop
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


@loop
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


@loop
def log_mean_weight(log_weights, weights, particles):
    """The log of the sum of the weights; they are divided by it, in logarithms and in `weights`."""
    highest = log_weights[0]
    for k in range(1, particles):
        if not log_weights[k] <= highest:  # a NaN wins
            highest = log_weights[k]
    rows.exponentials(weights, log_weights, highest, particles)
    total = rows.total(weights)
    result = highest + math.log(total)
    rows.add(log_weights, -result)
    rows.scale(weights, 1 / total)
    return result


@loop
def draw_ancestors(weights, uniforms, scheme, cumulative, out):
    """As `resampling.ancestors`, for one trial."""
    particles = out.shape[0]
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


@loop
def adapted_weights(linear, metric, means, work, log_weights):
    """log_weights[k] += μ_kᵀ linear − ½ μ_kᵀ metric μ_k"""
    rank = linear.shape[0]
    for r in range(rank):
        rows.fill(work, linear[r])
        for s in range(rank):
            rows.add_scaled(work, -metric[r * rank + s] / 2, means[s])
        rows.add_product(log_weights, 1.0, work, means[r])


@loop
def pull_adapted_weights(linear, metric, means, work, on_weights, on_means, on_linear, on_metric):
    """Adjoint of `adapted_weights`."""
    rank = linear.shape[0]
    for s in range(rank):
        rows.multiply(work, on_weights, means[s])
        on_linear[s] += rows.total(work)
        rows.add_scaled(on_means[s], linear[s], on_weights)
        for r in range(rank):
            symmetric = (metric[r * rank + s] + metric[s * rank + r]) / 2
            rows.add_scaled(on_means[r], -symmetric, work)
            on_metric[r * rank + s] -= rows.dot(work, means[r]) / 2


@loop
def draw(gain, offset, scale, noise, means, latents):
    """z = A μ + g + L ε"""
    rank = noise.shape[0]
    for r in range(rank):
        rows.fill(latents[r], offset[r])
        for s in range(rank):
            rows.add_scaled(latents[r], gain[r * rank + s], means[s])
            rows.add_scaled(latents[r], scale[r * rank + s], noise[s])


@loop
def pull_draw(gain, noise, means, on_latents, on_gain, on_offset, on_scale, on_means):
    """Adjoint of `draw`."""
    rank = noise.shape[0]
    for r in range(rank):
        on_offset[r] += rows.total(on_latents[r])
        for s in range(rank):
            on_gain[r * rank + s] += rows.dot(on_latents[r], means[s])
            on_scale[r * rank + s] += rows.dot(on_latents[r], noise[s])
            rows.add_scaled(on_means[s], gain[r * rank + s], on_latents[r])


@loop
def whiten(metric, row, difference, out):
    """One row of metric · difference."""
    rank = difference.shape[0]
    rows.multiply(out, metric[row * rank], difference[0])
    for s in range(1, rank):
        rows.add_scaled(out, metric[row * rank + s], difference[s])


@loop
def proposal_ratio(metric, noise, latents, means, difference, work, log_weights):
    """log_weights[k] += ½ |ε_k|² − ½ |metric (z_k − μ_k)|²; `difference` becomes z − μ."""
    rank = noise.shape[0]
    for r in range(rank):
        rows.subtract(difference[r], latents[r], means[r])
    for r in range(rank):
        whiten(metric, r, difference, work)
        rows.add_product(log_weights, 0.5, noise[r], noise[r])
        rows.add_product(log_weights, -0.5, work, work)


@loop
def pull_proposal_ratio(
    metric, latents, means, difference, work, on_weights, on_latents, on_means, on_metric
):
    """Adjoint of `proposal_ratio`."""
    rank = latents.shape[0]
    for r in range(rank):
        rows.subtract(difference[r], latents[r], means[r])
    for r in range(rank):
        whiten(metric, r, difference, work)
        rows.multiply(work, work, on_weights)
        for s in range(rank):
            m = metric[r * rank + s]
            on_metric[r * rank + s] -= rows.dot(work, difference[s])
            rows.add_scaled(on_latents[s], -m, work)
            rows.add_scaled(on_means[s], m, work)


@loop
def pull_increment(weights, on_increment, on_log_weights, on_weights):
    """Gradients on the log weights before normalisation, from those on their sum and after it."""
    rows.multiply(on_weights, on_increment - rows.total(on_log_weights), weights)
    rows.add_scaled(on_weights, 1.0, on_log_weights)


@loop
def pull_resampled(ancestors, scheme, share, on_weights, on_log_weights):
    """Adjoint of `reference._resampled`: from the next bin's weights to those that chose the particles."""
    if scheme == NONE:
        rows.copy(on_log_weights, on_weights)
    elif share != 0:
        rows.fill(on_log_weights, 0.0)
        for k in range(ancestors.shape[0]):
            on_log_weights[ancestors[k]] += share * on_weights[k]


@loop
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


@loop
def set_bin(observed, mask, pack, row):
    """Put a bin's observations and mask into two rows of the pack."""
    lanes, units = pack.shape[2], observed.shape[0]
    for i in range(units // lanes):
        rows.copy(pack[i, row], observed[i * lanes : (i + 1) * lanes])
        if mask.shape[0] == 1:
            rows.fill(pack[i, row + 1], mask[0])
        else:
            rows.copy(pack[i, row + 1], mask[i * lanes : (i + 1) * lanes])
    for d in range(units // lanes * lanes, units):
        pack[d // lanes, row, d % lanes] = observed[d]
        pack[d // lanes, row + 1, d % lanes] = mask[0] if mask.shape[0] == 1 else mask[d]


@loop
def any_seen(mask):
    d = 0
    while d < mask.shape[0] and mask[d] == 0:
        d += 1
    return d < mask.shape[0]


@loop
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


@loop
def pull_log_noise(mask, on_log_weight, on_log_noise):
    """Adjoint of `constant_terms` on log(2 π variance); there is none for counts."""
    for d in range(on_log_noise.shape[0]):
        seen = mask[0] if mask.shape[0] == 1 else mask[d]
        on_log_noise[d] -= on_log_weight * seen / 2


@loop
def log_factorial(y):
    if y >= 0 and y < 255:
        whole = int(y)
        if whole == y:
            return _LOG_FACTORIALS[whole]
    return math.lgamma(y + 1.0)


@loop
def add_by_kind(kind, found, out):
    """out[kind[i]] += found[i], in order."""
    for i in range(kind.shape[0]):
        for j in range(found.shape[1]):
            out[kind[i], j] += found[i, j]
