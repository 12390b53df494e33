"""One block of particles inside a kernel under construction: where its numbers are and its accumulators.

A kernel walks over units in vectors of W lanes and handles all particles of a block at each step, so that
weights are read once for the block. What belongs to a unit is stored together, in packs (N' / W, rows, W):
all rows of W units, then those of the next W; N' is N rounded up to whole vectors, filled with zeros.
Particle arrays are flat, R numbers a particle.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_spec import KernelSpec

_FLOATS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}


def size(number: int) -> ir.Constant:
    """A constant of the type that addresses are counted in."""
    return ir.Constant(ir.IntType(64), number)


def combine(start, factors, vectors) -> lanes.Lanes:
    """start + Σ_r factors[r] · vectors[r]"""
    for factor, vector in zip(factors, vectors, strict=True):
        start = factor.times_plus(vector, start)
    return start


class Pack:
    """The rows of one vector of units; read when first asked for, written back if changed."""

    def __init__(self, builder, pointer, rows: int, index, vector: ir.VectorType):
        self.vector, self.builder = vector, builder
        offset = builder.mul(index, size(rows * vector.count))
        self._start = builder.gep(pointer, [offset], source_etype=vector.element)
        self._rows: dict[int, lanes.Lanes] = {}

    def __getitem__(self, row: int) -> lanes.Lanes:
        if row not in self._rows:
            self._rows[row] = lanes.load(self.builder, self._pointer(row), self.vector)
        return self._rows[row]

    def add(self, row: int, value: lanes.Lanes, factor=1.0) -> None:
        """Row += value · factor."""
        self._rows[row] = value.times_plus(factor, self[row])

    def write(self) -> None:
        for row, value in self._rows.items():
            lanes.store(self._pointer(row), value)

    def _pointer(self, row: int):
        offset = size(row * self.vector.count)
        return self.builder.gep(self._start, [offset], source_etype=self.vector.element)


class Kernel:
    """A loop over blocks of particles with a loop over vectors of units inside."""

    def __init__(self, builder, spec: KernelSpec):
        self.builder, self.spec = builder, spec
        self.rank, self.particles = spec.rank, spec.block
        self.element = _FLOATS[spec.dtype]
        self.vector = ir.VectorType(self.element, lanes.width(self.element))

    def blocks(self, particles):
        """Yields the index of each block's first particle."""
        return cgutils.for_range_slice(self.builder, size(0), particles, size(self.particles), inc=True)

    def vectors(self, count):
        return cgutils.for_range(self.builder, count)

    def pack(self, pointer, rows: int, index) -> Pack:
        return Pack(self.builder, pointer, rows, index, self.vector)

    def latents(self, pointer, first):
        """[p][r]: every number of the block's particles in all lanes."""
        start = self._at(pointer, self.builder.mul(first, size(self.rank)))
        return [
            [self._splat(start, p * self.rank + r) for r in range(self.rank)] for p in range(self.particles)
        ]

    def weights(self, pointer, first):
        """[p]: one number of each particle in all lanes."""
        start = self._at(pointer, first)
        return [self._splat(start, p) for p in range(self.particles)]

    def accumulators(self, width: int):
        """[p][i]: zero vectors that live in registers."""
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        made = [
            [cgutils.alloca_once(self.builder, self.vector) for _ in range(width)]
            for _ in range(self.particles)
        ]
        for slot in (slot for row in made for slot in row):
            self.builder.store(zero, slot)
        return made

    def add(self, accumulator, first: lanes.Lanes, second: lanes.Lanes) -> None:
        """accumulator += first · second"""
        current = lanes.Lanes(self.builder, self.builder.load(accumulator, typ=self.vector))
        self.builder.store(first.times_plus(second, current).value, accumulator)

    def write_sums(self, pointer, first, accumulators) -> None:
        """Add up the lanes of accumulators[p][i] into consecutive numbers of a particle array."""
        width = len(accumulators[0])
        start = self._at(pointer, self.builder.mul(first, size(width)))
        for i, slot in enumerate(slot for row in accumulators for slot in row):
            total = lanes.Lanes(self.builder, self.builder.load(slot, typ=self.vector)).sum()
            self.builder.store(total, self._at(start, size(i)))

    def _at(self, pointer, offset):
        typed = self.builder.bitcast(pointer, self.element.as_pointer())
        return self.builder.gep(typed, [offset], source_etype=self.element)

    def _splat(self, pointer, index: int) -> lanes.Lanes:
        scalar = self.builder.load(self._at(pointer, size(index)), typ=self.element)
        return lanes.splat(self.builder, scalar, self.vector)
