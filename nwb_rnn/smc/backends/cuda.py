"""The particle filter on a GPU: one Triton kernel a pass, a program for each trial with its particles inside.

Same contract, values and gradients as `reference`; nothing waits for the host. Gradients of weights are
summed per trial and then over trials in a fixed order, so the same seed gives the same fit. Bins past a
trial's length are skipped while gradients are wanted: their log increment is 0 and their latents are 0.
With TRITON_INTERPRET=1 set before Triton is imported the same kernels run, slowly, on a CPU.
"""

from __future__ import annotations

import functools
import itertools
import logging
import math

import torch
import triton
from torch import Tensor

from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.models.observations import dispersion_terms
from nwb_rnn.smc.backends import reference
from nwb_rnn.smc.backends.cuda_backward import backward as _backward
from nwb_rnn.smc.backends.cuda_forward import forward as _forward
from nwb_rnn.smc.backends.cuda_launch import by_kind, launch
from nwb_rnn.smc.resampling import RESAMPLINGS
from nwb_rnn.smc.sequence import SequenceInputs, SequenceResult

_LARGEST_RANK = 16
MOST_PARTICLES = 1024
_PAIRS = 8192  # of particles, compared at once
_LAWS = (("gaussian", "identity"), *itertools.product(("poisson", "negative_binomial"), ("softplus", "exp")))
_INTERPRETED = not isinstance(_forward, triton.JITFunction)
_SHARED = ("left", "right", "bias", "base", "decay")
_READOUT = ("weights", "readout_bias", "readout_gain", "inverse_noise")


def supports(inputs: SequenceInputs, resampling: str) -> str | None:
    """None if `run` can filter these inputs, else the reason why not."""
    reason = supports_tensors(inputs.parameters.initial_mean)
    if reason is not None:
        return reason
    if inputs.activation not in ACTIVATIONS or resampling not in RESAMPLINGS:
        return f"no kernel for activation {inputs.activation} with resampling {resampling}"
    if not inputs.proposal.adapted and (inputs.observation, inputs.link) not in _LAWS:
        return f"no kernel for {inputs.observation} observations with link {inputs.link}"
    if not inputs.proposal.adapted and inputs.parameters.readout_network_output is not None:
        return "no kernel for a network readout"
    return None


def supports_tensors(like: Tensor) -> str | None:
    """None if there are kernels for a model whose initial mean is `like` (…, R), else the reason why not."""
    if not hasattr(triton.language, "gather"):
        return f"Triton {triton.__version__} is older than 3.3"
    if like.device.type != "cuda" and not _INTERPRETED:
        return f"the tensors are on {like.device}"
    if like.dtype not in (torch.float32, torch.float64):
        return f"{like.dtype} is neither float32 nor float64"
    if like.shape[-1] > _LARGEST_RANK:
        return f"rank {like.shape[-1]} is above {_LARGEST_RANK}"
    return None


def run(
    inputs: SequenceInputs,
    noise: Tensor,
    uniforms: Tensor,
    resampling: str = "systematic",
    ancestors: Tensor | None = None,
    resampling_gradient: float = 0.0,
) -> SequenceResult:
    """Filter a batch of at most 1024 particles a trial; see `reference.run`."""
    if noise.shape[2] > MOST_PARTICLES:
        _warn_once(
            f"{noise.shape[2]} particles are above {MOST_PARTICLES}: using the slower reference backend"
        )
        return reference.run(inputs, noise, uniforms, resampling, ancestors, resampling_gradient)
    tensors = _tensors(inputs)
    skip = torch.is_grad_enabled() and any(x.requires_grad for x in tensors.values())
    lengths = inputs.lengths.clamp(max=noise.shape[1])
    if not skip:
        lengths = torch.full_like(lengths, noise.shape[1])
    options = _options(inputs, noise, uniforms, resampling) | {"SHARE": resampling_gradient}
    fixed = {
        "observed": inputs.observed,
        "mask": inputs.mask,
        "noise": noise,
        "uniforms": uniforms,
        "lengths": lengths,
        "kind": inputs.proposal.kind,
    }
    fixed = {name: tensor.contiguous() for name, tensor in fixed.items()}
    return SequenceResult(*_Filter.apply(fixed, options, ancestors, tuple(tensors), *tensors.values()))


@functools.cache
def _warn_once(message: str) -> None:
    logging.getLogger("nwb_rnn").warning(message)


def _tensors(inputs: SequenceInputs) -> dict[str, Tensor]:
    """Every tensor that gets a gradient, laid out for the kernels; torch differentiates the layout."""
    p, q = inputs.parameters, inputs.proposal
    found = {
        "left": p.left_vectors.mT,
        "right": p.right_vectors,
        "bias": p.unit_bias,
        "base": _base(inputs),
        "decay": p.decay,
        "initial_mean": p.initial_mean,
        "gain": q.gain,
        "offset": q.offset,
        "scale": q.scale,
    }
    if q.adapted:
        found |= {"constant": q.weight_constant, "linear": q.weight_linear, "metric": q.weight_quadratic}
        return {name: tensor.contiguous() for name, tensor in found.items()}
    found |= {"metric": q.whitener, "log_ratio": q.log_ratio, "constant": _constant(inputs)}
    found["readout_bias"] = p.readout_bias
    if p.readout_gain is None:
        found["weights"] = p.readout_weights.mT
    else:
        found["readout_gain"] = p.readout_gain
    if p.observation_noise is not None:
        found["inverse_noise"] = 1 / p.observation_noise
    if p.dispersion is not None:
        found["inverse_noise"] = p.dispersion  # the kernels' one number beside the mean
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _base(inputs: SequenceInputs) -> Tensor:
    """(B, T, N): the currents from inputs; empty without inputs."""
    weights, filtered = inputs.parameters.input_weights, inputs.filtered
    if not filtered.shape[-1]:
        return inputs.parameters.unit_bias[:0]
    if inputs.models is None:
        return filtered @ weights.T
    of_models = filtered.reshape(inputs.models, -1, filtered.shape[-1])
    return (of_models @ weights.mT).reshape(*filtered.shape[:2], -1)


def _constant(inputs: SequenceInputs) -> Tensor:
    """(B, T): the terms of log p(y | z) that do not depend on z."""
    if inputs.observation == "gaussian":
        terms = -0.5 * torch.log(2 * math.pi * inputs.of_trials(inputs.parameters.observation_noise))
        return (terms * inputs.mask).sum(-1)
    terms = -torch.lgamma(inputs.observed + 1)
    if inputs.parameters.dispersion is not None:
        dispersion = inputs.of_trials(inputs.parameters.dispersion)
        terms = terms + dispersion_terms(inputs.observed, dispersion)
    return (terms * inputs.mask).sum(-1)


def _options(inputs: SequenceInputs, noise: Tensor, uniforms: Tensor, resampling: str) -> dict:
    """Compile-time constants of both kernels, and what the host needs to know."""
    _, bins, particles, rank = noise.shape
    one_to_one, adapted = inputs.parameters.readout_gain is not None, inputs.proposal.adapted
    units, observed = inputs.parameters.left_vectors.shape[-2], inputs.observed.shape[2]
    return {
        "TRIALS": noise.shape[0] // (inputs.models or 1),
        "T": bins,
        "K": particles,
        "R": rank,
        "N": units,
        "D": observed,
        "MASKS": inputs.mask.shape[2],
        "STRIDE": units if one_to_one else observed,
        "UNIFORMS": uniforms.shape[2],
        "BLOCK_R": triton.next_power_of_2(rank),
        "ADAPTED": adapted,
        "ACTIVATION": inputs.activation,
        "OBSERVATION": inputs.observation,
        "LINK": inputs.link,
        "ONE_TO_ONE": one_to_one,
        "HAS_BASE": inputs.filtered.shape[-1] > 0,
        "RESAMPLING": resampling,
        "ORDERED": inputs.proposal.ordered,
    }


def _tiles(noise: Tensor, units: int, observed: int, backward: bool, many: bool) -> dict:
    """How a kernel lays particles and units over threads, see `cuda_layout`, and its number of warps.

    The numbers of warps and of a lane's own particles are those that were fastest on an H200, where one
    trial's bins take their time one after the other, and where `many` trials share a multiprocessor.
    """
    *_, particles, rank = noise.shape
    block, ranks = max(triton.next_power_of_2(particles), 16), triton.next_power_of_2(rank)
    small = block <= 32
    warps = 8 if not small or (backward and not many) else 4
    threads, words = 32 * warps, noise.element_size() // 4
    copies = max(threads // block, 1)
    each = max(block // threads, 1) * words  # registers of a thread for one number of every lane
    own = block // 2 if many and small else block // 4
    own = max(min(own, 8, 64 // (ranks * each)), 1)
    places = copies * own  # units at once over all lanes
    kept = (2 * rank + 1) * (2 if backward else 1)  # numbers of a unit, and sums for it, in registers
    most = max(min(64 // (own * each), (176 if backward else 128) // (kept * each)), 1)

    def width(n: int) -> int:
        return min(triton.next_power_of_2(-(-n // places)), 1 << (most.bit_length() - 1)) * places

    return {
        "WARPS": warps,
        "BLOCK_K": block,
        "COPIES": copies,
        "OWN": own,
        "COLUMNS": max(32 * own // block, 1),
        "SMALL": small,
        "BLOCK_N": width(units),
        "BLOCK_D": width(observed),
        "BLOCK_J": min(block, max(_PAIRS // block // words, 8)),
    }


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, fixed, options, given, names, *tensors):
        found = {name: tensor.detach() for name, tensor in zip(names, tensors, strict=True)}
        noise = fixed["noise"]
        batch, bins, particles, _ = noise.shape
        if given is None:
            ancestors = torch.arange(particles, device=noise.device).repeat(batch, bins, 1)
        else:
            ancestors = given.clone(memory_format=torch.contiguous_format)
        out = {
            "cumulative": noise.new_empty(batch, particles),
            "log_increments": noise.new_zeros(batch, bins),
            "latents": torch.zeros_like(noise),
            "log_weights": noise.new_full((batch, bins, particles), -math.log(particles)),
            "ancestors": ancestors,
            "means": torch.empty_like(noise),
            "equal": noise.new_full((1,), -math.log(particles)),
        }
        _launch(_forward, fixed | found | out, options | {"DRAWING": given is None}, batch)
        ctx.fixed, ctx.options, ctx.found, ctx.out, ctx.names = fixed, options, found, out, names
        log_weights = out["log_weights"]
        if options["ADAPTED"] and options["RESAMPLING"] != "none":
            log_weights = torch.full_like(log_weights, -math.log(particles))
        result = out["log_increments"], out["latents"], log_weights, out["ancestors"]
        ctx.mark_non_differentiable(*result[1:])
        ctx.set_materialize_grads(False)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, on_increments, *_):
        if on_increments is None:
            return None, None, None, None, *(None for _ in ctx.names)
        noise, options, found = ctx.fixed["noise"], ctx.options, ctx.found
        gradients = _zeros(found, noise, options)
        options = options | {"ROW": gradients["rows"].shape[1]}
        arrays = ctx.fixed | found | ctx.out | gradients
        arrays["on_increments"] = on_increments.contiguous()
        _launch(_backward, arrays, options, len(noise))
        return None, None, None, None, *_collect(ctx, gradients)


def _zeros(found: dict[str, Tensor], like: Tensor, options: dict) -> dict[str, Tensor]:
    """One gradient for each trial of what trials share, one for each bin of what bins have or pick.

    Those of the first kind are parts of the rows of one matrix, "rows". The kernel's own three arrays are
    here too: all zeros come from one step.
    """
    batch, bins, particles, rank = like.shape
    models = batch // options["TRIALS"]
    names = [n for n in (*_SHARED, *_READOUT, "initial_mean") if n in found and n != "base"]
    sizes = [found[name].numel() // models for name in names]
    square, particle = (batch, bins, rank, rank), (batch, particles, rank)
    shapes = {"rows": (batch, sum(sizes)), "on_base": found["base"].shape, "on_constant": (batch, bins)}
    shapes |= {"on_offset": (batch, bins, rank), "on_linear": (batch, bins, rank)}
    shapes |= {"on_gain": square, "on_scale": square, "on_metric": square}
    shapes |= {"on_latents": particle, "on_means": particle, "of_children": particle}
    padded = [-(-math.prod(shape) // 4) * 4 for shape in shapes.values()]  # aligned as the kernels like it
    parts = like.new_zeros(sum(padded)).split(padded)
    gradients = {
        name: part[: math.prod(shape)].view(shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    shared = gradients["rows"].split(sizes, dim=1)
    gradients |= {"on_" + name: part for name, part in zip(names, shared, strict=True)}
    gradients["on_initial"] = gradients["on_initial_mean"]
    if options["ONE_TO_ONE"]:
        gradients["on_weights"] = gradients["on_left"]
    return gradients


def _collect(ctx, gradients: dict[str, Tensor]):
    """Gradients in the order and shape of the inputs."""
    kind = ctx.fixed["kind"]
    models = kind.shape[0] // ctx.options["TRIALS"]
    rows = gradients["rows"]
    summed = rows if models == len(rows) else rows.view(models, -1, rows.shape[1]).sum(1)

    for name, needed in zip(ctx.names, ctx.needs_input_grad[4:], strict=True):
        like = ctx.found[name]
        if not needed:
            yield None
        elif name in ("gain", "scale", "metric", "log_ratio"):
            of_bins = gradients["on_constant" if name == "log_ratio" else "on_" + name]
            yield by_kind(of_bins, kind, models, len(like), ctx.options["ORDERED"]).reshape(like.shape)
        elif name in ("base", "constant", "offset", "linear"):
            yield gradients["on_" + name]
        else:
            part = gradients["on_" + name]
            start = part.storage_offset() - rows.storage_offset()
            yield summed[:, start : start + part.shape[1]].reshape(like.shape)


def _launch(kernel, arrays: dict[str, Tensor], options: dict, programs: int) -> None:
    """Start one program for each trial."""
    noise = arrays["noise"]
    many = noise.is_cuda and programs > _multiprocessors(noise.device)
    options = options | _tiles(noise, options["N"], options["D"], kernel is _backward, many)
    if options["ONE_TO_ONE"]:
        arrays = arrays | {"weights": arrays["left"]}
    launch(kernel, arrays, options, programs, options["WARPS"])


@functools.cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count
