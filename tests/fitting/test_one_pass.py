"""Parts of a pass over several fits: its optimiser beside `ScaledAdam`, and the batches it takes."""

from __future__ import annotations

import os
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from torch import nn

from nwb_rnn.fitting.one_pass import OnePass
from nwb_rnn.fitting.optimiser import ScaledAdam
from nwb_rnn.smc.trials import TrialTensors

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRET = "0" if torch.cuda.is_available() else "1"
with mock.patch.dict(os.environ, TRITON_INTERPRET=INTERPRET):  # read while the kernels are imported
    pytest.importorskip("triton")
    from nwb_rnn.fitting.optimiser_rows import OptimiserRows

RATES = [[0.1, 0.2, 0.3], [0.1, 0.05, 0.01], [0.3, 0.3, 0.3]]
CLIPS = [1.0, 0.1, 100.0]


@pytest.fixture(autouse=True)
def _interpret(monkeypatch):
    """Triton reads it again when a kernel first runs."""
    monkeypatch.setenv("TRITON_INTERPRET", INTERPRET)


def optimisers() -> tuple[list[nn.Module], list[ScaledAdam]]:
    """Of three models, with more numbers than one program of the kernel takes."""
    torch.manual_seed(0)
    models = [nn.Linear(40, 30).double().to(DEVICE) for _ in range(3)]
    return models, [ScaledAdam(model, lambda name, _: 0.3 if name == "bias" else 1.0) for model in models]


def steps_alone(optimiser: ScaledAdam, gradients: torch.Tensor, rates: list[float], clip: float) -> None:
    for gradient, rate in zip(gradients, rates, strict=True):
        parts = gradient.split([p.numel() for p in optimiser.parameters])
        optimiser.take([g.view_as(p) for g, p in zip(parts, optimiser.parameters, strict=True)])
        optimiser.step(rate, clip)


def test_steps_of_rows_are_those_of_each_optimiser():
    models, together = optimisers()
    twins, alone = optimisers()
    rows = OptimiserRows(together, CLIPS)
    gradients = torch.randn(3, 3, rows.flat.shape[1], dtype=torch.float64, device=DEVICE)
    rows.plan(RATES)
    for gradient in gradients.unbind(1):
        rows.step(gradient.contiguous(), torch.zeros(3, dtype=torch.float64, device=DEVICE))
    rows.took(3)
    for m, optimiser in enumerate(alone):
        steps_alone(optimiser, gradients[m], RATES[m], CLIPS[m])
        torch.testing.assert_close(models[m].weight, twins[m].weight, rtol=1e-7, atol=1e-9)
        for name, moment in optimiser.state().items():
            torch.testing.assert_close(together[m].state()[name], moment, rtol=1e-6, atol=1e-12)
    assert rows.alive.tolist() == [1, 1, 1]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("broken", ["gradient", "value"])
def test_a_model_that_left_the_finite_numbers_moves_no_more(broken):
    rows = OptimiserRows(optimisers()[1], CLIPS)
    rows.plan(RATES)
    good = torch.ones_like(rows.flat)
    values = torch.zeros(3, dtype=torch.float64, device=DEVICE)
    bad, bad_values = good.clone(), values.clone()
    if broken == "gradient":
        bad[1, 5] = float("nan")
    else:
        bad_values[1] = float("inf")
    rows.step(good, values)
    before = rows.flat.clone()
    rows.step(bad, bad_values)
    rows.step(good, values)  # it stays where it was, also with good numbers
    assert torch.equal(rows.flat[1], before[1])
    assert (rows.flat[[0, 2]] != before[[0, 2]]).all()
    assert rows.alive.tolist() == [1, 0, 1]
    rows.plan(RATES)  # the next look at the outcome has sent it back, and it may move again
    rows.step(good, values)
    assert (rows.flat[1] != before[1]).all()


def batches(crop: int | None, batch: int, choice: torch.Tensor, lengths: list[int]) -> TrialTensors:
    """What a pass takes of two models' trials of ten bins, numbered by model, trial and bin."""
    trials, bins = len(lengths), 10
    number = 1000 * torch.arange(2)[:, None, None] + 100 * torch.arange(trials)[:, None] + torch.arange(bins)
    data = TrialTensors(
        observed=number[..., None].double(),
        mask=torch.ones(2, trials, bins, 1),
        inputs=torch.zeros(2, trials, bins, 0),
        lengths=torch.tensor(lengths).repeat(2, 1),
        patterns=torch.ones(2, 1, 1),
        pattern=number,
    )
    parts = {
        "_data": data,
        "_options": SimpleNamespace(crop=crop),
        "_choice": choice,
        "_noise": torch.empty(2, batch, crop or bins, 1, 1),
    }
    return OnePass._batch(SimpleNamespace(**parts))


def test_windows_lie_within_their_trials_and_every_start_is_as_likely():
    """1000 evenly spread draws: each of the 6 + 1 + 3 starts of trials of 9, 4 and 6 bins has a tenth."""
    spread = (torch.arange(1000) + 0.5) / 1000
    order = torch.argsort((spread * 7919) % 1)
    choice = torch.stack([spread, spread[order]]).repeat(2, 1, 1)
    found = batches(4, 1000, choice, [9, 4, 6])
    first = found.pattern[..., 0]
    assert torch.equal(found.pattern, first[..., None] + torch.arange(4))
    assert torch.equal(found.observed[..., 0].long(), found.pattern)
    starts, counts = torch.unique(first[0], return_counts=True)
    assert starts.tolist() == [0, 1, 2, 3, 4, 5, 100, 200, 201, 202]
    assert ((counts - 100).abs() < 15).all()
    assert torch.equal(first[1], first[0] + 1000)
    assert (found.lengths == 4).all()


def test_a_batch_of_whole_trials_takes_each_at_most_once():
    choice = torch.rand(2, 1, 5, generator=torch.Generator().manual_seed(0))
    found = batches(None, 3, choice, [10, 2, 7, 10, 1])
    for m in range(2):
        taken = (found.pattern[m, :, 0] - 1000 * m) // 100
        assert len(set(taken.tolist())) == 3
        assert found.lengths[m].tolist() == [[10, 2, 7, 10, 1][i] for i in taken]
    assert found.pattern.shape == (2, 3, 10)
    everything = batches(None, 5, choice, [10, 2, 7, 10, 1])
    assert torch.equal(everything.pattern[1, :, 0], 1000 + 100 * torch.arange(5))
