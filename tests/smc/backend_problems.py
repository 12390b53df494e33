"""Random models and batches on which every backend is compared with the reference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc import proposals
from nwb_rnn.smc.resampling import uniforms_per_trial
from nwb_rnn.smc.sequence import SequenceInputs


@dataclass(frozen=True)
class Case:
    """One combination of options and sizes. `mask`: whole, bins (B, T, 1) or units (B, T, D)."""

    proposal: str = "optimal"
    activation: str = "clipped_relu"
    observation: str = "gaussian"
    link: str = "identity"
    readout: str = "affine"
    resampling: str = "systematic"
    resampling_gradient: float = 0.0
    mask: str = "whole"
    unequal: bool = False
    inputs: int = 0
    rank: int = 3
    units: int = 20
    observed: int = 7
    batch: int = 3
    bins: int = 6
    particles: int = 5
    dtype: torch.dtype = torch.float32
    seed: int = 0

    def __str__(self):
        default = Case()
        changed = [n for n in self.__dataclass_fields__ if getattr(self, n) != getattr(default, n)]
        return "-".join(str(getattr(self, n)).replace("torch.", "") for n in changed) or "default"


@dataclass(frozen=True)
class Problem:
    """Leaves by name, and what a backend needs besides the inputs that are built from them."""

    case: Case
    leaves: dict[str, Tensor]
    data: dict[str, Tensor]
    noise: Tensor
    uniforms: Tensor

    def to(self, device: str) -> Problem:
        leaves = {name: leaf.detach().to(device).requires_grad_() for name, leaf in self.leaves.items()}
        data = {name: x.to(device) for name, x in self.data.items()}
        return Problem(self.case, leaves, data, self.noise.to(device), self.uniforms.to(device))

    def inputs(self) -> SequenceInputs:
        """Built anew from the leaves, so that gradients of two runs stay apart."""
        case, data = self.case, self.data
        leaves = {name: leaf for name, leaf in self.leaves.items() if not name.startswith("encoder_")}
        filtered = leaves.pop("filtered")
        for name in ("transition_cholesky", "initial_cholesky"):
            leaves[name] = torch.tril(leaves[name])
        parameters = LowRankParameters(**leaves)
        if case.proposal == "bootstrap":
            terms = proposals.bootstrap(parameters, case.batch, case.bins)
        elif case.proposal == "optimal":
            terms = proposals.optimal(parameters, data["observed"], data["patterns"], data["pattern"])
        else:
            root, seen = self.leaves["encoder_root"], data["mask"].amax(-1)[..., None]
            precision = (root @ root.mT) * seen[..., None]
            terms = proposals.encoder(parameters, precision, self.leaves["encoder_linear"] * seen)
        return SequenceInputs(
            parameters=parameters,
            activation=case.activation,
            observation=case.observation,
            link=case.link,
            observed=data["observed"],
            mask=data["mask"],
            filtered=filtered,
            lengths=data["lengths"],
            proposal=terms,
        )


def make(case: Case) -> Problem:
    generator = torch.Generator().manual_seed(case.seed)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)

    leaves = {
        "left_vectors": normal(case.units, case.rank),
        "right_vectors": normal(case.rank, case.units, scale=0.2 / case.units**0.5),
        "input_weights": normal(case.units, case.inputs),
        "unit_bias": normal(case.units),
        "decay": torch.tensor(0.8, dtype=torch.float64),
        "transition_cholesky": _factor(normal(case.rank, case.rank), 0.3),
        "initial_mean": normal(case.rank),
        "initial_cholesky": _factor(normal(case.rank, case.rank), 0.5),
        "readout_bias": normal(case.observed, scale=0.3),
        "filtered": normal(case.batch, case.bins, case.inputs),
    }
    size = 0.2 if case.link == "exp" else 1.0  # unbounded rates would leave float32
    if case.readout != "one_to_one":
        leaves["readout_weights"] = normal(case.observed, case.rank, scale=0.5 * size)
    else:
        leaves["readout_gain"] = size * (1 + normal(case.observed, scale=0.1))
    if case.observation == "gaussian":
        leaves["observation_noise"] = 0.5 + normal(case.observed).abs()
    if case.observation == "negative_binomial":
        leaves["dispersion"] = 0.3 + 3 * normal(case.observed).abs()
    if case.readout == "network":
        leaves["readout_network_input"] = normal(4, case.rank)
        leaves["readout_network_bias"] = normal(4)
        leaves["readout_network_output"] = normal(case.observed, 4, scale=0.3 * size)
    if case.proposal == "encoder":
        leaves["encoder_root"] = normal(case.batch, case.bins, case.rank, case.rank, scale=0.5)
        leaves["encoder_linear"] = normal(case.batch, case.bins, case.rank)
    data = _data(case, generator)
    leaves = {name: x.to(case.dtype).requires_grad_() for name, x in leaves.items()}
    width = uniforms_per_trial(case.resampling, case.particles)
    noise = normal(case.batch, case.bins, case.particles, case.rank)
    uniforms = torch.rand(case.batch, case.bins, width, generator=generator, dtype=torch.float64)
    return Problem(case, leaves, data, noise.to(case.dtype), uniforms.to(case.dtype))


def _factor(matrix: Tensor, scale: float) -> Tensor:
    return scale * (torch.tril(matrix, -1) * 0.3 + torch.diag(1 + torch.diag(matrix).abs()))


def _data(case: Case, generator: torch.Generator) -> dict[str, Tensor]:
    shape = (case.batch, case.bins, case.observed)
    if case.observation == "gaussian":
        observed = torch.randn(shape, generator=generator, dtype=torch.float64)
    else:
        rates = torch.full(shape, 1.2, dtype=torch.float64)
        rates[..., 0] = 0  # a silent unit
        rates[..., -1] = 30 if case.link == "exp" else 120
        observed = torch.poisson(rates, generator=generator)
    mask = torch.ones(shape, dtype=torch.float64)
    if case.mask == "units":
        mask = (torch.rand(shape, generator=generator) < 0.7).double()
    elif case.mask == "bins":
        mask = (torch.rand(shape[:2], generator=generator) < 0.7).double()[..., None].expand(shape).clone()
    lengths = torch.full((case.batch,), case.bins)
    if case.unequal:
        lengths = 1 + torch.arange(case.batch) * (case.bins - 1) // max(case.batch - 1, 1)
        mask = mask * (torch.arange(case.bins) < lengths[:, None])[..., None]
        mask[torch.arange(case.batch), lengths - 1, 0] = 1
    patterns, pattern = torch.unique(mask.reshape(-1, case.observed), dim=0, return_inverse=True)
    if case.mask != "units" and not case.unequal:
        mask = mask[..., :1].contiguous()
    return {
        "observed": (observed * mask).to(case.dtype),
        "mask": mask.to(case.dtype),
        "patterns": patterns.to(case.dtype),
        "pattern": pattern.reshape(shape[:2]),
        "lengths": lengths,
    }
