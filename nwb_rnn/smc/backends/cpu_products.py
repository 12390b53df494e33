"""Gaussian products of the proposals for many kinds at once, and their adjoint, compiled for the CPU.

With Q = L Lᵀ, M = I + Lᵀ H L = K Kᵀ and T = K⁻¹, as in `proposals`:

    gain A = L Tᵀ T L⁻¹,   scale S = L Tᵀ,   covariance Σ = S Sᵀ,   log det M = 2 Σ log K_rr

Matrices of W kinds lie side by side as (R, R, W), so that every step is a loop over W numbers.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_steps import allocating_loop

LANES = 16


# matrices of a block (2·9, R, R, W): L, H, what the forward pass makes of them, and the gradients of all
FACTOR, PRECISION, LOWER, INVERSE, WHITENER, SCALE, GAIN, COVARIANCE, WORK = range(9)
ON = 9
_COUNT = 2 * ON

# rows of matrix products: out, a, is a transposed, b, is b transposed, factor, does out start from zero
_INNER = np.array([(WORK, PRECISION, 0, FACTOR, 0, 1, 1), (COVARIANCE, FACTOR, 1, WORK, 0, 1, 1)])
_OUTER = np.array(
    [
        (SCALE, FACTOR, 0, INVERSE, 1, 1, 1),
        (WORK, INVERSE, 0, WHITENER, 0, 1, 1),
        (GAIN, SCALE, 0, WORK, 0, 1, 1),
        (COVARIANCE, SCALE, 0, SCALE, 1, 1, 1),
    ]
)
_PULL_OUTER = np.array(
    [
        # A = S (T L⁻¹), Σ = S Sᵀ: onto S, T, L⁻¹
        (ON + SCALE, ON + COVARIANCE, 0, SCALE, 0, 1, 0),
        (ON + SCALE, ON + COVARIANCE, 1, SCALE, 0, 1, 0),
        (WORK, INVERSE, 0, WHITENER, 0, 1, 1),
        (ON + SCALE, ON + GAIN, 0, WORK, 1, 1, 0),
        (WORK, SCALE, 1, ON + GAIN, 0, 1, 1),
        (ON + INVERSE, WORK, 0, WHITENER, 1, 1, 1),
        (ON + WHITENER, INVERSE, 1, WORK, 0, 1, 0),
        # S = L Tᵀ
        (ON + FACTOR, ON + SCALE, 0, INVERSE, 0, 1, 1),
        (ON + INVERSE, ON + SCALE, 1, FACTOR, 0, 1, 0),
        # inverses: X = Y⁻¹ gives −Xᵀ X̄ Xᵀ
        (WORK, WHITENER, 1, ON + WHITENER, 0, 1, 1),
        (ON + FACTOR, WORK, 0, WHITENER, 1, -1, 0),
        (WORK, INVERSE, 1, ON + INVERSE, 0, 1, 1),
        (ON + LOWER, WORK, 0, INVERSE, 1, -1, 1),
    ]
)
_PULL_FACTORISE = np.array([(WORK, LOWER, 1, ON + LOWER, 0, 1, 1)])
_PULL_INNER = np.array(
    [
        (ON + WORK, INVERSE, 1, WORK, 0, 1, 1),
        (WORK, ON + WORK, 0, INVERSE, 0, 1, 1),
        # M = I + Lᵀ H L; M̄ is symmetric
        (ON + WORK, FACTOR, 0, WORK, 0, 1, 1),
        (ON + PRECISION, ON + WORK, 0, FACTOR, 1, 1, 1),
        (ON + FACTOR, PRECISION, 0, ON + WORK, 0, 1, 0),
        (ON + FACTOR, PRECISION, 1, ON + WORK, 0, 1, 0),
    ]
)


@allocating_loop
def load(rows, first, out):
    """Matrices first..first + W − 1 of (J, R·R) into (R, R, W); past the end the last one is repeated."""
    rank = out.shape[0]
    for w in range(LANES):
        j = min(first + w, rows.shape[0] - 1)
        for r in range(rank):
            for s in range(rank):
                out[r, s, w] = rows[j, r * rank + s]


@allocating_loop
def save(matrix, first, rows):
    """(R, R, W) into those rows of (J, R·R) that exist."""
    rank = matrix.shape[0]
    for w in range(min(LANES, rows.shape[0] - first)):
        for r in range(rank):
            for s in range(rank):
                rows[first + w, r * rank + s] = matrix[r, s, w]


@intrinsic
def add_dot(typingctx, block, out_at, a_at, a_step, b_at, b_step, count, factor):
    """block[out_at] += factor · Σ_k block[a_at + k a_step] block[b_at + k b_step], each of W numbers.

    Positions count groups of W numbers.
    """

    def generate(context, builder, signature, arguments):
        kind = signature.args[0]
        element = context.get_value_type(kind.dtype)
        vector = ir.VectorType(element, LANES)
        _, out_at, a_at, a_step, b_at, b_step, count, factor = arguments
        data = make_array(kind)(context, builder, arguments[0]).data

        def pointer(group):
            offset = builder.mul(group, ir.Constant(group.type, LANES))
            return builder.gep(data, [offset], source_etype=element)

        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * LANES), total)
        with cgutils.for_range(builder, count) as loop:
            left = pointer(builder.add(a_at, builder.mul(loop.index, a_step)))
            right = pointer(builder.add(b_at, builder.mul(loop.index, b_step)))
            so_far = lanes.Lanes(builder, builder.load(total, typ=vector))
            product = lanes.load(builder, left, vector).times_plus(lanes.load(builder, right, vector), so_far)
            builder.store(product.value, total)
        target = pointer(out_at)
        total = lanes.Lanes(builder, builder.load(total, typ=vector))
        scale = lanes.splat(builder, context.cast(builder, factor, types.int64, kind.dtype), vector)
        lanes.store(target, total.times_plus(scale, lanes.load(builder, target, vector)))
        return context.get_dummy_value()

    return types.void(block, *[types.int64] * 7), generate


@allocating_loop
def multiply(block, products):
    """Carry out rows of matrix products: out (+)= factor · a b."""
    rank = block.shape[1]
    size = rank * rank
    for i in range(products.shape[0]):
        out, a, turn_a, b, turn_b, factor, fresh = products[i]
        if fresh:
            for r in range(rank):
                for s in range(rank):
                    for w in range(LANES):
                        block[out, r, s, w] = 0
        for r in range(rank):
            left, left_step = (r, rank) if turn_a else (r * rank, 1)
            for s in range(rank):
                right, right_step = (s * rank, 1) if turn_b else (s, rank)
                add_dot(
                    block,
                    out * size + r * rank + s,
                    a * size + left,
                    left_step,
                    b * size + right,
                    right_step,
                    rank,
                    factor,
                )


@allocating_loop
def factorise(matrix, lower):
    """Cholesky factor; only the lower triangle of `matrix` is read, and the upper one of `lower` is left."""
    rank = lower.shape[0]
    for s in range(rank):
        for r in range(s, rank):
            for w in range(LANES):
                lower[r, s, w] = matrix[r, s, w]
            for k in range(s):
                for w in range(LANES):
                    lower[r, s, w] -= lower[r, k, w] * lower[s, k, w]
            for w in range(LANES):
                if r == s:
                    lower[r, s, w] = np.sqrt(lower[r, s, w])
                else:
                    lower[r, s, w] /= lower[s, s, w]


@allocating_loop
def invert(lower, out):
    """Inverse of a lower triangular matrix; the upper triangles are neither read nor written."""
    rank = lower.shape[0]
    for s in range(rank):
        for r in range(s, rank):
            for w in range(LANES):
                out[r, s, w] = 1.0 if r == s else 0.0
            for k in range(s, r):
                for w in range(LANES):
                    out[r, s, w] -= lower[r, k, w] * out[k, s, w]
            for w in range(LANES):
                out[r, s, w] /= lower[r, r, w]


@allocating_loop
def multiply_out(block):
    """Fill a block from its factor and precision."""
    multiply(block, _INNER)
    for r in range(block.shape[1]):
        for w in range(LANES):
            block[COVARIANCE, r, r, w] += 1
    factorise(block[COVARIANCE], block[LOWER])
    invert(block[LOWER], block[INVERSE])
    invert(block[FACTOR], block[WHITENER])
    multiply(block, _OUTER)


@allocating_loop
def pull_multiply_out(block, on_log_det):
    """Adjoint of `multiply_out`, from the gradients on gain, scale, covariance, whitener and log det (W,).

    Those on the factor and the precision are written; the others are used up.
    """
    rank = block.shape[1]
    multiply(block, _PULL_OUTER)
    for r in range(rank):
        for w in range(LANES):
            block[ON + LOWER, r, r, w] += 2 * on_log_det[w] / block[LOWER, r, r, w]
    # Cholesky (Murray 2016): M̄ = ½ Tᵀ (P + Pᵀ) T with P the lower half of Kᵀ K̄
    multiply(block, _PULL_FACTORISE)
    for r in range(rank):
        for s in range(r + 1):
            for w in range(LANES):
                half = block[WORK, r, s, w] / 2
                block[WORK, r, s, w], block[WORK, s, r, w] = half, half
    multiply(block, _PULL_INNER)


@allocating_loop
def tables(factors, precisions, gain, scale, covariance, whitener, log_det):
    """All kinds: (J, R·R) in and out, log_det (J,)."""
    rank = int(np.sqrt(factors.shape[1]))
    block = np.zeros((_COUNT, rank, rank, LANES), factors.dtype)
    for first in range(0, factors.shape[0], LANES):
        load(factors, first, block[FACTOR])
        load(precisions, first, block[PRECISION])
        multiply_out(block)
        save(block[GAIN], first, gain)
        save(block[SCALE], first, scale)
        save(block[COVARIANCE], first, covariance)
        save(block[WHITENER], first, whitener)
        for w in range(min(LANES, log_det.shape[0] - first)):
            total = np.log(block[LOWER][0, 0, w])
            for r in range(1, rank):
                total += np.log(block[LOWER][r, r, w])
            log_det[first + w] = 2 * total


@allocating_loop
def pull_tables(
    factors, precisions, on_gain, on_scale, on_covariance, on_whitener, on_log_det, on_factors, on_precisions
):
    """Adjoint of `tables`; gradients on factors are those on their lower triangles."""
    rank = int(np.sqrt(factors.shape[1]))
    block = np.zeros((_COUNT, rank, rank, LANES), factors.dtype)
    on_logs = np.zeros(LANES, factors.dtype)
    for first in range(0, factors.shape[0], LANES):
        load(factors, first, block[FACTOR])
        load(precisions, first, block[PRECISION])
        multiply_out(block)
        load(on_gain, first, block[ON + GAIN])
        load(on_scale, first, block[ON + SCALE])
        load(on_covariance, first, block[ON + COVARIANCE])
        load(on_whitener, first, block[ON + WHITENER])
        for w in range(LANES):
            on_logs[w] = on_log_det[min(first + w, on_log_det.shape[0] - 1)]
        pull_multiply_out(block, on_logs)
        for r in range(rank):
            for s in range(r + 1, rank):
                for w in range(LANES):
                    block[ON + FACTOR, r, s, w] = 0
        save(block[ON + FACTOR], first, on_factors)
        save(block[ON + PRECISION], first, on_precisions)
