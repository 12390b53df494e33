"""Forward pass in Triton: a program filters one whole trial with all its particles."""

from __future__ import annotations

import triton
import triton.language as tl

from nwb_rnn.smc.backends.cuda_steps import (
    currents,
    draw_ancestors,
    log_likelihood,
    log_mean_weight,
    rate,
    transition,
)


@triton.jit
def score(
    latents,
    valid,
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
    R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OBSERVATION: tl.constexpr,
    LINK: tl.constexpr,
    ONE_TO_ONE: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """Σ_d seen · log p(y_d | z) of each particle, without terms that do not depend on z."""
    k = tl.arange(0, BLOCK_K)
    total = tl.zeros([BLOCK_K], latents.dtype.element_ty)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        real = d < D
        use_base: tl.constexpr = HAS_BASE and ONE_TO_ONE
        x = currents(latents, k, valid, weights, base, d, real, STRIDE, R, BLOCK_K, BLOCK_D, use_base)
        offset = tl.load(readout_bias + d, mask=real, other=0.0)[None, :]
        predictor = x + offset
        if ONE_TO_ONE:
            value, _, _ = rate(x, tl.load(bias + d, mask=real, other=0.0)[None, :], ACTIVATION)
            predictor = tl.load(readout_gain + d, mask=real, other=0.0)[None, :] * value + offset
        noise = 1.0
        if OBSERVATION != "poisson":
            noise = tl.load(inverse_noise + d, mask=real, other=1.0)[None, :]
        y = tl.load(observed + d, mask=real, other=0.0)[None, :]
        seen = tl.load(mask + (d if MASKS > 1 else d * 0), mask=real, other=0.0)[None, :]
        value, _, _ = log_likelihood(y, predictor, noise, OBSERVATION, LINK)
        total += tl.sum(value * seen, axis=1)
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
    STEPS: tl.constexpr,
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
    decay += m
    initial_mean += m * R
    weights += m * R * STRIDE
    readout_bias += m * D
    readout_gain += m * D
    inverse_noise += m * D
    k, rr = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_R)
    valid, some = k < K, rr < R
    cells, inside = k[:, None] * R + rr[None, :], valid[:, None] & some[None, :]
    nothing = float("-inf")
    equally = tl.where(valid, tl.load(equal), nothing)  # log 1 / K
    for t in range(0, tl.load(lengths + b)):
        row = b * T + t
        here, before = row * K * R, (row - 1) * K * R
        j = tl.load(kind + row) * R * R
        last = equally
        if t > 0:
            last = tl.load(log_weights + (row - 1) * K + k, mask=valid, other=nothing)
        level = last
        if RESAMPLING != "none":
            level = equally
        source = k
        if not ADAPTED:
            if DRAWING:
                source = draw_ancestors(
                    last, uniforms + row * UNIFORMS, cumulative + b * K, valid, K, BLOCK_K, STEPS, RESAMPLING
                )
                tl.store(ancestors + row * K + k, source.to(tl.int64), mask=valid)
            else:
                source = tl.load(ancestors + row * K + k, mask=valid, other=0).to(tl.int32)
        if t == 0:
            start = tl.load(initial_mean + rr, mask=some, other=0.0)[None, :] + k[:, None] * 0.0
            tl.store(means + here + cells, start, mask=inside)
        else:
            transition(
                latents + before,
                source,
                valid,
                means + here,
                left,
                right,
                bias,
                base + (row - 1) * N,
                decay,
                N,
                R,
                BLOCK_K,
                BLOCK_R,
                BLOCK_N,
                ACTIVATION,
                HAS_BASE,
            )
        tl.debug_barrier()
        source = k
        if ADAPTED:
            mean = tl.load(means + here + cells, mask=inside, other=0.0)
            slope = tl.load(linear + row * R + rr, mask=some, other=0.0)[None, :] + mean * 0.0
            for c in tl.static_range(R):
                column = tl.load(metric + j + rr * R + c, mask=some, other=0.0)
                other = tl.load(means + here + k * R + c, mask=valid, other=0.0)
                slope -= 0.5 * column[None, :] * other[:, None]
            weighted = level + tl.load(constant + row) + tl.sum(slope * mean, axis=1)
            if DRAWING:
                source = draw_ancestors(
                    weighted,
                    uniforms + row * UNIFORMS,
                    cumulative + b * K,
                    valid,
                    K,
                    BLOCK_K,
                    STEPS,
                    RESAMPLING,
                )
                tl.store(ancestors + row * K + k, source.to(tl.int64), mask=valid)
            else:
                source = tl.load(ancestors + row * K + k, mask=valid, other=0).to(tl.int32)
        # z = A μ + g + L ε
        z = tl.load(offset + row * R + rr, mask=some, other=0.0)[None, :] + k[:, None] * 0.0
        for c in tl.static_range(R):
            mean = tl.load(means + here + source * R + c, mask=valid, other=0.0)
            z += tl.load(gain + j + rr * R + c, mask=some, other=0.0)[None, :] * mean[:, None]
            draw = tl.load(noise + here + k * R + c, mask=valid, other=0.0)
            z += tl.load(scale + j + rr * R + c, mask=some, other=0.0)[None, :] * draw[:, None]
        tl.store(latents + here + cells, z, mask=inside)
        tl.debug_barrier()
        if not ADAPTED:
            likelihood = score(
                latents + here,
                valid,
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
                R,
                BLOCK_K,
                BLOCK_N,
                ACTIVATION,
                OBSERVATION,
                LINK,
                ONE_TO_ONE,
                HAS_BASE,
            )
            weighted = level + likelihood + tl.load(constant + row) + tl.load(log_ratio + tl.load(kind + row))
            distance = tl.load(latents + here + cells, mask=inside, other=0.0)
            distance -= tl.load(means + here + cells, mask=inside, other=0.0)
            for r in tl.static_range(R):
                across = tl.load(metric + j + r * R + rr, mask=some, other=0.0)
                whitened = tl.sum(distance * across[None, :], axis=1)
                draw = tl.load(noise + here + k * R + r, mask=valid, other=0.0)
                weighted += 0.5 * (draw * draw - whitened * whitened)
        increment = log_mean_weight(weighted)
        tl.store(log_increments + row, increment)
        tl.store(log_weights + row * K + k, weighted - increment, mask=valid)
        tl.debug_barrier()
