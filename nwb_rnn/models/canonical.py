"""One canonical basis for the latents, so that two fits of one network can be compared.

Dynamics, rates and likelihood stay the same under z → B z with an invertible B (R, R). The canonical basis
has orthonormal left vectors taken from the singular value decomposition J = M V = U S Wᵀ: M = U, V = S Wᵀ,
largest singular value first, and in each column of M the entry of largest size is positive.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankParameters


def canonical_basis(parameters: LowRankParameters) -> Tensor | None:
    """B (R, R), float64, with z_canonical = B z; None where M has dependent columns and no B exists."""
    left = parameters.left_vectors.double()
    right = parameters.right_vectors.double()
    q, r = torch.linalg.qr(left)
    rank = left.shape[1]
    diagonal = torch.abs(torch.diagonal(r))
    if left.shape[0] < rank or diagonal.min() <= 1e-6 * diagonal.max():
        return None
    inner, _, _ = torch.linalg.svd(r @ right, full_matrices=False)
    vectors = q @ inner
    largest = vectors[torch.argmax(torch.abs(vectors), dim=0), torch.arange(rank)]
    vectors = vectors * torch.sign(largest)
    return vectors.T @ left


def is_canonical(parameters: LowRankParameters) -> bool:
    """Whether the latents are in the canonical basis already, to the rounding of float32."""
    basis = canonical_basis(parameters)
    if basis is None:
        return False
    return bool(torch.allclose(basis, torch.eye(len(basis), dtype=basis.dtype), atol=1e-3))


def change_basis(parameters: LowRankParameters, basis: Tensor) -> LowRankParameters:
    """The same network with latents B z; computed in float64, returned in the dtype that came in."""
    dtype = parameters.left_vectors.dtype
    p = parameters.map(lambda x: x.double())
    inverse = torch.linalg.inv(basis)
    changed = replace(
        p,
        left_vectors=p.left_vectors @ inverse,
        right_vectors=basis @ p.right_vectors,
        transition_cholesky=_transform_cholesky(p.transition_cholesky, basis),
        initial_mean=basis @ p.initial_mean,
        initial_cholesky=_transform_cholesky(p.initial_cholesky, basis),
    )
    if p.readout_weights is not None:
        changed = replace(changed, readout_weights=p.readout_weights @ inverse)
    if p.readout_network_input is not None:
        changed = replace(changed, readout_network_input=p.readout_network_input @ inverse)
    return changed.map(lambda x: x.to(dtype))


def _transform_cholesky(cholesky: Tensor, basis: Tensor) -> Tensor:
    """Lower factor of B L Lᵀ Bᵀ with a positive diagonal, from the QR of (B L)ᵀ: no squaring of condition."""
    _, upper = torch.linalg.qr((basis @ cholesky).T)
    return (upper * torch.sign(torch.diagonal(upper)).unsqueeze(1)).T
