"""Fits at once end where fits alone end: one pass over models × trials (Triton, interpreted), and in turn."""

from __future__ import annotations

import os
from dataclasses import replace
from unittest import mock

import pytest
import torch
from fitting.test_compiled import trainer
from smc.backend_problems import Case, make

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.lockstep import train_together
from nwb_rnn.fitting.options import TrainingOptions
from nwb_rnn.fitting.start import starting_module
from nwb_rnn.fitting.trainer import Trainer
from nwb_rnn.models.low_rank import LowRankConfig
from nwb_rnn.smc.trials import TrialTensors

INTERPRET = "0" if torch.cuda.is_available() else "1"
with mock.patch.dict(os.environ, TRITON_INTERPRET=INTERPRET):  # read while the kernels are imported
    pytest.importorskip("triton")
    from nwb_rnn.smc.backends import cuda  # noqa: F401

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CASES = {
    "optimal": Case(batch=3, bins=3, units=9, inputs=1, mask="bins", unequal=True, dtype=torch.float64),
    "encoder": Case(
        proposal="encoder",
        observation="poisson",
        link="softplus",
        batch=3,
        bins=3,
        units=9,
        dtype=torch.float64,
    ),
}
VARIED = ({"learning_rate": 3e-2}, {"learning_rate": 1e-2}, {"clip_norm": 0.1})


@pytest.fixture(autouse=True)
def _interpret(monkeypatch):
    """Triton reads it again when a kernel first runs."""
    monkeypatch.setenv("TRITON_INTERPRET", INTERPRET)


def trainers(proposal: str, backend: str, iterations: int = 4, **options) -> list[Trainer]:
    """Fits of three seeds that differ in learning rate, length (the second has one less) and clipping."""
    case = CASES[proposal]
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(case.batch, case.bins, case.inputs, generator=generator, dtype=case.dtype)
    trials = TrialTensors(inputs=inputs, **make(case).data)
    config = LowRankConfig(
        rank=2,
        units=case.units,
        observation=case.observation,
        activation="tanh",
        encoder_channels=4,
        encoder_kernels=(3, 1),
    )
    single = trials.to(torch.device("cpu"), torch.float32)
    found = []
    for seed, varied in enumerate(VARIED):
        module = starting_module(replace(config, seed=seed), single, proposal, "random", None).double()
        training = TrainingOptions(
            **{
                "iterations": iterations - (seed == 1),
                "batch_size": 2,
                "particles": 3,
                "proposal": proposal,
                "backend": backend,
                "validate_every": 2,
                "validation_particles": 3,
                "progress": False,
            }
            | varied
            | options
        )
        found.append(Trainer(module, trials, trials, training))
    return found


def compare(together: list[Trainer], alone: list[Trainer], tolerance: float) -> None:
    train_together(together)
    for one, other in zip(together, alone, strict=True):
        before = {name: p.detach().clone() for name, p in other.module.named_parameters()}
        other.run()
        for name, parameter in other.module.named_parameters():
            found = dict(one.module.named_parameters())[name]
            torch.testing.assert_close(found, parameter, rtol=tolerance, atol=tolerance, msg=name)
        assert any(not torch.equal(before[name], p) for name, p in other.module.named_parameters())
        for mine, own in zip(one.progress.history, other.progress.history, strict=True):
            assert mine["iteration"] == own["iteration"]
            assert mine["validation"] == pytest.approx(own["validation"], rel=max(tolerance, 1e-12))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("proposal", CASES)
def test_in_turn_to_the_last_bit(proposal, backend):
    compare(trainers(proposal, backend), trainers(proposal, backend), 0.0)


@pytest.mark.parametrize(("proposal", "crop"), [("optimal", None), ("encoder", 2)])
def test_in_one_pass(proposal, crop):
    """Two iterations, since interpreting one takes seconds; on a GPU enough to record one."""
    options = {"iterations": 2 if DEVICE == "cpu" else 8, "crop": crop, "device": DEVICE}
    compare(*(trainers(proposal, "cuda", **options) for _ in range(2)), 1e-9)


def test_a_fit_that_diverges_once_goes_back_alone(monkeypatch):
    together, alone = trainers("optimal", "reference"), trainers("optimal", "reference")
    honest = Trainer.gradient

    def breaks(self, batch):
        value = honest(self, batch)
        if self.module.config.seed == 1 and self.progress.iteration == 2 and not self.progress.retries:
            return float("nan")
        return value

    monkeypatch.setattr(Trainer, "gradient", breaks)
    compare(together, alone, 0.0)
    assert [t.progress.retries for t in together] == [0, 1, 0]


def test_interrupted_fits_go_on_from_their_checkpoints(tmp_path, monkeypatch):
    whole = trainers("optimal", "cpu")
    paths = [tmp_path / f"{i}.npz" for i in range(3)]

    def kept():
        found = trainers("optimal", "cpu")
        for one, path in zip(found, paths, strict=True):
            one.options = replace(one.options, checkpoint=path)
        return found

    first = kept()
    honest = Trainer.took

    def interrupts(self, steps, value):
        honest(self, steps, value)
        if self is first[2] and self.progress.iteration == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "took", interrupts)
    with pytest.raises(KeyboardInterrupt):
        train_together(first)
    monkeypatch.undo()
    compare(kept(), whole, 0.0)


def test_models_of_other_shapes_are_refused():
    with pytest.raises(InputError, match="equal shapes"):
        train_together([trainer(Case(), {}), trainer(Case(rank=2), {})])
