"""The parts of the optimal proposal that belong to single bins, and their adjoint, compiled for the CPU.

With e = (y − d) where observed, weighted readout W = R⁻¹ C and the tables of a bin's kind, as in `proposals`:

    l = Wᵀ e,   offset g = Σ l,   linear = Aᵀ l,
    constant = −½ (Σ_d e²/n − lᵀ g + Σ_observed log 2 π n + log det M)
"""

from __future__ import annotations

import math

import numpy as np

from nwb_rnn.smc.backends import cpu_products
from nwb_rnn.smc.backends.cpu_steps import allocating_loop


@allocating_loop
def pattern_terms(weights, noise, patterns, precisions, constants):
    """H = Σ_d observed C_dr C_ds / n_d (P, R·R) and Σ_d observed log 2 π n_d (P,); `weights` (R, D) is Cᵀ."""
    rank, units = weights.shape
    for p in range(patterns.shape[0]):
        total = 0.0
        for d in range(units):
            total += patterns[p, d] * math.log(2 * math.pi * noise[d])
        constants[p] = total
        for r in range(rank):
            for s in range(rank):
                total = 0.0
                for d in range(units):
                    total += patterns[p, d] * weights[r, d] * weights[s, d] / noise[d]
                precisions[p, r * rank + s] = total


@allocating_loop
def pull_pattern_terms(
    weights, noise, patterns, on_precisions, on_constants, on_weights, on_inverse, on_noise
):
    """Adjoint of `pattern_terms`; `on_inverse` is the gradient on 1 / noise, `on_noise` on noise itself."""
    rank, units = weights.shape
    for p in range(patterns.shape[0]):
        for d in range(units):
            on_noise[d] += on_constants[p] * patterns[p, d] / noise[d]
        for r in range(rank):
            for s in range(rank):
                on = on_precisions[p, r * rank + s]
                both = on + on_precisions[p, s * rank + r]
                for d in range(units):
                    product = patterns[p, d] * weights[s, d]
                    on_weights[r, d] += both * product / noise[d]
                    on_inverse[d] += on * product * weights[r, d]


@allocating_loop
def _residual(observed, bias, seen, residual):
    for d in range(residual.shape[0]):
        residual[d] = (observed[d] - bias[d]) * seen[d]


@allocating_loop
def bins(
    weighted,
    inverse,
    bias,
    observed,
    patterns,
    pattern,
    constants,
    kind,
    gain,
    covariance,
    log_det,
    linear,
    offset,
    weight_constant,
    weight_linear,
):
    """All bins: `weighted` (R, D) is Wᵀ, `inverse` (D,) is 1 / noise; the last four are written."""
    rank, units = weighted.shape
    residual = np.zeros(units, weighted.dtype)
    for i in range(observed.shape[0]):
        _residual(observed[i], bias, patterns[pattern[i]], residual)
        explained = residual[0] * residual[0] * inverse[0]
        for d in range(1, units):
            explained += residual[d] * residual[d] * inverse[d]
        for r in range(rank):
            total = residual[0] * weighted[r, 0]
            for d in range(1, units):
                total += residual[d] * weighted[r, d]
            linear[i, r] = total
        j = kind[i]
        for r in range(rank):
            moved, slope = 0.0, 0.0
            for s in range(rank):
                moved += covariance[j, r * rank + s] * linear[i, s]
                slope += gain[j, s * rank + r] * linear[i, s]
            offset[i, r], weight_linear[i, r] = moved, slope
            explained -= linear[i, r] * moved
        weight_constant[i] = -(explained + constants[pattern[i]] + log_det[j]) / 2


@allocating_loop
def pull_bins(
    weighted,
    inverse,
    bias,
    observed,
    patterns,
    pattern,
    kind,
    gain,
    covariance,
    linear,
    offset,
    on_offset,
    on_constant,
    on_slope,
    on_weighted,
    on_inverse,
    on_bias,
    on_constants,
    on_gain,
    on_covariance,
    on_log_det,
):
    """Adjoint of `bins`; adds to the last seven. `on_constant` (I,), `on_slope` (I, R) are on its outputs."""
    rank, units = weighted.shape
    residual = np.zeros(units, weighted.dtype)
    on_linear, on_moved = np.zeros(rank, weighted.dtype), np.zeros(rank, weighted.dtype)
    for i in range(observed.shape[0]):
        j, half = kind[i], on_constant[i] / 2
        on_constants[pattern[i]] -= half
        on_log_det[j] -= half
        for r in range(rank):
            on_moved[r] = on_offset[i, r] + half * linear[i, r]
            on_linear[r] = half * offset[i, r]
        for r in range(rank):
            for s in range(rank):
                at = r * rank + s
                on_covariance[j, at] += on_moved[r] * linear[i, s]
                on_gain[j, at] += linear[i, r] * on_slope[i, s]
                on_linear[s] += covariance[j, at] * on_moved[r]
                on_linear[r] += gain[j, at] * on_slope[i, s]
        seen = patterns[pattern[i]]
        _residual(observed[i], bias, seen, residual)
        for d in range(units):
            on_inverse[d] -= half * residual[d] * residual[d]
            on_bias[d] += 2 * half * residual[d] * inverse[d] * seen[d]
        for r in range(rank):
            pull = on_linear[r]
            for d in range(units):
                on_weighted[r, d] += residual[d] * pull
                on_bias[d] -= weighted[r, d] * pull * seen[d]


@allocating_loop
def terms(factor, first, weights, noise, bias, observed, patterns, pattern, kind):
    """All of the optimal proposal; `weights` (R, D) is Cᵀ, `observed` (I, D), `pattern` and `kind` (I,).

    Returns W (R, D), 1 / noise, Cholesky factors and H of each kind (J, R·R), the tables A, L and Σ (J, R·R),
    log det M (J,), and of each bin linear, offset (I, R), constant (I,) and slope (I, R); last H A (J, R·R).
    """
    rank, count, like = weights.shape[0], patterns.shape[0], weights.dtype
    kinds, rows = 2 * count, observed.shape[0]
    precisions, constants = np.empty((kinds, rank**2), like), np.empty(count, like)
    pattern_terms(weights, noise, patterns, precisions, constants)
    factors = np.empty((kinds, rank**2), like)
    for j in range(count):
        precisions[count + j] = precisions[j]
        for r in range(rank):
            for s in range(rank):
                factors[j, r * rank + s] = factor[r, s]
                factors[count + j, r * rank + s] = first[r, s]
    gain, scale = np.empty_like(factors), np.empty_like(factors)
    covariance, whitener = np.empty_like(factors), np.empty_like(factors)
    log_det = np.empty(kinds, like)
    cpu_products.tables(factors, precisions, gain, scale, covariance, whitener, log_det)
    inverse = 1 / noise
    weighted = weights * inverse
    linear, offset, slope = (
        np.empty((rows, rank), like),
        np.empty((rows, rank), like),
        np.empty((rows, rank), like),
    )
    constant = np.empty(rows, like)
    bins(
        weighted,
        inverse,
        bias,
        observed,
        patterns,
        pattern,
        constants,
        kind,
        gain,
        covariance,
        log_det,
        linear,
        offset,
        constant,
        slope,
    )
    quadratic = np.zeros_like(factors)
    for j in range(kinds):
        add_product(precisions[j], gain[j], rank, False, False, quadratic[j])
    return (
        weighted,
        inverse,
        factors,
        precisions,
        gain,
        scale,
        covariance,
        log_det,
        linear,
        offset,
        constant,
        slope,
        quadratic,
    )


@allocating_loop
def pull_terms(
    weights,
    noise,
    bias,
    observed,
    patterns,
    pattern,
    kind,
    found,
    on_gain,
    on_offset,
    on_scale,
    on_constant,
    on_slope,
    on_quadratic,
):
    """Adjoint of `terms`, of which `found` came: gradients on factor, first, Cᵀ, bias and noise."""
    weighted, inverse, factors, precisions, gain, _, covariance, _, linear, offset, _, _, _ = found
    rank, count, like = weights.shape[0], patterns.shape[0], weights.dtype
    on_gain = on_gain.copy()
    for j in range(2 * count):
        add_product(precisions[j], on_quadratic[j], rank, True, False, on_gain[j])
    on_weighted, on_inverse, on_bias = np.zeros_like(weights), np.zeros_like(noise), np.zeros_like(noise)
    on_constants, on_log_det = np.zeros(count, like), np.zeros(2 * count, like)
    on_covariance, nothing = np.zeros_like(factors), np.zeros_like(factors)
    pull_bins(
        weighted,
        inverse,
        bias,
        observed,
        patterns,
        pattern,
        kind,
        gain,
        covariance,
        linear,
        offset,
        on_offset,
        on_constant,
        on_slope,
        on_weighted,
        on_inverse,
        on_bias,
        on_constants,
        on_gain,
        on_covariance,
        on_log_det,
    )
    on_factors, on_precisions = np.empty_like(factors), np.empty_like(factors)
    cpu_products.pull_tables(
        factors,
        precisions,
        on_gain,
        on_scale,
        on_covariance,
        nothing,
        on_log_det,
        on_factors,
        on_precisions,
    )
    for j in range(2 * count):
        add_product(on_quadratic[j], gain[j], rank, False, True, on_precisions[j])
    for j in range(count):
        on_precisions[j] += on_precisions[count + j]
    on_weights, on_noise = on_weighted * inverse, np.zeros_like(noise)
    for r in range(rank):
        on_inverse += on_weighted[r] * weights[r]
    pull_pattern_terms(
        weights, noise, patterns, on_precisions, on_constants, on_weights, on_inverse, on_noise
    )
    on_noise -= on_inverse / noise**2
    on_factor, on_first = np.zeros((rank, rank), like), np.zeros((rank, rank), like)
    for j in range(count):
        for r in range(rank):
            for s in range(rank):
                on_factor[r, s] += on_factors[j, r * rank + s]
                on_first[r, s] += on_factors[count + j, r * rank + s]
    return on_factor, on_first, on_weights, on_bias, on_noise


@allocating_loop
def add_product(one, other, rank, turn_one, turn_other, out):
    """out += one · other, flat matrices (R·R,), each transposed first where it is to be turned."""
    for r in range(rank):
        for s in range(rank):
            total = out[r * rank + s]
            for k in range(rank):
                a = one[k * rank + r] if turn_one else one[r * rank + k]
                total += a * (other[s * rank + k] if turn_other else other[k * rank + s])
            out[r * rank + s] = total
