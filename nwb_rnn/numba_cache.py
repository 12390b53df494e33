"""Compiled loops whose cache on disk is thrown away when any file that they are built from changes, and that
round the same whether they were compiled just now or come from that cache.

numba compares only the file that a loop stands in. A loop that calls functions of other files would go on
running their old code from the cache.

The machine code of a loop holds copies of the functions that it calls, under names that other code may hold
too, optimised once more and so with sums in another order. The linker takes the copy that it saw first: that
of the function itself in a process that compiles, that of the loop in one that loads. Here a loop calls its
own copies always.
"""

from __future__ import annotations

import functools
import zlib
from pathlib import Path


@functools.cache
def revision(pattern: str) -> int:
    """A number that changes with this file and any of the package that fits, as "smc/backends/cpu*.py"."""
    files = [Path(__file__), *sorted(Path(__file__).parent.glob(pattern))]
    return zlib.crc32(b"".join(path.read_bytes() for path in files))


@functools.cache
def pipeline():
    """numba's pipeline, with machine code that calls its own copies; `pipeline_class` of njit and cfunc."""
    from llvmlite import binding
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import Compiler

    class OwnCopies(JITCodeLibrary):
        def _finalize_final_module(self):
            shared = self._final_module.clone()
            for function in shared.functions:
                if not function.is_declaration and function.linkage == binding.Linkage.external:
                    function.linkage = "linkonce_odr"
            # callers get what they would from disk, so that they too are the same code in both cases
            self._shared_module = binding.parse_bitcode(shared.as_bitcode())
            for function in self._final_module.functions:
                if not function.is_declaration and function.linkage == binding.Linkage.linkonce_odr:
                    function.linkage = "internal"
            super()._finalize_final_module()

    class Pipeline(Compiler):
        def compile_extra(self, func):
            if self.state.library is None:
                self.state.library = OwnCopies(self.state.targetctx.codegen(), func.__qualname__)
                self.state.library.enable_object_caching()
            return super().compile_extra(func)

    return Pipeline


def compiled(function, pattern: str, **options):
    """`numba.njit(**options)` of a function; its cache holds while the files of `pattern` do."""
    from numba import njit

    loop = njit(pipeline_class=pipeline(), **options)(function)
    index = getattr(getattr(loop, "_cache", None), "_cache_file", None)  # numba has no public way
    if hasattr(index, "_source_stamp"):
        index._source_stamp = (index._source_stamp, revision(pattern))
    return loop
