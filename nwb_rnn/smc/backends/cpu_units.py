"""The network term of the CPU backend: V φ(M z + base; h) and its adjoint, unit by unit in SIMD.

`left`, `right` (R, N') are M and V with units last; `base`, `bias` (N',) are the currents from inputs
and h. `latents`, `means` and their gradients are flat particle arrays; the block starts at number `first`.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_blocks import Block, combine


def rate(activation: str, x: lanes.Lanes, bias: lanes.Lanes) -> lanes.Lanes:
    """φ(x; h)"""
    return rate_and_pullback(activation, x, bias)[0]


def rate_and_pullback(activation: str, x: lanes.Lanes, bias: lanes.Lanes):
    """φ(x; h), and the function that maps a gradient on φ to one on x and one on h (None if minus that)."""
    if activation == "clipped_relu":
        above, inner = (x + bias).exceeds(0), x.exceeds(0)

        def pullback(gradient):
            on_bias = gradient.choose(above, 0)
            return on_bias - gradient.choose(inner, 0), on_bias

        return (x + bias).at_least(0) - x.at_least(0), pullback
    x = x - bias
    if activation == "relu":
        positive = x.exceeds(0)
        return x.at_least(0), lambda gradient: (gradient.choose(positive, 0), None)
    if activation == "tanh":
        r = lanes.tanh(x)
        return r, lambda gradient: (gradient * (1 - r * r), None)
    if activation == "softplus":
        r, slope = lanes.softplus(x)
        return r, lambda gradient: (gradient * slope, None)
    return x, lambda gradient: (gradient, None)


@intrinsic
def advance(typingctx, spec, left, right, base, bias, latents, first, means):
    """means = V φ(M z + base; h) for one block of particles."""

    def generate(context, builder, signature, arguments):
        block = Block(context, builder, signature, arguments, "spec left right base bias latents first means")
        rank = block.rank
        pointers = [*block.rows("left"), *block.rows("right"), block.pointer("base"), block.pointer("bias")]
        z = block.latents("latents", "first")
        sums = block.accumulators(block.particles * rank)
        with block.loop("left") as (n, _):
            *weights, current, h = (block.load(pointer, n) for pointer in pointers)
            for p in range(block.particles):
                r = rate(block.spec.activation, combine(current, z[p], weights[:rank]), h)
                for k in range(rank):
                    block.add(sums[p * rank + k], r, weights[rank + k])
        block.write_sums("means", "first", sums)
        return context.get_dummy_value()

    return types.void(spec, left, right, base, bias, latents, types.int64, means), generate


@intrinsic
def retreat(
    typingctx,
    spec,
    left,
    right,
    base,
    bias,
    latents,
    first,
    on_means,
    on_latents,
    on_left,
    on_right,
    on_base,
    on_bias,
):
    """Adjoint of `advance`: writes `on_latents`, adds to the gradients of the weights.

    `on_bias` gets only what is not minus `on_base`, that is, clipped_relu's.
    """

    def generate(context, builder, signature, arguments):
        names = "spec left right base bias latents first on_means on_latents on_left on_right on_base on_bias"
        block = Block(context, builder, signature, arguments, names)
        rank, activation = block.rank, block.spec.activation
        pointers = [*block.rows("left"), *block.rows("right"), block.pointer("base"), block.pointer("bias")]
        targets = [*block.rows("on_left"), *block.rows("on_right"), block.pointer("on_base")]
        if activation == "clipped_relu":
            targets.append(block.pointer("on_bias"))
        z, g = block.latents("latents", "first"), block.latents("on_means", "first")
        sums = block.accumulators(block.particles * rank)
        with block.loop("left") as (n, _):
            *weights, current, h = (block.load(pointer, n) for pointer in pointers)
            m, v = weights[:rank], weights[rank:]
            totals = [block.load(pointer, n) for pointer in targets]
            for p in range(block.particles):
                r, pullback = rate_and_pullback(activation, combine(current, z[p], m), h)
                on_current, on_h = pullback(combine(g[p][0] * v[0], g[p][1:], v[1:]))
                for k in range(rank):
                    block.add(sums[p * rank + k], on_current, m[k])
                    totals[k] = on_current.times_plus(z[p][k], totals[k])
                    totals[rank + k] = r.times_plus(g[p][k], totals[rank + k])
                totals[2 * rank] = totals[2 * rank] + on_current
                if on_h is not None:
                    totals[2 * rank + 1] = totals[2 * rank + 1] + on_h
            for pointer, total in zip(targets, totals, strict=True):
                block.store(pointer, n, total)
        block.write_sums("on_latents", "first", sums)
        return context.get_dummy_value()

    arrays = (on_means, on_latents, on_left, on_right, on_base, on_bias)
    return types.void(spec, left, right, base, bias, latents, types.int64, *arrays), generate
