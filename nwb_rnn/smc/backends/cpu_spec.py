"""What a compiled CPU kernel is specialised for, as a type that numba knows.

A `KernelSpec` is passed as the first argument of every kernel. It holds no run-time value: numba compiles
(and caches on disk) one kernel for each distinct spec, and the code generators read the spec's fields.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from numba.core import types
from numba.extending import NativeValue, models, register_model, typeof_impl, unbox


def _revision() -> int:
    """Changes with any source file of this backend: numba's own cache only watches the outermost one."""
    folder = Path(__file__).parent
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(folder.glob("cpu*.py"))))


_REVISION = _revision()


@dataclass(frozen=True)
class KernelSpec:
    """`block` is how many particles go through the network together, so that its weights are read once."""

    rank: int
    block: int
    activation: str
    observation: str
    link: str
    readout: str


class SpecType(types.Type):
    """The numba type of one KernelSpec."""

    def __init__(self, spec: KernelSpec):
        self.spec = spec
        super().__init__(name=f"{spec!r} revision {_REVISION}")


register_model(SpecType)(models.OpaqueModel)


@typeof_impl.register(KernelSpec)
def _typeof_spec(value, context):
    return SpecType(value)


@unbox(SpecType)
def _unbox_spec(typ, obj, context):
    return NativeValue(context.context.get_dummy_value())
