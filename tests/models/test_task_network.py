"""Gradients of the task network written out, against autograd and finite differences; the step it makes."""

import numpy as np
import pytest
import torch

from nwb_rnn.models.task_network import TaskConfig, activate, run, start_parameters


def plain(p, config, share, inputs, noise):
    """The same network, one step at a time, for autograd."""
    x = p.initial_state.expand(inputs.shape[1], -1)
    path = []
    for t in range(len(inputs)):
        current = activate(config.activation, x) @ p.recurrent_weights.T
        current = current + inputs[t] @ p.input_weights.T + p.unit_bias
        x = (1 - share) * x + share * current + noise[t]
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("activation", ["tanh", "relu", "softplus"])
def test_values_and_gradients_equal_those_of_plain_steps(activation):
    config = TaskConfig(units=7, activation=activation, gain=1.5)
    generator = torch.Generator().manual_seed(0)
    base = start_parameters(config, 3, 2)
    made = [t.double().add(0.1).requires_grad_() for t in base.tensors()]
    p = type(base)(*made)
    inputs = torch.randn(9, 4, 3, generator=generator, dtype=torch.float64)
    noise = 0.1 * torch.randn(9, 4, 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(9, 4, 7, generator=generator, dtype=torch.float64)
    moved = [made[0], made[1], made[2], made[5]]
    results = []
    for function in (run, plain):
        x = function(p, config, 0.2, inputs, noise)
        results.append((x.detach(), torch.autograd.grad((weight * x).sum(), moved)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    for one, two in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
