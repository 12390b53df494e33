"""`linear_gaussian.smooth_information` as one compiled loop: with matrices so small, calls cost most.

Products and solutions of (R, R) matrices are plain loops over float64 numbers.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def smooth_trials(
    transition,
    noise,
    first_mean,
    first_covariance,
    precision,
    linear,
    mean,
    covariance,
    lagged,
    log_likelihood,
):
    """Fill mean (B, T, R), covariance (B, T, R, R), lagged (B, T − 1, R, R) and log_likelihood (B,).

    transition, noise, first_mean and first_covariance are A, Q, m_0 and Q_0; precision and linear J
    (B, T, R, R) and h (B, T, R).
    """
    batch, bins, rank = linear.shape
    ahead_mean, ahead_covariance = np.empty((bins, rank)), np.empty((bins, rank, rank))
    m, known, innovation = np.empty(rank), np.empty(rank), np.empty(rank)
    one, two = np.empty((rank, rank)), np.empty((rank, rank))
    for b in range(batch):
        total = 0.0
        for t in range(bins):
            s = ahead_covariance[t]
            if t == 0:
                m[:] = first_mean
                s[:] = first_covariance
            else:
                _apply(transition, mean[b, t - 1], m)
                _multiply(transition, covariance[b, t - 1], one)
                _multiply_transposed(one, transition, s)
                s += noise
            ahead_mean[t] = m
            _multiply(s, precision[b, t], one)
            for r in range(rank):
                one[r, r] += 1.0
            covariance[b, t] = s
            total -= 0.5 * _solve(one, covariance[b, t])  # (1 + S J)⁻¹ S
            _apply(precision[b, t], m, known)
            for r in range(rank):
                innovation[r] = linear[b, t, r] - known[r]
            _apply(covariance[b, t], innovation, mean[b, t])
            for r in range(rank):
                total += linear[b, t, r] * m[r]
                total += 0.5 * (innovation[r] * mean[b, t, r] - m[r] * known[r])
                mean[b, t, r] += m[r]
        log_likelihood[b] = total
        for t in range(bins - 2, -1, -1):
            _multiply(transition, covariance[b, t], two)
            one[:] = ahead_covariance[t + 1]
            _solve(one, two)  # two: the transpose of the gain
            for r in range(rank):
                for k in range(rank):
                    mean[b, t, r] += two[k, r] * (mean[b, t + 1, k] - ahead_mean[t + 1, k])
            _multiply(covariance[b, t + 1], two, lagged[b, t])
            for r in range(rank):
                for k in range(rank):
                    known[k] = 0.0
                    for i in range(rank):
                        known[k] += two[i, r] * (covariance[b, t + 1, i, k] - ahead_covariance[t + 1, i, k])
                for j in range(rank):
                    for k in range(rank):
                        covariance[b, t, r, j] += known[k] * two[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _apply(matrix, vector, out):
    for r in range(len(out)):
        out[r] = 0.0
        for k in range(len(vector)):
            out[r] += matrix[r, k] * vector[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply(a, b, out):
    for r in range(len(a)):
        out[r] = 0.0
        for k in range(len(b)):
            for j in range(b.shape[1]):
                out[r, j] += a[r, k] * b[k, j]


@njit(cache=True, nogil=True, error_model="numpy")
def _multiply_transposed(a, b, out):
    for r in range(len(a)):
        for j in range(len(b)):
            total = 0.0
            for k in range(a.shape[1]):
                total += a[r, k] * b[j, k]
            out[r, j] = total


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(a, b):
    """Overwrite b with a⁻¹ b, and a; returns log |det a|. Gauss–Jordan with row pivots."""
    rank, size = len(a), 0.0
    for p in range(rank):
        best = p
        for r in range(p + 1, rank):
            if abs(a[r, p]) > abs(a[best, p]):
                best = r
        if best != p:
            for k in range(rank):
                a[p, k], a[best, k] = a[best, k], a[p, k]
                b[p, k], b[best, k] = b[best, k], b[p, k]
        size += np.log(abs(a[p, p]))
        for k in range(p + 1, rank):
            a[p, k] /= a[p, p]
        for k in range(rank):
            b[p, k] /= a[p, p]
        for r in range(rank):
            if r != p:
                factor = a[r, p]
                for k in range(p + 1, rank):
                    a[r, k] -= factor * a[p, k]
                for k in range(rank):
                    b[r, k] -= factor * b[p, k]
    return size
