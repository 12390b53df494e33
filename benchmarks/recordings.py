"""Where benchmarks find the real recordings: NWB_RNN_DATA, or ../shared/data from the project's root."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def folder() -> Path:
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    found = Path(os.environ.get("NWB_RNN_DATA", default))
    if not found.is_dir():
        sys.exit(f"no recordings at {found}; set NWB_RNN_DATA to the folder that holds them")
    return found


def one_thread() -> None:
    """Every library on one thread; call before anything else is imported."""
    for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{name}_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)
