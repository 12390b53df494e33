"""The parts of the optimal proposal that belong to single bins, in Triton: a program for each trial.

With e = (y − d) where observed, weighted readout W = R⁻¹ C and the tables of a bin's kind, as in `proposals`:

    l = Wᵀ e,   offset g = Σ l,   linear = Aᵀ l,
    constant = −½ (Σ_d e²/n − lᵀ g + Σ_observed log 2 π n + log det M)
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _residual(observed, bias, patterns, t, d, row, some, D: tl.constexpr):
    """e of some bins and units, and what is observed of them; `row` is the pattern of each bin."""
    inside = some[:, None] & (d < D)[None, :]
    seen = tl.load(patterns + row[:, None] * D + d[None, :], mask=inside, other=0.0)
    y = tl.load(observed + t[:, None] * D + d[None, :], mask=inside, other=0.0)
    return (y - tl.load(bias + d, mask=d < D, other=0.0)[None, :]) * seen, seen


@triton.jit
def bins(
    weighted,
    inverse,
    bias,
    gain,
    covariance,
    log_det,
    constants,
    observed,
    patterns,
    pattern,
    kind,
    products,
    offset,
    constant,
    linear,
    TRIALS: tl.constexpr,
    T: tl.constexpr,
    R: tl.constexpr,
    D: tl.constexpr,
    PATTERNS: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Write l (`products`), offset, constant and linear of every bin."""
    b = tl.program_id(0).to(tl.int64)
    m = b // TRIALS
    rr = tl.arange(0, BLOCK_R)
    for start in range(0, T, BLOCK_T):
        t = start + tl.arange(0, BLOCK_T)
        some = t < T
        at = b * T + t
        row = m * PATTERNS + tl.load(pattern + at, mask=some, other=0)
        own = tl.zeros([BLOCK_T, BLOCK_R], weighted.dtype.element_ty)
        explained = tl.zeros([BLOCK_T], weighted.dtype.element_ty)
        for first in range(0, D, BLOCK_D):
            d = first + tl.arange(0, BLOCK_D)
            real = d < D
            e, _ = _residual(observed, bias + m * D, patterns, at, d, row, some, D)
            explained += tl.sum(e * e * tl.load(inverse + m * D + d, mask=real, other=0.0)[None, :], axis=1)
            for r in tl.static_range(R):
                w = tl.load(weighted + (m * R + r) * D + d, mask=real, other=0.0)
                own += tl.where((rr == r)[None, :], tl.sum(e * w[None, :], axis=1)[:, None], 0.0)
        j = tl.load(kind + at, mask=some, other=0)
        inside = some[:, None] & (rr < R)[None, :]
        square = some[:, None, None] & (rr < R)[None, :, None] & (rr < R)[None, None, :]
        cells = j[:, None, None] * R * R + rr[None, :, None] * R + rr[None, None, :]
        spread = tl.load(covariance + cells, mask=square, other=0.0)
        moved = tl.sum(spread * own[:, :, None], axis=1)  # Σ is symmetric
        slope = tl.sum(tl.load(gain + cells, mask=square, other=0.0) * own[:, :, None], axis=1)
        explained -= tl.sum(own * moved, axis=1)
        explained += tl.load(constants + row, mask=some, other=0.0) + tl.load(
            log_det + j, mask=some, other=0.0
        )
        here = at[:, None] * R + rr[None, :]
        tl.store(products + here, own, mask=inside)
        tl.store(offset + here, moved, mask=inside)
        tl.store(linear + here, slope, mask=inside)
        tl.store(constant + at, -0.5 * explained, mask=some)


@triton.jit
def pull_bins(
    weighted,
    inverse,
    bias,
    gain,
    covariance,
    observed,
    patterns,
    pattern,
    kind,
    products,
    offset,
    on_offset,
    on_constant,
    on_linear,
    on_tables,
    on_weighted,
    on_inverse,
    on_bias,
    TRIALS: tl.constexpr,
    T: tl.constexpr,
    R: tl.constexpr,
    D: tl.constexpr,
    PATTERNS: tl.constexpr,
    ROW: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Adjoint of `bins`.

    Each bin gets a row of 2 R² + 1 numbers, the gradients on the gain, the covariance and the constants of
    its kind; each trial a row of ROW numbers with those on what trials share.
    """
    b = tl.program_id(0).to(tl.int64)
    m = b // TRIALS
    rr = tl.arange(0, BLOCK_R)
    width: tl.constexpr = 2 * R * R + 1
    for first in range(0, D, BLOCK_D):
        d = first + tl.arange(0, BLOCK_D)
        real = d < D
        precision = tl.load(inverse + m * D + d, mask=real, other=0.0)
        sum_bias = tl.zeros([BLOCK_D], weighted.dtype.element_ty)
        sum_inverse = tl.zeros([BLOCK_D], weighted.dtype.element_ty)
        sum_weighted = tl.zeros([BLOCK_R, BLOCK_D], weighted.dtype.element_ty)
        for start in range(0, T, BLOCK_T):
            t = start + tl.arange(0, BLOCK_T)
            some = t < T
            at = b * T + t
            row = m * PATTERNS + tl.load(pattern + at, mask=some, other=0)
            j = tl.load(kind + at, mask=some, other=0)
            inside = some[:, None] & (rr < R)[None, :]
            square = some[:, None, None] & (rr < R)[None, :, None] & (rr < R)[None, None, :]
            cells = j[:, None, None] * R * R + rr[None, :, None] * R + rr[None, None, :]
            here = at[:, None] * R + rr[None, :]
            own = tl.load(products + here, mask=inside, other=0.0)
            half = 0.5 * tl.load(on_constant + at, mask=some, other=0.0)
            on_moved = tl.load(on_offset + here, mask=inside, other=0.0) + half[:, None] * own
            on_slope = tl.load(on_linear + here, mask=inside, other=0.0)
            on_own = half[:, None] * tl.load(offset + here, mask=inside, other=0.0)
            spread = tl.load(covariance + cells, mask=square, other=0.0)
            moves = tl.load(gain + cells, mask=square, other=0.0)
            on_own += tl.sum(spread * on_moved[:, None, :] + moves * on_slope[:, None, :], axis=2)
            if first == 0:
                out = at[:, None, None] * width + rr[None, :, None] * R + rr[None, None, :]
                tl.store(on_tables + out, own[:, :, None] * on_slope[:, None, :], mask=square)
                tl.store(on_tables + R * R + out, on_moved[:, :, None] * own[:, None, :], mask=square)
                tl.store(on_tables + at * width + 2 * R * R, -half, mask=some)
            e, seen = _residual(observed, bias + m * D, patterns, at, d, row, some, D)
            on_e = -2.0 * half[:, None] * e * precision[None, :]
            sum_inverse -= tl.sum(half[:, None] * e * e, axis=0)
            for r in tl.static_range(R):
                on_r = tl.sum(tl.where((rr == r)[None, :], on_own, 0.0), axis=1)
                w = tl.load(weighted + (m * R + r) * D + d, mask=real, other=0.0)
                on_e += on_r[:, None] * w[None, :]
                added = tl.sum(on_r[:, None] * e, axis=0)
                sum_weighted += tl.where((rr == r)[:, None], added[None, :], 0.0)
            sum_bias -= tl.sum(on_e * seen, axis=0)
        tl.store(on_bias + b * ROW + d, sum_bias, mask=real)
        tl.store(on_inverse + b * ROW + d, sum_inverse, mask=real)
        both = (rr < R)[:, None] & real[None, :]
        tl.store(on_weighted + b * ROW + rr[:, None] * D + d[None, :], sum_weighted, mask=both)
