"""Proposal terms from Triton against those of `proposals`: interpreted here, compiled where a GPU is."""

from __future__ import annotations

import os
from unittest import mock

import pytest
import torch
from smc.backend_problems import Case, make
from smc.test_backend_terms import CASES, compare, terms_and_gradients

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRET = "0" if torch.cuda.is_available() else "1"
with mock.patch.dict(os.environ, TRITON_INTERPRET=INTERPRET):  # read while the kernels are imported
    pytest.importorskip("triton")
    from nwb_rnn.smc.backends import cuda_terms

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


@pytest.fixture(autouse=True)
def _interpret(monkeypatch):
    """Triton reads it again when a kernel first runs."""
    monkeypatch.setenv("TRITON_INTERPRET", INTERPRET)


# what test_backend_terms has, where that takes no minutes to interpret, and larger ranks and tiles
MINE = [case for case in CASES if case.batch * case.bins < 50] + [
    Case(rank=16, units=20, batch=1, bins=2, dtype=torch.float64),
    Case(observed=131, batch=2, bins=70, mask="bins", dtype=torch.float64),
    Case(proposal="encoder", rank=9, batch=2, bins=2, dtype=torch.float64),
]


@pytest.mark.parametrize("case", MINE, ids=str)
def test_same_terms_and_gradients(case):
    """Near 0 a logarithm has no digits of its own, and a GPU rounds otherwise than a CPU."""
    compare(make(case).to(DEVICE), cuda_terms, logarithms=("log_ratio",))


def test_a_matrix_that_is_not_positive_gives_nan_instead_of_an_error():
    """A diverging fit is seen by the trainer as NaN."""
    problem = make(Case(proposal="encoder")).to(DEVICE)
    with torch.no_grad():
        problem.leaves["encoder_root"].fill_(float("nan"))
    found, gradients = terms_and_gradients(problem, ("offset", "gain"), cuda_terms)
    assert torch.isnan(found.offset).all()
    assert torch.isnan(gradients["transition_cholesky"]).any()
