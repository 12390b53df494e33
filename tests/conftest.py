"""Fixtures shared by every test."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import pytest


def _recordings_folder() -> Path:
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    return Path(os.environ.get("NWB_RNN_DATA", default))


@pytest.fixture(scope="session")
def recordings_folder() -> Path:
    """The folder of real recordings, named by NWB_RNN_DATA; tests that need it are skipped without it."""
    folder = _recordings_folder()
    if not folder.is_dir():
        pytest.skip(f"no real recordings at {folder}; set NWB_RNN_DATA to their folder to run this test")
    return folder


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    """Two workers share two cores; more threads each only fight."""
    import torch

    torch.set_num_threads(1)
