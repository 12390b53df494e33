"""The distances that matching of free runs goes down, and what it does to known networks."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.free_law import (
    FreeLawOptions,
    _MeanLogDensity,
    _Recorded,
    _spread,
    match_free_law,
)
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.free_runs import free_runs

CONFIG = LowRankConfig(rank=2, units=6, activation="identity", observation="gaussian")


def rotation(frequency: float, modulus: float) -> LowRankParameters:
    """A rotation by `frequency` turns per bin, damped, as a linear network seen by five channels."""
    random = torch.Generator().manual_seed(4)
    angle = 2 * math.pi * frequency
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    left = torch.randn(6, 2, generator=random)
    return LowRankParameters(
        left_vectors=left,
        right_vectors=(modulus * turn - 0.5 * torch.eye(2)) @ torch.linalg.pinv(left),
        input_weights=torch.zeros(6, 0),
        unit_bias=torch.zeros(6),
        decay=torch.tensor(0.5),
        transition_cholesky=0.3 * torch.eye(2),
        initial_mean=torch.zeros(2),
        initial_cholesky=torch.eye(2),
        readout_bias=torch.zeros(5),
        readout_weights=torch.randn(5, 2, generator=random),
        observation_noise=torch.full((5,), 0.05),
    )


def paths(p: LowRankParameters, count: int = 2, bins: int = 3000, seed: int = 1) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, bins, 2, generator=random) @ p.transition_cholesky.T
    return list(free_runs(p, "identity", torch.zeros(count, 2), noise).unbind(0))


def step_matrix(p: LowRankParameters) -> torch.Tensor:
    return p.decay * torch.eye(2) + p.right_vectors @ p.left_vectors


def rhythm(p: LowRankParameters) -> tuple[float, float]:
    """Turns per bin and modulus."""
    value = torch.linalg.eigvals(step_matrix(p).double())[0]
    return abs(float(value.angle())) / (2 * math.pi), float(value.abs())


def test_the_mean_log_density_and_its_gradient_are_those_of_its_definition():
    random = torch.Generator().manual_seed(2)
    points = torch.randn(230, 3, generator=random, dtype=torch.float64)
    kernels = 1.5 * torch.randn(70, 3, generator=random, dtype=torch.float64).requires_grad_()
    found = _MeanLogDensity.apply(points, kernels)
    squared = (points[:, None] - kernels).square().sum(-1)
    expected = (torch.logsumexp(-0.5 * squared, 1) - math.log(70)).mean()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(3 * found, kernels)[0], torch.autograd.grad(3 * expected, kernels)[0]
    )


@pytest.mark.parametrize("smoothing", [1, 7])
def test_distances_vanish_for_the_truth_alone(smoothing):
    """64 windows of the truth are 60 times nearer than a network that turns faster and is noisier."""
    truth, other = rotation(0.09, 0.93), rotation(0.16, 0.8)
    options = FreeLawOptions(runs=64, window=100, smoothing=smoothing)
    recorded = _Recorded(truth, paths(truth), options)
    generator = torch.Generator().manual_seed(0)
    near = torch.stack(paths(truth, count=64, bins=150, seed=5))[:, 50:]
    far = torch.stack(paths(other, count=64, bins=150, seed=5))[:, 50:]
    assert abs(float(recorded.law(near, generator))) < 0.02 and recorded.spectrum(near) < 0.06
    assert recorded.law(far, generator) > 0.1 and recorded.spectrum(far) > 0.3


def test_a_wrong_rhythm_becomes_the_recorded_one():
    truth, wrong = rotation(0.09, 0.93), rotation(0.06, 0.85)
    found, history = match_free_law(
        CONFIG, wrong, paths(truth), FreeLawOptions(iterations=150, runs=32, window=100, learning_rate=1e-2)
    )
    frequency, modulus = rhythm(found)
    assert frequency == pytest.approx(0.09, abs=0.004) and modulus == pytest.approx(0.93, abs=0.02)
    assert history[-1]["spectrum"] < 0.25 * history[0]["spectrum"]
    assert len(history) == 150 and history[-1]["iteration"] == 150


def test_what_is_not_moved_stays_and_the_start_is_not_touched():
    start = rotation(0.06, 0.85)
    before = {name: value.clone() for name, value in start.present().items()}
    options = FreeLawOptions(iterations=3, runs=4, window=60)
    found, _ = match_free_law(CONFIG, start, paths(rotation(0.09, 0.93)), options)
    moved = {"left_vectors", "right_vectors", "unit_bias", "transition_cholesky"}
    for name, value in before.items():
        assert torch.equal(start.present()[name], value)
        assert torch.equal(found.present()[name], value) == (name not in moved), name
    again, _ = match_free_law(CONFIG, start, paths(rotation(0.09, 0.93)), options)
    assert all(
        torch.equal(a, b) for a, b in zip(found.present().values(), again.present().values(), strict=True)
    )


def test_diagonal_noise_stays_diagonal():
    config = LowRankConfig(rank=2, units=6, activation="identity", observation="gaussian", noise="diagonal")
    options = FreeLawOptions(iterations=3, runs=4, window=60)
    found, _ = match_free_law(config, rotation(0.06, 0.85), paths(rotation(0.09, 0.93)), options)
    factor = found.transition_cholesky
    assert torch.equal(factor, torch.diag(torch.diagonal(factor))) and factor[0, 0] != 0.3


def test_indices_are_spread_over_all():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        found = _spread(1000, 64, generator)
        assert found.min() >= 0 and found.max() <= 999
        assert set((found[1:] - found[:-1]).tolist()) <= {15, 16}


def test_short_paths_and_bad_options_are_refused():
    truth = rotation(0.09, 0.93)
    with pytest.raises(InputError, match="no trial has 240 bins on end; give a smaller window"):
        match_free_law(CONFIG, truth, paths(truth, bins=150), FreeLawOptions())
    for options, said in (
        (dict(iterations=0), "iterations=0 must be at least 1"),
        (dict(smoothing=150), "at most half of window=240"),
        (dict(learning_rate=0.0), "learning_rate=0.0 must be positive"),
    ):
        with pytest.raises(InputError, match=said):
            FreeLawOptions(**options)


def test_latents_that_no_channel_sees_are_refused():
    truth = rotation(0.09, 0.93)
    blind = replace(truth, readout_weights=truth.readout_weights * torch.tensor([1.0, 0.0]))
    with pytest.raises(InputError, match="5 channels do not tell 2 latents apart"):
        match_free_law(CONFIG, blind, paths(truth), FreeLawOptions())


def test_divergence_is_an_error_that_says_what_to_do():
    truth = rotation(0.09, 0.93)
    options = FreeLawOptions(iterations=60, runs=4, window=60, learning_rate=50.0)
    with pytest.raises(DivergenceError, match="Try learning_rate=5"):
        match_free_law(CONFIG, truth, paths(truth), options)
