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
        arrays = map(_array, (observed, patterns, pattern, self.kind))
        observed, patterns, pattern, kind = arrays  # type: ignore[assignment]
        rank, like, rows = factor.shape[0], factor.dtype, kind.size
        weights = np.ascontiguousarray(weights.T)
        inverse = 1 / noise
        count = patterns.shape[0]
        precisions, constants = np.empty((count, rank**2), like), np.empty(count, like)
        cpu_optimal.pattern_terms(weights, noise, patterns, precisions, constants)
        factors = np.repeat(np.stack([factor.ravel(), first.ravel()]), count, axis=0)
        precisions = np.concatenate([precisions, precisions])
        tables, log_det = np.empty((4, 2 * count, rank**2), like), np.empty(2 * count, like)
        gain, scale, covariance, whitener = tables
        cpu_products.tables(factors, precisions, gain, scale, covariance, whitener, log_det)
        linear, offset, slope = np.empty((3, rows, rank), like)
        constant = np.empty(rows, like)
        shared = (
            weights * inverse,
            inverse,
            bias,
            observed.reshape(rows, -1),
            patterns,
            pattern.reshape(-1),
        )
        kind = kind.reshape(-1)
        cpu_optimal.bins(*shared, constants, kind, gain, covariance, log_det, linear, offset, constant, slope)
        self._saved = (shared, weights, noise, kind, factors, precisions, gain, covariance, linear, offset)
        shape, square = self.kind.shape, (2 * count, rank, rank)
        quadratic = precisions.reshape(square) @ gain.reshape(square)
        found = (
            gain.reshape(square),
            offset.reshape(*shape, rank),
            scale.reshape(square),
            constant.reshape(shape),
            slope.reshape(*shape, rank),
            quadratic,
        )
        self.found = tuple(map(torch.from_numpy, found))

    def named(self, found: Sequence[Tensor]) -> ProposalTerms:
        """`found`, or another tuple in its order, as what a backend takes."""
        return ProposalTerms(kind=self.kind, adapted=True, **dict(zip(OPTIMAL, found, strict=True)))

    def pull(self, *on: Tensor) -> tuple[Tensor, ...]:
        """From gradients on `found` to those on the parameters."""
        shared, weights, noise, kind, factors, precisions, gain, covariance, linear, offset = self._saved
        on_gain, on_offset, on_scale, on_constant, on_slope, on_quadratic = map(_array, on)
        (rank, _), kinds, like = weights.shape, factors.shape[0], weights.dtype
        square, count = (kinds, rank, rank), kinds // 2
        # H A, the weights' quadratic part
        h, a = precisions.reshape(square), gain.reshape(square)
        on_gain = np.ascontiguousarray(on_gain + h.swapaxes(1, 2) @ on_quadratic).reshape(kinds, -1)
        on_weighted, on_inverse, on_bias = np.zeros_like(weights), *np.zeros((2, noise.size), like)
        on_constants, on_log_det = np.zeros(count, like), np.zeros(kinds, like)
        on_covariance = np.zeros_like(factors)
        cpu_optimal.pull_bins(
            *shared,
            kind,
            gain,
            covariance,
            linear,
            offset,
            on_offset.reshape(-1, rank),
            on_constant.reshape(-1),
            on_slope.reshape(-1, rank),
            on_weighted,
            on_inverse,
            on_bias,
            on_constants,
            on_gain,
            on_covariance,
            on_log_det,
        )
        on_factors, on_precisions = np.empty_like(factors), np.empty_like(factors)
        cpu_products.pull_tables(
            factors,
            precisions,
            on_gain,
            on_scale.reshape(kinds, -1),
            on_covariance,
            np.zeros_like(factors),
            on_log_det,
            on_factors,
            on_precisions,
        )
        on_precisions += (on_quadratic @ a.swapaxes(1, 2)).reshape(kinds, -1)
        on_weights, on_noise = on_weighted * shared[1], np.zeros_like(noise)
        on_inverse += (on_weighted * weights).sum(0)
        cpu_optimal.pull_pattern_terms(
            weights,
            noise,
            shared[4],
            on_precisions[:count] + on_precisions[count:],
            on_constants,
            on_weights,
            on_inverse,
            on_noise,
        )
        on_noise -= on_inverse / noise**2
        on_factors = on_factors.reshape(2, count, rank, rank).sum(1)
        found = (on_factors[0], on_factors[1], on_weights.T, on_bias, on_noise)
        return tuple(map(torch.from_numpy, found))


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
