"""Kernels under construction: loops over vectors of units and over particles, and where the numbers are.

What belongs to a unit is stored together, in packs (N' / W, rows, W): all rows of W units, then those of
the next W; N' is N rounded up to whole vectors, filled with zeros. Particle arrays are (R, stride), so that
the numbers of all particles for one latent lie side by side; `stride` is at least the number of particles.

A forward kernel takes a block of particles through all units, its sums in registers, so that weights are
read once for the block. A backward kernel takes a vector of units through all particles, the gradients of
its weights in registers, so that these are read and written once for up to 32 particles.
"""

from __future__ import annotations

from contextlib import contextmanager

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


_CHUNK = 32  # particles of one backward sweep; their sums stay in the fastest cache


class Pack:
    """The rows of one vector of units, each read when first asked for."""

    def __init__(self, kernel: Kernel, pointer, rows: int, index):
        self._kernel = kernel
        self._start = kernel.at(pointer, kernel.builder.mul(index, size(rows * kernel.vector.count)))
        self._rows: dict[int, lanes.Lanes] = {}

    def __getitem__(self, row: int) -> lanes.Lanes:
        if row not in self._rows:
            self._rows[row] = lanes.load(self._kernel.builder, self.pointer(row), self._kernel.vector)
        return self._rows[row]

    def pointer(self, row: int):
        return self._kernel.at(self._start, size(row * self._kernel.vector.count))


class Totals:
    """Some rows of one vector of units, kept in registers while particles add to them."""

    def __init__(self, kernel: Kernel, pack: Pack, rows: list[int]):
        self._kernel, self._pack = kernel, pack
        self._slots = {row: cgutils.alloca_once(kernel.builder, kernel.vector) for row in rows}
        for row, slot in self._slots.items():
            kernel.builder.store(pack[row].value, slot)

    def add(self, row: int, value: lanes.Lanes, factor=1.0) -> None:
        """Row += value · factor."""
        self._kernel.add(self._slots[row], value, factor)

    def write(self) -> None:
        for row, slot in self._slots.items():
            lanes.store(self._pack.pointer(row), self._kernel.read(slot))


class Scratch:
    """Sums over units for up to 32 particles, each a vector that is added up at the end."""

    def __init__(self, kernel: Kernel, width: int):
        self._kernel, self.width = kernel, width
        whole = ir.ArrayType(kernel.vector, _CHUNK * width)
        slots = cgutils.alloca_once(kernel.builder, whole)
        slots.align = lanes.REGISTER_BYTES
        self._start = kernel.builder.bitcast(slots, kernel.vector.as_pointer())

    def clear(self, particles) -> None:
        builder = self._kernel.builder
        zero = ir.Constant(self._kernel.vector, [0.0] * self._kernel.vector.count)
        with cgutils.for_range(builder, builder.mul(particles, size(self.width))) as loop:
            builder.store(zero, self._slot(loop.index))

    def add(self, particle, column: int, first: lanes.Lanes, second: lanes.Lanes) -> None:
        """Sum of a particle += first · second."""
        builder = self._kernel.builder
        index = builder.add(builder.mul(particle, size(self.width)), size(column))
        self._kernel.add(self._slot(index), first, second)

    def write(self, pointer, first, particles) -> None:
        """Into a (width, stride) array, from particle `first` on."""
        builder = self._kernel.builder
        with cgutils.for_range(builder, particles) as loop:
            start = self._kernel.at(pointer, builder.add(first, loop.index))
            for column in range(self.width):
                index = builder.add(builder.mul(loop.index, size(self.width)), size(column))
                total = self._kernel.read(self._slot(index)).sum()
                builder.store(total, self._kernel.column(start, column))

    def _slot(self, index):
        return self._kernel.builder.gep(self._start, [index], source_etype=self._kernel.vector)


class Kernel:
    """The types of one spec, and its loops."""

    def __init__(self, builder, spec: KernelSpec, stride):
        self.builder, self.spec, self._stride = builder, spec, stride
        self.rank, self.particles = spec.rank, spec.block
        self.element = _FLOATS[spec.dtype]
        self.vector = ir.VectorType(self.element, lanes.width(self.element))

    def blocks(self, particles):
        """Yields the index of each block's first particle."""
        return cgutils.for_range_slice(self.builder, size(0), particles, size(self.particles), inc=True)

    @contextmanager
    def chunks(self, particles):
        """Yields the first of up to 32 particles, and how many they are."""
        with cgutils.for_range_slice(self.builder, size(0), particles, size(_CHUNK), inc=True) as (first, _):
            rest = self.builder.sub(particles, first)
            full = self.builder.icmp_signed(">", rest, size(_CHUNK))
            yield first, self.builder.select(full, size(_CHUNK), rest)

    def each(self, count):
        return cgutils.for_range(self.builder, count)

    def latents(self, pointer, particle):
        """[r]: every number of one particle in all lanes."""
        start = self.at(pointer, particle)
        return [self.splat(self.column(start, r)) for r in range(self.rank)]

    def block_latents(self, pointer, first):
        """[p][r], for a block of particles."""
        return [self.latents(pointer, self.builder.add(first, size(p))) for p in range(self.particles)]

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

    def add(self, slot, first: lanes.Lanes, second) -> None:
        """slot += first · second"""
        self.builder.store(first.times_plus(second, self.read(slot)).value, slot)

    def read(self, slot) -> lanes.Lanes:
        return lanes.Lanes(self.builder, self.builder.load(slot, typ=self.vector))

    def write_sums(self, pointer, first, accumulators) -> None:
        """Add up the lanes of accumulators[p][i] into a (width, stride) particle array."""
        for p, row in enumerate(accumulators):
            start = self.at(pointer, self.builder.add(first, size(p)))
            for i, slot in enumerate(row):
                self.builder.store(self.read(slot).sum(), self.column(start, i))

    def column(self, start, latent: int):
        """Address of a particle's number for one latent, `start` being that for the first."""
        return self.at(start, self.builder.mul(self._stride, size(latent)))

    def at(self, pointer, offset):
        """Address of a number, counted from `pointer`."""
        typed = self.builder.bitcast(pointer, self.element.as_pointer())
        return self.builder.gep(typed, [offset], source_etype=self.element)

    def splat(self, pointer) -> lanes.Lanes:
        """One number in all lanes."""
        scalar = self.builder.load(self.at(pointer, size(0)), typ=self.element)
        return lanes.splat(self.builder, scalar, self.vector)
