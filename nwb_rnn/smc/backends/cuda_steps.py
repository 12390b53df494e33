"""Pieces of the Triton kernels: the network, the likelihood, resampling, and sums over children.

One program holds the K particles of a trial as vectors of BLOCK_K (a power of two; `valid` marks the real
ones). What one thread computes and another needs goes through global memory with a barrier between. All
arrays are contiguous; a particle array holds R numbers a particle.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nwb_rnn.models.observations import SMALLEST_RATE

_SMALLEST_RATE = tl.constexpr(SMALLEST_RATE)


@triton.jit
def positive(x):
    """max(x, 0); NaN stays NaN."""
    return tl.where(x < 0, 0.0, x)


@triton.jit
def softplus(x):
    """log(1 + exp x), accurate where it is small, and its derivative."""
    u = tl.exp(-tl.abs(x))
    w = 1.0 + u
    log_w = tl.where(w == 1.0, u, tl.log(w) * u / tl.where(w == 1.0, 1.0, w - 1.0))
    return positive(x) + log_w, tl.where(x > 0, 1.0, u) / w


@triton.jit
def rate(x, h, ACTIVATION: tl.constexpr):
    """φ(x; h) and its derivatives by x and h."""
    if ACTIVATION == "clipped_relu":
        above = (x + h > 0).to(x.dtype)
        return positive(x + h) - positive(x), above - (x > 0).to(x.dtype), above
    x = x - h
    if ACTIVATION == "relu":
        slope = (x > 0).to(x.dtype)
        return positive(x), slope, -slope
    if ACTIVATION == "tanh":
        e = tl.exp(-2.0 * tl.abs(x))
        value = (1.0 - e) / (1.0 + e)
        value = tl.where(x < 0, -value, value)
        slope = 1.0 - value * value
        return value, slope, -slope
    if ACTIVATION == "softplus":
        value, slope = softplus(x)
        return value, slope, -slope
    ones = x * 0.0 + 1.0
    return x, ones, -ones


@triton.jit
def currents(
    latents,
    index,
    valid,
    left,
    base,
    n,
    real,
    STRIDE: tl.constexpr,
    R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """x = M z + base for one tile of units, (BLOCK_K, BLOCK_N); `index` says which particles."""
    x = tl.zeros([BLOCK_K, BLOCK_N], left.dtype.element_ty)
    if HAS_BASE:
        x += tl.load(base + n, mask=real, other=0.0)[None, :]
    for r in tl.static_range(R):
        z = tl.load(latents + index * R + r, mask=valid, other=0.0)
        m = tl.load(left + r * STRIDE + n, mask=real, other=0.0)
        x += z[:, None] * m[None, :]
    return x


@triton.jit
def transition(
    latents,
    index,
    valid,
    means,
    left,
    right,
    bias,
    base,
    decay,
    N: tl.constexpr,
    R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """means[k] = a z + V φ(M z + base; h) with z = latents[index[k]]."""
    k, rr = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_R)
    inside = valid[:, None] & (rr < R)[None, :]
    total = tl.load(decay) * tl.load(latents + index[:, None] * R + rr[None, :], mask=inside, other=0.0)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        real = n < N
        x = currents(latents, index, valid, left, base, n, real, N, R, BLOCK_K, BLOCK_N, HAS_BASE)
        value, _, _ = rate(x, tl.load(bias + n, mask=real, other=0.0)[None, :], ACTIVATION)
        for r in tl.static_range(R):
            v = tl.load(right + r * N + n, mask=real, other=0.0)
            total += tl.where((rr == r)[None, :], tl.sum(value * v[None, :], axis=1)[:, None], 0.0)
    tl.store(means + k[:, None] * R + rr[None, :], total, mask=inside)


@triton.jit
def pull_transition(
    latents,
    index,
    valid,
    on_means,
    on_latents,
    left,
    right,
    bias,
    base,
    decay,
    on_left,
    on_right,
    on_bias,
    on_base,
    N: tl.constexpr,
    R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    ACTIVATION: tl.constexpr,
    HAS_BASE: tl.constexpr,
):
    """Adjoint of `transition`: writes on_latents[k] and on_base, adds to the weights'; returns on decay."""
    k, rr = tl.arange(0, BLOCK_K), tl.arange(0, BLOCK_R)
    inside = valid[:, None] & (rr < R)[None, :]
    z = tl.load(latents + index[:, None] * R + rr[None, :], mask=inside, other=0.0)
    g = tl.load(on_means + k[:, None] * R + rr[None, :], mask=inside, other=0.0)
    total = tl.load(decay) * g
    on_decay = tl.sum(tl.sum(g * z, axis=1), axis=0)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        real = n < N
        x = currents(latents, index, valid, left, base, n, real, N, R, BLOCK_K, BLOCK_N, HAS_BASE)
        value, slope, slope_h = rate(x, tl.load(bias + n, mask=real, other=0.0)[None, :], ACTIVATION)
        on_rate = tl.zeros([BLOCK_K, BLOCK_N], left.dtype.element_ty)
        for r in tl.static_range(R):
            on_mean = tl.load(on_means + k * R + r, mask=valid, other=0.0)
            v = tl.load(right + r * N + n, mask=real, other=0.0)
            on_rate += on_mean[:, None] * v[None, :]
            add(on_right + r * N + n, real, tl.sum(value * on_mean[:, None], axis=0))
        on_x = on_rate * slope
        for r in tl.static_range(R):
            z_r = tl.load(latents + index * R + r, mask=valid, other=0.0)
            m = tl.load(left + r * N + n, mask=real, other=0.0)
            total += tl.where((rr == r)[None, :], tl.sum(on_x * m[None, :], axis=1)[:, None], 0.0)
            add(on_left + r * N + n, real, tl.sum(on_x * z_r[:, None], axis=0))
        add(on_bias + n, real, tl.sum(on_rate * slope_h, axis=0))
        if HAS_BASE:
            tl.store(on_base + n, tl.sum(on_x, axis=0), mask=real)
    tl.store(on_latents + k[:, None] * R + rr[None, :], total, mask=inside)
    return on_decay


@triton.jit
def add(pointer, mask, value):
    """Add to numbers that no other thread touches before the next barrier."""
    tl.store(pointer, tl.load(pointer, mask=mask, other=0.0) + value, mask=mask)


@triton.jit
def log_likelihood(y, predictor, spread, OBSERVATION: tl.constexpr, LINK: tl.constexpr):
    """log p(y | η) without terms of y or the spread alone, and its derivatives by η and by the spread.

    The spread is 1 / variance (Gaussian) or the dispersion (negative binomial); Poisson has none.
    """
    if OBSERVATION == "gaussian":
        residual = y - predictor
        half = -0.5 * residual * residual
        return half * spread, residual * spread, half
    if OBSERVATION == "negative_binomial":
        log_mean, by_eta = predictor, 1.0
        if LINK != "exp":
            expected, slope = softplus(predictor)
            expected += _SMALLEST_RATE
            log_mean, by_eta = tl.log(expected), slope / expected
        excess, share = softplus(log_mean - tl.log(spread))  # log(1 + μ / k), μ / (μ + k)
        total = (y + spread) * share
        return y * log_mean - (y + spread) * excess, (y - total) * by_eta, total / spread - excess
    if LINK == "exp":
        expected = tl.exp(predictor)
        return y * predictor - expected, y - expected, expected
    expected, slope = softplus(predictor)
    expected += _SMALLEST_RATE
    return y * tl.log(expected) - expected, (y / expected - 1.0) * slope, expected


@triton.jit
def log_mean_weight(log_weights):
    """The log of the sum of the weights."""
    highest = tl.max(log_weights, axis=0)
    return highest + tl.log(tl.sum(tl.exp(log_weights - highest), axis=0))


@triton.jit
def draw_ancestors(
    log_weights,
    uniforms,
    cumulative,
    valid,
    K: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STEPS: tl.constexpr,
    RESAMPLING: tl.constexpr,
):
    """As `resampling.ancestors`, for one trial; by bisection among the cumulative weights."""
    k = tl.arange(0, BLOCK_K)
    if RESAMPLING == "none":
        return k
    weights = tl.exp(log_weights - tl.max(log_weights, axis=0))
    weights = tl.where(valid, weights, 0.0)
    total = tl.cumsum(weights, axis=0)
    tl.store(cumulative + k, total, mask=valid)
    tl.debug_barrier()
    last = tl.load(cumulative + K - 1)
    if RESAMPLING == "systematic":
        position = (k + tl.load(uniforms)) / K * last
    else:
        position = tl.load(uniforms + k, mask=valid, other=0.0) * last
    low, high = tl.zeros([BLOCK_K], tl.int32), tl.full([BLOCK_K], K - 1, tl.int32)
    for _ in tl.static_range(STEPS):
        middle = (low + high) // 2
        above = tl.load(cumulative + middle) <= position
        searching = low < high
        low, high = (
            tl.where(searching & above, middle + 1, low),
            tl.where(searching & (above == 0), middle, high),
        )
    return low


@triton.jit
def gather_children(
    ancestors,
    of_children,
    of_parents,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    """of_parents[j] = Σ of_children[k] over the k with ancestors[k] = j, always in the same order.

    It compares every pair of particles: quadratic in K, which is at most 1024, but without atomics.
    """
    k = tl.arange(0, BLOCK_K)
    parent = tl.load(ancestors + k, mask=k < K, other=-1).to(tl.int32)
    for start in range(0, K, BLOCK_J):
        j = start + tl.arange(0, BLOCK_J)
        mine = parent[None, :] == j[:, None]
        for r in tl.static_range(R):
            g = tl.load(of_children + k * R + r, mask=k < K, other=0.0)
            tl.store(of_parents + j * R + r, tl.sum(tl.where(mine, g[None, :], 0.0), axis=1), mask=j < K)
