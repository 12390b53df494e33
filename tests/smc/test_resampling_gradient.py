"""The filter's mean gradient against the exact gradient of log p(y) of a linear Gaussian model.

The exact one comes from central differences of the joint Gaussian density of all bins. With
`resampling_gradient` 1 the filter's gradient must agree with it up to 4 standard errors of its mean over
draws, and 3 % for the bias that falls as 1/K; without it it must not, or this test could not fail.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import linear_gaussian_case as case
from test_exact_inference import copies, one_trial

from nwb_rnn.errors import InputError
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import filtered_inputs
from nwb_rnn.smc.filter import FilterOptions, prepare, run_filter

GROUPS, STEP = 20, 1e-5
NAMES = ("transition_cholesky", "decay", "right_vectors", "initial_mean", "observation_noise")


@pytest.fixture(scope="module")
def problem():
    config, parameters = case.make()
    trial, mask, observed = one_trial(config, parameters)

    def exact(p):
        filtered = filtered_inputs(trial.inputs, p.decay, True)[0].numpy()
        return case.exact(config, p, observed, mask, filtered)[0]

    gradient = []
    for name in NAMES:
        value = getattr(parameters, name)
        for place in torch.eye(value.numel(), dtype=value.dtype):
            if name == "transition_cholesky" and place[1]:  # above the diagonal
                continue
            step = STEP * place.reshape(value.shape)
            ends = [exact(replace(parameters, **{name: value + side * step})) for side in (1, -1)]
            gradient.append((ends[0] - ends[1]) / (2 * STEP))
    return config, parameters, trial, np.array(gradient)


def mean_gradients(config, parameters, trial, proposal, particles, count, share) -> np.ndarray:
    """(GROUPS, numbers): means over `count` draws each."""
    encoder = ConvEncoder(config, case.OBSERVED, torch.Generator().manual_seed(5)).double()
    with torch.no_grad():
        encoder.convolutions[-1].weight.mul_(10)  # an encoder that truly disagrees with the transition
    options = FilterOptions(particles, proposal, "reference", resampling_gradient=share)
    found = []
    for group in range(GROUPS):
        leaves = {name: getattr(parameters, name).clone().requires_grad_() for name in NAMES}
        inputs = prepare(replace(parameters, **leaves), config, copies(trial, count), proposal, encoder)
        result = run_filter(inputs, options, torch.Generator().manual_seed(group))
        gradients = torch.autograd.grad(result.log_increments.sum() / count, list(leaves.values()))
        factor = gradients[0].flatten()[[0, 2, 3]]
        found.append(torch.cat([factor, *(g.flatten() for g in gradients[1:])]).numpy())
    return np.stack(found)


@pytest.mark.parametrize(
    ("proposal", "particles", "count"), [("optimal", 150, 80), ("encoder", 500, 10), ("bootstrap", 800, 10)]
)
def test_the_gradient_is_that_of_the_exact_likelihood(problem, proposal, particles, count):
    config, parameters, trial, exact = problem
    within = {}
    for share in (0.0, 1.0):
        found = mean_gradients(config, parameters, trial, proposal, particles, count, share)
        error = found.std(0, ddof=1) / np.sqrt(GROUPS)
        within[share] = np.abs(found.mean(0) - exact) < 4 * error + 0.03 * np.abs(exact).max()
    assert within[1.0].all()
    assert not within[0.0].all()


def test_a_share_outside_0_to_1_is_refused():
    with pytest.raises(InputError, match="resampling_gradient"):
        FilterOptions(8, "bootstrap", resampling_gradient=1.5)
