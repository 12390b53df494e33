"""The particle filter against exact answers of a linear Gaussian model.

For a particle filter E[exp L] = p(y) exactly, so for nearly Gaussian L its mean lies Var(L)/2 below
log p(y). Each statistical test uses 4 standard errors: one false alarm in about 16,000 runs of a fixed
seed's kind, and the seeds are fixed.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import linear_gaussian_case as case

from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import filtered_inputs
from nwb_rnn.models.simulation import simulate
from nwb_rnn.smc.filter import FilterOptions, prepare, run_filter
from nwb_rnn.smc.smoother import backward_simulation
from nwb_rnn.smc.trials import TrialTensors, _with_patterns

COPIES, BINS = 300, 12


def one_trial(config, parameters, seed=3, gaps=True) -> tuple[TrialTensors, np.ndarray, np.ndarray]:
    """One simulated trial with missing bins and a missing unit, as tensors, and its mask."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(1, BINS, case.INPUTS, generator=generator, dtype=torch.float64)
    _, observed = simulate(config, parameters, inputs, generator)
    mask = np.ones((1, BINS, case.OBSERVED))
    if gaps:
        mask[0, 4:6] = 0
        mask[0, 8, 1] = 0
        mask[0, -1] = 0
    observed = torch.as_tensor(observed * mask)
    empty = torch.empty(0)
    trial = TrialTensors(observed, torch.as_tensor(mask), inputs, empty, empty, empty)
    trial = _with_patterns(observed, trial.mask, trial)
    return trial, mask[0] > 0, observed[0].numpy()


def copies(trial: TrialTensors, count: int) -> TrialTensors:
    return trial._rows(torch.zeros(count, dtype=torch.int64), slice(None))


def prepared(proposal, readout="affine", count=COPIES):
    config, parameters = case.make(readout=readout)
    trial, mask, observed = one_trial(config, parameters)
    encoder = ConvEncoder(config, case.OBSERVED, torch.Generator().manual_seed(5)).double()
    with torch.no_grad():
        encoder.convolutions[-1].weight.mul_(10)  # an encoder that truly disagrees with the transition
        inputs = prepare(parameters, config, copies(trial, count), proposal, encoder)
    filtered = filtered_inputs(trial.inputs, parameters.decay, True)[0].numpy()
    return config, parameters, inputs, case.exact(config, parameters, observed, mask, filtered)


@pytest.mark.parametrize("resampling", ["systematic", "multinomial"])
@pytest.mark.parametrize(
    ("proposal", "readout", "particles"),
    [
        ("optimal", "affine", 32),
        ("bootstrap", "affine", 400),
        ("encoder", "affine", 400),
        ("bootstrap", "one_to_one", 400),
        ("encoder", "one_to_one", 400),
    ],
)
def test_log_likelihood_agrees_with_the_exact_one(proposal, readout, particles, resampling):
    _, _, inputs, (exact, _) = prepared(proposal, readout)
    options = FilterOptions(particles, proposal, "reference", resampling)
    with torch.no_grad():
        estimates = run_filter(inputs, options, torch.Generator().manual_seed(1)).log_increments.sum(1)
    variance = float(estimates.var())
    assert variance < 0.7, "too few particles for the second-order bias to hold"
    error = 4 * np.sqrt((variance + variance**2 / 2) / COPIES)
    assert abs(float(estimates.mean()) + variance / 2 - exact) < error


@pytest.mark.parametrize("proposal", ["optimal", "bootstrap", "encoder"])
def test_smoothed_means_agree_with_the_exact_ones(proposal):
    config, parameters, inputs, (_, exact) = prepared(proposal, count=60)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        result = run_filter(inputs, FilterOptions(600, proposal, "reference"), generator)
        path = backward_simulation(parameters, config.activation, inputs.filtered, result, 200, generator)
    means = path.mean(2).numpy()
    error = means.std(0, ddof=1) / np.sqrt(len(means))
    # 24 numbers at 4.5 standard errors: a false alarm in 6,000; 0.004 covers the filter's O(1/K) bias
    assert (np.abs(means.mean(0) - exact) < 4.5 * error + 0.004).all()


def test_particle_number_one_and_the_end_of_a_trial():
    _, _, inputs, _ = prepared("bootstrap", count=2)
    result = run_filter(inputs, FilterOptions(1, "bootstrap", "reference"), torch.Generator().manual_seed(0))
    assert torch.isfinite(result.log_increments).all()
    unseen = result.log_increments[:, [4, 5, BINS - 1]]
    assert unseen.abs().max() < 1e-12, "a bin that was not observed adds nothing"
