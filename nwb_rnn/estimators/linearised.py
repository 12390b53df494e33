"""A fitted low-rank RNN as the nearest linear system to it, for `LowRankRNN.linearise`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from nwb_rnn.dynamics.spectra import Linearisation
from nwb_rnn.errors import InputError
from nwb_rnn.models import observations
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, predictor

if TYPE_CHECKING:
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN


def linearise(
    model: LowRankRNN,
    inputs: Sequence[float] | None,
    at: np.ndarray | None,
    trials: int,
    bins: int,
    seed: int | None,
) -> Linearisation:
    """Mean derivatives over a simulation, or those at the state `at`; see `LowRankRNN.linearise`."""
    if model.config.indicator != "none":
        raise InputError("linearise knows no indicator: its spectra would be those before the decay")
    network = model.step_map(inputs)
    count = model.parameters.input_weights.shape[1]
    constant = np.zeros(count) if inputs is None else np.asarray(inputs, dtype=float)
    if at is None:
        drive = np.tile(constant, (trials, bins, 1))
        drawn = model.simulate(trials, inputs=drive, seed=seed)["latents"].values
        states = drawn[:, bins // 10 :].reshape(-1, network.rank).astype(float)
    else:
        states = np.atleast_2d(np.asarray(at, dtype=float))
        if states.ndim != 2 or states.shape[1] != network.rank:
            raise InputError(f"at has shape {np.shape(at)}; this model has {network.rank} latents")
    parameters = model.parameters.map(lambda x: x.double())
    readout, noise = _outputs(model.config, parameters, torch.as_tensor(states), torch.as_tensor(constant))
    factor = parameters.transition_cholesky.numpy()
    jacobian = network.jacobian(states).mean(0)
    return Linearisation(jacobian, factor @ factor.T, readout, noise, network.bin_size)


def _outputs(
    config: LowRankConfig, parameters: LowRankParameters, states: torch.Tensor, constant: torch.Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Means over states of d E[y|z]/dz (D, R) and of Var(y|z) (D,)."""
    states = states.clone().requires_grad_()
    eta = predictor(parameters, config.activation, states, constant.expand(len(states), -1))
    expected = observations.mean(eta, config.observation, config.link)
    rows = [torch.autograd.grad(one, states, retain_graph=True)[0].mean(0) for one in expected.sum(0)]
    noise = observations.variance(expected.detach(), config.observation, parameters.spread)
    return torch.stack(rows).numpy(), noise.mean(0).numpy()
