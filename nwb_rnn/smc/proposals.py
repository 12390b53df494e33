"""Where particles are drawn: bootstrap, optimal and encoder proposals, all of one Gaussian form.

Each proposal multiplies the transition N(z; μ, Q) by a Gaussian potential exp(−½ zᵀ H z + bᵀ z):

    bootstrap   H = 0, b = 0
    optimal     H = Cᵀ R⁻¹ C, b = Cᵀ R⁻¹ (y − d)   the likelihood itself (linear Gaussian readout only)
    encoder     H and b from a convolutional network that reads the recording

With Q = L_q L_qᵀ, M = I + L_qᵀ H L_q and Σ = L_q M⁻¹ L_qᵀ the product is N(A μ + Σ b, Σ), A = Σ Q⁻¹. For the
optimal proposal the weight is log N(y; C μ + d, C Q Cᵀ + R) = κ + μᵀ Aᵀ b − ½ μᵀ H A μ (Woodbury), so after
one matrix product before the time loop the number of observed units drops out of the cost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nwb_rnn.errors import InputError
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.sequence import ProposalTerms

PROPOSALS = ("bootstrap", "optimal", "encoder")


def choose(proposal: str, config: LowRankConfig) -> str:
    """Resolve "auto": optimal for a Gaussian affine readout, encoder otherwise."""
    linear_gaussian = config.observation == "gaussian" and config.readout == "affine"
    if proposal == "auto":
        return "optimal" if linear_gaussian else "encoder"
    if proposal not in PROPOSALS:
        raise InputError(f"proposal={proposal!r} is not known; choose from auto, {', '.join(PROPOSALS)}")
    if proposal == "optimal" and not linear_gaussian:
        raise InputError(
            "the optimal proposal has a closed form only for Gaussian observations with an affine readout; "
            f"this model has observation={config.observation!r} and readout={config.readout!r}: "
            "use proposal='encoder' or 'bootstrap'"
        )
    return proposal


def bootstrap(parameters: LowRankParameters, batch: int, bins: int) -> ProposalTerms:
    """The transition itself."""
    rank = parameters.initial_mean.shape[0]
    like = parameters.initial_mean
    kind = torch.zeros(batch, bins, dtype=torch.int64, device=like.device)
    kind[:, 0] = 1
    factors = torch.stack([parameters.transition_cholesky, parameters.initial_cholesky])
    return ProposalTerms(
        kind=kind,
        gain=torch.eye(rank, dtype=like.dtype, device=like.device).expand(2, rank, rank),
        offset=like.new_zeros(batch, bins, rank),
        scale=factors,
        adapted=False,
        whitener=_inverse_factors(factors),
        log_ratio=like.new_zeros(2),
    )


def optimal(
    parameters: LowRankParameters, observed: Tensor, patterns: Tensor, pattern: Tensor
) -> ProposalTerms:
    """The exact conditional for a linear Gaussian readout.

    Parameters
    ----------
    observed : (B, T, D)
    patterns : (P, D), the distinct sets of observed units, 1 where observed
    pattern : (B, T) int64, which of them holds in each bin
    """
    p = parameters
    weighted = p.readout_weights / p.observation_noise[:, None]
    precision = torch.einsum("pd,dr,ds->prs", patterns, weighted, p.readout_weights)
    residual = (observed - p.readout_bias) * patterns[pattern]
    linear = residual @ weighted
    kind, gain, covariance, scale, log_det = _tables(p, precision, pattern)
    # (P,) log det of the observed noise plus the Gaussian constant, for each pattern
    constant = patterns @ (torch.log(p.observation_noise) + math.log(2 * math.pi))
    offset = _apply(covariance, kind, linear)
    explained = (residual**2 / p.observation_noise).sum(-1) - (linear * offset).sum(-1)
    return ProposalTerms(
        kind=kind,
        gain=gain,
        offset=offset,
        scale=scale,
        adapted=True,
        weight_constant=-0.5 * (explained + constant[pattern] + log_det[kind]),
        weight_linear=_apply(gain.transpose(1, 2), kind, linear),
        weight_quadratic=torch.cat([precision, precision]) @ gain,
    )


def encoder(parameters: LowRankParameters, precision: Tensor, linear: Tensor) -> ProposalTerms:
    """The product of the transition and the encoder's Gaussian potential.

    Parameters
    ----------
    precision : (B, T, R, R), H for each bin
    linear : (B, T, R), b for each bin
    """
    batch, bins, rank = linear.shape
    kind = torch.arange(batch * bins, device=linear.device).reshape(batch, bins)
    factors = parameters.transition_cholesky.expand(batch, bins - 1, rank, rank)
    first = parameters.initial_cholesky.expand(batch, 1, rank, rank)
    factors = torch.cat([first, factors], dim=1).reshape(-1, rank, rank)
    inverses = _inverse_factors(torch.stack([parameters.transition_cholesky, parameters.initial_cholesky]))
    whitener = torch.cat(
        [inverses[1].expand(batch, 1, rank, rank), inverses[0].expand(batch, bins - 1, rank, rank)], dim=1
    ).reshape(-1, rank, rank)
    gain, covariance, scale, log_det = _product(factors, whitener, precision.reshape(-1, rank, rank))
    return ProposalTerms(
        kind=kind,
        gain=gain,
        offset=_apply(covariance, kind, linear),
        scale=scale,
        adapted=False,
        whitener=whitener,
        log_ratio=-0.5 * log_det,
    )


def _tables(parameters: LowRankParameters, precision: Tensor, pattern: Tensor):
    """Product terms for P patterns after a transition (kinds 0..P−1) and at bin 0 (kinds P..2P−1)."""
    count, rank = precision.shape[0], precision.shape[1]
    kind = pattern.clone()
    kind[:, 0] += count
    factors = torch.cat(
        [
            parameters.transition_cholesky.expand(count, rank, rank),
            parameters.initial_cholesky.expand(count, rank, rank),
        ]
    )
    gain, covariance, scale, log_det = _product(
        factors, _inverse_factors(factors), torch.cat([precision, precision])
    )
    return kind, gain, covariance, scale, log_det


def _product(factor: Tensor, inverse: Tensor, precision: Tensor):
    """A, Σ, a square root of Σ, and log det M of the module's docstring, for a stack (J, R, R)."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    lower = torch.linalg.cholesky(eye + factor.transpose(1, 2) @ precision @ factor)
    scale = torch.linalg.solve_triangular(lower, factor.transpose(1, 2), upper=False).transpose(1, 2)
    half = torch.linalg.solve_triangular(lower, inverse, upper=False)
    log_det = 2 * torch.log(torch.diagonal(lower, dim1=1, dim2=2)).sum(-1)
    return scale @ half, scale @ scale.transpose(1, 2), scale, log_det


def _inverse_factors(factors: Tensor) -> Tensor:
    eye = torch.eye(factors.shape[-1], dtype=factors.dtype, device=factors.device)
    return torch.linalg.solve_triangular(factors, eye.expand_as(factors), upper=False)


def _apply(table: Tensor, kind: Tensor, vectors: Tensor) -> Tensor:
    """Row b, t of `vectors` (B, T, R) times the matrix of its kind."""
    return torch.einsum("btrs,bts->btr", table[kind], vectors)
