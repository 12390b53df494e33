"""The network term of the CPU backend: V φ(M z + base; h) and its adjoint, unit by unit in SIMD.

Rows of the network's pack and of its gradients: M (R rows), V (R rows), h, base, where base is the current
from inputs, the same for all particles of a trial and bin.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_blocks import Kernel, Pack, Scratch, Totals, combine


def rows(rank: int) -> int:
    """Rows of the pack."""
    return 2 * rank + 2


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
        r, over, under = lanes.softplus(x)
        return r, lambda gradient: (gradient * over / under, None)
    return x, lambda gradient: (gradient, None)


@intrinsic
def advance(typingctx, spec, pack, vectors, latents, means, particles, stride):
    """means = V φ(M z + base; h), for whole blocks of particles."""

    def generate(context, builder, signature, arguments):
        _, pointer, count, latents, means, particles, stride = arguments
        kernel = Kernel(builder, signature.args[0].spec, stride)
        rank = kernel.rank
        with kernel.blocks(particles) as (first, _):
            z, sums = kernel.block_latents(latents, first), kernel.accumulators(rank)
            with kernel.each(count) as loop:
                pack = Pack(kernel, pointer, rows(rank), loop.index)
                m, h, base = [pack[k] for k in range(rank)], pack[2 * rank], pack[2 * rank + 1]
                for p in range(kernel.particles):
                    r, _ = rate_and_pullback(kernel.spec.activation, combine(base, z[p], m), h)
                    for k in range(rank):
                        kernel.add(sums[p][k], r, pack[rank + k])
            kernel.write_sums(means, first, sums)
        return context.get_dummy_value()

    return types.void(spec, pack, vectors, latents, means, particles, stride), generate


@intrinsic
def retreat(typingctx, spec, pack, on_pack, vectors, latents, on_means, on_latents, particles, stride):
    """Adjoint of `advance`: writes `on_latents`, adds to `on_pack`.

    The row of h gets only what is not minus the row of base, that is, clipped_relu's.
    """

    def generate(context, builder, signature, arguments):
        _, pointer, on_pointer, count, latents, on_means, on_latents, particles, stride = arguments
        kernel = Kernel(builder, signature.args[0].spec, stride)
        rank, clipped = kernel.rank, kernel.spec.activation == "clipped_relu"
        touched = [row for row in range(rows(rank)) if row != 2 * rank or clipped]
        sums = Scratch(kernel, rank)
        with kernel.chunks(particles) as (first, size):
            sums.clear(size)
            with kernel.each(count) as loop:
                pack = Pack(kernel, pointer, rows(rank), loop.index)
                weights = [pack[row] for row in range(rows(rank))]
                totals = Totals(kernel, Pack(kernel, on_pointer, rows(rank), loop.index), touched)
                with kernel.each(size) as inner:
                    particle = builder.add(first, inner.index)
                    z, g = kernel.latents(latents, particle), kernel.latents(on_means, particle)
                    on_current = _pull_unit(kernel, weights, totals, z, g)
                    for k in range(rank):
                        sums.add(inner.index, k, on_current, weights[k])
                totals.write()
            sums.write(on_latents, first, size)
        return context.get_dummy_value()

    return types.void(
        spec, pack, on_pack, vectors, latents, on_means, on_latents, particles, stride
    ), generate


def _pull_unit(kernel: Kernel, weights, totals: Totals, z, g) -> lanes.Lanes:
    """Gradient on the currents of one particle, from g on its mean; everything on weights into `totals`."""
    rank = kernel.rank
    m, v, h, base = weights[:rank], weights[rank : 2 * rank], weights[2 * rank], weights[2 * rank + 1]
    r, pullback = rate_and_pullback(kernel.spec.activation, combine(base, z, m), h)
    on_current, on_bias = pullback(combine(g[0] * v[0], g[1:], v[1:]))
    for k in range(rank):
        totals.add(k, on_current, z[k])
        totals.add(rank + k, r, g[k])
    totals.add(2 * rank + 1, on_current)
    if on_bias is not None:
        totals.add(2 * rank, on_bias)
    return on_current
