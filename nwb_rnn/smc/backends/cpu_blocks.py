"""One block of particles inside a kernel under construction: its pointers, splats and accumulators.

A kernel walks over units in vectors of W lanes and handles all particles of a block at each step, so that
weights are read once for the block. Floating arrays are C-contiguous and of one dtype, their last axis
(units) is padded with zeros to whole vectors; particle arrays are flat, R numbers a particle.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils

from nwb_rnn.smc.backends import cpu_lanes as lanes


def size(number: int) -> ir.Constant:
    """A constant of the type that addresses are counted in."""
    return ir.Constant(ir.IntType(64), number)


def combine(start, factors, vectors) -> lanes.Lanes:
    """start + Σ_r factors[r] · vectors[r]"""
    for factor, vector in zip(factors, vectors, strict=True):
        start = factor.times_plus(vector, start)
    return start


class Block:
    """Reads an intrinsic's arguments by name (`names`, in order; the first is the spec)."""

    def __init__(self, context, builder, signature, arguments, names: str):
        self.builder = builder
        self.spec = signature.args[0].spec
        self.rank, self.particles = self.spec.rank, self.spec.block
        self._scalars, self._arrays = {}, {}
        for name, kind, value in zip(names.split(), signature.args, arguments, strict=True):
            if hasattr(kind, "ndim"):
                self._arrays[name] = cgutils.create_struct_proxy(kind)(context, builder, value=value)
                self.element = context.get_value_type(kind.dtype)
            else:
                self._scalars[name] = value
        self.vector = ir.VectorType(self.element, lanes.width(self.element))

    def pointer(self, name: str, first=None):
        data = self._arrays[name].data
        return data if first is None else self._at(data, self._scalars[first])

    def columns(self, name: str):
        """Run-time length of the last axis of an array."""
        return cgutils.unpack_tuple(self.builder, self._arrays[name].shape)[-1]

    def rows(self, name: str):
        """Pointers to the R rows of a (R, N') array."""
        stride = self.columns(name)
        return [self._at(self.pointer(name), self.builder.mul(stride, size(row))) for row in range(self.rank)]

    def load(self, pointer, n) -> lanes.Lanes:
        return lanes.load(self.builder, self._at(pointer, n), self.vector)

    def store(self, pointer, n, value: lanes.Lanes) -> None:
        lanes.store(self._at(pointer, n), value)

    def latents(self, name: str, first: str):
        """[p][r]: every number of the block's particles in all lanes."""
        pointer = self.pointer(name, first)
        numbers = [self._splat(pointer, i) for i in range(self.particles * self.rank)]
        return [numbers[p * self.rank : (p + 1) * self.rank] for p in range(self.particles)]

    def weights(self, name: str, first: str):
        """[p]: one number of each particle in all lanes."""
        pointer = self.pointer(name, first)
        return [self._splat(pointer, p) for p in range(self.particles)]

    def accumulators(self, count: int):
        """Zero vectors that live in registers."""
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        return [cgutils.alloca_once_value(self.builder, zero) for _ in range(count)]

    def add(self, accumulator, first: lanes.Lanes, second: lanes.Lanes) -> None:
        """accumulator += first · second"""
        current = lanes.Lanes(self.builder, self.builder.load(accumulator, typ=self.vector))
        self.builder.store(first.times_plus(second, current).value, accumulator)

    def write_sums(self, name: str, first: str, accumulators) -> None:
        """Add up the lanes of each accumulator into consecutive numbers of a particle array."""
        pointer = self.pointer(name, first)
        for i, accumulator in enumerate(accumulators):
            total = lanes.Lanes(self.builder, self.builder.load(accumulator, typ=self.vector)).sum()
            self.builder.store(total, self._at(pointer, size(i)))

    def loop(self, name: str):
        """Over the last axis of an array, one vector at a time."""
        return cgutils.for_range_slice(
            self.builder, size(0), self.columns(name), size(self.vector.count), inc=True
        )

    def _at(self, pointer, offset):
        return self.builder.gep(pointer, [offset], source_etype=self.element)

    def _splat(self, pointer, index: int) -> lanes.Lanes:
        scalar = self.builder.load(self._at(pointer, size(index)), typ=self.element)
        return lanes.splat(self.builder, scalar, self.vector)
