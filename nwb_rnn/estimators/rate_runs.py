"""Runs of a fitted rate network as xarray datasets, and the scores that they get."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators import rate_arrays
from nwb_rnn.fitting.free_run import explained_variance, free_run_score, starting_states
from nwb_rnn.fitting.rate_data import RateData, Targets
from nwb_rnn.metrics.region_currents import current_shares
from nwb_rnn.metrics.region_currents import region_currents as between_regions
from nwb_rnn.models.rate import RateParameters, forced_run, free_run, outputs_of, rates_of, recorded_rates


def held(p: RateParameters, data: RateData) -> tuple[np.ndarray, np.ndarray]:
    """Currents (B, T, N) with the recorded units held, and rates (B, T, D) that the bin before predicted."""
    currents, ahead = forced_run(p, data.activation, data.rates, data.mask, data.inputs)
    return currents, recorded_rates(p, data.activation, ahead)


def free(
    p: RateParameters, data: RateData, warm_up: int, noise: np.ndarray | float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same of a network left alone after `warm_up` bins; before that the recording itself."""
    start = starting_states(p, data, warm_up)
    rng = np.random.default_rng(seed)
    after = free_run(p, data.activation, start, data.inputs[:, warm_up - 1 :], noise, rng)
    span = slice(0, warm_up)
    before, _ = forced_run(p, data.activation, data.rates[:, span], data.mask[:, span], data.inputs)
    currents = np.concatenate([before, after[:, 1:]], axis=1)
    return currents, recorded_rates(p, data.activation, currents)


def onward(
    p: RateParameters, data: RateData, inputs: np.ndarray, noise: np.ndarray | float, seed: int
) -> np.ndarray:
    """Currents (B, bins, N) after the last recorded bin of each trial; inputs (B, bins, U) from it on."""
    currents, _ = held(p, data)
    last = data.mask.shape[1] - 1 - data.mask[:, ::-1].argmax(axis=1)
    start = currents[np.arange(len(last)), last]
    given = np.concatenate([inputs, inputs[:, -1:]], axis=1)
    return free_run(p, data.activation, start, given, noise, np.random.default_rng(seed))[:, 1:]


def future_inputs(p: RateParameters, trials: int, bins: int, inputs: np.ndarray | None) -> np.ndarray:
    """(B, bins, U), checked.

    Raises
    ------
    InputError : no inputs for a network that has some, or of another shape
    """
    wanted = (trials, bins, p.input_weights.shape[1])
    if bins < 1:
        raise InputError(f"bins={bins} must be at least 1")
    found = np.zeros(wanted) if inputs is None and wanted[2] == 0 else np.asarray(inputs, dtype=float)
    if found.shape != wanted:
        raise InputError(
            f"inputs has shape {found.shape}; this forecast needs (trial, bins, input) = {wanted}"
        )
    return found


def scores(
    p: RateParameters, data: RateData, targets: Targets | None, runs: int, warm_up: int, seed: int
) -> dict[str, float]:
    """See `RateRNN.score`."""
    options = {"warm_up": warm_up, "seed": seed}
    currents, ahead = held(p, data)
    one_step = rate_arrays.Scale(p.rate_gain, p.rate_offset).rates(ahead)
    found = {
        "free_run_explained_variance": free_run_score(p, data, **options),
        "noisy_free_run_explained_variance": free_run_score(p, data, p.noise, runs, **options),
        "free_run_r2": free_run_score(p, data, per_unit=True, **options),
        "one_step_r2": explained_variance(data.rates[:, 1:], one_step[:, 1:], data.steps, per_unit=True),
    }
    if targets is not None:
        alone, _ = free(p, data, warm_up, 0.0, seed)
        found["output_r2"] = output_r2(p, data.activation, currents, targets, 0)
        found["free_run_output_r2"] = output_r2(p, data.activation, alone, targets, warm_up)
    return found


def output_r2(
    p: RateParameters, activation: str, currents: np.ndarray, targets: Targets, first: int
) -> float:
    """Mean R² of the outputs that vary, each about its own mean, from bin `first` on; NaN if none does."""
    inside = targets.mask[:, first:]
    wanted, made = targets.values[:, first:][inside], outputs_of(p, activation, currents)
    assert made is not None
    missed = np.sum((made[:, first:][inside] - wanted) ** 2, axis=0)
    total = np.sum((wanted - wanted.mean(axis=0)) ** 2, axis=0) if len(wanted) else np.zeros(wanted.shape[1])
    return float(np.mean(1 - missed[total > 0] / total[total > 0])) if (total > 0).any() else float("nan")


def region_currents(p: RateParameters, data: RateData, regions: np.ndarray, trials: xr.Dataset) -> xr.Dataset:
    """See `RateRNN.region_currents`."""
    rates = rates_of(held(p, data)[0], data.activation)
    weights = p.recurrent_weights
    currents = between_regions(weights, rates, regions)
    names, shares = current_shares(weights, rates[data.mask], regions)
    size = np.array([[np.abs(currents[b, a]).mean(axis=-1) for a in names] for b in names])
    size = np.where(data.mask, size, np.nan)
    return xr.Dataset(
        {
            "current": (("target", "source", "trial", "time"), size),
            "share": (("target", "source"), shares),
        },
        coords={"target": names, "source": names, "trial": trials["trial"], "time": trials["time"]},
    )


def visited(p: RateParameters, activation: str, data: RateData | None, constant: np.ndarray) -> np.ndarray:
    """(S, N) currents of recorded bins, or of a run under a constant input (U,) where there are no data."""
    if data is not None:
        return held(p, data)[0][data.mask]
    rows = np.broadcast_to(constant, (1, 400, len(constant)))
    return free_run(p, activation, p.initial_state[None], rows)[0]


def labelled(
    currents: np.ndarray,
    rates: np.ndarray,
    outputs: np.ndarray | None,
    mask: np.ndarray,
    trials: xr.Dataset,
    description: dict,
    attrs: dict,
) -> xr.Dataset:
    """latent_mean, rates, outputs and mask with the coordinates of the trials; NaN outside the mask."""
    cut, unit_ids = mask[..., None], description.get("unit_ids")
    dataset = xr.Dataset(
        {
            "latent_mean": (("trial", "time", "latent"), np.where(cut, currents, np.nan)),
            "rates": (("trial", "time", "unit"), np.where(cut, rates, np.nan)),
            "mask": (("trial", "time"), mask),
        },
        coords={
            "trial": trials["trial"],
            "time": trials["time"],
            "unit": np.arange(rates.shape[2]) if unit_ids is None else np.asarray(unit_ids),
            "latent": np.arange(currents.shape[2]),
        },
    )
    if outputs is not None:
        dataset["outputs"] = (("trial", "time", "output"), np.where(cut, outputs, np.nan))
        dataset = dataset.assign_coords(output=description["output_names"])
    columns = {n: c for n, c in trials.coords.items() if c.dims == ("trial",) and n != "trial"}
    return dataset.assign_coords(columns).assign_attrs(dict(trials.attrs) | attrs)
