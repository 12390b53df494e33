"""Compiled backward simulation chooses the same particles as the definition."""

import pytest
import torch
from smc.backend_problems import Case, make

from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.smc import smoother
from nwb_rnn.smc.backends import reference

pytest.importorskip("numba")

CASES = [
    *(Case(activation=name, inputs=number, seed=number) for number, name in enumerate(ACTIVATIONS)),
    Case(rank=1, bins=1, particles=1, units=3),
    Case(rank=8, particles=64, units=70, bins=9, unequal=True, inputs=2, batch=5),
    Case(observation="poisson", link="softplus", proposal="encoder", particles=21, bins=30, mask="units"),
]


def both(case, samples=4):
    problem = make(case)
    inputs = problem.inputs()
    with torch.no_grad():
        result = reference.run(inputs, problem.noise, problem.uniforms, "systematic")
        asked = inputs.parameters, case.activation, inputs.filtered, result, samples
        fast = smoother.backward_simulation(*asked, torch.Generator().manual_seed(1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(smoother, "_compiled", lambda *_: False)
            slow = smoother.backward_simulation(*asked, torch.Generator().manual_seed(1))
    return fast, slow


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_particles_are_chosen(case):
    fast, slow = both(Case(**{**vars(case), "dtype": torch.float64}))
    assert fast.shape == (case.batch, case.bins, 4, case.rank)
    assert torch.equal(fast, slow)


def test_in_single_precision_rounding_changes_few_choices():
    case = Case(rank=3, particles=64, units=70, bins=60, batch=8, inputs=1)
    fast, slow = both(case, samples=16)
    assert fast.dtype == torch.float32
    assert (fast == slow).all(-1).float().mean() > 0.98
    assert len(fast[:, 0].reshape(-1, 3).unique(dim=0)) > 8  # trajectories do differ


def test_the_number_of_threads_does_not_change_a_choice(monkeypatch):
    case = Case(batch=7, particles=16, bins=12, inputs=2)
    alone, _ = both(case)
    monkeypatch.setattr("nwb_rnn.smc.backends.cpu.threads", 3)
    assert torch.equal(alone, both(case)[0])
