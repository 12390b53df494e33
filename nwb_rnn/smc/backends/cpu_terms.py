"""Proposal terms for the CPU backend: what `proposals.optimal` and `proposals.encoder` return, compiled.

Same arguments, values and gradients; in torch, the many small matrices of these terms cost more than the
particle filter itself. Gradients on Cholesky factors are those on their lower triangles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.backends import cpu_optimal, cpu_products
from nwb_rnn.smc.sequence import ProposalTerms

OPTIMAL = ("gain", "offset", "scale", "weight_constant", "weight_linear", "weight_quadratic")


def optimal(
    parameters: LowRankParameters, observed: Tensor, patterns: Tensor, pattern: Tensor
) -> ProposalTerms:
    """See `proposals.optimal`."""
    terms = optimal_terms(parameters, observed, patterns, pattern)
    return terms.named(_Optimal.apply(terms, *terms.made_of))


def optimal_terms(
    parameters: LowRankParameters, observed: Tensor, patterns: Tensor, pattern: Tensor
) -> OptimalTerms:
    """The same terms, with the way back from their gradients, outside of torch's graph."""
    p = parameters
    made_of = (
        p.transition_cholesky,
        p.initial_cholesky,
        p.readout_weights,
        p.readout_bias,
        p.observation_noise,
    )
    return OptimalTerms(made_of, observed, patterns, pattern)


def encoder(parameters: LowRankParameters, precision: Tensor, linear: Tensor) -> ProposalTerms:
    """See `proposals.encoder`."""
    gain, offset, scale, whitener, log_ratio = _Encoder.apply(
        parameters.transition_cholesky, parameters.initial_cholesky, precision, linear
    )
    batch, bins, _ = linear.shape
    return ProposalTerms(
        kind=torch.arange(batch * bins).reshape(batch, bins),
        gain=gain,
        offset=offset,
        scale=scale,
        adapted=False,
        whitener=whitener,
        log_ratio=log_ratio,
    )


class OptimalTerms:
    """The terms of the optimal proposal, and the way back to the five parameters that they are made of."""

    def __init__(self, made_of: tuple[Tensor, ...], observed: Tensor, patterns: Tensor, pattern: Tensor):
        self.made_of, self.kind = made_of, pattern.clone()
        self.kind[:, 0] += patterns.shape[0]
        factor, first, weights, bias, noise = map(_array, made_of)
        shape, rank = self.kind.shape, factor.shape[0]
        self._given = (
            np.ascontiguousarray(weights.T),
            noise,
            bias,
            _array(observed).reshape(self.kind.numel(), -1),
            _array(patterns),
            _array(pattern).reshape(-1),
            _array(self.kind).reshape(-1),
        )
        self._terms = cpu_optimal.terms(factor, first, *self._given)
        gain, scale, offset, constant, slope, quadratic = (
            torch.from_numpy(self._terms[k]) for k in (4, 5, 9, 10, 11, 12)
        )
        self.found = (
            gain.view(-1, rank, rank),
            offset.view(*shape, rank),
            scale.view(-1, rank, rank),
            constant.view(shape),
            slope.view(*shape, rank),
            quadratic.view(-1, rank, rank),
        )

    def named(self, found: Sequence[Tensor]) -> ProposalTerms:
        """`found`, or another tuple in its order, as what a backend takes."""
        return ProposalTerms(kind=self.kind, adapted=True, **dict(zip(OPTIMAL, found, strict=True)))

    def pull(self, *on: Tensor) -> tuple[Tensor, ...]:
        """From gradients on `found` to those on the parameters."""
        rank = self._given[0].shape[0]
        flat = (rank**2, rank, rank**2, None, rank, rank**2)
        on_found = (
            _array(x).reshape(-1) if n is None else _array(x).reshape(-1, n)
            for x, n in zip(on, flat, strict=True)
        )
        pulled = cpu_optimal.pull_terms(*self._given, self._terms, *on_found)
        factor, first, weights, bias, noise = map(torch.from_numpy, pulled)
        return factor, first, weights.T, bias, noise


class _Optimal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, terms: OptimalTerms, *made_of):
        ctx.terms = terms
        return terms.found

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *on):
        return None, *ctx.terms.pull(*on)


class _Encoder(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *tensors):
        factor, first, precision, linear = map(_array, tensors)
        batch, bins, rank = linear.shape
        kinds = batch * bins
        factors = np.empty((batch, bins, rank**2), factor.dtype)
        factors[:], factors[:, 0] = factor.ravel(), first.ravel()
        factors, precision = factors.reshape(kinds, -1), precision.reshape(kinds, -1)
        tables, log_det = np.empty((4, kinds, rank**2), factor.dtype), np.empty(kinds, factor.dtype)
        gain, scale, covariance, whitener = tables
        cpu_products.tables(factors, precision, gain, scale, covariance, whitener, log_det)
        square = (kinds, rank, rank)
        covariance = covariance.reshape(square)
        linear = linear.reshape(kinds, rank)
        offset = np.einsum("jrs,js->jr", covariance, linear)
        ctx.saved = (factors, precision, covariance, linear, (batch, bins))
        found = (
            gain.reshape(square),
            offset.reshape(batch, bins, rank),
            scale.reshape(square),
            whitener.reshape(square),
            -log_det / 2,
        )
        return tuple(map(torch.from_numpy, found))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *on):
        factors, precision, covariance, linear, shape = ctx.saved
        on_gain, on_offset, on_scale, on_whitener, on_ratio = map(_array, on)
        kinds, rank = linear.shape
        on_offset = on_offset.reshape(kinds, rank)
        on_linear = np.einsum("jrs,jr->js", covariance, on_offset)
        on_covariance = on_offset[:, :, None] * linear[:, None, :]
        on_factors, on_precision = np.empty_like(factors), np.empty_like(factors)
        cpu_products.pull_tables(
            factors,
            precision,
            on_gain.reshape(kinds, -1),
            on_scale.reshape(kinds, -1),
            on_covariance.reshape(kinds, -1),
            on_whitener.reshape(kinds, -1),
            -on_ratio / 2,
            on_factors,
            on_precision,
        )
        on_factors = on_factors.reshape(*shape, rank, rank)
        found = (
            on_factors[:, 1:].sum((0, 1)),
            on_factors[:, 0].sum(0),
            on_precision.reshape(*shape, rank, rank),
            on_linear.reshape(*shape, rank),
        )
        return tuple(map(torch.from_numpy, found))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
