"""From trials and settings to the problem that a rate network is fitted to."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators import rate_arrays
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.rate_data import RateData, Targets
from nwb_rnn.fitting.rate_solvers import Solver
from nwb_rnn.models.rate import RateConfig

Given = tuple[np.ndarray | None, np.ndarray | None]


def share_of_step(config: RateConfig, bin_size: float) -> float:
    """α = Δ/τ.

    Raises
    ------
    InputError : bins longer than the time constant
    """
    alpha = bin_size / config.time_constant
    if not 0 < alpha <= 1:
        raise InputError(
            f"bins of {bin_size:g} s are longer than time_constant={config.time_constant:g} s: an "
            "Euler step would overshoot; align in shorter bins or raise time_constant"
        )
    return alpha


def solver(
    config: RateConfig,
    given: Given,
    data: RateData,
    scale: rate_arrays.Scale,
    bin_size: float,
    targets: Targets | None,
    options: dict,
) -> Solver:
    """The problem with its constraints; Dale's signs are drawn where they were not given.

    Parameters
    ----------
    given : mask (N, N) and unit_sign (N,), or None
    """
    units = data.rates.shape[2] + config.unrecorded
    mask, sign = given
    if config.dale and sign is None:
        rng = np.random.default_rng(config.seed)
        excites = rng.permutation(units) < round(config.excitatory * units)
        sign = np.where(excites, 1, -1)
    constraints = Constraints.make(units, mask, sign, config.zero_diagonal)
    if config.rank is not None and not constraints.mask.all() and not config.sparse:
        raise InputError(
            "rank= with masks or zero_diagonal needs sparse=, such as 1.0: a matrix with zeros in given "
            "places has full rank in general; only J = M V + S can have them, where S cancels M V"
        )
    return Solver(data, config, constraints, bin_size, scale.gain, scale.offset, dict(options), targets)


def regions_of(
    trials: xr.Dataset, regions: np.ndarray | None, column: str | None, units: int
) -> np.ndarray | None:
    """Regions of all units of a network of `units`, given or from a column of the units."""
    observed = trials.sizes["unit"]
    names = None if regions is None else regions[:observed]
    if names is None and column is not None:
        if column not in trials.coords or trials[column].dims != ("unit",):
            raise InputError(f"region_column={column!r} is no column of the units in these trials")
        names = trials[column].values.astype(str)
    if names is None:
        return None
    if len(names) != observed:
        raise InputError(f"regions names {len(names)} units; these trials have {observed}")
    return np.concatenate([names, np.repeat("unrecorded", max(units - observed, 0))])
