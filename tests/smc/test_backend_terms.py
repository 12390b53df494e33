"""Compiled proposal terms against those of `proposals`; errors are measured as in `backend_contract`."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from smc.backend_contract import GRADIENTS, VALUES, distance
from smc.backend_problems import Case, make

from nwb_rnn.smc import proposals
from nwb_rnn.smc.backends import cpu_terms

FIELDS = ("gain", "offset", "scale", "weight_constant", "weight_linear", "weight_quadratic")
CASES = [
    Case(proposal=proposal, dtype=dtype, **options)
    for proposal in ("optimal", "encoder")
    for dtype in (torch.float32, torch.float64)
    for options in (
        {},
        {"mask": "units", "unequal": True, "rank": 5},
        {"rank": 1, "bins": 1, "batch": 1, "observed": 1},
        {"batch": 9, "bins": 11, "rank": 4},
    )
]


def terms_and_gradients(problem, fields, source=proposals):
    """Terms, and gradients of a random combination of all of them."""
    with mock.patch.multiple(proposals, optimal=source.optimal, encoder=source.encoder):
        terms = problem.inputs().proposal
    generator = torch.Generator().manual_seed(0)
    total = 0
    for name in fields:
        value = getattr(terms, name)
        weights = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
        total = total + (value * weights).sum()
    leaves = problem.leaves
    gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return terms, dict(zip(leaves, gradients, strict=True))


def compare(problem, source, logarithms=()) -> None:
    """Terms and gradients of `source` with those of `proposals`; `logarithms` by what they are logs of."""
    case = problem.case
    fields = FIELDS if case.proposal == "optimal" else (*FIELDS[:3], "whitener", "log_ratio")
    expected, expected_gradients = terms_and_gradients(problem, fields)
    found, gradients = terms_and_gradients(problem, fields, source)
    assert found.adapted == expected.adapted
    assert torch.equal(found.kind, expected.kind)
    for name in fields:
        one, other = getattr(found, name), getattr(expected, name)
        if name in logarithms:
            one, other = one.exp(), other.exp()
        assert distance(one, other) < VALUES[case.dtype], name
    for name, gradient in expected_gradients.items():
        if gradient is None:
            assert gradients[name] is None or not gradients[name].any(), name
        elif gradient.norm() > 1e-6:
            assert distance(gradients[name], gradient) < GRADIENTS[case.dtype], name
        else:
            assert gradients[name].norm() < 1e-5, name


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_terms_and_gradients(case):
    compare(make(case), cpu_terms)


def test_only_terms_that_are_used_need_a_gradient():
    """An output without a gradient counts as zero."""
    problem = make(Case(dtype=torch.float64))
    _, expected = terms_and_gradients(problem, ("weight_linear",))
    _, found = terms_and_gradients(problem, ("weight_linear",), cpu_terms)
    for name in ("readout_weights", "observation_noise", "transition_cholesky"):
        assert distance(found[name], expected[name]) < 1e-10


def test_a_matrix_that_is_not_positive_gives_nan_instead_of_an_error():
    """A diverging fit is seen by the trainer as NaN."""
    problem = make(Case(proposal="encoder"))
    with torch.no_grad():
        problem.leaves["encoder_linear"].fill_(float("nan"))
    found, _ = terms_and_gradients(problem, ("offset",), cpu_terms)
    assert torch.isnan(found.offset).all()
