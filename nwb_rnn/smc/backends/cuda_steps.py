"""Pieces of the Triton kernels: the network, the likelihood, resampling, and sums over children.

Shapes as in `cuda_layout`. Functions whose name starts with `pull_` are adjoints.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nwb_rnn.models.observations import SMALLEST_RATE
from nwb_rnn.smc.backends.cuda_layout import (
    add_to_units,
    keep,
    of_particles,
    of_units,
    over_own,
    over_own_particles,
    over_own_units,
    over_rank,
    rows_of_units,
    units,
)

_SMALLEST_RATE = tl.constexpr(SMALLEST_RATE)


@triton.jit
def positive(x):
    """max(x, 0); NaN stays NaN."""
    return tl.where(x < 0, 0.0, x)


@triton.jit
def softplus(x):
    """log(1 + exp x), accurate where it is small, and its derivative."""
    u = tl.exp(-tl.abs(x))
    w = 1.0 + u
    log_w = tl.where(w == 1.0, u, tl.log(w) * u / tl.where(w == 1.0, 1.0, w - 1.0))
    return positive(x) + log_w, tl.where(x > 0, 1.0, u) / w


@triton.jit
def rate(x, h, ACTIVATION: tl.constexpr):
    """φ(x; h) and its derivatives by x and h."""
    if ACTIVATION == "clipped_relu":
        above = (x + h > 0).to(x.dtype)
        return positive(x + h) - positive(x), above - (x > 0).to(x.dtype), above
    x = x - h
    if ACTIVATION == "relu":
        slope = (x > 0).to(x.dtype)
        return positive(x), slope, -slope
    if ACTIVATION == "tanh":
        e = tl.exp(-2.0 * tl.abs(x))
        value = (1.0 - e) / (1.0 + e)
        value = tl.where(x < 0, -value, value)
        slope = 1.0 - value * value
        return value, slope, -slope
    if ACTIVATION == "softplus":
        value, slope = softplus(x)
        return value, slope, -slope
    ones = x * 0.0 + 1.0
    return x, ones, -ones


@triton.jit
def transition(
    z,
    kept_left,
    kept_right,
    kept_bias,
    left,
    right,
    bias,
    base,
    N: tl.constexpr,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """V φ(M z + base; h) of the particles of a tile, not yet summed over lanes.

    Where one tile has all units, their weights are those kept in registers.
    """
    first = units(BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
    total = tl.zeros_like(z)
    for start in range(0, N, BLOCK_N):
        n = start + first
        m, v, h = kept_left, kept_right, kept_bias
        if BLOCK_N < N:
            m = rows_of_units(left, n, N, N, R, BLOCK_R)
            v = rows_of_units(right, n, N, N, R, BLOCK_R)
            h = of_units(bias, n, N, 0.0)
        x = over_rank(z[:, None, :, :, :], m[:, :, None, :, :], R, BLOCK_R)
        if HAS_BASE:
            x += of_units(base, n, N, 0.0)[:, None, :, :]
        value, _, _ = rate(x, h[:, None, :, :], ACTIVATION)
        total += over_own_units(value, v, K, R, BLOCK_R, BLOCK_K, OWN)
    return total


@triton.jit
def pull_transition(
    z,
    g,
    on_z,
    sum_left,
    sum_right,
    sum_bias,
    kept_left,
    kept_right,
    kept_bias,
    left,
    right,
    bias,
    base,
    on_left,
    on_right,
    on_bias,
    on_base,
    N: tl.constexpr,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """Adjoint of `transition` for g on its sums: adds to on_z and to the weights' gradients.

    Those stay in registers, summed over bins, where one tile has all units; else they go to memory.
    """
    first = units(BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
    for start in range(0, N, BLOCK_N):
        n = start + first
        m, v, h = kept_left, kept_right, kept_bias
        if BLOCK_N < N:
            m = rows_of_units(left, n, N, N, R, BLOCK_R)
            v = rows_of_units(right, n, N, N, R, BLOCK_R)
            h = of_units(bias, n, N, 0.0)
        x = over_rank(z[:, None, :, :, :], m[:, :, None, :, :], R, BLOCK_R)
        if HAS_BASE:
            x += of_units(base, n, N, 0.0)[:, None, :, :]
        value, slope, slope_h = rate(x, h[:, None, :, :], ACTIVATION)
        on_rate = over_rank(g[:, None, :, :, :], v[:, :, None, :, :], R, BLOCK_R)
        on_x = on_rate * slope
        on_z += over_own_units(on_x, m, K, R, BLOCK_R, BLOCK_K, OWN)
        by_left = over_own_particles(on_x, z, K, R, BLOCK_R, BLOCK_K, OWN)
        by_right = over_own_particles(value, g, K, R, BLOCK_R, BLOCK_K, OWN)
        by_bias = over_own(on_rate * slope_h, K, BLOCK_K, OWN)
        if BLOCK_N < N:
            add_to_units(on_left, by_left, start, N, N, R, BLOCK_R, BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
            add_to_units(on_right, by_right, start, N, N, R, BLOCK_R, BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
            add_to_units(on_bias, by_bias, start, N, N, 1, 1, BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
        else:
            sum_left += by_left
            sum_right += by_right
            sum_bias += by_bias
        if HAS_BASE:
            by_base = over_own(on_x, K, BLOCK_K, OWN)
            add_to_units(on_base, by_base, start, N, N, 1, 1, BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
    return on_z, sum_left, sum_right, sum_bias


@triton.jit
def log_likelihood(y, predictor, spread, OBSERVATION: tl.constexpr, LINK: tl.constexpr):
    """log p(y | η) without terms of y or the spread alone, and its derivatives by η and by the spread.

    The spread is 1 / variance (Gaussian) or the dispersion (negative binomial); Poisson has none.
    """
    if OBSERVATION == "gaussian":
        residual = y - predictor
        half = -0.5 * residual * residual
        return half * spread, residual * spread, half
    if OBSERVATION == "negative_binomial":
        log_mean, by_eta = predictor, 1.0
        if LINK != "exp":
            expected, slope = softplus(predictor)
            expected += _SMALLEST_RATE
            log_mean, by_eta = tl.log(expected), slope / expected
        excess, share = softplus(log_mean - tl.log(spread))  # log(1 + μ / k), μ / (μ + k)
        total = (y + spread) * share
        return y * log_mean - (y + spread) * excess, (y - total) * by_eta, total / spread - excess
    if LINK == "exp":
        expected = tl.exp(predictor)
        return y * predictor - expected, y - expected, expected
    expected, slope = softplus(predictor)
    expected += _SMALLEST_RATE
    return y * tl.log(expected) - expected, (y / expected - 1.0) * slope, expected


@triton.jit
def weigh(log_weights):
    """Weights over the highest, and the log of the sum of all weights, (COPIES, 1)."""
    highest = tl.max(log_weights, axis=1)[:, None]
    weights = tl.exp(log_weights - highest)
    return weights, highest + tl.log(tl.sum(weights, axis=1)[:, None])


@triton.jit
def draw_ancestors(
    weights,
    uniforms,
    cumulative,
    K: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    RESAMPLING: tl.constexpr,
    SMALL: tl.constexpr,
):
    """As `resampling.ancestors`, for one trial: the first cumulative weight above each position."""
    copy = tl.arange(0, COPIES)[:, None]
    k = tl.arange(0, BLOCK_K)[None, :] + copy * 0
    if RESAMPLING == "none":
        return k
    else:
        total = tl.cumsum(tl.where(k < K, weights, 0.0), axis=1)
        if SMALL:
            last = tl.gather(total, k * 0 + (K - 1), 1)
        else:
            tl.debug_barrier()  # the last bin's are read
            tl.store(cumulative + k, total, mask=(k < K) & (copy == 0))
            tl.debug_barrier()
            last = tl.load(cumulative + K - 1)
        if RESAMPLING == "systematic":
            position = (k + tl.load(uniforms)) / K * last
        else:
            position = tl.load(uniforms + k, mask=k < K, other=0.0) * last
        # how many are not above it: in steps of a fourth of the last step, three comparisons at once
        found = k * 0
        for step in tl.static_range(5):
            if BLOCK_K >> (2 * step + 2) > 0:
                place = found
                for i in tl.static_range(3):
                    at = place + ((i + 1) * (BLOCK_K >> (2 * step + 2)) - 1)
                    if SMALL:
                        bound = tl.gather(total, at, 1)
                    else:
                        bound = tl.load(cumulative + tl.minimum(at, K - 1))
                    found += tl.where(bound <= position, BLOCK_K >> (2 * step + 2), 0)
        if (BLOCK_K == 32 or BLOCK_K == 128) or BLOCK_K == 512:  # no power of four
            if SMALL:
                bound = tl.gather(total, found, 1)
            else:
                bound = tl.load(cumulative + tl.minimum(found, K - 1))
            found += tl.where(bound <= position, 1, 0)
        return tl.minimum(found, K - 1)


@triton.jit
def of_parents(
    x,
    parent,
    ancestors,
    scratch,
    sums,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_J: tl.constexpr,
    SMALL: tl.constexpr,
):
    """Σ x[k] over the k with parent[k] = j for each particle j, always in the same order.

    It compares every pair of particles: quadratic in K, which is at most 1024, but without atomics. Few
    particles: every copy sums for other parents. Many: x and the sums go through memory.
    """
    if SMALL:
        EACH: tl.constexpr = BLOCK_K // COPIES
        j = tl.arange(0, EACH)[:, None, None] * COPIES + tl.arange(0, COPIES)[None, :, None]
        mine = (parent[None, :, :] == j)[None, :, :, :]
        found = tl.sum(tl.where(mine, x[:, None, :, :], 0.0), axis=3)
        found = tl.reshape(found, [BLOCK_R, BLOCK_K])
        return tl.broadcast_to(found[:, None, :], [BLOCK_R, COPIES, BLOCK_K])
    else:
        keep(scratch, x, K, R, BLOCK_R, COPIES, BLOCK_K)
        tl.debug_barrier()
        k = tl.arange(0, BLOCK_K)
        chosen = tl.load(ancestors + k, mask=k < K, other=-1).to(tl.int32)
        for start in range(0, K, BLOCK_J):
            j = start + tl.arange(0, BLOCK_J)
            mine = chosen[None, :] == j[:, None]
            for r in tl.static_range(R):
                g = tl.load(scratch + k * R + r, mask=k < K, other=0.0)
                tl.store(sums + j * R + r, tl.sum(tl.where(mine, g[None, :], 0.0), axis=1), mask=j < K)
        tl.debug_barrier()
        found = of_particles(sums, K, R, BLOCK_R, COPIES, BLOCK_K)
        tl.debug_barrier()
        return found
