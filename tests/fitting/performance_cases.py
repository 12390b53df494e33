"""A small network with outputs, and data that it makes."""

from __future__ import annotations

import numpy as np

from nwb_rnn.fitting.performance import PerformanceData, PerformanceNetwork, random_network
from nwb_rnn.models.rate import rates_of


def small(activation: str = "tanh", units: int = 6, seed: int = 0) -> PerformanceNetwork:
    """A random network, two inputs and three outputs, in which nothing is zero."""
    network = random_network(units, 2, 3, np.array([4, 1]), activation, seed=seed)
    rng = np.random.default_rng(seed + 1)
    parameters = network.parameters.with_weights(
        unit_bias=0.3 * rng.standard_normal(units), initial_state=0.3 * rng.standard_normal(units)
    )
    weights, bias = rng.standard_normal((3, units)) / np.sqrt(units), 0.1 * rng.standard_normal(3)
    return PerformanceNetwork(parameters, weights, bias, activation)


def made_by(teacher: PerformanceNetwork, recorded: np.ndarray, trials: int, bins: int, seed: int):
    """Data that a teacher makes from constant inputs, with the rates of `recorded`; and all its rates."""
    rng = np.random.default_rng(seed)
    inputs = np.repeat(rng.standard_normal((trials, 1, 2)), bins, axis=1)
    currents = teacher.run(inputs)
    rates = rates_of(currents, teacher.activation)
    return PerformanceData(inputs, teacher.outputs(currents), rates[..., recorded]), rates
