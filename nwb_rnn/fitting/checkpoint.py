"""A training state as one .npz file: plain arrays and JSON, no pickle, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch

from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.smc.trials import TrialTensors


def fingerprint(description: dict, *sets: TrialTensors | None) -> str:
    """A hash of the configuration and of the data: a checkpoint goes on only with the same of both."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode())
    for trials in sets:
        if trials is None:
            digest.update(b"none")
            continue
        for tensor in (trials.observed, trials.mask, trials.inputs):
            digest.update(str(tuple(tensor.shape)).encode())
            digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
    return digest.hexdigest()


def save(path: Path, tensors: dict[str, torch.Tensor], facts: dict) -> None:
    """Write to a neighbouring file, then put it in the place of the old one."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, facts=np.array(json.dumps(facts)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"cannot write the checkpoint {path}: {error}") from error


def load(path: Path, expected_fingerprint: str) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors and facts of a checkpoint; refused if it belongs to another model or other data."""
    try:
        with np.load(path, allow_pickle=False) as file:
            tensors = {name: torch.from_numpy(file[name]) for name in file.files if name != "facts"}
            facts = json.loads(str(file["facts"]))
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(
            f"{path} is not a readable checkpoint ({error}); delete it, or give another checkpoint path"
        ) from error
    if facts["fingerprint"] != expected_fingerprint:
        raise InputError(
            f"the checkpoint {path} was made with other data, another model or other training options; "
            "give another checkpoint path, or delete the file to start over"
        )
    return tensors, facts
