"""Gaussian products of the proposals for many kinds at once, and their adjoint, compiled for the CPU.

With Q = L Lᵀ, M = I + Lᵀ H L = K Kᵀ and T = K⁻¹, as in `proposals`:

    gain A = L Tᵀ T L⁻¹,   scale S = L Tᵀ,   covariance Σ = S Sᵀ,   log det M = 2 Σ log K_rr

Matrices of W kinds lie side by side as (R, R, W), so that every step is a loop over W numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_steps import OPTIONS

LANES = 16


class Block(NamedTuple):
    """(R, R, W) each: L, H and what the forward pass makes of them."""

    factor: np.ndarray
    precision: np.ndarray
    lower: np.ndarray  # K
    inverse: np.ndarray  # T
    whitener: np.ndarray  # L⁻¹
    scale: np.ndarray  # S
    gain: np.ndarray  # A
    covariance: np.ndarray  # Σ
    work: np.ndarray


@njit(**OPTIONS)
def new_block(rank, like):
    def zeros():
        return np.zeros((rank, rank, LANES), like.dtype)

    return Block(zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros())


@njit(**OPTIONS)
def load(rows, first, out):
    """Matrices first..first + W − 1 of (J, R·R) into (R, R, W); past the end the last one is repeated."""
    rank = out.shape[0]
    for w in range(LANES):
        j = min(first + w, rows.shape[0] - 1)
        for r in range(rank):
            for s in range(rank):
                out[r, s, w] = rows[j, r * rank + s]


@njit(**OPTIONS)
def save(block, first, rows):
    """Adjoint in shape of `load`: (R, R, W) into the rows that exist."""
    rank = block.shape[0]
    for w in range(min(LANES, rows.shape[0] - first)):
        for r in range(rank):
            for s in range(rank):
                rows[first + w, r * rank + s] = block[r, s, w]


@njit(**OPTIONS)
def clear(out):
    for r in range(out.shape[0]):
        for s in range(out.shape[1]):
            for w in range(LANES):
                out[r, s, w] = 0


@intrinsic
def add_dot(typingctx, out, out_at, a, a_at, a_step, b, b_at, b_step, count, factor):
    """out[out_at] += factor · Σ_k a[a_at + k a_step] b[b_at + k b_step], each of W numbers.

    Positions count groups of W numbers of arrays (R, R, W).
    """

    def generate(context, builder, signature, arguments):
        element = context.get_value_type(signature.args[0].dtype)
        vector = ir.VectorType(element, LANES)
        _, out_at, _, a_at, a_step, _, b_at, b_step, count, factor = arguments

        def pointer(position, group):
            array = make_array(signature.args[position])(context, builder, arguments[position])
            offset = builder.mul(group, ir.Constant(group.type, LANES))
            return builder.gep(array.data, [offset], source_etype=element)

        total = cgutils.alloca_once(builder, vector)
        builder.store(ir.Constant(vector, [0.0] * LANES), total)
        with cgutils.for_range(builder, count) as loop:
            left = pointer(2, builder.add(a_at, builder.mul(loop.index, a_step)))
            right = pointer(5, builder.add(b_at, builder.mul(loop.index, b_step)))
            so_far = lanes.Lanes(builder, builder.load(total, typ=vector))
            product = lanes.load(builder, left, vector).times_plus(lanes.load(builder, right, vector), so_far)
            builder.store(product.value, total)
        target = pointer(0, out_at)
        total = lanes.Lanes(builder, builder.load(total, typ=vector))
        scale = lanes.splat(
            builder, context.cast(builder, factor, types.float64, signature.args[0].dtype), vector
        )
        lanes.store(target, total.times_plus(scale, lanes.load(builder, target, vector)))
        return context.get_dummy_value()

    size = types.int64
    return types.void(out, size, a, size, size, b, size, size, size, types.float64), generate


@njit(**OPTIONS)
def add_product(out, a, turn_a, b, turn_b, factor):
    """out += factor · a b, with a and b transposed where told."""
    rank = out.shape[0]
    for r in range(rank):
        left, left_step = (r, rank) if turn_a else (r * rank, 1)
        for s in range(rank):
            right, right_step = (s * rank, 1) if turn_b else (s, rank)
            add_dot(out, r * rank + s, a, left, left_step, b, right, right_step, rank, factor)


@njit(**OPTIONS)
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


@njit(**OPTIONS)
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


@njit(**OPTIONS)
def multiply_out(block):
    """Fill a block from its factor and precision."""
    rank, work = block.factor.shape[0], block.work
    clear(work)
    clear(block.lower)
    add_product(work, block.precision, False, block.factor, False, 1.0)
    matrix = block.covariance
    clear(matrix)
    add_product(matrix, block.factor, True, work, False, 1.0)
    for r in range(rank):
        for w in range(LANES):
            matrix[r, r, w] += 1
    factorise(matrix, block.lower)
    invert(block.lower, block.inverse)
    invert(block.factor, block.whitener)
    clear(block.scale)
    add_product(block.scale, block.factor, False, block.inverse, True, 1.0)
    clear(work)
    add_product(work, block.inverse, False, block.whitener, False, 1.0)
    clear(block.gain)
    add_product(block.gain, block.scale, False, work, False, 1.0)
    clear(block.covariance)
    add_product(block.covariance, block.scale, False, block.scale, True, 1.0)


@njit(**OPTIONS)
def pull_multiply_out(block, on, on_log_det):
    """Adjoint of `multiply_out`. `on` holds the gradients on gain, scale, covariance and whitener.

    Adds those on the factor and the precision to `on`; its other fields are used up. `on_log_det` (W,).
    """
    rank, work = block.factor.shape[0], block.work
    # A = S (T L⁻¹), Σ = S Sᵀ: onto S, T, L⁻¹
    add_product(on.scale, on.covariance, False, block.scale, False, 1.0)
    add_product(on.scale, on.covariance, True, block.scale, False, 1.0)
    clear(work)
    add_product(work, block.inverse, False, block.whitener, False, 1.0)
    add_product(on.scale, on.gain, False, work, True, 1.0)
    clear(work)
    add_product(work, block.scale, True, on.gain, False, 1.0)
    clear(on.inverse)
    add_product(on.inverse, work, False, block.whitener, True, 1.0)
    add_product(on.whitener, block.inverse, True, work, False, 1.0)
    # S = L Tᵀ
    add_product(on.factor, on.scale, False, block.inverse, False, 1.0)
    add_product(on.inverse, on.scale, True, block.factor, False, 1.0)
    # inverses: X = Y⁻¹ gives −Xᵀ X̄ Xᵀ
    clear(work)
    add_product(work, block.whitener, True, on.whitener, False, 1.0)
    add_product(on.factor, work, False, block.whitener, True, -1.0)
    clear(work)
    add_product(work, block.inverse, True, on.inverse, False, 1.0)
    clear(on.lower)
    add_product(on.lower, work, False, block.inverse, True, -1.0)
    for r in range(rank):
        for w in range(LANES):
            on.lower[r, r, w] += 2 * on_log_det[w] / block.lower[r, r, w]
    # Cholesky (Murray 2016): M̄ = ½ Tᵀ (P + Pᵀ) T with P the lower half of Kᵀ K̄
    clear(work)
    add_product(work, block.lower, True, on.lower, False, 1.0)
    for r in range(rank):
        for s in range(r + 1):
            for w in range(LANES):
                half = work[r, s, w] / 2
                work[r, s, w], work[s, r, w] = half, half
    clear(on.work)
    add_product(on.work, block.inverse, True, work, False, 1.0)
    clear(work)
    add_product(work, on.work, False, block.inverse, False, 1.0)
    # M = I + Lᵀ H L; M̄ is symmetric
    clear(on.work)
    add_product(on.work, block.factor, False, work, False, 1.0)
    add_product(on.precision, on.work, False, block.factor, True, 1.0)
    add_product(on.factor, block.precision, False, on.work, False, 1.0)
    add_product(on.factor, block.precision, True, on.work, False, 1.0)


@njit(**OPTIONS)
def tables(factors, precisions, gain, scale, covariance, whitener, log_det):
    """All kinds: (J, R·R) in and out, log_det (J,)."""
    rank = int(np.sqrt(factors.shape[1]))
    block = new_block(rank, factors)
    for first in range(0, factors.shape[0], LANES):
        load(factors, first, block.factor)
        load(precisions, first, block.precision)
        multiply_out(block)
        save(block.gain, first, gain)
        save(block.scale, first, scale)
        save(block.covariance, first, covariance)
        save(block.whitener, first, whitener)
        for w in range(min(LANES, log_det.shape[0] - first)):
            total = np.log(block.lower[0, 0, w])
            for r in range(1, rank):
                total += np.log(block.lower[r, r, w])
            log_det[first + w] = 2 * total


@njit(**OPTIONS)
def pull_tables(
    factors, precisions, on_gain, on_scale, on_covariance, on_whitener, on_log_det, on_factors, on_precisions
):
    """Adjoint of `tables`; gradients on factors are those on their lower triangles."""
    rank = int(np.sqrt(factors.shape[1]))
    block, on = new_block(rank, factors), new_block(rank, factors)
    on_logs = np.zeros(LANES, factors.dtype)
    for first in range(0, factors.shape[0], LANES):
        load(factors, first, block.factor)
        load(precisions, first, block.precision)
        multiply_out(block)
        load(on_gain, first, on.gain)
        load(on_scale, first, on.scale)
        load(on_covariance, first, on.covariance)
        load(on_whitener, first, on.whitener)
        for w in range(LANES):
            on_logs[w] = on_log_det[min(first + w, on_log_det.shape[0] - 1)]
        clear(on.factor)
        clear(on.precision)
        pull_multiply_out(block, on, on_logs)
        for r in range(rank):
            for s in range(r + 1, rank):
                for w in range(LANES):
                    on.factor[r, s, w] = 0
        save(on.factor, first, on_factors)
        save(on.precision, first, on_precisions)
