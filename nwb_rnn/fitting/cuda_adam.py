"""The step of `optimiser.ScaledAdam` in Triton, for M models at once, without waiting for the device.

What a step depends on besides the gradient, the learning rate and the corrections of the moments, is in
tables with a row for each of the coming steps; the device counts for itself which row is next. A model whose
objective or gradient isn't finite moves no more until it is told that it may.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nwb_rnn.fitting.optimiser import BETA_MEAN, BETA_SQUARE

_BETA_MEAN, _BETA_SQUARE = tl.constexpr(BETA_MEAN), tl.constexpr(BETA_SQUARE)


@triton.jit
def judge(norms, values, rates, roots, clips, alive, at, step, M: tl.constexpr, BLOCK: tl.constexpr):
    """Who moves, by how much: writes `alive` (M,) and `step` (3, M), rate, root and scale; counts `at` up."""
    m = tl.arange(0, BLOCK)
    real = m < M
    i = tl.load(at)
    norm = tl.load(norms + m, mask=real, other=0.0)
    total = norm + tl.load(values + m, mask=real, other=0.0)
    moves = (total - total == 0) & (tl.load(alive + m, mask=real, other=0.0) > 0)
    tl.store(alive + m, moves.to(total.dtype), mask=real)
    scale = tl.load(clips + m, mask=real, other=0.0) / (norm + 1e-6)
    tl.store(step + m, tl.load(rates + i * M + m, mask=real, other=0.0), mask=real)
    tl.store(step + M + m, tl.load(roots + i * M + m, mask=real, other=0.0), mask=real)
    tl.store(step + 2 * M + m, tl.where(scale < 1.0, scale, 1.0), mask=real)
    tl.debug_barrier()
    tl.store(at, i + 1)


@triton.jit
def move(
    gradient,
    sizes,
    flat,
    scaled,
    mean,
    square,
    alive,
    step,
    M: tl.constexpr,
    P: tl.constexpr,
    BLOCKS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Kingma & Ba 2015, algorithm 1, on a block of the numbers of a model."""
    m = tl.program_id(0) // BLOCKS
    p = (tl.program_id(0) % BLOCKS) * BLOCK + tl.arange(0, BLOCK)
    inside = p < tl.where(tl.load(alive + m) > 0, P, 0)
    here = m.to(tl.int64) * P + p
    size = tl.load(sizes + here, mask=inside, other=0.0)
    g = tl.load(gradient + here, mask=inside, other=0.0) * size * tl.load(step + 2 * M + m)
    first = tl.load(mean + here, mask=inside, other=0.0)
    first += (1.0 - _BETA_MEAN) * (g - first)
    second = _BETA_SQUARE * tl.load(square + here, mask=inside, other=0.0) + (1.0 - _BETA_SQUARE) * g * g
    spread = tl.sqrt(second) * tl.load(step + M + m) + 1e-8
    x = tl.load(scaled + here, mask=inside, other=0.0) - tl.load(step + m) * first / spread
    tl.store(mean + here, first, mask=inside)
    tl.store(square + here, second, mask=inside)
    tl.store(scaled + here, x, mask=inside)
    tl.store(flat + here, x * size, mask=inside)
