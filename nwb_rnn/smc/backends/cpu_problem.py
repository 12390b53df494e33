"""From tensors to the arrays of the CPU kernels, and from their gradients back to tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.numba_cache import revision
from nwb_rnn.smc.backends import cpu_readout, cpu_steps
from nwb_rnn.smc.backends.cpu_lanes import REGISTER_BYTES
from nwb_rnn.smc.backends.cpu_rows import padded
from nwb_rnn.smc.backends.cpu_spec import FILES, KernelSpec
from nwb_rnn.smc.backends.cpu_tables import Data, Local, Model, Path, Proposal, Sums, Work
from nwb_rnn.smc.sequence import SequenceInputs

SCHEMES = {
    "none": cpu_steps.NONE,
    "systematic": cpu_steps.SYSTEMATIC,
    "multinomial": cpu_steps.MULTINOMIAL,
}


class Particles:
    """Arrays of the dtype of `noise` (…, K, R), and with rows for as many particles."""

    noise: Tensor

    def __init__(self, like: Tensor):
        self.noise = like

    @property
    def lanes(self) -> int:
        return REGISTER_BYTES // self.noise.element_size()

    @property
    def stride(self) -> int:
        """Length of a row of particles."""
        return padded(self.noise.shape[-2], self.noise.element_size())

    def zeros(self, *shape: int) -> np.ndarray:
        return np.zeros(shape, f"f{self.noise.element_size()}")

    def packs(self, *shape: int) -> np.ndarray:
        """Zeros aligned to whole vectors, as torch's memory is and numpy's is not."""
        return torch.zeros(shape, dtype=self.noise.dtype).numpy()

    def vectors(self, units: int) -> int:
        return -(-units // self.lanes)

    def spec(self, activation: str, observation: str, link: str, readout: str) -> KernelSpec:
        particles, rank = self.noise.shape[-2:]
        return KernelSpec(
            rank=rank,
            block=_block(particles, rank),
            activation=activation,
            observation=observation,
            link=link,
            readout=readout,
            dtype=str(self.noise.dtype).removeprefix("torch."),
            revision=revision(FILES),
        )


@dataclass(frozen=True)
class Problem(Particles):
    """What one call of `run` got; `skip` says whether bins past a trial's length are left out."""

    inputs: SequenceInputs
    noise: Tensor
    uniforms: Tensor
    resampling: str
    ancestors: Tensor | None
    skip: bool
    resampling_gradient: float

    @property
    def one_to_one(self) -> bool:
        return self.inputs.parameters.readout_gain is not None


def spec(problem: Problem) -> KernelSpec:
    inputs = problem.inputs
    if inputs.proposal.adapted:
        return problem.spec(inputs.activation, "none", "none", "none")
    readout = "one_to_one" if problem.one_to_one else "affine"
    return problem.spec(inputs.activation, inputs.observation, inputs.link, readout)


def _block(particles: int, rank: int) -> int:
    """As many as registers hold sums for, with few empty places in the last block."""
    sizes = [size for size in (4, 2) if size * rank <= 16 and (particles % size == 0 or particles > 8 * size)]
    return sizes[0] if sizes else 1


def model(problem: Problem) -> Model:
    p = problem.inputs.parameters
    adapted = problem.inputs.proposal.adapted
    pack, input_weights = network(problem, p)
    noise = None if adapted or p.observation_noise is None else array(p.observation_noise)
    log_noise = problem.zeros(0) if noise is None else np.log(2 * np.pi * noise)
    return Model(
        network=pack,
        readout=problem.zeros(0, 1, 1) if adapted else _readout_pack(problem, noise),
        input_weights=input_weights,
        readout_inputs=input_weights if problem.one_to_one else input_weights[:0],
        log_noise=log_noise,
        decay=array(p.decay).reshape(1),
        initial_mean=array(p.initial_mean),
    )


def network(room: Particles, p: LowRankParameters) -> tuple[np.ndarray, np.ndarray]:
    """The pack of `cpu_units`, and the input weights (U, N')."""
    units = p.left_vectors.shape[0]
    input_weights = room.zeros(p.input_weights.shape[1], room.vectors(units) * room.lanes)
    input_weights[:, :units] = array(p.input_weights).T
    rows = [*array(p.left_vectors).T, *array(p.right_vectors), array(p.unit_bias), 0]
    return _pack(room, units, rows), input_weights


def _readout_pack(problem: Problem, noise: np.ndarray | None) -> np.ndarray:
    p = problem.inputs.parameters
    units = p.readout_bias.shape[0]
    rows = dict.fromkeys(cpu_readout.ROWS, 0)
    rows["bias"] = array(p.readout_bias)
    if noise is not None:
        rows["spread"] = 1 / noise
    if p.dispersion is not None:
        rows["spread"] = array(p.dispersion)
    weights = p.readout_weights
    if problem.one_to_one:
        weights = p.left_vectors[:units]
        rows["gain"], rows["threshold"] = array(p.readout_gain), array(p.unit_bias)[:units]
    return _pack(problem, units, [*array(weights).T, *rows.values()])


def _pack(problem: Particles, units: int, rows: list) -> np.ndarray:
    """(units / W, rows, W) of `cpu_blocks`."""
    vectors, lanes = problem.vectors(units), problem.lanes
    flat = problem.zeros(len(rows), vectors * lanes)
    for target, row in zip(flat, rows, strict=True):
        target[:units] = row
    pack = problem.packs(vectors, len(rows), lanes)
    pack[...] = flat.reshape(len(rows), vectors, lanes).swapaxes(0, 1)
    return pack


def unpack(pack: Tensor, units: int) -> Tensor:
    """Rows (rows, units) of a pack."""
    return pack.transpose(0, 1).reshape(pack.shape[1], -1)[:, :units]


def lengths(problem: Problem) -> np.ndarray:
    batch, bins = problem.noise.shape[:2]
    if problem.skip:
        return np.minimum(problem.inputs.lengths.numpy(), bins)
    return np.full(batch, bins)


def data(problem: Problem) -> Data:
    inputs = problem.inputs
    return Data(
        observed=_rows(inputs.observed),
        mask=_rows(inputs.mask),
        filtered=_rows(inputs.filtered),
        noise=_particles(problem),
        uniforms=_rows(problem.uniforms),
    )


def proposal(problem: Problem) -> Proposal:
    q = problem.inputs.proposal
    nothing = problem.zeros(0)
    return Proposal(
        kind=array(q.kind).reshape(-1),
        gain=_tables(q.gain),
        offset=_rows(q.offset),
        scale=_tables(q.scale),
        weight_constant=array(q.weight_constant).reshape(-1) if q.adapted else nothing,
        weight_linear=_rows(q.weight_linear) if q.adapted else nothing.reshape(0, 0),
        metric=_tables(q.weight_quadratic if q.adapted else q.whitener),
        log_ratio=nothing if q.adapted else array(q.log_ratio),
    )


def path(problem: Problem) -> Path:
    batch, bins, particles, rank = problem.noise.shape
    rows, like = batch * bins, problem.noise
    if problem.ancestors is None:
        ancestors = torch.empty(rows, particles, dtype=torch.int64)
    else:
        ancestors = problem.ancestors.reshape(rows, particles).clone()
    stride = problem.stride
    return Path(
        log_increments=like.new_empty(rows).numpy(),
        latents=like.new_empty(rows, rank, stride).numpy(),
        log_weights=like.new_empty(rows, stride).numpy(),
        weights=like.new_empty(rows, stride).numpy(),
        ancestors=ancestors.numpy(),
        means=like.new_empty(rows, rank, stride).numpy(),
    )


def work(problem: Problem, made: Model) -> Work:
    particles, rank = problem.noise.shape[2:]
    network, readout = made.network, problem.packs(*made.readout.shape)
    readout[...] = made.readout
    if made.input_weights.shape[0]:  # its row of currents changes with every bin
        network = problem.packs(*made.network.shape)
        network[...] = made.network
    return Work(
        network=network,
        readout=readout,
        grids=problem.packs(6, rank, problem.stride),
        rows=problem.packs(4, problem.stride),
        places=np.zeros((2, particles), np.int64),
    )


def sums(problem: Problem, made: Model, chunks: int) -> Sums:
    rank, lanes = problem.noise.shape[3], problem.lanes
    return Sums(
        network=problem.packs(chunks, *made.network.shape),
        readout=problem.packs(chunks, made.readout.shape[0], rank + cpu_readout.GRADIENT_ROWS, lanes),
        current=problem.zeros(chunks, made.input_weights.shape[1]),
        input_weights=problem.zeros(chunks, *made.input_weights.shape),
        log_noise=problem.zeros(chunks, *made.log_noise.shape),
        decay=problem.zeros(chunks, 1),
        initial_mean=problem.zeros(chunks, rank),
    )


def local(problem: Problem) -> Local:
    batch, bins, _, rank = problem.noise.shape
    rows = batch * bins
    return Local(
        filtered=problem.zeros(rows, problem.inputs.filtered.shape[2]),
        gain=problem.zeros(rows, rank**2),
        offset=problem.zeros(rows, rank),
        scale=problem.zeros(rows, rank**2),
        weight_constant=problem.zeros(rows),
        weight_linear=problem.zeros(rows, rank),
        metric=problem.zeros(rows, rank**2),
        log_ratio=problem.zeros(rows),
    )


def parameter_gradients(problem: Problem, total: Sums) -> dict[str, Tensor]:
    """Gradients by the name of a parameter, from sums over all trials."""
    p = problem.inputs.parameters
    units, rank = p.left_vectors.shape
    rows = unpack(torch.from_numpy(total.network), units)
    on_bias = rows[2 * rank]
    on_current = rows[2 * rank + 1] + torch.from_numpy(total.current)[:units]
    gradients = {
        "left_vectors": rows[:rank].T,
        "right_vectors": rows[rank : 2 * rank],
        "input_weights": torch.from_numpy(total.input_weights)[:, :units].T,
        "decay": torch.from_numpy(total.decay).reshape(p.decay.shape),
        "initial_mean": torch.from_numpy(total.initial_mean),
    }
    if not problem.inputs.proposal.adapted:
        on_readout, on_left, on_threshold, on_base = _readout_gradients(problem, total)
        gradients |= on_readout
        if problem.one_to_one:
            gradients["left_vectors"] = gradients["left_vectors"].clone()
            gradients["left_vectors"][: on_left.shape[0]] += on_left
            on_bias[: on_left.shape[0]] += on_threshold
            on_current[: on_left.shape[0]] += on_base
    gradients["unit_bias"] = on_bias if problem.inputs.activation == "clipped_relu" else -on_current
    return gradients


def _readout_gradients(problem: Problem, total: Sums):
    """Gradients of the readout by name, and those on M, h and base for a one-to-one readout."""
    p, rank = problem.inputs.parameters, problem.noise.shape[3]
    rows = unpack(torch.from_numpy(total.readout), p.readout_bias.shape[0])
    named = dict(zip(cpu_readout.ROWS, rows[rank:], strict=False))
    gradients = {
        "readout_bias": named["bias"],
        "readout_gain": named["gain"],
        "readout_weights": rows[:rank].T,
    }
    if p.observation_noise is not None:
        noise = p.observation_noise.detach()
        gradients["observation_noise"] = (
            torch.from_numpy(total.log_noise) / noise - named["spread"] / noise**2
        )
    if p.dispersion is not None:
        gradients["dispersion"] = named["spread"]
    return gradients, rows[:rank].T, named["threshold"], named["current"]


def proposal_gradients(problem: Problem, made: Proposal, found: Local) -> dict[str, Tensor]:
    """Gradients by the name of a proposal term, and on the filtered inputs."""
    q = problem.inputs.proposal

    def table(rows: np.ndarray, like: Tensor) -> Tensor:
        total = problem.zeros(like.shape[0], like[0].numel())
        cpu_steps.add_by_kind(made.kind, rows.reshape(rows.shape[0], -1), total)
        return torch.from_numpy(total).reshape(like.shape)

    def bins(rows: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(rows).reshape(like.shape)

    gradients = {
        "filtered": bins(found.filtered, problem.inputs.filtered),
        "gain": table(found.gain, q.gain),
        "offset": bins(found.offset, q.offset),
        "scale": table(found.scale, q.scale),
    }
    if not q.adapted:
        whitener, ratio = table(found.metric, q.whitener), table(found.log_ratio, q.log_ratio)
        return gradients | {"whitener": whitener, "log_ratio": ratio}
    return gradients | {
        "weight_constant": bins(found.weight_constant, q.weight_constant),
        "weight_linear": bins(found.weight_linear, q.weight_linear),
        "weight_quadratic": table(found.metric, q.weight_quadratic),
    }


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _particles(problem: Problem) -> np.ndarray:
    """The noise (B, T, K, R) as rows (B·T, R, K')."""
    batch, bins, particles, rank = problem.noise.shape
    found = problem.noise.new_zeros(batch, bins, rank, problem.stride)
    found[..., :particles] = problem.noise.transpose(2, 3)
    return found.numpy().reshape(batch * bins, rank, -1)


def _rows(tensor: Tensor) -> np.ndarray:
    """(B, T, ...) as (B·T, numbers)."""
    return array(tensor).reshape(tensor.shape[0] * tensor.shape[1], -1 if tensor.numel() else 0)


def _tables(tensor: Tensor) -> np.ndarray:
    return array(tensor).reshape(tensor.shape[0], -1)
