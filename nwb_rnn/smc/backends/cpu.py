"""The particle filter on a CPU: the whole sequence in one compiled pass, with a hand-written backward pass.

Same contract, values and gradients as `reference`. Threads work on chunks of trials; the chunks, and the
order in which their gradients are added, depend on the batch alone, so the number of threads never changes
a result. While gradients are wanted, bins past a trial's length are skipped: their log increment is 0 and
their particles repeat the last ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.smc.backends import cpu_backward, cpu_forward
from nwb_rnn.smc.backends.cpu_spec import KernelSpec
from nwb_rnn.smc.backends.cpu_tables import Data, Local, Network, Path, Proposal, Readout, Sums
from nwb_rnn.smc.sequence import ProposalTerms, SequenceInputs, SequenceResult

threads: int | None = None
"""Threads of one pass; None for as many as torch uses."""

_LARGEST_RANK = 32
_CHUNKS = 16
_SCHEMES = {
    "none": cpu_forward.NONE,
    "systematic": cpu_forward.SYSTEMATIC,
    "multinomial": cpu_forward.MULTINOMIAL,
}
_PARAMETERS = (
    "left_vectors",
    "right_vectors",
    "input_weights",
    "unit_bias",
    "decay",
    "initial_mean",
    "readout_weights",
    "readout_gain",
    "readout_bias",
    "observation_noise",
)
_TERMS = tuple(f.name for f in fields(ProposalTerms) if f.name not in ("kind", "adapted"))


def supports(inputs: SequenceInputs, resampling: str) -> str | None:
    """None if `run` can filter these inputs, else the reason why not."""
    p = inputs.parameters
    if p.initial_mean.device.type != "cpu":
        return f"the tensors are on {p.initial_mean.device}"
    if p.initial_mean.dtype not in (torch.float32, torch.float64):
        return f"dtype {p.initial_mean.dtype} is neither float32 nor float64"
    if p.initial_mean.shape[0] > _LARGEST_RANK:
        return f"rank {p.initial_mean.shape[0]} is above {_LARGEST_RANK}"
    if inputs.activation not in ACTIVATIONS or resampling not in _SCHEMES:
        return f"no kernel for activation {inputs.activation} with resampling {resampling}"
    if not inputs.proposal.adapted and (inputs.observation, inputs.link) not in (
        ("gaussian", "identity"),
        ("poisson", "softplus"),
        ("poisson", "exp"),
    ):
        return f"no kernel for {inputs.observation} observations with link {inputs.link}"
    return None


def run(
    inputs: SequenceInputs,
    noise: Tensor,
    uniforms: Tensor,
    resampling: str = "systematic",
    ancestors: Tensor | None = None,
) -> SequenceResult:
    """Filter a batch; see `reference.run`. Gradients flow through `log_increments`."""
    tensors = _differentiable(inputs)
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in tensors.values())
    problem = _Problem(inputs, noise, uniforms, resampling, ancestors, wanted, tuple(tensors))
    return SequenceResult(*_Filter.apply(problem, *tensors.values()))


@dataclass(frozen=True)
class _Problem:
    inputs: SequenceInputs
    noise: Tensor
    uniforms: Tensor
    resampling: str
    ancestors: Tensor | None
    skip: bool
    names: tuple[str, ...]


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx, problem: _Problem, *tensors):
        pass_ = _Pass(problem)
        pass_.forward()
        ctx.filter_pass = pass_
        result = pass_.result()
        ctx.mark_non_differentiable(*result[1:])
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, on_increments, *_):
        gradients = ctx.filter_pass.backward(on_increments)
        wanted = ctx.needs_input_grad[1:]
        names = ctx.filter_pass.problem.names
        return None, *(gradients[n] if w else None for n, w in zip(names, wanted, strict=True))


def _differentiable(inputs: SequenceInputs) -> dict[str, Tensor]:
    """Every tensor that gets a gradient, by name."""
    p, q = inputs.parameters, inputs.proposal
    found = {name: getattr(p, name) for name in _PARAMETERS}
    if q.adapted:
        for name in ("readout_weights", "readout_gain", "readout_bias", "observation_noise"):
            found[name] = None
    found["filtered"] = inputs.filtered
    found |= {name: getattr(q, name) for name in _TERMS}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


class _Pass:
    """Arrays of one batch as the kernels want them, and both passes over them."""

    def __init__(self, problem: _Problem):
        inputs, q = problem.inputs, problem.inputs.proposal
        self.problem, self.dtype = problem, inputs.parameters.initial_mean.dtype
        self.batch, self.bins, self.particles, self.rank = problem.noise.shape
        one_to_one = inputs.parameters.readout_gain is not None
        self.spec = KernelSpec(
            rank=self.rank,
            block=2 if self.particles > 1 else 1,
            activation=inputs.activation,
            observation="none" if q.adapted else inputs.observation,
            link="none" if q.adapted else inputs.link,
            readout="none" if q.adapted else "one_to_one" if one_to_one else "affine",
        )
        self.lanes = 64 // self.dtype.itemsize
        self.network = self._network()
        self.readout = None if q.adapted else self._readout()
        self.data = self._data()
        self.proposal = self._proposal()
        self.path = self._path()
        chunks = min(self.batch, _CHUNKS)
        self.edges = np.array([self.batch * c // chunks for c in range(chunks + 1)])

    def forward(self) -> None:
        scheme, drawing = _SCHEMES[self.problem.resampling], self.problem.ancestors is None
        network, data, proposal, path = self.network, self.data, self.proposal, self.path
        if self.readout is None:

            def work(first, last):
                cpu_forward.adapted(self.spec, network, data, proposal, path, scheme, drawing, first, last)
        else:
            counts = self.problem.inputs.observation == "poisson"

            def work(first, last):
                cpu_forward.weighted(
                    self.spec,
                    network,
                    self.readout,
                    data,
                    proposal,
                    path,
                    scheme,
                    drawing,
                    counts,
                    first,
                    last,
                )

        _in_threads(lambda first, last: work(self.edges[first], self.edges[last]), len(self.edges) - 1)

    def result(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        log_increments, latents, log_weights, ancestors, _ = (torch.from_numpy(x) for x in self.path)
        if self.readout is None and self.problem.resampling != "none":
            log_weights = torch.full_like(log_weights, -np.log(self.particles))
        shape = (self.batch, self.bins, self.particles, self.rank)
        return log_increments, latents.reshape(shape), log_weights, ancestors

    def backward(self, on_increments: Tensor) -> dict[str, Tensor]:
        """Gradients by name, each in the shape of its tensor."""
        scheme, on_increments = _SCHEMES[self.problem.resampling], _array(on_increments)
        sums, local = self._sums(), self._local()
        network, data, proposal, path = self.network, self.data, self.proposal, self.path
        if self.readout is None:

            def work(first, last):
                cpu_backward.adapted(
                    self.spec,
                    network,
                    data,
                    proposal,
                    path,
                    scheme,
                    on_increments,
                    sums,
                    local,
                    self.edges,
                    first,
                    last,
                )
        else:

            def work(first, last):
                cpu_backward.weighted(
                    self.spec,
                    network,
                    self.readout,
                    data,
                    proposal,
                    path,
                    scheme,
                    on_increments,
                    sums,
                    local,
                    self.edges,
                    first,
                    last,
                )

        _in_threads(work, len(self.edges) - 1)
        totals = Sums(*(torch.from_numpy(x).sum(0) for x in sums))
        return self._shared_gradients(totals) | self._proposal_gradients(local)

    def _shared_gradients(self, total: Sums) -> dict[str, Tensor]:
        p = self.problem.inputs.parameters
        units, observed = p.left_vectors.shape[0], p.readout_bias.shape[0]
        if self.spec.activation == "clipped_relu":
            on_bias = total.bias
        else:
            on_bias = -(total.base + total.current)
        gradients = {
            "left_vectors": total.left[:, :units].T,
            "right_vectors": total.right[:, :units],
            "input_weights": total.input_weights[:, :units].T,
            "unit_bias": on_bias[:units],
            "decay": total.decay.reshape(p.decay.shape),
            "initial_mean": total.initial_mean,
        }
        if self.readout is None:
            return gradients
        gradients["readout_bias"] = total.readout_bias[:observed]
        gradients["readout_gain"] = total.readout_gain[:observed]
        gradients["readout_weights"] = total.readout_weights[:, :observed].T
        if p.observation_noise is not None:
            noise = p.observation_noise.detach()
            on_inverse, on_log = total.inverse_noise[:observed], total.log_noise[:observed]
            gradients["observation_noise"] = on_log / noise - on_inverse / noise**2
        return gradients

    def _proposal_gradients(self, local: Local) -> dict[str, Tensor]:
        q = self.problem.inputs.proposal
        gradients = {
            "filtered": torch.from_numpy(local.filtered),
            "offset": torch.from_numpy(local.offset),
            "gain": self._by_kind(local.gain, q.gain),
            "scale": self._by_kind(local.scale, q.scale),
        }
        if q.adapted:
            gradients["weight_constant"] = torch.from_numpy(local.weight_constant)
            gradients["weight_linear"] = torch.from_numpy(local.weight_linear)
            gradients["weight_quadratic"] = self._by_kind(local.metric, q.weight_quadratic)
        else:
            gradients["whitener"] = self._by_kind(local.metric, q.whitener)
            gradients["log_ratio"] = self._by_kind(local.log_ratio, q.log_ratio)
        return gradients

    def _by_kind(self, rows: np.ndarray, like: Tensor) -> Tensor:
        total = torch.zeros(like.shape, dtype=self.dtype)
        flat = rows.reshape(self.batch, self.bins, -1)
        cpu_backward.add_by_kind(self.proposal.kind, flat, total.numpy().reshape(like.shape[0], -1))
        return total

    def _zeros(self, *shape: int) -> np.ndarray:
        """torch aligns its memory to whole vectors; numpy does not."""
        return torch.zeros(shape, dtype=self.dtype).numpy()

    def _columns(self, count: int) -> int:
        return -(-count // self.lanes) * self.lanes

    def _padded(self, tensor: Tensor | None, shape: tuple[int, ...] = (0,)) -> np.ndarray:
        """A tensor with units last, padded with zeros to whole vectors."""
        if tensor is None:
            return self._zeros(*shape[:-1], self._columns(shape[-1]))
        array = tensor.detach().numpy()
        out = self._zeros(*array.shape[:-1], self._columns(array.shape[-1]))
        out[..., : array.shape[-1]] = array
        return out

    def _network(self) -> Network:
        p = self.problem.inputs.parameters
        return Network(
            left=self._padded(p.left_vectors.T),
            right=self._padded(p.right_vectors),
            bias=self._padded(p.unit_bias),
            input_weights=self._padded(p.input_weights.T),
            decay=_array(p.decay).reshape(1),
            initial_mean=_array(p.initial_mean),
        )

    def _readout(self) -> Readout:
        p = self.problem.inputs.parameters
        size = p.readout_bias.shape
        noise = p.observation_noise
        weights = self.network.left if p.readout_gain is not None else self._padded(p.readout_weights.T)
        return Readout(
            weights=weights,
            bias=self._padded(p.readout_bias),
            gain=self._padded(p.readout_gain, size),
            inverse_noise=self._padded(None if noise is None else 1 / noise, size),
            log_noise=self._padded(None if noise is None else torch.log(2 * np.pi * noise), size),
        )

    def _data(self) -> Data:
        problem, inputs = self.problem, self.problem.inputs
        bins = np.full(self.batch, self.bins)
        if problem.skip:
            bins = np.minimum(inputs.lengths.numpy(), self.bins)
        return Data(
            observed=_array(inputs.observed),
            mask=_array(inputs.mask),
            filtered=_array(inputs.filtered),
            bins=bins,
            noise=_array(problem.noise).reshape(self.batch, self.bins, -1),
            uniforms=_array(problem.uniforms),
        )

    def _proposal(self) -> Proposal:
        q = self.problem.inputs.proposal
        empty = torch.empty(0, dtype=self.dtype)

        def array(tensor, ndim):
            return _array(empty.reshape((0,) * ndim) if tensor is None else tensor)

        return Proposal(
            kind=_array(q.kind),
            gain=_array(q.gain),
            offset=_array(q.offset),
            scale=_array(q.scale),
            weight_constant=array(q.weight_constant, 2),
            weight_linear=array(q.weight_linear, 3),
            metric=_array(q.weight_quadratic if q.adapted else q.whitener),
            log_ratio=array(q.log_ratio, 1),
        )

    def _path(self) -> Path:
        shape, flat = (self.batch, self.bins, self.particles), self.particles * self.rank
        given = self.problem.ancestors
        ancestors = torch.empty(shape, dtype=torch.int64) if given is None else given.clone()
        return Path(
            log_increments=torch.empty(shape[:2], dtype=self.dtype).numpy(),
            latents=torch.empty((*shape[:2], flat), dtype=self.dtype).numpy(),
            log_weights=torch.empty(shape, dtype=self.dtype).numpy(),
            ancestors=ancestors.contiguous().numpy(),
            means=torch.empty((*shape[:2], flat), dtype=self.dtype).numpy(),
        )

    def _sums(self) -> Sums:
        chunks, rank = len(self.edges) - 1, self.rank
        units, inputs = self.network.bias.shape[0], self.network.input_weights.shape[0]
        observed = 0 if self.readout is None else self.readout.bias.shape[0]
        left = self._zeros(chunks, rank, units)
        shared = self.spec.readout == "one_to_one"
        return Sums(
            left=left,
            right=self._zeros(chunks, rank, units),
            base=self._zeros(chunks, units),
            current=self._zeros(chunks, units),
            bias=self._zeros(chunks, units),
            input_weights=self._zeros(chunks, inputs, units),
            decay=self._zeros(chunks, 1),
            initial_mean=self._zeros(chunks, rank),
            readout_weights=left if shared else self._zeros(chunks, rank, observed),
            readout_bias=self._zeros(chunks, observed),
            readout_gain=self._zeros(chunks, observed),
            inverse_noise=self._zeros(chunks, observed),
            log_noise=self._zeros(chunks, observed),
        )

    def _local(self) -> Local:
        at, rank = (self.batch, self.bins), self.rank
        return Local(
            filtered=self._zeros(*at, self.network.input_weights.shape[0]),
            gain=self._zeros(*at, rank, rank),
            offset=self._zeros(*at, rank),
            scale=self._zeros(*at, rank, rank),
            weight_constant=self._zeros(*at),
            weight_linear=self._zeros(*at, rank),
            metric=self._zeros(*at, rank, rank),
            log_ratio=self._zeros(*at),
        )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


_pools: dict[int, ThreadPoolExecutor] = {}
os.register_at_fork(after_in_child=_pools.clear)  # a forked child has the object but none of its threads


def _in_threads(work: Callable[[int, int], None], count: int) -> None:
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
