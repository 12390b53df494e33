"""Particle expectation maximisation: a linear Gaussian model with its exact likelihood, and known counts."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "smc"))
sys.path.insert(0, str(Path(__file__).parents[1] / "estimators"))
import linear_gaussian_case as case
import small

from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.fitting.particle_em import polish
from nwb_rnn.models.simulation import simulate
from nwb_rnn.smc.trials import TrialTensors, _with_patterns, from_dataset
from nwb_rnn.teachers.bistable import bistable


def exact_total(config, parameters, observed) -> float:
    """log p of all trials, exactly, by the joint Gaussian of their bins."""
    bins = observed.shape[1]
    mask, filtered = np.ones((bins, case.OBSERVED), dtype=bool), np.zeros((bins, case.INPUTS))
    return sum(case.exact(config, parameters, y, mask, filtered)[0] for y in observed)


def test_it_climbs_nearly_to_the_likelihood_of_the_truth():
    config, truth = case.make()
    generator = torch.Generator().manual_seed(0)
    _, observed = simulate(config, truth, torch.zeros(150, 12, 1, dtype=torch.float64), generator)
    wrong = replace(
        truth,
        right_vectors=truth.right_vectors * 0.3,
        transition_cholesky=truth.transition_cholesky * 2,
        readout_weights=truth.readout_weights * 0.7,
        observation_noise=truth.observation_noise * 2,
    )
    values = torch.as_tensor(observed)
    empty = torch.empty(0)
    trials = TrialTensors(
        values, torch.ones_like(values), torch.zeros(150, 12, 1).double(), empty, empty, empty
    )
    trials = _with_patterns(values, trials.mask, trials)
    found = polish(config, wrong, None, trials, "optimal", "reference", 30)
    start, end, best = (exact_total(config, p, observed) for p in (wrong, found, truth))
    # fitted parameters may beat the true ones on their own data; a twentieth of the way is left at most
    assert end - start > 0.95 * (best - start)


@pytest.mark.parametrize("factor", [0.5, 1.6])
def test_it_finds_the_latent_noise_of_counts_again(factor):
    """40 trials of 60 bins of the bistable teacher, from half and from 1.6 times its latent noise.

    Over seeds 0 to 5 it comes back to 0.088–0.105 and 0.096–0.109, true 0.1: about 6 % (SD), so that a right
    implementation fails in about one in fifty seeds; the seed is fixed. Eight steps leave 0.078 and 0.113.
    """
    arrays = bistable(observed=30, mean_rate=20.0, noise=0.1, seed=0).arrays
    teacher = LowRankRNN.from_arrays(**arrays)
    trials = from_dataset(teacher.simulate(40, bins=60, seed=0).drop_vars("latents"))
    truth = teacher.parameters
    wrong = replace(truth, transition_cholesky=factor * truth.transition_cholesky)
    found = polish(teacher.config, wrong, None, trials, "bootstrap", "auto", 24)
    basis = torch.linalg.pinv(truth.readout_weights) @ found.readout_weights
    noise = (basis @ found.transition_cholesky).square().sum().div(2).sqrt()
    assert 0.085 < noise < 0.115


@pytest.mark.parametrize("trials", [30, 3])
def test_windows_of_training_do_not_make_trials_start_anywhere(trials):
    """All trials start at 4 and decay; windows start at 1.4 in the mean. Three trials say too little."""
    rng = np.random.default_rng(0)
    z = np.zeros((trials, 40, 1))
    z[:, 0] = 4 + 0.1 * rng.standard_normal((trials, 1))
    for t in range(1, 40):
        z[:, t] = 0.9 * z[:, t - 1] + 0.1 * rng.standard_normal((trials, 1))
    data = small.signal(trials=trials, bins=40, observed=6)
    weights = rng.standard_normal((1, 6))
    data["signal"] = data["signal"].copy(data=z @ weights + 0.2 * rng.standard_normal((trials, 40, 6)))
    model = LowRankRNN(rank=1, units=16, observation="gaussian")
    model.fit(data, **small.QUICK | {"crop": 10, "polish": 4})
    drawn = model.simulate(trials=200, bins=2, seed=1)["signal"].values[:, 0].mean(0)
    start = float(drawn @ weights[0]) / float(weights[0] @ weights[0])
    assert abs(start - 4) < 0.3 if trials == 30 else start < 3
