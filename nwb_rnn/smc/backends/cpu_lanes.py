"""SIMD lanes: arithmetic on vectors of W numbers, written as Python expressions that emit LLVM code.

The compiled kernels of the CPU backend call these while they are built, never at run time. Elementary
functions are series after an argument reduction, accurate to a few units in the last place; NaN stays NaN
and overflow becomes inf, so that a divergence remains visible.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.core import cgutils

# one register; with longer vectors the sums that a kernel keeps in registers would not fit into them
REGISTER_BYTES = 64 if get_host_cpu_features().get("avx512f") else 32

_FLAGS = ("contract",)  # a product and a sum may be fused
_INTEGER_BITS = {"float": 32, "double": 64}
_MANTISSA_BITS = {"float": 23, "double": 52}
_EXP_TERMS = {"float": 7, "double": 14}
_LOG_TERMS = {"float": 8, "double": 21}
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
        return Lanes(self.builder, self.builder.fadd(self.value, self._other(other).value, flags=_FLAGS))

    def __sub__(self, other):
        return Lanes(self.builder, self.builder.fsub(self.value, self._other(other).value, flags=_FLAGS))

    def __rsub__(self, other):
        return self._other(other) - self

    def __mul__(self, other):
        return Lanes(self.builder, self.builder.fmul(self.value, self._other(other).value, flags=_FLAGS))

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

    def square_root(self) -> Lanes:
        return self._call("llvm.sqrt", self.value)

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
    return times_power(_series(rest, _exp_series(x)))


def exp_minus_one(x: Lanes) -> Lanes:
    """exp(x) − 1, accurate for small x."""
    times_power, rest = _halvings(x)
    return times_power(_series(rest, _exp_series(x)[1:]) * rest) + (times_power(x.constant(1)) - 1)


def tanh(x: Lanes) -> Lanes:
    limit = 10.0 if x.element == "float" else 20.0
    e = exp_minus_one(2 * x.at_least(-limit).at_most(limit))
    return e / (e + 2)


def log(x: Lanes) -> Lanes:
    """log x for normal positive numbers; inf and NaN are the caller's to keep apart."""
    builder, mantissa = x.builder, _MANTISSA_BITS[x.element]
    bits = x.bits()
    # exponent such that the fraction lies in [√½, √2)
    root_half = x.constant(math.sqrt(0.5)).bits()
    exponent = builder.ashr(builder.sub(bits, root_half), _whole(bits, mantissa))
    fraction = x.from_bits(builder.sub(bits, builder.shl(exponent, _whole(bits, mantissa))))
    n = Lanes(builder, builder.sitofp(exponent, x.type))
    high = _LOG2_HIGH[x.element]
    result = _log_one_plus(fraction - 1, math.sqrt(0.5) - 1, math.sqrt(2) - 1)
    return n.times_plus(high, n.times_plus(math.log(2) - high, result))


def softplus(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """log(1 + exp x), and its derivative, the logistic function, as numerator and denominator."""
    u = _exp_of_negative(0 - x.size())
    positive = x.exceeds(0)
    value = _log_one_plus(u, 0, 1) + x.choose(positive, 0)
    return value, x.constant(1).choose(positive, u), u + 1


def _log_one_plus(x: Lanes, low: float, high: float) -> Lanes:
    """log(1 + x) for x in [low, high]: x times a polynomial through Chebyshev points."""
    terms = _LOG_TERMS[x.element]
    return _series(x, _polynomial(low, high, terms)) * x


@functools.cache
def _polynomial(low: float, high: float, degree: int) -> list[float]:
    """Coefficients of the polynomial that interpolates log(1 + x) / x, from the constant up."""

    def function(x):
        return np.where(np.abs(x) < 1e-9, 1 - x / 2, np.log1p(x) / np.where(x == 0, 1, x))

    fitted = np.polynomial.Chebyshev.interpolate(function, degree, domain=[low, high])
    return [float(c) for c in fitted.convert(kind=np.polynomial.Polynomial).coef]


def _exp_of_negative(x: Lanes) -> Lanes:
    """exp x for x ≤ 0, in fewer steps than `exp`; at least the smallest normal number."""
    x = x.at_least(-87.0 if x.element == "float" else -708.0)
    count, rest = _whole_halvings(x)
    return _series(rest, _exp_series(x)) * _power(x, count)


def _halvings(x: Lanes):
    """x = n log 2 + rest: a function that multiplies by 2ⁿ, in two steps against overflow, and the rest."""
    low, high = (-104.0, 89.0) if x.element == "float" else (-746.0, 710.0)
    count, rest = _whole_halvings(x.at_least(low).at_most(high))
    half = x.builder.ashr(count, _whole(count, 1))
    first, second = _power(x, half), _power(x, x.builder.sub(count, half))
    return (lambda value: value * first * second), rest


def _whole_halvings(x: Lanes):
    """n as integers, and x − n log 2."""
    # adding 1.5 · 2^mantissa rounds to a whole number and leaves it in the lowest bits
    magic = 1.5 * 2.0 ** _MANTISSA_BITS[x.element]
    shifted = x.times_plus(1 / math.log(2), magic)
    n = Lanes(x.builder, x.builder.fsub(shifted.value, x.constant(magic).value))
    large = _LOG2_HIGH[x.element]
    rest = n.times_plus(-(math.log(2) - large), n.times_plus(-large, x))
    return x.builder.sub(shifted.bits(), x.constant(magic).bits()), rest


def _power(x: Lanes, exponent) -> Lanes:
    """2 to the power of an integer exponent."""
    builder, bias = x.builder, 127 if x.element == "float" else 1023
    shift = _whole(exponent, _MANTISSA_BITS[x.element])
    return x.from_bits(builder.shl(builder.add(exponent, _whole(exponent, bias)), shift))


def _whole(like, number: int) -> ir.Constant:
    return ir.Constant(like.type, [number] * like.type.count)


def _exp_series(x: Lanes) -> list[float]:
    return [1 / math.factorial(i) for i in range(_EXP_TERMS[x.element])]


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
