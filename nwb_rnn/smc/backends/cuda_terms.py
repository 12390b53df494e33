"""Proposal terms for the CUDA backend: what `proposals.optimal` and `proposals.encoder` return, from Triton.

Same values and gradients; in torch, the many small matrices of these terms are two hundred small kernels,
which take longer than the particle filter. Several models come as parameters with a leading axis of M, with
the trials of one after those of the other, as in `SequenceInputs`. Gradients on Cholesky factors are those on
their lower triangles.
"""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.backends import cuda_bins, cuda_tables
from nwb_rnn.smc.backends.cuda_launch import by_kind, launch
from nwb_rnn.smc.sequence import ProposalTerms

_TILE = 2048  # numbers of a tile of bins × units


def optimal(
    parameters: LowRankParameters,
    observed: Tensor,
    patterns: Tensor,
    pattern: Tensor,
    models: int | None = None,
) -> ProposalTerms:
    """See `proposals.optimal`; `patterns` (M, P, D) with `models`."""
    count, rank = models or 1, parameters.initial_mean.shape[-1]
    weights = parameters.readout_weights.reshape(count, -1, rank)
    noise = parameters.observation_noise.reshape(count, -1)
    patterns = patterns.reshape(count, -1, patterns.shape[-1])
    kinds = 2 * patterns.shape[1]
    kind = pattern.clone()
    kind[:, 0] += patterns.shape[1]
    if count > 1:
        kind = kind.unflatten(0, (count, -1)) + kinds * torch.arange(count, device=kind.device)[:, None, None]
        kind = kind.flatten(0, 1)
    weighted = weights / noise[..., None]
    outer = (weighted[..., :, None] * weights[..., None, :]).flatten(2)
    precision = (patterns @ outer).reshape(-1, rank, rank)
    gain, covariance, scale, _, log_det = _Tables.apply(
        parameters.transition_cholesky, parameters.initial_cholesky, precision, 0, kinds
    )
    constants = patterns @ torch.log(2 * math.pi * noise)[..., None]
    offset, constant, linear = _Bins.apply(
        weighted.mT.contiguous(),
        1 / noise,
        parameters.readout_bias.reshape(count, -1),
        gain,
        covariance,
        log_det,
        constants,
        observed.contiguous(),
        patterns.contiguous(),
        pattern.contiguous(),
        kind,
    )
    moves = gain.view(count, 2, -1, rank, rank)
    quadratic = precision.view(count, 1, -1, rank, rank) @ moves
    return ProposalTerms(
        kind=kind,
        gain=gain,
        offset=offset,
        scale=scale,
        adapted=True,
        weight_constant=constant,
        weight_linear=linear,
        weight_quadratic=quadratic.reshape(-1, rank, rank),
    )


def encoder(
    parameters: LowRankParameters, precision: Tensor, linear: Tensor, models: int | None = None
) -> ProposalTerms:
    """See `proposals.encoder`."""
    batch, bins, rank = linear.shape
    kinds = batch * bins // (models or 1)
    gain, covariance, scale, whitener, log_det = _Tables.apply(
        parameters.transition_cholesky,
        parameters.initial_cholesky,
        precision.reshape(-1, rank, rank),
        bins,
        kinds,
    )
    return ProposalTerms(
        kind=torch.arange(batch * bins, device=linear.device).reshape(batch, bins),
        gain=gain,
        offset=(covariance.view(batch, bins, rank, rank) * linear[:, :, None, :]).sum(-1),
        scale=scale,
        adapted=False,
        whitener=whitener,
        log_ratio=-0.5 * log_det,
        ordered=True,
    )


class _Tables(torch.autograd.Function):
    """`cuda_tables.tables`: gain, covariance, scale, whitener (J, R, R) and log det (J,), and its adjoint.

    With `period` 0 a model has two kinds for each precision, after a transition and at the first bin; else it
    has one for each, and every `period`-th, from the first on, is that of a first bin.
    """

    @staticmethod
    def forward(ctx, factor, first, precision, period, kinds):
        rank = precision.shape[-1]
        count = len(precision) if period else 2 * len(precision)
        given = {
            "factor": factor.contiguous(),
            "first": first.contiguous(),
            "precision": precision.contiguous(),
        }
        square = precision.new_empty(4, count, rank, rank)
        found = dict(zip(("gain", "covariance", "scale", "whitener"), square, strict=True))
        found["log_det"] = precision.new_empty(count)
        ctx.options = {"R": rank, "PERIOD": period, "KINDS": kinds, "BLOCK": triton.next_power_of_2(rank)}
        launch(cuda_tables.tables, given | found, ctx.options, count, 1)
        ctx.given, ctx.count, ctx.shape = given, count, factor.shape
        return tuple(found.values())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *on):
        precision, count = ctx.given["precision"], ctx.count
        names = ("on_gain", "on_covariance", "on_scale", "on_whitener", "on_log_det")
        made = {"on_factor": precision.new_empty(count, *precision.shape[1:])}
        made["on_precision"] = torch.empty_like(made["on_factor"])
        given = {name: x.contiguous() for name, x in zip(names, on, strict=True)}
        launch(cuda_tables.pull_tables, ctx.given | given | made, ctx.options, count, 1)
        on_factor, on_precision = made["on_factor"], made["on_precision"]
        period, models = ctx.options["PERIOD"], count // ctx.options["KINDS"]
        if period:
            bins = on_factor.view(models, -1, period, *precision.shape[1:])
            return _shaped(bins[:, :, 1:].sum((1, 2)), bins[:, :, 0].sum(1), ctx.shape, on_precision)
        kinds = on_factor.view(models, 2, -1, *precision.shape[1:]).sum(2)
        on_precision = on_precision.view(models, 2, -1, *precision.shape[1:]).sum(1).view_as(precision)
        return _shaped(kinds[:, 0], kinds[:, 1], ctx.shape, on_precision)


def _shaped(on_factor, on_first, shape, on_precision):
    return on_factor.reshape(shape), on_first.reshape(shape), on_precision, None, None


class _Bins(torch.autograd.Function):
    """`cuda_bins.bins`: offset (B, T, R), constant (B, T) and linear (B, T, R), and its adjoint."""

    @staticmethod
    def forward(ctx, *tensors):
        names = ("weighted", "inverse", "bias", "gain", "covariance", "log_det", "constants")
        names += ("observed", "patterns", "pattern", "kind")
        given = {name: x.contiguous() for name, x in zip(names, tensors, strict=True)}
        (models, rank, units), (batch, bins) = given["weighted"].shape, given["kind"].shape
        each = given["weighted"].new_empty(3, batch, bins, rank)
        found = dict(zip(("products", "offset", "linear"), each, strict=True))
        found["constant"] = each.new_empty(batch, bins)
        block = min(triton.next_power_of_2(units), 128)
        ctx.options = {
            "TRIALS": batch // models,
            "T": bins,
            "R": rank,
            "D": units,
            "PATTERNS": given["patterns"].shape[1],
            "BLOCK_R": triton.next_power_of_2(rank),
            "BLOCK_T": min(triton.next_power_of_2(bins), _TILE // block),
            "BLOCK_D": block,
        }
        launch(cuda_bins.bins, given | found, ctx.options, batch, 4)
        ctx.given, ctx.found = given, found
        return found["offset"], found["constant"], found["linear"]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, on_offset, on_constant, on_linear):
        given, found, options = ctx.given, ctx.found, ctx.options
        weighted, kind, gain = given["weighted"], given["kind"], given["gain"]
        (models, rank, units), (batch, bins) = weighted.shape, kind.shape
        sizes = [rank * units, units, units]
        rows = weighted.new_empty(batch, sum(sizes))
        parts = rows.split(sizes, dim=1)
        made = dict(zip(("on_weighted", "on_inverse", "on_bias"), parts, strict=True))
        made["on_tables"] = weighted.new_empty(batch, bins, 2 * rank**2 + 1)
        on = {
            "on_offset": on_offset.contiguous(),
            "on_constant": on_constant.contiguous(),
            "on_linear": on_linear.contiguous(),
        }
        launch(cuda_bins.pull_bins, given | found | on | made, options | {"ROW": rows.shape[1]}, batch, 4)
        summed = rows.view(models, -1, rows.shape[1]).sum(1)
        on_weighted, on_inverse, on_bias = summed.split(sizes, dim=1)
        by = by_kind(made["on_tables"], kind, models, len(gain), False)
        on_gain, on_covariance, on_log_det = by.split([rank**2, rank**2, 1], dim=1)
        on_constants = on_log_det.view(models, 2, -1).sum(1).view_as(given["constants"])
        return (
            on_weighted.reshape(weighted.shape),
            on_inverse,
            on_bias,
            on_gain.reshape(gain.shape),
            on_covariance.reshape(gain.shape),
            on_log_det.reshape(-1),
            on_constants,
            *(None for _ in range(4)),
        )
