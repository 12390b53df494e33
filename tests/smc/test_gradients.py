"""Gradients of the objective against finite differences, in float64 with resampling off."""

import itertools

import numpy as np
import pytest
import torch

from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.backends import reference
from nwb_rnn.smc.filter import prepare
from nwb_rnn.smc.trials import TrialTensors, _with_patterns

BATCH, BINS, PARTICLES, RANK, UNITS, OBSERVED, INPUTS = 2, 4, 3, 2, 5, 3, 1

CASES = [
    *itertools.product(
        ["relu", "clipped_relu", "tanh", "softplus", "identity"],
        [("poisson", "softplus"), ("poisson", "exp")],
        ["affine", "one_to_one"],
        ["bootstrap", "encoder"],
    ),
    *itertools.product(
        ["tanh"],
        [("negative_binomial", "softplus"), ("negative_binomial", "exp"), ("poisson", "exp,softplus,exp")],
        ["affine", "one_to_one", "network"],
        ["bootstrap", "encoder"],
    ),
    *itertools.product(
        ["tanh", "clipped_relu"], [("gaussian", "identity")], ["affine"], ["optimal", "encoder"]
    ),
    ("tanh", ("gaussian", "identity"), "one_to_one", "bootstrap"),
]


@pytest.mark.parametrize(("activation", "law", "readout", "proposal"), CASES)
def test_gradients_agree_with_finite_differences(activation, law, readout, proposal):
    observation, link = law
    config = LowRankConfig(
        RANK, UNITS, activation, observation, readout, link, encoder_channels=2, encoder_kernels=(3, 1)
    )
    rng = np.random.default_rng(7)
    values = dict(
        left_vectors=rng.standard_normal((UNITS, RANK)),
        right_vectors=0.4 * rng.standard_normal((RANK, UNITS)),
        input_weights=rng.standard_normal((UNITS, INPUTS)),
        unit_bias=rng.standard_normal(UNITS),
        decay=0.8,
        transition_cholesky=np.array([[0.6, 0.0], [0.1, 0.5]]),
        initial_mean=rng.standard_normal(RANK),
        initial_cholesky=np.array([[0.9, 0.0], [0.2, 0.7]]),
        readout_bias=rng.standard_normal(OBSERVED),
    )
    name = "readout_gain" if readout == "one_to_one" else "readout_weights"
    values[name] = 0.3 * rng.standard_normal(OBSERVED if readout == "one_to_one" else (OBSERVED, RANK))
    if readout == "network":
        values["readout_network_input"] = rng.standard_normal((4, RANK))
        values["readout_network_bias"] = rng.standard_normal(4)
        values["readout_network_output"] = 0.3 * rng.standard_normal((OBSERVED, 4))
    if observation == "negative_binomial":
        values["dispersion"] = rng.uniform(0.5, 5.0, OBSERVED)
    if observation == "gaussian":
        values["observation_noise"] = rng.uniform(0.4, 1.0, OBSERVED)
    names = list(values)
    leaves = [torch.tensor(values[n], dtype=torch.float64, requires_grad=True) for n in names]
    encoder = ConvEncoder(config, OBSERVED, torch.Generator().manual_seed(1)).double()
    trials = _trials(observation, rng)
    noise = torch.as_tensor(rng.standard_normal((BATCH, BINS, PARTICLES, RANK)))
    uniforms = torch.as_tensor(rng.uniform(size=(BATCH, BINS, 1)))

    def objective(*tensors):
        parameters = LowRankParameters(**dict(zip(names, tensors[: len(names)], strict=True)))
        if proposal == "encoder":
            parts = dict(zip(weights, tensors[len(names) :], strict=True))
            encode = lambda y, m: torch.func.functional_call(encoder, parts, (y, m))  # noqa: E731
        else:
            encode = None
        inputs = prepare(parameters, config, trials, proposal, encode)
        return reference.run(inputs, noise, uniforms, resampling="none").log_increments.sum()

    weights = dict(encoder.named_parameters()) if proposal == "encoder" else {}
    assert torch.autograd.gradcheck(objective, (*leaves, *weights.values()), atol=1e-6, rtol=1e-5)


def _trials(observation, rng) -> TrialTensors:
    shape = (BATCH, BINS, OBSERVED)
    observed = rng.standard_normal(shape) if observation == "gaussian" else rng.poisson(2.0, shape)
    mask = np.ones(shape)
    mask[0, 1] = 0
    mask[1, 2, 0] = 0
    mask[1, -1] = 0
    observed, mask = torch.as_tensor(observed * mask), torch.as_tensor(mask)
    inputs = torch.as_tensor(rng.standard_normal((BATCH, BINS, INPUTS)))
    empty = torch.empty(0)
    return _with_patterns(observed, mask, TrialTensors(observed, mask, inputs, empty, empty, empty))
