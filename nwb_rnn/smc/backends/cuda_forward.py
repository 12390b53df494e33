"""Forward pass in Triton: a program filters one whole trial with all its particles."""

from __future__ import annotations

import triton
import triton.language as tl

from nwb_rnn.smc.backends.cuda_layout import (
    keep,
    of_particles,
    of_units,
    over_rank,
    over_units,
    pick,
    rows_of_units,
    to_tile,
    units,
)
from nwb_rnn.smc.backends.cuda_steps import (
    draw_ancestors,
    log_likelihood,
    rate,
    transition,
    weigh,
)


@triton.jit
def score(
    z,
    kept_weights,
    weights,
    readout_bias,
    readout_gain,
    bias,
    base,
    inverse_noise,
    observed,
    mask,
    D: tl.constexpr,
    MASKS: tl.constexpr,
    STRIDE: tl.constexpr,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OBSERVATION: tl.constexpr,
    LINK: tl.constexpr,
    ONE_TO_ONE: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """Σ_d seen · log p(y_d | z) of the particles of a tile, not yet summed over lanes.

    Terms that do not depend on z are left out.
    """
    first = units(BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
    total = tl.zeros([OWN, COPIES, BLOCK_K], z.dtype)
    for start in range(0, D, BLOCK_D):
        d = start + first
        m = kept_weights
        if BLOCK_D < D:
            m = rows_of_units(weights, d, D, STRIDE, R, BLOCK_R)
        x = over_rank(z[:, None, :, :, :], m[:, :, None, :, :], R, BLOCK_R)
        offset = of_units(readout_bias, d, D, 0.0)[:, None, :, :]
        predictor = x + offset
        if ONE_TO_ONE:
            if HAS_BASE:
                x += of_units(base, d, D, 0.0)[:, None, :, :]
            value, _, _ = rate(x, of_units(bias, d, D, 0.0)[:, None, :, :], ACTIVATION)
            predictor = of_units(readout_gain, d, D, 0.0)[:, None, :, :] * value + offset
        noise = 1.0
        if OBSERVATION != "poisson":
            noise = of_units(inverse_noise, d, D, 1.0)[:, None, :, :]
        y = of_units(observed, d, D, 0.0)[:, None, :, :]
        seen = tl.load(mask + (d if MASKS > 1 else d * 0), mask=d < D, other=0.0)[:, None, :, :]
        value, _, _ = log_likelihood(y, predictor, noise, OBSERVATION, LINK)
        total += tl.sum(value * seen, axis=0)
    return total


@triton.jit
def forward(
    left,
    right,
    bias,
    base,
    decay,
    initial_mean,
    weights,
    readout_bias,
    readout_gain,
    inverse_noise,
    constant,
    observed,
    mask,
    noise,
    uniforms,
    lengths,
    kind,
    gain,
    offset,
    scale,
    linear,
    metric,
    log_ratio,
    cumulative,
    log_increments,
    latents,
    log_weights,
    ancestors,
    means,
    equal,
    TRIALS: tl.constexpr,
    T: tl.constexpr,
    K: tl.constexpr,
    R: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
    MASKS: tl.constexpr,
    STRIDE: tl.constexpr,
    UNIFORMS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    COPIES: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
    SMALL: tl.constexpr,
    ADAPTED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OBSERVATION: tl.constexpr,
    LINK: tl.constexpr,
    ONE_TO_ONE: tl.constexpr,
    HAS_BASE: tl.constexpr,
    RESAMPLING: tl.constexpr,
    DRAWING: tl.constexpr,
):
    """Arguments as in `cuda`; DRAWING False takes the ancestors that are there already."""
    b = tl.program_id(0).to(tl.int64)
    m = b // TRIALS
    left += m * R * N
    right += m * R * N
    bias += m * N
    weights += m * R * STRIDE
    readout_bias += m * D
    readout_gain += m * D
    inverse_noise += m * D
    cumulative += b * K
    copy, rr = tl.arange(0, COPIES)[:, None], tl.arange(0, BLOCK_R)
    k = tl.arange(0, BLOCK_K)[None, :] + copy * 0
    valid, once, some = k < K, (k < K) & (copy == 0), rr < R
    table = rr[:, None] * R + rr[None, :]
    square = some[:, None] & some[None, :]
    kept_left, kept_right, kept_bias, kept_weights = 0, 0, 0, 0
    if BLOCK_N >= N:
        n = units(BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
        kept_left = rows_of_units(left, n, N, N, R, BLOCK_R)
        kept_right = rows_of_units(right, n, N, N, R, BLOCK_R)
        kept_bias = of_units(bias, n, N, 0.0)
    if BLOCK_D >= D and not ADAPTED:
        d = units(BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
        kept_weights = rows_of_units(weights, d, D, STRIDE, R, BLOCK_R)
    initial = tl.load(initial_mean + m * R + rr, mask=some, other=0.0)[:, None, None]
    decays = tl.load(decay + m)
    nothing = float("-inf")
    equally = tl.where(valid, tl.load(equal), nothing)  # log 1 / K
    last = equally
    z = tl.zeros([BLOCK_R, COPIES, BLOCK_K], latents.dtype.element_ty)
    for t in range(0, tl.load(lengths + b)):
        row = b * T + t
        here, previous = row * K * R, tl.maximum(row - 1, b * T)
        # what the bin needs from memory is asked for before the long wait for the network
        own = tl.load(kind + row)
        j = own * R * R
        draw = of_particles(noise + here, K, R, BLOCK_R, COPIES, BLOCK_K)
        spread = tl.load(scale + j + table, mask=square, other=0.0)[:, :, None, None]
        moving = tl.load(gain + j + table, mask=square, other=0.0)[:, :, None, None]
        shift = tl.load(offset + row * R + rr, mask=some, other=0.0)[:, None, None]
        weighing = tl.load(metric + j + table, mask=square, other=0.0)[:, :, None, None]
        fixed = tl.load(constant + row)
        tile = to_tile(z, latents + previous * K * R, K, R, BLOCK_R, COPIES, BLOCK_K, OWN, COLUMNS, SMALL)
        total = transition(
            tile,
            kept_left,
            kept_right,
            kept_bias,
            left,
            right,
            bias,
            base + previous * N,
            N,
            K,
            R,
            BLOCK_R,
            BLOCK_N,
            COPIES,
            BLOCK_K,
            OWN,
            COLUMNS,
            ACTIVATION,
            HAS_BASE,
        )
        mean = decays * z + over_units(total, BLOCK_R, COPIES, BLOCK_K, OWN, COLUMNS)
        mean = tl.where(valid[None, :, :], tl.where(t == 0, initial, mean), 0.0)
        level = last
        if RESAMPLING != "none":
            level = equally
        weights_now = tl.exp(last)
        if ADAPTED:
            slope = tl.load(linear + row * R + rr, mask=some, other=0.0)[:, None, None]
            slope = slope - 0.5 * tl.sum(weighing * mean[None, :, :, :], axis=1)
            weighted = tl.where(valid, level + fixed + tl.sum(slope * mean, axis=0), nothing)
            weights_now, increment = weigh(weighted)
        if DRAWING:
            source = draw_ancestors(
                weights_now, uniforms + row * UNIFORMS, cumulative, K, COPIES, BLOCK_K, RESAMPLING, SMALL
            )
            tl.store(ancestors + row * K + k, source.to(tl.int64), mask=once)
        else:
            source = tl.load(ancestors + row * K + k, mask=valid, other=0).to(tl.int32)
        if ADAPTED or not SMALL:
            keep(means + here, mean, K, R, BLOCK_R, COPIES, BLOCK_K)
        if not SMALL:
            tl.debug_barrier()
        mean = pick(mean, source, means + here, R, BLOCK_R, COPIES, BLOCK_K, SMALL)
        if not ADAPTED:
            if not SMALL:
                tl.debug_barrier()
            keep(means + here, mean, K, R, BLOCK_R, COPIES, BLOCK_K)
        # z = A μ + g + L ε
        z = shift + tl.sum(moving * mean[None, :, :, :] + spread * draw[None, :, :, :], axis=1)
        z = tl.where(valid[None, :, :], z, 0.0)
        keep(latents + here, z, K, R, BLOCK_R, COPIES, BLOCK_K)
        if not SMALL:
            tl.debug_barrier()
        if not ADAPTED:
            tile = to_tile(z, latents + here, K, R, BLOCK_R, COPIES, BLOCK_K, OWN, COLUMNS, SMALL)
            likelihood = score(
                tile,
                kept_weights,
                weights,
                readout_bias,
                readout_gain,
                bias,
                base + row * N,
                inverse_noise,
                observed + row * D,
                mask + row * MASKS,
                D,
                MASKS,
                STRIDE,
                K,
                R,
                BLOCK_R,
                BLOCK_D,
                COPIES,
                BLOCK_K,
                OWN,
                COLUMNS,
                ACTIVATION,
                OBSERVATION,
                LINK,
                ONE_TO_ONE,
                HAS_BASE,
            )
            likelihood = over_units(likelihood[None, :, :, :], 1, COPIES, BLOCK_K, OWN, COLUMNS)
            whitened = tl.sum(weighing * (z - mean)[None, :, :, :], axis=1)
            weighted = tl.sum(0.5 * (draw * draw - whitened * whitened), axis=0)
            weighted += level + tl.sum(likelihood, axis=0) + fixed + tl.load(log_ratio + own)
            weighted = tl.where(valid, weighted, nothing)
            _, increment = weigh(weighted)
        last = weighted - increment
        tl.store(log_increments + row + k * 0, increment + tl.zeros_like(last), mask=k + copy == 0)
        tl.store(log_weights + row * K + k, last, mask=once)
