"""What any model has to beat: mean rates, condition averages, smoothing, shuffles, a linear system."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.subspace import subspace_identification
from nwb_rnn.metrics.conditions import values_and_mask
from nwb_rnn.metrics.readout import fit_readout
from nwb_rnn.recordings.smoothing import smooth
from nwb_rnn.recordings.splits import conditions
from nwb_rnn.smc.trials import observed_name

LEAST = 1e-3  # expected counts per bin of a condition average: no bin of it is called impossible


def smoothed_values(trials: xr.Dataset, width: float) -> np.ndarray:
    """(B, T, D) counts per bin, or signal, under a Gaussian of this width (s); NaN where not observed."""
    values, mask = values_and_mask(smooth(_masked(trials), width))
    return np.where(mask, values, np.nan)


def _masked(trials: xr.Dataset) -> xr.Dataset:
    if "mask" in trials:
        return trials
    _, mask = values_and_mask(trials)
    return trials.assign(mask=(("trial", "time", "unit"), mask))


def mean_rate(train: xr.Dataset) -> np.ndarray:
    """(D,) mean over all observed bins, per bin."""
    values, mask = values_and_mask(train)
    return np.where(mask, values, 0.0).sum(axis=(0, 1)) / np.maximum(mask.sum(axis=(0, 1)), 1)


def condition_average(train: xr.Dataset, test: xr.Dataset, by, width: float) -> np.ndarray:
    """(B, T, D) smoothed average over the training trials of each test trial's condition, per bin.

    Bins that no training trial of the condition reached, and conditions that were not trained, get the
    mean of the unit.
    """
    values = smoothed_values(train, width)
    mean = np.broadcast_to(mean_rate(train), (test.sizes["time"], values.shape[2]))
    here, there = _labels(train, by), _labels(test, by)
    found = np.empty((test.sizes["trial"], *mean.shape))
    for label in dict.fromkeys(there):
        rows = values[[i for i, other in enumerate(here) if other == label]]
        known = np.isfinite(rows)
        total = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        found[[i for i, other in enumerate(there) if other == label]] = np.where(
            known.any(axis=0), total, mean
        )
    return np.maximum(found, LEAST) if observed_name(train) == "counts" else found


def _labels(trials: xr.Dataset, by) -> list[tuple]:
    """The condition of each trial, as values that mean the same in other trials."""
    conditions(trials, by)  # an error that names what there is
    names = [] if by is None else [by] if isinstance(by, str) else list(by)
    return list(zip(*(trials[n].values.tolist() for n in names), strict=True)) or [()] * trials.sizes["trial"]


def regression_from_units(train: xr.Dataset, test: xr.Dataset, held: np.ndarray, width: float) -> np.ndarray:
    """(B, T, H) held-out units from the smoothed activity of the others: Poisson or ridge regression.

    Parameters
    ----------
    held : (D,) True for units that are predicted
    """
    counts = observed_name(train) == "counts"
    features, values = smoothed_values(train, width)[..., ~held], values_and_mask(train)
    known = np.isfinite(features).all(axis=2) & values[1][..., held].all(axis=2)
    trial = np.broadcast_to(np.arange(len(known))[:, None], known.shape)
    readout = fit_readout(features[known], values[0][..., held][known], trial[known], counts)
    given = smoothed_values(test, width)[..., ~held]
    return readout.predict(np.where(np.isfinite(given), given, readout.centre))


def persistence(train: xr.Dataset, test: xr.Dataset, stop: int, width: float) -> np.ndarray:
    """(B, T, D) a forecast: from bin `stop` on, the last smoothed activity drawn towards the mean.

    mean + s (smoothed at the last seen bin − mean),   s of {0, 0.1, ..., 1} best on the training trials
    """
    mean = mean_rate(train)
    counts = observed_name(train) == "counts"
    values, mask = (x[:, stop:] for x in values_and_mask(train))
    last = _last_seen(train, stop, width, mean)
    losses = []
    for share in np.linspace(0, 1, 11):
        expected = np.maximum(mean + share * (last - mean), LEAST if counts else -np.inf)[:, None]
        loss = expected - values * np.log(expected) if counts else np.square(values - expected)
        losses.append(loss[mask].sum())
    share = np.linspace(0, 1, 11)[int(np.argmin(losses))]
    found = mean + share * (_last_seen(test, stop, width, mean) - mean)
    found = np.maximum(found, LEAST) if counts else found
    return np.repeat(found[:, None], test.sizes["time"], axis=1)


def _last_seen(trials: xr.Dataset, stop: int, width: float, mean: np.ndarray) -> np.ndarray:
    """(B, D) smoothed activity in the last observed bin before `stop`, from the bins before it only."""
    seen = smoothed_values(trials.isel(time=slice(0, stop)), width)
    found = np.broadcast_to(mean, (len(seen), len(mean))).copy()
    for bins in range(stop):
        found = np.where(np.isfinite(seen[:, bins]), seen[:, bins], found)
    return found


def permuted_trials(rates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(B, T, D) the same rates, each trial's in the place of another; bins it lacks get the units' means."""
    other = rates[_derangement(len(rates), rng)]
    known = np.isfinite(rates)
    mean = np.where(known, rates, 0.0).sum(axis=(0, 1)) / np.maximum(known.sum(axis=(0, 1)), 1)
    return np.where(np.isfinite(other), other, mean)


def _derangement(count: int, rng: np.random.Generator) -> np.ndarray:
    """A random cycle: no trial stays in its place."""
    order = rng.permutation(count)
    result = np.empty(count, dtype=int)
    result[order] = np.roll(order, 1)
    return result


NULLS = ("mean_rate", "condition_average", "shuffle", "linear")


def null_trials(
    trials: xr.Dataset, kind: str, by, width: float, rng: np.random.Generator, rank: int = 3
) -> xr.Dataset:
    """Trials drawn without a recurrent network: what simulated trials are held against.

    Parameters
    ----------
    kind : "mean_rate" draws each bin from the unit's mean (Poisson; signals normal with its variance);
        "condition_average" from the average of the condition; "shuffle" puts each unit's observed bins of
        each trial into a random order; "linear" is a linear system of this rank, identified from the
        lagged covariances, with Gaussian noise, so that its "counts" are any numbers
    by, width : see `condition_average`
    rank : of the linear system
    """
    if kind not in NULLS:
        raise InputError(f"kind={kind!r} is not known; choose from {', '.join(NULLS)}")
    name = observed_name(trials)
    values, mask = values_and_mask(trials)
    if kind == "shuffle":
        drawn = _shuffled_bins(values, mask, rng)
    elif kind == "linear":
        drawn = np.zeros(values.shape)
        inside = mask.any(axis=2)
        drawn[inside] = _linear_series(values, mask, int(inside.sum()), rank, rng)
    else:
        given = kind == "condition_average"
        expected = condition_average(trials, trials, by, width) if given else mean_rate(trials)
        drawn = _drawn(np.broadcast_to(expected, values.shape), values, mask, name, rng)
    order = ("trial", "time", "unit")
    return trials.drop_vars(name).assign({name: (order, np.where(mask, drawn, 0.0)), "mask": (order, mask)})


def _drawn(expected, values, mask, name: str, rng: np.random.Generator) -> np.ndarray:
    if name == "counts":
        return rng.poisson(expected)
    left = np.where(mask, values - expected, 0.0)
    deviation = np.sqrt(np.square(left).sum(axis=(0, 1)) / np.maximum(mask.sum(axis=(0, 1)), 1))
    return expected + deviation * rng.standard_normal(values.shape)


def _shuffled_bins(values: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    keys = np.where(mask, rng.random(values.shape), 2.0)
    drawn = np.take_along_axis(values, keys.argsort(axis=1), axis=1)  # observed bins first, in random order
    place = np.where(mask, np.cumsum(mask, axis=1) - 1, 0)
    return np.where(mask, np.take_along_axis(drawn, place, axis=1), 0.0)


def _linear_series(values, mask, bins: int, rank: int, rng: np.random.Generator) -> np.ndarray:
    """(bins, D) of one long run, after as many bins are dropped, at most 2,000."""
    rank = min(rank, values.shape[2])
    system = subspace_identification(np.where(mask, values, 0.0), mask, rank)
    dropped = min(bins, 2000)
    noise = rng.standard_normal((dropped + bins, rank)) @ np.linalg.cholesky(system.transition_covariance).T
    state, path = np.zeros(rank), np.empty((dropped + bins, rank))
    for t in range(len(path)):
        state = system.transition @ state + noise[t]
        path[t] = state
    drawn = path[dropped:] @ system.readout.T + system.bias
    return drawn + np.sqrt(system.noise) * rng.standard_normal(drawn.shape)
