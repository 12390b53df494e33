"""The particle filter on a CPU: the whole sequence in one compiled pass, with a hand-written backward pass.

Same contract, values and gradients as `reference`. Threads work on chunks of trials; the chunks, and the
order in which their gradients are added, depend on the batch alone, so the number of threads never changes
a result. While gradients are wanted, bins past a trial's length are skipped: their log increment is 0 and
their particles repeat the last ones.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.models.observations import dispersion_terms
from nwb_rnn.smc.backends import cpu_backward, cpu_forward, cpu_problem
from nwb_rnn.smc.backends.cpu_compile import kernels
from nwb_rnn.smc.backends.cpu_problem import SCHEMES, Problem
from nwb_rnn.smc.backends.cpu_tables import Local, Sums, Work
from nwb_rnn.smc.backends.cpu_terms import OPTIMAL, OptimalTerms
from nwb_rnn.smc.sequence import ProposalTerms, SequenceInputs, SequenceResult, run_each

threads: int | None = None
"""Threads of one pass; None for as many as torch uses."""

_LARGEST_RANK = 32
_CHUNKS = 16
_PARAMETERS = (
    "left_vectors",
    "right_vectors",
    "input_weights",
    "unit_bias",
    "decay",
    "initial_mean",
)
_READOUT = ("readout_weights", "readout_gain", "readout_bias", "observation_noise", "dispersion")
_TERMS = tuple(f.name for f in fields(ProposalTerms) if f.name not in ("kind", "adapted"))
_LAWS = (("gaussian", "identity"), *itertools.product(("poisson", "negative_binomial"), ("softplus", "exp")))


def supports(inputs: SequenceInputs, resampling: str) -> str | None:
    """None if `run` can filter these inputs, else the reason why not."""
    reason = supports_network(inputs.parameters.left_vectors, inputs.activation, resampling)
    if reason is not None:
        return reason
    if not inputs.proposal.adapted and (inputs.observation, inputs.link) not in _LAWS:
        return f"no kernel for {inputs.observation} observations with link {inputs.link}"
    if not inputs.proposal.adapted and inputs.parameters.readout_network_output is not None:
        return "no kernel for a network readout"
    return None


def supports_network(left_vectors: Tensor, activation: str, resampling: str) -> str | None:
    """What `supports` says of the network, from its M (N, R)."""
    like, rank = left_vectors, left_vectors.shape[-1]
    if like.device.type != "cpu":
        return f"the tensors are on {like.device}"
    if like.dtype not in (torch.float32, torch.float64):
        return f"{like.dtype} is neither float32 nor float64"
    if rank > _LARGEST_RANK:
        return f"rank {rank} is above {_LARGEST_RANK}"
    if activation not in ACTIVATIONS or resampling not in SCHEMES:
        return f"no kernel for activation {activation} with resampling {resampling}"
    return None


def run(
    inputs: SequenceInputs,
    noise: Tensor,
    uniforms: Tensor,
    resampling: str = "systematic",
    ancestors: Tensor | None = None,
    resampling_gradient: float = 0.0,
) -> SequenceResult:
    """Filter a batch; see `reference.run`. Gradients flow through `log_increments`."""
    if inputs.models is not None:
        return run_each(run, inputs, noise, uniforms, resampling, ancestors)
    tensors = _differentiable(inputs)
    skip = torch.is_grad_enabled() and any(x.requires_grad for x in tensors.values())
    problem = Problem(inputs, noise, uniforms, resampling, ancestors, skip, resampling_gradient)
    result = SequenceResult(*_Filter.apply(problem, tuple(tensors), *tensors.values()))
    k = inputs.parameters.dispersion
    if k is None:
        return result
    # the same for every particle, so it need not be in the kernels
    terms = (dispersion_terms(inputs.observed, k) * inputs.mask).sum(-1)
    return replace(result, log_increments=result.log_increments + terms)


def log_likelihood(
    inputs: SequenceInputs,
    terms: OptimalTerms,
    noise: Tensor,
    uniforms: Tensor,
    resampling: str,
    resampling_gradient: float = 0.0,
) -> Tensor:
    """log p(y) of each trial (B,) with the optimal proposal, whose `terms` and filter are one step for torch.

    `inputs.proposal` holds what `terms` found.
    """
    tensors = {name: getattr(inputs.parameters, name) for name in _PARAMETERS}
    tensors["filtered"] = inputs.filtered
    skip = torch.is_grad_enabled()
    problem = Problem(inputs, noise, uniforms, resampling, None, skip, resampling_gradient)
    return _Likelihood.apply(problem, terms, tuple(tensors), *terms.made_of, *tensors.values())


class _Likelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx, problem: Problem, terms: OptimalTerms, names: tuple[str, ...], *tensors):
        ctx.names, ctx.terms, ctx.passes = names, terms, Passes(problem)
        return ctx.passes.log_increments().sum(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, on_likelihood):
        bins = ctx.passes.problem.noise.shape[1]
        gradients = ctx.passes.backward(on_likelihood[:, None].expand(-1, bins))
        on_terms = ctx.terms.pull(*(gradients[name] for name in OPTIMAL))
        return None, None, None, *on_terms, *(gradients[name] for name in ctx.names)


def _differentiable(inputs: SequenceInputs) -> dict[str, Tensor]:
    """Every tensor that gets a gradient, by name."""
    p, q = inputs.parameters, inputs.proposal
    found = {name: getattr(p, name) for name in _PARAMETERS}
    if not q.adapted:
        found |= {name: getattr(p, name) for name in _READOUT}
    found["filtered"] = inputs.filtered
    found |= {name: getattr(q, name) for name in _TERMS}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, problem: Problem, names: tuple[str, ...], *tensors):
        ctx.names, ctx.passes = names, Passes(problem)
        result = ctx.passes.forward()
        ctx.mark_non_differentiable(*result[1:])
        ctx.set_materialize_grads(False)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, on_increments, *_):
        if on_increments is None:
            return None, None, *(None for _ in ctx.names)
        gradients = ctx.passes.backward(on_increments)
        wanted = zip(ctx.names, ctx.needs_input_grad[2:], strict=True)
        return None, None, *(gradients[name] if needed else None for name, needed in wanted)


class Passes:
    """Arrays of one batch, and the two passes over them; a caller may change numbers and pass again."""

    def __init__(self, problem: Problem):
        spec = cpu_problem.spec(problem)
        self.problem, self.block = problem, spec.block
        self.kernels = kernels(spec)
        self.model, self.data = cpu_problem.model(problem), cpu_problem.data(problem)
        self.proposal, self.path = cpu_problem.proposal(problem), cpu_problem.path(problem)
        self.lengths, self.scheme = cpu_problem.lengths(problem), SCHEMES[problem.resampling]
        batch = problem.noise.shape[0]
        self.chunks = min(batch, _CHUNKS)
        self.edges = np.array([batch * c // self.chunks for c in range(self.chunks + 1)])
        self._rooms: dict[int, Work] = {}
        self._gradients: tuple[Sums, Local] | None = None

    @property
    def _shared(self):
        return (
            self.model,
            self.data,
            self.proposal,
            self.path,
            self.lengths,
            self.scheme,
        )

    def _room(self, first: int) -> Work:
        """Where the thread that starts with chunk `first` works."""
        if first not in self._rooms:
            self._rooms[first] = cpu_problem.work(self.problem, self.model)
            return self._rooms[first]
        room = self._rooms[first]
        room.grids.fill(0)
        room.rows.fill(0)
        for copy, original in ((room.network, self.model.network), (room.readout, self.model.readout)):
            if copy is not original:
                copy[...] = original
        return room

    def log_increments(self) -> Tensor:
        """The forward pass; log increments (B, T)."""
        problem, drawing = self.problem, self.problem.ancestors is None
        adapted, counts = problem.inputs.proposal.adapted, problem.inputs.observation != "gaussian"

        self.path.means.fill(0)

        def work(first, last):
            shared = *self._shared, self._room(first)
            first, last = self.edges[first], self.edges[last]
            if adapted:
                cpu_forward.adapted(self.kernels, self.block, *shared, drawing, first, last)
            else:
                cpu_forward.weighted(self.kernels, self.block, *shared, drawing, counts, first, last)

        in_threads(work, self.chunks)
        return torch.from_numpy(self.path.log_increments).reshape(problem.noise.shape[:2])

    def forward(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The fields of `SequenceResult`."""
        increments, problem = self.log_increments(), self.problem
        batch, bins, particles, rank = problem.noise.shape
        _, latents, log_weights, _, ancestors, _ = (torch.from_numpy(x) for x in self.path)
        latents = latents.reshape(batch, bins, rank, -1)[..., :particles]
        log_weights = log_weights.reshape(batch, bins, -1)[..., :particles]
        if problem.inputs.proposal.adapted and problem.resampling != "none":
            log_weights = torch.full_like(log_weights, -np.log(particles))
        return (
            increments,
            latents.transpose(2, 3).contiguous(),
            log_weights.contiguous(),
            ancestors.reshape(batch, bins, particles),
        )

    def backward(self, on_increments: Tensor) -> dict[str, Tensor]:
        """Gradients by name, each in the shape of its tensor."""
        problem = self.problem
        sums, local = self.pull(cpu_problem.array(on_increments).reshape(-1))
        total = Sums(*(x.sum(axis=0) for x in sums))
        return cpu_problem.parameter_gradients(problem, total) | cpu_problem.proposal_gradients(
            problem, self.proposal, local
        )

    def pull(self, on_increments: np.ndarray) -> tuple[Sums, Local]:
        """The backward pass, from gradients on log increments (B · T,)."""
        problem = self.problem
        if self._gradients is None:
            sums = cpu_problem.sums(problem, self.model, self.chunks)
            self._gradients = sums, cpu_problem.local(problem)
        else:
            for x in itertools.chain(*self._gradients):
                x.fill(0)
        sums, local = self._gradients
        loop = cpu_backward.adapted if problem.inputs.proposal.adapted else cpu_backward.weighted

        def work(first, last):
            shared = *self._shared, self._room(first)
            share = problem.resampling_gradient
            loop(self.kernels, *shared, on_increments, share, sums, local, self.edges, first, last)

        in_threads(work, self.chunks)
        return sums, local


_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # a forked child has the object but none of its threads


def in_threads(work: Callable[[int, int], None], count: int) -> None:
    """Call work(first, last) so that 0..count − 1 are covered, one range for each thread."""
    workers = min(threads or torch.get_num_threads(), count)
    if workers <= 1:
        work(0, count)
        return
    if workers not in _pools:
        _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="nwb_rnn")
    bounds = [count * i // workers for i in range(workers + 1)]
    for _ in _pools[workers].map(work, bounds[:-1], bounds[1:]):
        pass
