"""How the Triton kernels hold particles and units: loads, stores, exchanges and sums.

One program holds the K particles of a trial, and what takes the time is not arithmetic but waiting: for
memory, and at barriers between warps. So numbers stay in registers, in shapes chosen so that Triton's default
layout (the last axes over the threads, everything before them within a thread) needs few exchanges:

particles
    (BLOCK_R, COPIES, BLOCK_K), or (COPIES, BLOCK_K) for one number a particle. The last two axes are the
    lanes: with at most 32 particles every warp has a copy of all of them, so that sums over particles and
    the choice of ancestors never leave a warp. `valid` marks the real ones; the others hold 0.
tile
    (units, OWN, COPIES, BLOCK_K): a lane has some units for OWN particles. Along the lanes lie, slowest
    first, GROUPS of units, ROWS of particles and COLUMNS of units; OWN × ROWS = BLOCK_K.

With more than 32 particles (`SMALL` False) exchanges between particles go through global memory, with a
barrier between. Arrays in memory are contiguous; a particle array holds R numbers a particle.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def row_of(x, r: tl.constexpr, BLOCK_R: tl.constexpr):
    """x[r] of (BLOCK_R, COPIES, BLOCK_K): no instruction at all, since adding −0 changes nothing."""
    return tl.sum(tl.where(tl.arange(0, BLOCK_R)[:, None, None] == r, x, -0.0), axis=0)


@triton.jit
def of_particles(
    pointer,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """R numbers of each particle from memory."""
    k, r = tl.arange(0, BLOCK_K)[None, :], tl.arange(0, BLOCK_R)[:, None]
    x = tl.load(pointer + k * R + r, mask=(k < K) & (r < R), other=0.0)
    return tl.broadcast_to(x[:, None, :], [BLOCK_R, COPIES, BLOCK_K])


@triton.jit
def keep(
    pointer,
    x,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Write R numbers of each particle to memory, each from one of its copies."""
    k, copy = tl.arange(0, BLOCK_K)[None, :], tl.arange(0, COPIES)[:, None]
    for r in tl.static_range(R):
        tl.store(pointer + k * R + r + copy * 0, row_of(x, r, BLOCK_R), mask=(k < K) & (copy == 0))


@triton.jit
def pick(
    x,
    index,
    memory,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SMALL: tl.constexpr,
):
    """x[:, index[k]] for each particle k; `memory` holds x too if there are many."""
    if SMALL:
        found = tl.zeros_like(x)
        for r in tl.static_range(R):
            row = tl.gather(row_of(x, r, BLOCK_R), index, 1)
            found = tl.where(tl.arange(0, BLOCK_R)[:, None, None] == r, row[None, :, :], found)
        return found
    else:
        r = tl.arange(0, BLOCK_R)[:, None, None]
        return tl.load(memory + index[None, :, :] * R + r, mask=r < R, other=0.0)


@triton.jit
def to_tile(
    x,
    memory,
    K: tl.constexpr,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
    SMALL: tl.constexpr,
):
    """The numbers of each lane's own particles, (BLOCK_R, OWN, COPIES, BLOCK_K)."""
    ROWS: tl.constexpr = BLOCK_K // OWN
    lane = tl.arange(0, COPIES)[:, None] * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    index = tl.arange(0, OWN)[:, None, None] * ROWS + (lane // COLUMNS % ROWS)[None, :, :]
    if SMALL:
        found = tl.zeros([BLOCK_R, OWN, COPIES, BLOCK_K], x.dtype)
        for r in tl.static_range(R):
            row = tl.broadcast_to(row_of(x, r, BLOCK_R)[None, :, :], [OWN, COPIES, BLOCK_K])
            row = tl.gather(row, index, 2)[None, :, :, :]
            found = tl.where(tl.arange(0, BLOCK_R)[:, None, None, None] == r, row, found)
        return found
    else:
        r = tl.arange(0, BLOCK_R)[:, None, None, None]
        index = index[None, :, :, :]
        return tl.load(memory + index * R + r, mask=(index < K) & (r < R), other=0.0)


@triton.jit
def units(
    BLOCK_N: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """The numbers of a tile's units, (units, COPIES, BLOCK_K)."""
    ROWS: tl.constexpr = BLOCK_K // OWN
    PLACES: tl.constexpr = COPIES * BLOCK_K // ROWS
    lane = tl.arange(0, COPIES)[:, None] * BLOCK_K + tl.arange(0, BLOCK_K)[None, :]
    place = lane // (ROWS * COLUMNS) * COLUMNS + lane % COLUMNS
    return tl.arange(0, BLOCK_N // PLACES)[:, None, None] * PLACES + place[None, :, :]


@triton.jit
def of_units(pointer, n, N: tl.constexpr, other):
    """A number of each unit of a tile."""
    return tl.load(pointer + n, mask=n < N, other=other)


@triton.jit
def rows_of_units(pointer, n, N: tl.constexpr, STRIDE: tl.constexpr, R: tl.constexpr, BLOCK_R: tl.constexpr):
    """R numbers of each unit of a tile, (BLOCK_R, units, COPIES, BLOCK_K)."""
    r = tl.arange(0, BLOCK_R)[:, None, None, None]
    return tl.load(pointer + r * STRIDE + n[None, :, :, :], mask=(r < R) & (n < N)[None, :, :, :], other=0.0)


@triton.jit
def over_rank(x, y, R: tl.constexpr, BLOCK_R: tl.constexpr):
    """Σ_r x_r y_r over the first of the axes, (BLOCK_R, units, OWN, COPIES, BLOCK_K).

    The compiler drops what is past R: adding −0 changes nothing, as adding 0 would change −0.
    """
    r = tl.arange(0, BLOCK_R)[:, None, None, None, None]
    return tl.sum(tl.where(r < R, x * y, -0.0), axis=0)


@triton.jit
def over_own_units(
    x, v, K: tl.constexpr, R: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr, OWN: tl.constexpr
):
    """Σ x v_r over a lane's own units, (BLOCK_R, OWN, COPIES, BLOCK_K).

    The compiler drops what is past R, and the places where no lane has a real particle with what led there.
    """
    r = tl.arange(0, BLOCK_R)[:, None, None, None, None]
    some = (tl.arange(0, OWN) * (BLOCK_K // OWN) < K)[None, None, :, None, None]
    return tl.sum(tl.where(some & (r < R), x[None, :, :, :, :] * v[:, :, None, :, :], 0.0), axis=1)


@triton.jit
def over_own_particles(
    x, z, K: tl.constexpr, R: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_K: tl.constexpr, OWN: tl.constexpr
):
    """Σ x z_r over a lane's own particles, (BLOCK_R, units, COPIES, BLOCK_K)."""
    r = tl.arange(0, BLOCK_R)[:, None, None, None, None]
    some = (tl.arange(0, OWN) * (BLOCK_K // OWN) < K)[None, None, :, None, None]
    return tl.sum(tl.where(some & (r < R), x[None, :, :, :, :] * z[:, None, :, :, :], -0.0), axis=2)


@triton.jit
def over_own(x, K: tl.constexpr, BLOCK_K: tl.constexpr, OWN: tl.constexpr):
    """Σ x over a lane's own particles, (1, units, COPIES, BLOCK_K)."""
    some = (tl.arange(0, OWN) * (BLOCK_K // OWN) < K)[None, :, None, None]
    return tl.sum(tl.where(some, x, -0.0), axis=1)[None, :, :, :]


@triton.jit
def over_units(
    x,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Sums over the lanes of one particle, (BLOCK_R, OWN, COPIES, BLOCK_K) → (BLOCK_R, COPIES, BLOCK_K).

    Within a warp by shuffles; then each lane takes its particle's number of every group.
    """
    ROWS: tl.constexpr = BLOCK_K // OWN
    GROUPS: tl.constexpr = COPIES * OWN // COLUMNS
    x = tl.sum(tl.reshape(x, [BLOCK_R, OWN, GROUPS, ROWS, COLUMNS]), axis=4)
    across = tl.reshape(tl.permute(x, (0, 2, 1, 3)), [BLOCK_R, GROUPS, BLOCK_K])
    return tl.sum(tl.broadcast_to(across[:, :, None, :], [BLOCK_R, GROUPS, COPIES, BLOCK_K]), axis=1)


@triton.jit
def add_to_units(
    pointer,
    x,
    start,
    N: tl.constexpr,
    STRIDE: tl.constexpr,
    R: tl.constexpr,
    LEADING: tl.constexpr,
    BLOCK_N: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
    OWN: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add R numbers of each unit, sums over particles of x (LEADING, units, COPIES, BLOCK_K), to memory."""
    ROWS: tl.constexpr = BLOCK_K // OWN
    GROUPS: tl.constexpr = COPIES * OWN // COLUMNS
    EACH: tl.constexpr = BLOCK_N // (GROUPS * COLUMNS)
    x = tl.sum(tl.reshape(x, [LEADING, EACH, GROUPS, ROWS, COLUMNS]), axis=3)
    x = tl.reshape(x, [LEADING, BLOCK_N])
    n, r = start + tl.arange(0, BLOCK_N)[None, :], tl.arange(0, LEADING)[:, None]
    add(pointer + r * STRIDE + n, (r < R) & (n < N), x)


@triton.jit
def add(pointer, mask, value):
    """Add to numbers that no other thread touches before the next barrier."""
    tl.store(pointer, tl.load(pointer, mask=mask, other=0.0) + value, mask=mask)


@triton.jit
def store_pairs(
    pointer,
    x,
    y,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Σ_k x_r y_c in row r, column c of a matrix; each copy of the particles makes another of the sums."""
    rr, k = tl.arange(0, BLOCK_R)[:, None, None], tl.arange(0, BLOCK_K)[None, :]
    for start in tl.static_range(0, R * R, COPIES):
        place = start + tl.arange(0, COPIES)[:, None]
        left = tl.sum(tl.where(rr == (place // R)[None, :, :], x, 0.0), axis=0)
        right = tl.sum(tl.where(rr == (place % R)[None, :, :], y, 0.0), axis=0)
        found = tl.sum(left * right, axis=1)[:, None] + tl.zeros_like(left)
        tl.store(pointer + place + k, found, mask=(place < R * R) & (k == 0))


@triton.jit
def store_sums(
    pointer,
    x,
    R: tl.constexpr,
    BLOCK_R: tl.constexpr,
    COPIES: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Σ_k x_r of each r; each copy of the particles makes another of the sums."""
    rr, k = tl.arange(0, BLOCK_R)[:, None, None], tl.arange(0, BLOCK_K)[None, :]
    for start in tl.static_range(0, R, COPIES):
        place = start + tl.arange(0, COPIES)[:, None]
        left = tl.sum(tl.where(rr == place[None, :, :], x, 0.0), axis=0)
        found = tl.sum(left, axis=1)[:, None] + tl.zeros_like(left)
        tl.store(pointer + place + k, found, mask=(place < R) & (k == 0))
