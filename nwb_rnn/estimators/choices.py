"""What a user may ask of `fit` and `infer`, checked before any work begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.options import TrainingOptions


def device(name: str) -> str:
    """The torch device of that name; auto takes the CPU."""
    if name == "auto":  # short fits are soon done there, and for a GPU kernels are compiled first
        return "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device={name!r} was asked for, and torch sees no CUDA device: use device='cpu'")
    return name


def known_options(options: dict) -> dict:
    """The same options, if `TrainingOptions` knows each of them."""
    known = TrainingOptions.__dataclass_fields__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise InputError(f"fit does not know {', '.join(unknown)}; it knows {', '.join(known)}")
    return options


def units_mask(unit_ids: Sequence, wanted: Sequence) -> torch.Tensor:
    """(D,) bool, True for the wanted ones of a model's units."""
    chosen = set(np.asarray(wanted).tolist())
    unknown = chosen - set(unit_ids)
    if unknown:
        raise InputError(f"held_out_units names {sorted(unknown)[:5]}, which the model does not have")
    return torch.tensor([u in chosen for u in unit_ids])
