"""Arithmetic on rows of particles in whole vectors, for the loops of the CPU backend over rank and bins.

A row is a contiguous array whose length is a whole number of vectors (`padded`); the places past the last
particle hold finite numbers, and 0 in at least one factor wherever a sum is taken over them. A trial has tens
of particles: in a plain loop over so few, the checks whether arrays overlap and the odd ones at the end cost
more than the work.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from nwb_rnn.smc.backends import cpu_lanes as lanes


def padded(particles: int, itemsize: int) -> int:
    """Length of a row that holds so many numbers of `itemsize` bytes."""
    width = lanes.REGISTER_BYTES // itemsize
    return -(-particles // width) * width


@intrinsic
def copy(typingctx, target, source):
    """target = source"""
    return elementwise(lambda index, row, source: source, target, source)


@intrinsic
def fill(typingctx, target, number):
    """target = number"""
    return elementwise(lambda index, row, number: number, target, number)


@intrinsic
def add(typingctx, target, number):
    """target += number"""
    return elementwise(lambda index, row, number: row + number, target, number)


@intrinsic
def scale(typingctx, target, number):
    """target *= number"""
    return elementwise(lambda index, row, number: row * number, target, number)


@intrinsic
def add_scaled(typingctx, target, number, source):
    """target += number · source"""
    return elementwise(
        lambda index, row, number, source: source.times_plus(number, row), target, number, source
    )


@intrinsic
def multiply(typingctx, target, one, other):
    """target = one · other, of which either may be a number"""
    return elementwise(lambda index, row, one, other: one * other, target, one, other)


@intrinsic
def subtract(typingctx, target, one, other):
    """target = one − other"""
    return elementwise(lambda index, row, one, other: one - other, target, one, other)


@intrinsic
def add_product(typingctx, target, number, one, other):
    """target += number · one · other"""
    return elementwise(
        lambda index, row, number, one, other: one.times_plus(other * number, row),
        target,
        number,
        one,
        other,
    )


@intrinsic
def divide(typingctx, target, one, other):
    """target = one / other, of which either may be a number"""
    return elementwise(lambda index, row, one, other: one / other, target, one, other)


@intrinsic
def square_roots(typingctx, target, least):
    """target = √max(target, least)"""
    return elementwise(
        lambda index, row, least: least.choose(least.exceeds(row), row).square_root(), target, least
    )


@intrinsic
def exponentials(typingctx, target, source, shift, particles):
    """target = exp(source − shift) for so many particles, and 0 past them."""
    return elementwise(
        lambda index, row, source, shift, particles: lanes.exp(source - shift).choose(
            particles.exceeds(index), 0
        ),
        target,
        source,
        shift,
        particles,
    )


@intrinsic
def total(typingctx, row):
    """Σ row"""
    return _sum(lambda so_far, row: so_far + row, row)


@intrinsic
def dot(typingctx, one, other):
    """Σ one · other"""
    return _sum(lambda so_far, one, other: one.times_plus(other, so_far), one, other)


class _Operands:
    """Arguments of an intrinsic of which the first is a row: rows vector by vector, numbers in all lanes."""

    def __init__(self, context, builder, kinds, values):
        self.builder = builder
        self.element = context.get_value_type(kinds[0].dtype)
        self.vector = ir.VectorType(self.element, lanes.width(self.element))
        self._pointers, self._numbers = {}, {}
        for i, (kind, value) in enumerate(zip(kinds, values, strict=True)):
            if isinstance(kind, types.Array):
                array = cgutils.create_struct_proxy(kind)(context, builder, value=value)
                self._pointers[i] = array.data
                if i == 0:
                    self._length = builder.extract_value(array.shape, 0)
            else:
                number = context.cast(builder, value, kind, kinds[0].dtype)
                self._numbers[i] = lanes.splat(builder, number, self.vector)
        self._count = len(kinds)

    def offsets(self):
        """Yields the place of each vector's first number."""
        step = ir.Constant(self._length.type, self.vector.count)
        zero = ir.Constant(self._length.type, 0)
        return cgutils.for_range_slice(self.builder, zero, self._length, step, inc=True)

    def at(self, offset) -> list[lanes.Lanes]:
        return [
            self._numbers[i]
            if i in self._numbers
            else lanes.load(self.builder, self.pointer(i, offset), self.vector)
            for i in range(self._count)
        ]

    def pointer(self, i: int, offset):
        return self.builder.gep(self._pointers[i], [offset], source_etype=self.element)

    def index(self, offset) -> lanes.Lanes:
        """Places in the row."""
        first = lanes.splat(self.builder, self.builder.sitofp(offset, self.element), self.vector)
        return first + lanes.Lanes(
            self.builder, ir.Constant(self.vector, list(map(float, range(self.vector.count))))
        )


def elementwise(expression, *kinds):
    """target[i] = expression(i, target[i], …); an expression with several values fills as many rows."""

    def generate(context, builder, signature, values):
        operands = _Operands(context, builder, signature.args, values)
        with operands.offsets() as (offset, _):
            results = expression(operands.index(offset), *operands.at(offset))
            for i, result in enumerate(results if isinstance(results, tuple) else (results,)):
                lanes.store(operands.pointer(i, offset), result)
        return context.get_dummy_value()

    return types.void(*kinds), generate


def _sum(expression, *kinds):
    """The sum over a row, lane by lane first: so_far = expression(so_far, …)"""

    def generate(context, builder, signature, values):
        operands = _Operands(context, builder, signature.args, values)
        slot = cgutils.alloca_once(builder, operands.vector)
        builder.store(ir.Constant(operands.vector, [0.0] * operands.vector.count), slot)
        with operands.offsets() as (offset, _):
            so_far = lanes.Lanes(builder, builder.load(slot, typ=operands.vector))
            builder.store(expression(so_far, *operands.at(offset)).value, slot)
        return lanes.Lanes(builder, builder.load(slot, typ=operands.vector)).sum()

    return kinds[0].dtype(*kinds), generate
