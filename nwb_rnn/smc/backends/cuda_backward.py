"""Backward pass in Triton: the adjoint of `cuda_forward`, a program for each trial, last bin first."""

from __future__ import annotations

import triton
import triton.language as tl

from nwb_rnn.smc.backends.cuda_steps import (
    add,
    currents,
    gather_children,
    log_likelihood,
    pull_transition,
    rate,
)


@triton.jit
def pull_score(
    latents,
    valid,
    on_scores,
    on_latents,
    weights,
    readout_bias,
    readout_gain,
    bias,
    base,
    inverse_noise,
    observed,
    mask,
    on_weights,
    on_readout_bias,
    on_readout_gain,
    on_bias,
    on_base,
    on_inverse_noise,
    D: tl.constexpr,
    MASKS: tl.constexpr,
    STRIDE: tl.constexpr,
    R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OBSERVATION: tl.constexpr,
    LINK: tl.constexpr,
    ONE_TO_ONE: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """Adjoint of `cuda_forward.score`: adds to all gradients, `on_latents` included."""
    k, rr = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_R)
    inside = valid[:, None] & (rr < R)[None, :]
    cells = on_latents + k[:, None] * R + rr[None, :]
    total = tl.load(cells, mask=inside, other=0.0)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        real = d < D
        use_base: tl.constexpr = HAS_BASE and ONE_TO_ONE
        x = currents(latents, k, valid, weights, base, d, real, STRIDE, R, BLOCK_K, BLOCK_D, use_base)
        offset = tl.load(readout_bias + d, mask=real, other=0.0)[None, :]
        predictor = x + offset
        if ONE_TO_ONE:
            gain = tl.load(readout_gain + d, mask=real, other=0.0)[None, :]
            value, slope, slope_h = rate(x, tl.load(bias + d, mask=real, other=0.0)[None, :], ACTIVATION)
            predictor = gain * value + offset
        noise = 1.0
        if OBSERVATION != "poisson":
            noise = tl.load(inverse_noise + d, mask=real, other=1.0)[None, :]
        y = tl.load(observed + d, mask=real, other=0.0)[None, :]
        seen = tl.load(mask + (d if MASKS > 1 else d * 0), mask=real, other=0.0)[None, :]
        _, on_x, on_noise = log_likelihood(y, predictor, noise, OBSERVATION, LINK)
        pull = on_scores[:, None] * seen
        on_x = on_x * pull
        add(on_readout_bias + d, real, tl.sum(on_x, axis=0))
        if OBSERVATION != "poisson":
            add(on_inverse_noise + d, real, tl.sum(on_noise * pull, axis=0))
        if ONE_TO_ONE:
            add(on_readout_gain + d, real, tl.sum(on_x * value, axis=0))
            add(on_bias + d, real, tl.sum(on_x * gain * slope_h, axis=0))
            on_x = on_x * gain * slope
            if HAS_BASE:
                add(on_base + d, real, tl.sum(on_x, axis=0))
        for r in tl.static_range(R):
            z = tl.load(latents + k * R + r, mask=valid, other=0.0)
            c = tl.load(weights + r * STRIDE + d, mask=real, other=0.0)
            total += tl.where((rr == r)[None, :], tl.sum(on_x * c[None, :], axis=1)[:, None], 0.0)
            add(on_weights + r * STRIDE + d, real, tl.sum(on_x * z[:, None], axis=0))
    tl.store(cells, total, mask=inside)


@triton.jit
def backward(
    left,
    right,
    bias,
    base,
    decay,
    weights,
    readout_bias,
    readout_gain,
    inverse_noise,
    observed,
    mask,
    noise,
    lengths,
    kind,
    gain,
    scale,
    linear,
    metric,
    latents,
    log_weights,
    ancestors,
    means,
    on_increments,
    on_latents,
    on_means,
    of_children,
    on_left,
    on_right,
    on_bias,
    on_base,
    on_decay,
    on_initial,
    on_weights,
    on_readout_bias,
    on_readout_gain,
    on_inverse_noise,
    on_constant,
    on_gain,
    on_offset,
    on_scale,
    on_linear,
    on_metric,
    TRIALS: tl.constexpr,
    T: tl.constexpr,
    K: tl.constexpr,
    R: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
    MASKS: tl.constexpr,
    STRIDE: tl.constexpr,
    ROW: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_J: tl.constexpr,
    ADAPTED: tl.constexpr,
    ACTIVATION: tl.constexpr,
    OBSERVATION: tl.constexpr,
    LINK: tl.constexpr,
    ONE_TO_ONE: tl.constexpr,
    HAS_BASE: tl.constexpr,
    RESAMPLING: tl.constexpr,
    SHARE: tl.constexpr,
):
    """Arguments as in `cuda`. Weights' gradients are sums over the bins of the program's own trial.

    All gradients of one trial on what trials share lie in a row of ROW numbers.
    """
    b = tl.program_id(0).to(tl.int64)
    k, rr = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_R)
    valid, some = k < K, rr < R
    cells, inside = k[:, None] * R + rr[None, :], valid[:, None] & some[None, :]
    length = tl.load(lengths + b)
    m = b // TRIALS
    left += m * R * N
    right += m * R * N
    bias += m * N
    decay += m
    weights += m * R * STRIDE
    readout_bias += m * D
    readout_gain += m * D
    inverse_noise += m * D
    on_latents += b * K * R
    on_means += b * K * R
    of_children += b * K * R
    on_left += b * ROW
    on_right += b * ROW
    on_bias += b * ROW
    on_weights += b * ROW
    on_readout_bias += b * ROW
    on_readout_gain += b * ROW
    on_inverse_noise += b * ROW
    decays = tl.load(decay) * 0.0
    on_weight = k * (tl.load(decay) * 0.0)
    for step in range(0, length):
        t = length - 1 - step
        row = b * T + t
        here, before = row * K * R, (row - 1) * K * R
        j, own = tl.load(kind + row) * R * R, row * R * R
        on_level = on_weight  # on this bin's normalised log weights, from the next bin's
        if RESAMPLING != "none":
            on_level = on_weight * 0.0
            if SHARE > 0:
                tl.store(of_children + k, on_weight, mask=valid)
                tl.debug_barrier()
                after = row if ADAPTED else tl.minimum(row + 1, b * T + T - 1)  # who chose by them, if any
                gather_children(ancestors + after * K, of_children, on_means, K, 1, BLOCK_K, BLOCK_J)
                tl.debug_barrier()
                on_level = SHARE * tl.load(on_means + k, mask=valid, other=0.0)
                tl.debug_barrier()
        normalised = tl.load(log_weights + row * K + k, mask=valid, other=float("-inf"))
        rest = tl.load(on_increments + row) - tl.sum(on_level, axis=0)
        on_weight = rest * tl.exp(normalised) + on_level
        tl.store(on_constant + row, tl.sum(on_weight, axis=0))
        source = k
        parent = tl.load(ancestors + row * K + k, mask=valid, other=0).to(tl.int32)
        if ADAPTED:
            source = parent
        else:
            pull_score(
                latents + here,
                valid,
                on_weight,
                on_latents,
                weights,
                readout_bias,
                readout_gain,
                bias,
                base + row * N,
                inverse_noise,
                observed + row * D,
                mask + row * MASKS,
                on_weights,
                on_readout_bias,
                on_readout_gain,
                on_bias,
                on_base + row * N,
                on_inverse_noise,
                D,
                MASKS,
                STRIDE,
                R,
                BLOCK_K,
                BLOCK_R,
                BLOCK_N,
                ACTIVATION,
                OBSERVATION,
                LINK,
                ONE_TO_ONE,
                HAS_BASE,
            )
            tl.debug_barrier()
            # log w holds −½ |whitener (z − μ)|²
            distance = tl.load(latents + here + cells, mask=inside, other=0.0)
            distance -= tl.load(means + here + cells, mask=inside, other=0.0)
            pull = distance * 0.0
            for r in tl.static_range(R):
                across = tl.load(metric + j + r * R + rr, mask=some, other=0.0)[None, :]
                whitened = on_weight * tl.sum(distance * across, axis=1)
                pull += whitened[:, None] * across
                tl.store(
                    on_metric + own + r * R + rr, -tl.sum(whitened[:, None] * distance, axis=0), mask=some
                )
            add(on_latents + cells, inside, -pull)
            tl.store(on_means + cells, pull, mask=inside)
            tl.debug_barrier()
        # z = A μ + g + L ε
        on_draw = tl.load(on_latents + cells, mask=inside, other=0.0)
        tl.store(on_offset + row * R + rr, tl.sum(on_draw, axis=0), mask=some)
        for c in tl.static_range(R):
            mean = tl.load(means + here + source * R + c, mask=valid, other=0.0)
            draw = tl.load(noise + here + k * R + c, mask=valid, other=0.0)
            column = tl.load(gain + j + rr * R + c, mask=some, other=0.0)
            moved = tl.sum(on_draw * column[None, :], axis=1)
            tl.store(on_gain + own + rr * R + c, tl.sum(on_draw * mean[:, None], axis=0), mask=some)
            tl.store(on_scale + own + rr * R + c, tl.sum(on_draw * draw[:, None], axis=0), mask=some)
            if ADAPTED:
                tl.store(of_children + k * R + c, moved, mask=valid)
            else:
                add(on_means + k * R + c, valid, moved)
        tl.debug_barrier()
        if ADAPTED:
            gather_children(ancestors + row * K, of_children, on_means, K, R, BLOCK_K, BLOCK_J)
            tl.debug_barrier()
            # log w = constant + μᵀ linear − ½ μᵀ metric μ
            mean = tl.load(means + here + cells, mask=inside, other=0.0)
            slope = tl.load(linear + row * R + rr, mask=some, other=0.0)[None, :] + mean * 0.0
            tl.store(on_linear + row * R + rr, tl.sum(on_weight[:, None] * mean, axis=0), mask=some)
            for c in tl.static_range(R):
                other = tl.load(means + here + k * R + c, mask=valid, other=0.0)
                column = tl.load(metric + j + rr * R + c, mask=some, other=0.0)
                column += tl.load(metric + j + c * R + rr, mask=some, other=0.0)
                slope -= 0.5 * column[None, :] * other[:, None]
                product = tl.sum((on_weight * other)[:, None] * mean, axis=0)
                tl.store(on_metric + own + rr * R + c, -0.5 * product, mask=some)
            add(on_means + cells, inside, on_weight[:, None] * slope)
            tl.debug_barrier()
        if t == 0:
            g = tl.load(on_means + cells, mask=inside, other=0.0)
            tl.store(on_initial + b * ROW + rr, tl.sum(g, axis=0), mask=some)
        else:
            index, target = k, on_latents
            if not ADAPTED:
                index, target = parent, of_children
            decays += pull_transition(
                latents + before,
                index,
                valid,
                on_means,
                target,
                left,
                right,
                bias,
                base + (row - 1) * N,
                decay,
                on_left,
                on_right,
                on_bias,
                on_base + (row - 1) * N,
                N,
                R,
                BLOCK_K,
                BLOCK_R,
                BLOCK_N,
                ACTIVATION,
                HAS_BASE,
            )
            tl.debug_barrier()
            if not ADAPTED:
                gather_children(ancestors + row * K, of_children, on_latents, K, R, BLOCK_K, BLOCK_J)
                tl.debug_barrier()
    tl.store(on_decay + b * ROW, decays)
