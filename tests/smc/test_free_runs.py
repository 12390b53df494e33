"""Free runs: the compiled loop against its definition, values and gradients."""

from __future__ import annotations

import pytest
import torch

from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.backends import cpu
from nwb_rnn.smc.free_runs import definition, free_runs

MOVED = ("left_vectors", "right_vectors", "unit_bias", "decay")


def network(rank: int, units: int, seed: int = 0) -> LowRankParameters:
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    return LowRankParameters(
        left_vectors=draw(units, rank).requires_grad_(),
        # small, so that currents stay below 20, above which torch's softplus is x itself, to 2e-9
        right_vectors=(0.2 * draw(rank, units) / units**0.5).requires_grad_(),
        input_weights=draw(units, 0),
        unit_bias=draw(units).requires_grad_(),
        decay=torch.tensor(0.8, dtype=torch.float64, requires_grad=True),
        transition_cholesky=torch.eye(rank, dtype=torch.float64),
        initial_mean=draw(rank),
        initial_cholesky=torch.eye(rank, dtype=torch.float64),
        readout_bias=draw(5),
        readout_weights=draw(5, rank),
        observation_noise=torch.ones(5, dtype=torch.float64),
    )


def results(run, p, activation, runs, bins):
    """Latents, and gradients of a random linear function of them."""
    random = torch.Generator().manual_seed(9)
    rank = p.left_vectors.shape[1]
    start = torch.randn(runs, rank, generator=random, dtype=torch.float64)
    innovations = 0.3 * torch.randn(runs, bins, rank, generator=random, dtype=torch.float64)
    innovations.requires_grad_()
    path = run(p, activation, start, innovations)
    weights = torch.randn(path.shape, generator=random, dtype=torch.float64)
    wanted = [innovations, *(getattr(p, name) for name in MOVED)]
    return path.detach(), torch.autograd.grad((weights * path).sum(), wanted)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize(("rank", "units", "runs", "bins"), [(3, 37, 40, 12), (1, 8, 1, 1), (5, 64, 33, 3)])
def test_compiled_runs_are_those_of_the_definition(activation, rank, units, runs, bins):
    p = network(rank, units)
    path, gradients = results(free_runs, p, activation, runs, bins)
    expected, expected_gradients = results(definition, p, activation, runs, bins)
    torch.testing.assert_close(path, expected, rtol=1e-9, atol=1e-10)
    for name, found, wanted in zip(("ε", *MOVED), gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


def test_the_number_of_threads_changes_nothing(monkeypatch):
    p = network(3, 50)
    monkeypatch.setattr(cpu, "threads", 1)
    path, gradients = results(free_runs, p, "clipped_relu", 70, 6)
    monkeypatch.setattr(cpu, "threads", 3)
    again, others = results(free_runs, p, "clipped_relu", 70, 6)
    assert torch.equal(path, again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


def test_what_is_not_moved_gets_no_gradient():
    p = network(2, 9)
    start = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    path = free_runs(p, "relu", start, torch.zeros(3, 4, 2, dtype=torch.float64))
    assert torch.autograd.grad(path.sum(), start, allow_unused=True) == (None,)
