"""SIMD lanes: arithmetic on vectors of W numbers, written as Python expressions that emit LLVM code.

The compiled kernels of the CPU backend call these while they are built, never at run time. Elementary
functions are series after an argument reduction, accurate to a few units in the last place; NaN stays NaN
and overflow becomes inf, so that a divergence remains visible.
"""

from __future__ import annotations

import math

from llvmlite import ir
from numba.core import cgutils

REGISTER_BYTES = 64  # one AVX-512 register; LLVM splits it where the machine has shorter ones

_INTEGER_BITS = {"float": 32, "double": 64}
_MANTISSA_BITS = {"float": 23, "double": 52}
_EXP_TERMS = {"float": 8, "double": 14}
_LOG1P_TERMS = {"float": 8, "double": 17}
_LOG_TERMS = {"float": 5, "double": 11}
# log 2 as a sum of two numbers, the first with zeros at its end, so that n · log 2 is exact
_LOG2_HIGH = {"float": 355 / 512, "double": round(math.log(2) * 2**32) / 2**32}


def width(element: ir.Type) -> int:
    """Lanes of one vector."""
    return REGISTER_BYTES // (4 if isinstance(element, ir.FloatType) else 8)


class Lanes:
    """A vector value with operators; a Python number mixes in as a constant."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    @property
    def type(self):
        return self.value.type

    @property
    def element(self) -> str:
        return str(self.type.element)

    def constant(self, number: float) -> Lanes:
        return Lanes(self.builder, ir.Constant(self.type, [float(number)] * self.type.count))

    def _other(self, other) -> Lanes:
        return other if isinstance(other, Lanes) else self.constant(other)

    def __add__(self, other):
        return Lanes(self.builder, self.builder.fadd(self.value, self._other(other).value))

    def __sub__(self, other):
        return Lanes(self.builder, self.builder.fsub(self.value, self._other(other).value))

    def __rsub__(self, other):
        return self._other(other) - self

    def __mul__(self, other):
        return Lanes(self.builder, self.builder.fmul(self.value, self._other(other).value))

    def __truediv__(self, other):
        return Lanes(self.builder, self.builder.fdiv(self.value, self._other(other).value))

    def __rtruediv__(self, other):
        return self._other(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def times_plus(self, factor, addend) -> Lanes:
        """self · factor + addend, fused where the machine can."""
        factor, addend = self._other(factor).value, self._other(addend).value
        return self._call("llvm.fmuladd", self.value, factor, addend)

    def exceeds(self, other):
        """A mask, True where self > other (False for NaN)."""
        return self.builder.fcmp_ordered(">", self.value, self._other(other).value)

    def choose(self, mask, otherwise) -> Lanes:
        """self where the mask holds, else `otherwise`."""
        return Lanes(self.builder, self.builder.select(mask, self.value, self._other(otherwise).value))

    def at_least(self, low: float) -> Lanes:
        """max(self, low); NaN stays NaN."""
        return self.constant(low).choose(self.constant(low).exceeds(self), self)

    def at_most(self, high: float) -> Lanes:
        return self.constant(high).choose(self.exceeds(high), self)

    def size(self) -> Lanes:
        """|self|"""
        return self._call("llvm.fabs", self.value)

    def _call(self, intrinsic: str, *values) -> Lanes:
        name = f"{intrinsic}.v{self.type.count}f{_INTEGER_BITS[self.element]}"
        kind = ir.FunctionType(self.type, [self.type] * len(values))
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return Lanes(self.builder, self.builder.call(function, values))

    def bits(self):
        integer = ir.VectorType(ir.IntType(_INTEGER_BITS[self.element]), self.type.count)
        return self.builder.bitcast(self.value, integer)

    def from_bits(self, bits) -> Lanes:
        return Lanes(self.builder, self.builder.bitcast(bits, self.type))

    def sum(self):
        """All lanes added up, as a scalar; pairwise, so the order never changes."""
        value, count = self.value, self.type.count
        while count > 1:
            count //= 2
            low = self.builder.shuffle_vector(value, value, _indices(range(count)))
            high = self.builder.shuffle_vector(value, value, _indices(range(count, 2 * count)))
            value = self.builder.fadd(low, high)
        return self.builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def load(builder, pointer, vector: ir.VectorType) -> Lanes:
    """W numbers from `pointer` (of the element's type)."""
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = _bytes(vector)
    return Lanes(builder, loaded)


def store(pointer, lanes: Lanes) -> None:
    builder = lanes.builder
    instruction = builder.store(lanes.value, builder.bitcast(pointer, lanes.type.as_pointer()))
    instruction.align = _bytes(lanes.type)


def splat(builder, scalar, vector: ir.VectorType) -> Lanes:
    """The same number in every lane."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    return Lanes(builder, builder.shuffle_vector(first, first, _indices([0] * vector.count)))


def exp(x: Lanes) -> Lanes:
    times_power, rest = _halvings(x)
    return times_power(_series(rest, [1 / math.factorial(i) for i in range(_EXP_TERMS[x.element])]))


def exp_minus_one(x: Lanes) -> Lanes:
    """exp(x) − 1, accurate for small x."""
    times_power, rest = _halvings(x)
    tail = _series(rest, [1 / math.factorial(i) for i in range(1, _EXP_TERMS[x.element] + 1)]) * rest
    return times_power(tail) + (times_power(x.constant(1)) - 1)


def tanh(x: Lanes) -> Lanes:
    limit = 10.0 if x.element == "float" else 20.0
    e = exp_minus_one(2 * x.at_least(-limit).at_most(limit))
    return e / (e + 2)


def log(x: Lanes) -> Lanes:
    """log x for normal positive numbers; inf and NaN are the caller's to keep apart."""
    builder, mantissa = x.builder, _MANTISSA_BITS[x.element]
    bits, integer = x.bits(), x.bits().type

    def whole(number):
        return ir.Constant(integer, [number] * x.type.count)

    # exponent such that the fraction lies in [√½, √2)
    root_half = x.constant(math.sqrt(0.5)).bits()
    exponent = builder.ashr(builder.sub(bits, root_half), whole(mantissa))
    fraction = x.from_bits(builder.sub(bits, builder.shl(exponent, whole(mantissa))))
    n = Lanes(builder, builder.sitofp(exponent, x.type))
    s = (fraction - 1) / (fraction + 1)
    series = _series(s * s, [2 / (2 * i + 1) for i in range(_LOG_TERMS[x.element])]) * s
    high = _LOG2_HIGH[x.element]
    return n.times_plus(high, n.times_plus(math.log(2) - high, series))


def softplus(x: Lanes) -> tuple[Lanes, Lanes]:
    """log(1 + exp x) and its derivative, the logistic function."""
    u = exp(0 - x.size())
    s = u / (u + 2)
    log1p = _series(s * s, [2 / (2 * i + 1) for i in range(_LOG1P_TERMS[x.element])]) * s
    positive = x.exceeds(0)
    slope = x.constant(1).choose(positive, u) / (u + 1)
    return log1p + x.choose(positive, 0), slope


def _halvings(x: Lanes):
    """x = n log 2 + rest: a function that multiplies by 2ⁿ, and the rest."""
    builder, mantissa = x.builder, _MANTISSA_BITS[x.element]
    low, high = (-104.0, 89.0) if x.element == "float" else (-746.0, 710.0)
    x = x.at_least(low).at_most(high)
    # adding 1.5 · 2^mantissa rounds to a whole number and leaves it in the lowest bits
    magic = 1.5 * 2.0**mantissa
    shifted = x.times_plus(1 / math.log(2), magic)
    n = shifted - magic
    large = _LOG2_HIGH[x.element]
    rest = n.times_plus(-(math.log(2) - large), n.times_plus(-large, x))
    integer = shifted.bits().type

    def whole(number):
        return ir.Constant(integer, [number] * x.type.count)

    count = builder.sub(shifted.bits(), x.constant(magic).bits())
    half = builder.ashr(count, whole(1))
    bias = 127 if x.element == "float" else 1023

    def power(exponent):
        return x.from_bits(builder.shl(builder.add(exponent, whole(bias)), whole(mantissa)))

    first, second = power(half), power(builder.sub(count, half))
    return (lambda value: value * first * second), rest


def _series(x: Lanes, coefficients: list[float]) -> Lanes:
    total = x.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total.times_plus(x, coefficient)
    return total


def _indices(positions) -> ir.Constant:
    positions = list(positions)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(positions)), positions)


def _bytes(vector: ir.VectorType) -> int:
    return 4 if isinstance(vector.element, ir.FloatType) else 8
