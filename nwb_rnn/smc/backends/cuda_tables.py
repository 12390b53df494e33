"""Gaussian products of the proposals in Triton: a program for each kind, and one for its adjoint.

With Q = L Lᵀ, M = I + Lᵀ H L = K Kᵀ and T = K⁻¹, as in `proposals`:

    gain A = S T L⁻¹,   scale S = L Tᵀ,   covariance Σ = S Sᵀ,   whitener L⁻¹,   log det M = 2 Σ log K_rr

A program holds its matrices as tiles of BLOCK × BLOCK numbers, a power of two; past the rank they are
identities or zeros.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _product(a, b):
    """a b."""
    return tl.sum(a[:, :, None] * b[None, :, :], axis=1)


@triton.jit
def _product_t(a, b):
    """a bᵀ."""
    return tl.sum(a[:, None, :] * b[None, :, :], axis=2)


@triton.jit
def _t_product(a, b):
    """aᵀ b."""
    return tl.sum(a[:, :, None] * b[:, None, :], axis=0)


@triton.jit
def _column(a, j, BLOCK: tl.constexpr):
    return tl.sum(tl.where((tl.arange(0, BLOCK) == j)[None, :], a, 0.0), axis=1)


@triton.jit
def _row(a, j, BLOCK: tl.constexpr):
    return tl.sum(tl.where((tl.arange(0, BLOCK) == j)[:, None], a, 0.0), axis=0)


@triton.jit
def _root(x):
    """Square root, rounded as a CPU rounds it; in double precision there is no other."""
    if x.dtype == tl.float32:
        found = tl.sqrt_rn(x)
    else:
        found = tl.sqrt(x)
    return found


@triton.jit
def _cholesky(a, R: tl.constexpr, BLOCK: tl.constexpr):
    """Lower factor of a positive definite matrix."""
    i = tl.arange(0, BLOCK)
    factor = a * 0.0 + (i[:, None] == i[None, :]).to(a.dtype)
    for j in range(0, R):
        column = _column(a, j, BLOCK)
        pivot = _root(tl.sum(tl.where(i == j, column, 0.0), axis=0))
        column = tl.where(i >= j, column / pivot, 0.0)
        across = tl.where(i >= j, _row(a, j, BLOCK) / pivot, 0.0)
        a -= column[:, None] * across[None, :]
        column = tl.where(i == j, pivot, column)  # and not its square over itself, which rounds once more
        factor = tl.where((i == j)[None, :], column[:, None], factor)
    return factor


@triton.jit
def _inverse(lower, R: tl.constexpr, BLOCK: tl.constexpr):
    """Inverse of a lower triangular matrix."""
    i = tl.arange(0, BLOCK)
    found = lower * 0.0 + (i[:, None] == i[None, :]).to(lower.dtype)
    for j in range(0, R):
        column = _column(lower, j, BLOCK)
        row = _row(found, j, BLOCK) / tl.sum(tl.where(i == j, column, 0.0), axis=0)
        below = tl.where(i > j, column, 0.0)
        found = tl.where((i == j)[:, None], row[None, :], found - below[:, None] * row[None, :])
    return found


@triton.jit
def _load(matrix, inside, cells, padding):
    return tl.load(matrix + cells, mask=inside, other=0.0) + padding


@triton.jit
def _given(
    factor, first, precision, R: tl.constexpr, PERIOD: tl.constexpr, KINDS: tl.constexpr, BLOCK: tl.constexpr
):
    """L and H of this program's kind, with where they are; see `cuda_terms.Layout`."""
    j = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = (i < R)[:, None] & (i < R)[None, :]
    cells = i[:, None] * R + i[None, :]
    model, own = j // KINDS, j % KINDS
    if PERIOD > 0:  # an encoder's kinds are bins, and every trial's first one starts it
        starts, source = own % PERIOD == 0, j
    else:
        patterns: tl.constexpr = KINDS // 2
        starts, source = own >= patterns, model * patterns + own % patterns
    lower = tl.load(factor + model * R * R + cells, mask=inside, other=0.0)
    lower = tl.where(starts, tl.load(first + model * R * R + cells, mask=inside, other=0.0), lower)
    outside = (i[:, None] == i[None, :]) & (inside == 0)
    lower = tl.where(i[:, None] >= i[None, :], lower, 0.0) + outside.to(lower.dtype)
    return (
        lower,
        tl.load(precision + source * R * R + cells, mask=inside, other=0.0),
        inside,
        cells + j * R * R,
    )


@triton.jit
def _factorised(lower, precision, R: tl.constexpr, BLOCK: tl.constexpr):
    """K, T and L⁻¹."""
    i = tl.arange(0, BLOCK)
    eye = (i[:, None] == i[None, :]).to(lower.dtype)
    root = _cholesky(eye + _product(_t_product(lower, precision), lower), R, BLOCK)
    return root, _inverse(root, R, BLOCK), _inverse(lower, R, BLOCK)


@triton.jit
def tables(
    factor,
    first,
    precision,
    gain,
    scale,
    covariance,
    whitener,
    log_det,
    R: tl.constexpr,
    PERIOD: tl.constexpr,
    KINDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write all of one kind."""
    lower, curvature, inside, cells = _given(factor, first, precision, R, PERIOD, KINDS, BLOCK)
    root, inverse, white = _factorised(lower, curvature, R, BLOCK)
    half = _product_t(lower, inverse)
    tl.store(scale + cells, half, mask=inside)
    tl.store(gain + cells, _product(half, _product(inverse, white)), mask=inside)
    tl.store(covariance + cells, _product_t(half, half), mask=inside)
    tl.store(whitener + cells, white, mask=inside)
    i = tl.arange(0, BLOCK)
    diagonal = tl.sum(tl.where(i[:, None] == i[None, :], root, 0.0), axis=1)
    tl.store(log_det + tl.program_id(0), 2.0 * tl.sum(tl.log(diagonal), axis=0))


@triton.jit
def pull_tables(
    factor,
    first,
    precision,
    on_gain,
    on_scale,
    on_covariance,
    on_whitener,
    on_log_det,
    on_factor,
    on_precision,
    R: tl.constexpr,
    PERIOD: tl.constexpr,
    KINDS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Adjoint of `tables`: the gradients on L (its lower triangle) and H of one kind."""
    lower, curvature, inside, cells = _given(factor, first, precision, R, PERIOD, KINDS, BLOCK)
    root, inverse, white = _factorised(lower, curvature, R, BLOCK)
    half = _product_t(lower, inverse)
    on_moved = _load(on_gain, inside, cells, 0.0)
    on_square = _load(on_covariance, inside, cells, 0.0)
    on_half = _load(on_scale, inside, cells, 0.0)
    on_half += _product(on_square, half) + _t_product(on_square, half)
    on_half += _product_t(on_moved, _product(inverse, white))
    turned = _t_product(half, on_moved)
    on_white = _load(on_whitener, inside, cells, 0.0) + _t_product(inverse, turned)
    on_inverse = _product_t(turned, white) + _t_product(on_half, lower)
    on_lower = _product(on_half, inverse)
    # X = Y⁻¹ gives −Xᵀ X̄ Xᵀ
    on_lower -= _t_product(white, _product_t(on_white, white))
    on_root = -_t_product(inverse, _product_t(on_inverse, inverse))
    i = tl.arange(0, BLOCK)
    diagonal = (i[:, None] == i[None, :]) & inside
    on_log = tl.load(on_log_det + tl.program_id(0))
    on_root += tl.where(diagonal, 2.0 * on_log / tl.where(diagonal, root, 1.0), 0.0)
    # M = K Kᵀ (Murray 2016, section 3.2): the lower triangle of Kᵀ K̄ and its mirror, between T's, halved
    inner = _t_product(root, on_root)
    inner = tl.where(i[:, None] >= i[None, :], inner, 0.0)
    inner += tl.trans(tl.where(i[:, None] > i[None, :], inner, 0.0))
    on_inner = 0.5 * _t_product(inverse, _product(inner, inverse))
    # M = I + Lᵀ H L
    tl.store(on_precision + cells, _product(lower, _product_t(on_inner, lower)), mask=inside)
    both = curvature + tl.trans(curvature)
    on_lower += _product(both, _product(lower, on_inner))
    on_lower = tl.where(i[:, None] >= i[None, :], on_lower, 0.0)
    tl.store(on_factor + cells, on_lower, mask=inside)
