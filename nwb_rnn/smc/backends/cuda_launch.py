"""Starting Triton kernels, and sums in a fixed order."""

from __future__ import annotations

import torch
from torch import Tensor

_FEW_KINDS = 64


def launch(kernel, arrays: dict[str, Tensor], options: dict, programs: int, warps: int) -> None:
    """Start `programs` of a kernel; arguments go by name, and an array that is not there is never read.

    Names of compile-time constants are upper-case.
    """
    like = next(iter(arrays.values()))
    nothing = like.new_empty(0)
    given = {
        name: options[name] if name.isupper() else arrays.get(name, nothing) for name in kernel.arg_names
    }
    if like.device.type == "cuda":
        with torch.cuda.device(like.device):
            kernel[(programs,)](**given, num_warps=warps, enable_fp_fusion=True)
    else:
        kernel[(programs,)](**given)


def by_kind(rows: Tensor, kind: Tensor, models: int, count: int, ordered: bool) -> Tensor:
    """Sums over the bins of each kind, (J, numbers of a bin), always in the same order.

    Parameters
    ----------
    rows : (B, T, …), one for each bin
    kind : (B, T); the kinds of one model follow those of the one before
    count : J
    ordered : whether every bin has a kind of its own, and `kind` counts them up
    """
    rows, kinds = rows.reshape(kind.numel(), -1), count // models
    if ordered:
        return rows
    if kinds > _FEW_KINDS:
        return rows.new_zeros(count, rows.shape[1]).index_add_(0, kind.flatten(), rows)
    # additions to few places come in any order on a GPU; a product with one-hot kinds has a fixed one
    own = torch.arange(count, device=kind.device).reshape(models, kinds, 1)
    hot = (own == kind.reshape(models, 1, -1)).to(rows.dtype)
    return (hot @ rows.reshape(models, -1, rows.shape[1])).reshape(count, -1)
