"""Compiled kernels of the CPU backend and how the time loops call them.

A time loop is compiled once for each dtype; what depends on the model (rank, activation, observation) is in
four small kernels that it calls by address. So a new model compiles in a second or two, and numba's cache
on disk makes that the first time only.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import NamedTuple

from llvmlite import ir
from numba import cfunc
from numba.core import cgutils, types
from numba.extending import intrinsic

from nwb_rnn.smc.backends import cpu_readout, cpu_units
from nwb_rnn.smc.backends.cpu_spec import KernelSpec

_FORWARD = types.void(types.voidptr, types.int64, *[types.voidptr] * 2, *[types.int64] * 2)
_BACKWARD = types.void(*[types.voidptr] * 2, types.int64, *[types.voidptr] * 3, *[types.int64] * 2)


class Kernels(NamedTuple):
    """Addresses; 0 where a model has no such kernel."""

    advance: int
    retreat: int
    score: int
    pull_score: int


@functools.cache
def kernels(spec: KernelSpec) -> Kernels:
    """Compile, or load from disk, the kernels of one model."""
    advance, retreat = _units(replace(spec, observation="none", link="none", readout="none"))
    if spec.readout == "none":
        return Kernels(advance.address, retreat.address, 0, 0)
    score, pull_score = _readout(replace(spec, activation="none") if spec.readout == "affine" else spec)
    return Kernels(advance.address, retreat.address, score.address, pull_score.address)


@functools.cache
def _units(spec: KernelSpec):
    @cfunc(_FORWARD, cache=True)
    def advance(pack, vectors, latents, means, particles, stride):
        cpu_units.advance(spec, pack, vectors, latents, means, particles, stride)

    @cfunc(_BACKWARD, cache=True)
    def retreat(pack, on_pack, vectors, latents, on_means, on_latents, particles, stride):
        cpu_units.retreat(spec, pack, on_pack, vectors, latents, on_means, on_latents, particles, stride)

    return advance, retreat


@functools.cache
def _readout(spec: KernelSpec):
    @cfunc(_FORWARD, cache=True)
    def score(pack, vectors, latents, scores, particles, stride):
        cpu_readout.score(spec, pack, vectors, latents, scores, particles, stride)

    @cfunc(_BACKWARD, cache=True)
    def pull_score(pack, on_pack, vectors, latents, on_scores, on_latents, particles, stride):
        cpu_readout.pull_score(
            spec, pack, on_pack, vectors, latents, on_scores, on_latents, particles, stride
        )

    return score, pull_score


@intrinsic
def call(typingctx, address, *arguments):
    """Call a kernel by its address; arrays go as pointers to their first number."""
    kinds = arguments[0].types if len(arguments) == 1 and hasattr(arguments[0], "types") else arguments

    def generate(context, builder, signature, values):
        target, packed = values
        given = []
        for i, kind in enumerate(kinds):
            value = builder.extract_value(packed, i)
            if isinstance(kind, types.Array):
                value = cgutils.create_struct_proxy(kind)(context, builder, value=value).data
            given.append(value)
        shape = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(target, shape.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(address, types.StarArgTuple(kinds)), generate
