"""Outputs and recorded units together, from trials to a rate network: `RateRNN.fit(method="performance")`.

The outputs are trained in standard units, each over its own standard deviation, so that all count the same;
the readout that comes out is in the units of the targets.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.performance import (
    PerformanceData,
    PerformanceNetwork,
    PerformanceOptions,
    fit_performance,
    random_network,
)
from nwb_rnn.fitting.performance_rls import RLSOptions, fit_performance_rls
from nwb_rnn.fitting.performance_start import recorded_start
from nwb_rnn.fitting.rate_data import RateData, Targets
from nwb_rnn.models.rate import RateConfig, RateParameters

OPTIMISERS = ("backprop", "rls")
STARTS = ("recorded", "random")


def train(
    data: RateData,
    targets: Targets,
    config: RateConfig,
    constraints: Constraints,
    bin_size: float,
    options: dict,
) -> tuple[RateParameters, list[dict]]:
    """Parameters with a readout of the outputs, and a row of history for each step or pass.

    Parameters
    ----------
    data : recorded rates in φ's range; their units come first in the network
    options : `optimiser`, `input_gain` (size of random W), and the fields of `PerformanceOptions` (backprop)
        or `RLSOptions` (rls). For backprop also `start`: "random", or "recorded" (see `performance_start`)

    Raises
    ------
    InputError : options that are not known, a rank, or targets that are wanted nowhere
    DivergenceError : training left the finite numbers
    """
    options = dict(options)
    optimiser = options.pop("optimiser", "backprop")
    if optimiser not in OPTIMISERS:
        raise InputError(f"optimiser={optimiser!r} is not known; choose from {', '.join(OPTIMISERS)}")
    if config.rank is not None:
        raise InputError("method='performance' trains a full J; rank= is for method='backprop'")
    if not targets.mask.any():
        raise InputError("the targets are missing in every bin; check the behaviour and the window")
    begin = options.pop("start", "random") if optimiser == "backprop" else "random"
    if begin not in STARTS:
        raise InputError(f"start={begin!r} is not known; choose from {', '.join(STARTS)}")
    input_gain = options.pop("input_gain", 1.0)
    chosen = _options(optimiser, options, config)
    wanted = np.where(targets.mask[..., None], (targets.values - targets.level) / targets.size, 0.0)
    problem = PerformanceData(data.inputs, wanted, data.rates, targets.mask, data.mask, hold_start=True)
    observed = data.rates.shape[2]
    start = random_network(
        observed + config.unrecorded,
        data.inputs.shape[2],
        len(targets.names),
        np.arange(observed),
        config.activation,
        config.time_constant,
        bin_size,
        config.gain,
        constraints,
        config.seed,
        input_gain,
    )
    start = replace(start, parameters=start.parameters.with_weights(initial_state=_first(start, problem)))
    if isinstance(chosen, RLSOptions):
        found = fit_performance_rls(start, problem, chosen, constraints)
    else:
        if begin == "recorded":
            start = recorded_start(start, problem, chosen, constraints, config.seed)
        found = fit_performance(start, problem, chosen, constraints)
    parameters = found.parameters.with_weights(
        readout_weights=targets.size[:, None] * found.output_weights,
        readout_bias=targets.size * found.output_bias + targets.level,
    )
    return parameters, [row | {"validation": None} for row in found.history]


def _options(optimiser: str, given: dict, config: RateConfig) -> PerformanceOptions | RLSOptions:
    kind = RLSOptions if optimiser == "rls" else PerformanceOptions
    weights = sorted(set(given) & {"output_weight", "activity_weight"})
    if optimiser == "rls" and weights:
        raise InputError(
            f"{' and '.join(weights)}: with optimiser='rls' every output and every recorded unit has a "
            "target of its own, and none is weighed against another; use optimiser='backprop' to weigh them"
        )
    known = {field.name for field in fields(kind)} - {"seed"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise InputError(
            f"fit does not know {', '.join(unknown)}; with optimiser={optimiser!r} it knows "
            f"{', '.join(sorted(known | ({'start'} if optimiser == 'backprop' else set()) | {'input_gain'}))}"
        )
    return kind(**given, seed=config.seed)


def _first(network: PerformanceNetwork, data: PerformanceData) -> np.ndarray:
    """(N,) mean of the starts that were recorded, 0 for units that were not."""
    from nwb_rnn.models.rate import currents_of

    state, known = network.parameters.initial_state.copy(), np.asarray(data.activity_mask)[:, 0]
    if known.any():
        first = currents_of(data.activity[known, 0], network.activation)
        state[network.parameters.observed_index] = first.mean(axis=0)
    return state
