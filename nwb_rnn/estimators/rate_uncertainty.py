"""The spread of closed-form fits of a rate network over resampled data and seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nwb_rnn.fitting.closed_form import Normal, ridge
from nwb_rnn.fitting.rate_data import RateData
from nwb_rnn.fitting.rate_solvers import Solver
from nwb_rnn.metrics.region_currents import current_shares
from nwb_rnn.models.rate import forced_run, rates_of

if TYPE_CHECKING:
    from nwb_rnn.estimators.rate_rnn import RateRNN


def resampled(
    model: RateRNN,
    data: RateData,
    regions: np.ndarray | None,
    resamples: int,
    penalty: float | None,
    blocks: int,
) -> xr.Dataset:
    """See `RateRNN.uncertainty`."""
    p = model.parameters
    rng = np.random.default_rng(model.config.seed)
    if penalty is None:
        whole = Solver(data, model.config, model.constraints, p.bin_size, p.rate_gain, p.rate_offset)
        penalty = whole.chosen_penalty(0.2)
    pieces = data if data.mask.shape[0] > 1 else in_blocks(data, blocks)
    weights, shares, names = [], [], []
    for number in range(resamples):
        drawn = pieces.select(rng.integers(0, pieces.mask.shape[0], pieces.mask.shape[0]))
        config = replace(model.config, seed=model.config.seed + number)
        solver = Solver(drawn, config, model.constraints, p.bin_size, p.rate_gain, p.rate_offset)
        blank, problem = solver.problem(drawn)
        found = ridge(Normal.of(problem), penalty, solver.units, model.constraints)
        network = solver.put(blank, found)
        weights.append(network.recurrent_weights)
        if regions is not None:
            held, _ = forced_run(network, config.activation, data.rates, data.mask, data.inputs)
            rates = rates_of(held, config.activation)[data.mask]
            names, share = current_shares(network.recurrent_weights, rates, regions)
            shares.append(share)
    both = ("to", "from")
    found = {
        "recurrent_weights_mean": (both, np.mean(weights, axis=0)),
        "recurrent_weights_std": (both, np.std(weights, axis=0, ddof=1)),
    }
    coords: dict = {}
    if regions is not None:
        pair = ("target", "source")
        found["share_mean"] = (pair, np.mean(shares, axis=0))
        found["share_std"] = (pair, np.std(shares, axis=0, ddof=1))
        coords = {"target": names, "source": names}
    return xr.Dataset(found, coords=coords, attrs={"resamples": resamples, "penalty": penalty})


def in_blocks(data: RateData, blocks: int) -> RateData:
    """Every trial cut into stretches of equal length, as trials of their own; a remainder is left out."""
    trials, bins = data.mask.shape
    width = max(bins // blocks, 2)
    count = bins // width

    def cut(values: np.ndarray) -> np.ndarray:
        return values[:, : count * width].reshape(trials * count, width, *values.shape[2:])

    return replace(data, rates=cut(data.rates), mask=cut(data.mask), inputs=cut(data.inputs))
