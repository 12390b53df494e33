"""What a compiled CPU kernel is specialised for, as a constant that numba knows.

A `KernelSpec` holds no run-time value: the code generators read its fields while a kernel is built. Built
kernels are cached on disk under the spec.
"""

from __future__ import annotations

from dataclasses import dataclass

from numba.core import types
from numba.core.imputils import lower_constant
from numba.extending import models, register_model, typeof_impl

FILES = "smc/backends/cpu*.py"  # of this backend


@dataclass(frozen=True)
class KernelSpec:
    """`block` is how many particles go through the network together; `revision` is that of the code."""

    rank: int
    block: int
    activation: str
    observation: str
    link: str
    readout: str
    dtype: str
    revision: int


class SpecType(types.Type):
    """The numba type of one KernelSpec."""

    def __init__(self, spec: KernelSpec):
        self.spec = spec
        super().__init__(name=repr(spec))


register_model(SpecType)(models.OpaqueModel)


@typeof_impl.register(KernelSpec)
def _typeof_spec(value, context):
    return SpecType(value)


@lower_constant(SpecType)
def _constant_spec(context, builder, typ, value):
    return context.get_dummy_value()
