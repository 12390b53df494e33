"""Backward pass in Triton: the adjoint of `cuda_forward`, a program for each trial, last bin first."""

from __future__ import annotations

import triton
import triton.language as tl

from nwb_rnn.smc.backends.cuda_layout import (
    add_to_units,
    keep,
    of_particles,
    of_units,
    over_own,
    over_own_particles,
    over_own_units,
    over_rank,
    over_units,
    pick,
    rows_of_units,
    store_pairs,
    store_sums,
    to_tile,
    units,
)
from nwb_rnn.smc.backends.cuda_steps import (
    log_likelihood,
    of_parents,
    pull_transition,
    rate,
)


@triton.jit
def pull_score(
    z,
    on_scores,
    on_z,
    sum_weights,
    sum_offset,
    sum_gain,
    sum_bias,
    sum_noise,
    kept_weights,
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
    """Adjoint of `cuda_forward.score`: adds to all gradients, on_z included."""
    first = units(BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
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
            gain = of_units(readout_gain, d, D, 0.0)[:, None, :, :]
            value, slope, slope_h = rate(x, of_units(bias, d, D, 0.0)[:, None, :, :], ACTIVATION)
            predictor = gain * value + offset
        noise = 1.0
        if OBSERVATION != "poisson":
            noise = of_units(inverse_noise, d, D, 1.0)[:, None, :, :]
        y = of_units(observed, d, D, 0.0)[:, None, :, :]
        seen = tl.load(mask + (d if MASKS > 1 else d * 0), mask=d < D, other=0.0)[:, None, :, :]
        _, on_x, on_noise = log_likelihood(y, predictor, noise, OBSERVATION, LINK)
        pull = on_scores * seen
        on_x = on_x * pull
        by_offset = over_own(on_x, K, BLOCK_K, OWN)
        by_gain, by_bias, by_noise = by_offset, by_offset, by_offset
        if OBSERVATION != "poisson":
            by_noise = over_own(on_noise * pull, K, BLOCK_K, OWN)
        if ONE_TO_ONE:
            by_gain = over_own(on_x * value, K, BLOCK_K, OWN)
            by_bias = over_own(on_x * gain * slope_h, K, BLOCK_K, OWN)
            on_x = on_x * gain * slope
            if HAS_BASE:
                by = over_own(on_x, K, BLOCK_K, OWN)
                add_to_units(on_base, by, start, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
        on_z += over_own_units(on_x, m, K, R, BLOCK_R, BLOCK_K, OWN)
        by = over_own_particles(on_x, z, K, R, BLOCK_R, BLOCK_K, OWN)
        if BLOCK_D < D:
            add_to_units(on_weights, by, start, D, STRIDE, R, BLOCK_R, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
            add_to_units(
                on_readout_bias, by_offset, start, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS
            )
            if OBSERVATION != "poisson":
                add_to_units(
                    on_inverse_noise, by_noise, start, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS
                )
            if ONE_TO_ONE:
                add_to_units(
                    on_readout_gain, by_gain, start, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS
                )
                add_to_units(on_bias, by_bias, start, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
        else:
            sum_weights += by
            sum_offset += by_offset
            sum_gain += by_gain
            sum_bias += by_bias
            sum_noise += by_noise
    return on_z, sum_weights, sum_offset, sum_gain, sum_bias, sum_noise


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
    BLOCK_D: tl.constexpr,
    BLOCK_J: tl.constexpr,
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
    SHARE: tl.constexpr,
):
    """Arguments as in `cuda`. Weights' gradients are sums over the bins of the program's own trial.

    All gradients of one trial on what trials share lie in a row of ROW numbers. At the start of a bin
    `pulled` is the gradient on the means of the bin after it, `carried` that on its log weights.
    """
    b = tl.program_id(0).to(tl.int64)
    copy, rr = tl.arange(0, COPIES)[:, None], tl.arange(0, BLOCK_R)
    k = tl.arange(0, BLOCK_K)[None, :] + copy * 0
    valid, some = k < K, rr < R
    table = rr[:, None] * R + rr[None, :]
    square = some[:, None] & some[None, :]
    length = tl.load(lengths + b)
    m = b // TRIALS
    left += m * R * N
    right += m * R * N
    bias += m * N
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
    real: tl.constexpr = latents.dtype.element_ty
    PLACES: tl.constexpr = COPIES * OWN
    kept_left, kept_right, kept_bias, kept_weights = 0, 0, 0, 0
    sum_left, sum_right, sum_bias, sum_weights = 0, 0, 0, 0
    sum_offset, sum_gain, sum_own_bias, sum_noise = 0, 0, 0, 0
    if BLOCK_N >= N:
        n = units(BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
        kept_left = rows_of_units(left, n, N, N, R, BLOCK_R)
        kept_right = rows_of_units(right, n, N, N, R, BLOCK_R)
        kept_bias = of_units(bias, n, N, 0.0)
        sum_left = tl.zeros([BLOCK_R, BLOCK_N // PLACES, COPIES, BLOCK_K], real)
        sum_right = tl.zeros([BLOCK_R, BLOCK_N // PLACES, COPIES, BLOCK_K], real)
        sum_bias = tl.zeros([1, BLOCK_N // PLACES, COPIES, BLOCK_K], real)
    if BLOCK_D >= D and not ADAPTED:
        d = units(BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
        kept_weights = rows_of_units(weights, d, D, STRIDE, R, BLOCK_R)
        sum_weights = tl.zeros([BLOCK_R, BLOCK_D // PLACES, COPIES, BLOCK_K], real)
        sum_offset = tl.zeros([1, BLOCK_D // PLACES, COPIES, BLOCK_K], real)
        sum_gain, sum_own_bias, sum_noise = sum_offset, sum_offset, sum_offset
    factor = tl.load(decay + m)
    decays = tl.zeros([COPIES, BLOCK_K], real)
    carried = tl.zeros([COPIES, BLOCK_K], real)
    pulled = tl.zeros([BLOCK_R, COPIES, BLOCK_K], real)
    for step in range(0, length):
        row = b * T + length - 1 - step
        here = row * K * R
        j, own = tl.load(kind + row) * R * R, row * R * R
        # what the bin needs from memory is asked for before the long wait for the network
        z = of_particles(latents + here, K, R, BLOCK_R, COPIES, BLOCK_K)
        parent = tl.load(ancestors + row * K + k, mask=valid, other=0).to(tl.int32)
        normalised = tl.load(log_weights + row * K + k, mask=valid, other=float("-inf"))
        increment = tl.load(on_increments + row)
        mean = of_particles(means + here, K, R, BLOCK_R, COPIES, BLOCK_K)
        draw = of_particles(noise + here, K, R, BLOCK_R, COPIES, BLOCK_K)
        moving = tl.load(gain + j + table, mask=square, other=0.0)[:, :, None, None]
        weighing = tl.load(metric + j + table, mask=square, other=0.0)[:, :, None, None]
        on_level = carried  # on this bin's normalised log weights, from the next bin's
        if RESAMPLING != "none":
            if SHARE == 0:
                on_level = tl.zeros([COPIES, BLOCK_K], real)
            elif ADAPTED:
                found = of_parents(
                    carried[None, :, :],
                    parent,
                    ancestors + row * K,
                    of_children,
                    on_means,
                    K,
                    1,
                    1,
                    COPIES,
                    BLOCK_K,
                    BLOCK_J,
                    SMALL,
                )
                on_level = SHARE * tl.sum(found, axis=0)
        rest = increment - tl.sum(on_level, axis=1)
        on_weight = rest[:, None] * tl.exp(normalised) + on_level
        store_sums(on_constant + row, on_weight[None, :, :], 1, 1, COPIES, BLOCK_K)
        if not SMALL:
            keep(on_means, pulled, K, R, BLOCK_R, COPIES, BLOCK_K)
            keep(of_children, on_weight[None, :, :], K, 1, 1, COPIES, BLOCK_K)
            tl.debug_barrier()
        tile = to_tile(z, latents + here, K, R, BLOCK_R, COPIES, BLOCK_K, OWN, COLUMNS, SMALL)
        pull = to_tile(pulled, on_means, K, R, BLOCK_R, COPIES, BLOCK_K, OWN, COLUMNS, SMALL)
        total, sum_left, sum_right, sum_bias = pull_transition(
            tile,
            pull,
            tl.zeros_like(tile),
            sum_left,
            sum_right,
            sum_bias,
            kept_left,
            kept_right,
            kept_bias,
            left,
            right,
            bias,
            base + row * N,
            on_left,
            on_right,
            on_bias,
            on_base + row * N,
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
        decays += tl.sum(pulled * z, axis=0)
        if not ADAPTED:
            if ONE_TO_ONE:  # adds to numbers that the transition adds to
                tl.debug_barrier()
            scores = to_tile(
                on_weight[None, :, :], of_children, K, 1, 1, COPIES, BLOCK_K, OWN, COLUMNS, SMALL
            )
            total, sum_weights, sum_offset, sum_gain, sum_own_bias, sum_noise = pull_score(
                tile,
                scores,
                total,
                sum_weights,
                sum_offset,
                sum_gain,
                sum_own_bias,
                sum_noise,
                kept_weights,
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
            if ONE_TO_ONE:
                tl.debug_barrier()
        on_draw = factor * pulled + over_units(total, BLOCK_R, COPIES, BLOCK_K, OWN, COLUMNS)
        chosen = mean
        if ADAPTED:
            chosen = pick(mean, parent, means + here, R, BLOCK_R, COPIES, BLOCK_K, SMALL)
        else:
            # log w holds −½ |whitener (z − μ)|²
            distance = z - mean
            whitened = on_weight[None, :, :] * tl.sum(weighing * distance[None, :, :, :], axis=1)
            pull = tl.sum(weighing * whitened[:, None, :, :], axis=0)
            store_pairs(on_metric + own, -whitened, distance, R, BLOCK_R, COPIES, BLOCK_K)
            on_draw -= pull
        # z = A μ + g + L ε
        pulled = tl.sum(moving * on_draw[:, None, :, :], axis=0)
        store_sums(on_offset + row * R, on_draw, R, BLOCK_R, COPIES, BLOCK_K)
        store_pairs(on_gain + own, on_draw, chosen, R, BLOCK_R, COPIES, BLOCK_K)
        store_pairs(on_scale + own, on_draw, draw, R, BLOCK_R, COPIES, BLOCK_K)
        if not ADAPTED:
            pulled += pull
        if not SMALL:
            tl.debug_barrier()
        pulled = of_parents(
            pulled,
            parent,
            ancestors + row * K,
            of_children,
            on_means,
            K,
            R,
            BLOCK_R,
            COPIES,
            BLOCK_K,
            BLOCK_J,
            SMALL,
        )
        carried = on_weight
        if ADAPTED:
            # log w = constant + μᵀ linear − ½ μᵀ metric μ
            other = tl.sum(weighing * mean[None, :, :, :], axis=1)
            other += tl.sum(weighing * mean[:, None, :, :], axis=0)
            slope = tl.load(linear + row * R + rr, mask=some, other=0.0)[:, None, None] - 0.5 * other
            weighted = on_weight[None, :, :] * mean
            store_sums(on_linear + row * R, weighted, R, BLOCK_R, COPIES, BLOCK_K)
            store_pairs(on_metric + own, -0.5 * weighted, mean, R, BLOCK_R, COPIES, BLOCK_K)
            pulled += on_weight[None, :, :] * slope
        elif RESAMPLING != "none" and SHARE > 0:
            found = of_parents(
                carried[None, :, :],
                parent,
                ancestors + row * K,
                of_children,
                on_means,
                K,
                1,
                1,
                COPIES,
                BLOCK_K,
                BLOCK_J,
                SMALL,
            )
            carried = SHARE * tl.sum(found, axis=0)
    store_sums(on_initial + b * ROW, pulled, R, BLOCK_R, COPIES, BLOCK_K)
    store_sums(on_decay + b * ROW, decays[None, :, :], 1, 1, COPIES, BLOCK_K)
    tl.debug_barrier()
    if BLOCK_N >= N:
        add_to_units(on_left, sum_left, 0, N, N, R, BLOCK_R, BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
        add_to_units(on_right, sum_right, 0, N, N, R, BLOCK_R, BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
        add_to_units(on_bias, sum_bias, 0, N, N, 1, 1, BLOCK_N, COPIES, BLOCK_K, OWN, COLUMNS)
    tl.debug_barrier()
    if BLOCK_D >= D and not ADAPTED:
        add_to_units(
            on_weights, sum_weights, 0, D, STRIDE, R, BLOCK_R, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS
        )
        add_to_units(on_readout_bias, sum_offset, 0, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
        if OBSERVATION != "poisson":
            add_to_units(on_inverse_noise, sum_noise, 0, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
        if ONE_TO_ONE:
            add_to_units(on_readout_gain, sum_gain, 0, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
            add_to_units(on_bias, sum_own_bias, 0, D, D, 1, 1, BLOCK_D, COPIES, BLOCK_K, OWN, COLUMNS)
