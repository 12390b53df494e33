"""Inference with a model whose parameters are known, as xarray datasets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nwb_rnn.errors import InputError
from nwb_rnn.models import observations
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters, predictor
from nwb_rnn.smc.diagnostics import effective_sample_size, filtering_draws
from nwb_rnn.smc.expansion import prepare_expanded
from nwb_rnn.smc.filter import FilterOptions, prepare, run_filter
from nwb_rnn.smc.smoother import backward_simulation
from nwb_rnn.smc.trials import TrialTensors, check_trials

_ROOM = 1_000_000  # numbers of one step of a computation, what the cache has room for
_MEMORY = 64_000_000  # numbers held at once while filtering; trials are worked on in groups


@dataclass(frozen=True)
class Inference:
    """Arrays over all trials: moments of the latents, expected observations, and the filter's own report."""

    latent_mean: np.ndarray
    latent_std: np.ndarray
    rates: np.ndarray
    log_likelihood: np.ndarray
    effective_sample_size: np.ndarray
    latent_samples: np.ndarray | None = None  # (B, T, S, R)


@torch.no_grad()
def infer(
    config: LowRankConfig,
    parameters: LowRankParameters,
    encoder: ConvEncoder | None,
    trials: TrialTensors,
    options: FilterOptions,
    kind: str,
    samples: int,
    seed: int,
    progress: bool,
    keep_samples: bool = False,
) -> Inference:
    """Filter, and for kind="smoothed" go back by backward simulation, trial group by trial group.

    With `keep_samples` the draws come along: trajectories, or for kind="filtered" draws of each bin.
    """
    from tqdm import tqdm

    generator = torch.Generator(parameters.decay.device).manual_seed(seed)
    batch, bins, _ = trials.observed.shape
    per_trial = options.particles * (bins * (config.rank + 2) + config.units) + samples * bins * config.rank
    size = max(1, _MEMORY // per_trial)
    groups = torch.arange(batch, device=parameters.decay.device).split(size)
    parts = []
    for index in tqdm(groups, desc="inferring", disable=not progress or len(groups) < 2):
        group = trials._rows(index, slice(0, bins))
        if options.proposal == "expansion":
            inputs = prepare_expanded(config, parameters, group, options, generator, encoder)
        else:
            inputs = prepare(parameters, config, group, options.proposal, encoder)
        result = run_filter(inputs, options, generator)
        if kind == "smoothed":
            path = backward_simulation(
                parameters, config.activation, inputs.filtered, result, samples, generator
            )
            weights = path.new_full(path.shape[:3], 1 / samples)
        else:
            path, weights = result.latents, torch.exp(result.log_weights)
        size_left = effective_sample_size(inputs, result, options.resampling)
        moments = _moments(config, parameters, path, weights, inputs.filtered)
        part = [*moments, result.log_increments.sum(1), size_left]
        if keep_samples:
            part.append(path if kind == "smoothed" else filtering_draws(result, samples, generator))
        parts.append(part)
    return Inference(*(torch.cat(p).cpu().numpy() for p in zip(*parts, strict=True)))


@torch.no_grad()
def smoothed_draws(
    config: LowRankConfig,
    parameters: LowRankParameters,
    trials: TrialTensors,
    options: FilterOptions,
    seed: int,
) -> list[Tensor]:
    """One trajectory (T, R) of each trial from the smoothing law, up to the trial's last observed bin."""
    generator = torch.Generator(parameters.decay.device).manual_seed(seed)
    found = []
    for number, length in enumerate(trials.lengths.tolist()):
        trial = trials._rows(torch.tensor([number]), slice(0, length))
        inputs = prepare(parameters, config, trial, options.proposal)
        result = run_filter(inputs, options, generator)
        path = backward_simulation(parameters, config.activation, inputs.filtered, result, 1, generator)
        found.append(path[0, :, 0])
    return found


def _moments(config, parameters, path: Tensor, weights: Tensor, filtered: Tensor) -> list[Tensor]:
    mean = torch.einsum("btk,btkr->btr", weights, path)
    second = torch.einsum("btk,btkr->btr", weights, (path - mean[:, :, None]) ** 2)
    batch, bins, samples, _ = path.shape
    expected, size = [], max(1, _ROOM // (batch * samples * max(config.units, len(parameters.readout_bias))))
    for here in (slice(first, first + size) for first in range(0, bins, size)):
        eta = predictor(parameters, config.activation, path[:, here], filtered[:, here, None])
        means = observations.mean(eta, config.observation, config.link)
        expected.append(torch.einsum("btk,btkd->btd", weights[:, here], means))
    return [mean, torch.sqrt(second), torch.cat(expected, dim=1)]


def plan(
    trials: int,
    like: xr.Dataset | None,
    bins: int | None,
    inputs: np.ndarray | None,
    bin_size: float,
    count: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which bins each simulated trial has (B, T), the time axis (T,) and the inputs (B, T, U)."""
    if like is not None:
        check_trials(like)
        rows = np.arange(trials) % like.sizes["trial"]
        inside, time = trial_mask(like)[rows], like["time"].values
        if inputs is None and "inputs" in like:
            inputs = like["inputs"].transpose("trial", "time", "input").values[rows]
    else:
        bins = int(bins) if bins is not None else np.shape(inputs)[1]
        inside, time = np.ones((trials, bins), dtype=bool), (np.arange(bins) + 0.5) * bin_size
    if inputs is None:
        inputs = np.zeros((*inside.shape, count))
    inputs = np.asarray(inputs, dtype=float)
    if inputs.shape != (*inside.shape, count):
        raise InputError(f"inputs has shape {inputs.shape}; expected {(*inside.shape, count)}")
    return inside, time, inputs


def as_dataset(inference: Inference, trials: xr.Dataset, unit_ids, attrs: dict) -> xr.Dataset:
    """Label an inference with the trials it belongs to; bins outside a trial are NaN."""
    inside = trial_mask(trials)
    rank = inference.latent_mean.shape[2]

    def cut(values):
        return np.where(inside.reshape(inside.shape + (1,) * (values.ndim - 2)), values, np.nan)

    dataset = xr.Dataset(
        {
            "latent_mean": (("trial", "time", "latent"), cut(inference.latent_mean)),
            "latent_std": (("trial", "time", "latent"), cut(inference.latent_std)),
            "rates": (("trial", "time", "unit"), cut(inference.rates)),
            "log_likelihood": (("trial",), inference.log_likelihood),
            "effective_sample_size": (("trial", "time"), cut(inference.effective_sample_size)),
            "mask": (("trial", "time"), inside),
        },
        coords={
            "trial": trials["trial"],
            "time": trials["time"],
            "unit": np.asarray(unit_ids),
            "latent": np.arange(rank),
        },
    )
    if inference.latent_samples is not None:
        draws = cut(inference.latent_samples).transpose(0, 2, 1, 3)
        dataset["latent_samples"] = (("trial", "sample", "time", "latent"), draws)
    for name, coordinate in trials.coords.items():
        if coordinate.dims == ("trial",) and name != "trial":
            dataset = dataset.assign_coords({name: coordinate})
    dataset["rates"].attrs["units"] = "expected observation per bin"
    dataset.attrs.update({k: v for k, v in trials.attrs.items()} | attrs)
    return dataset


def trial_mask(trials: xr.Dataset) -> np.ndarray:
    """(B, T) True from the first to the last observed bin of each trial, gaps in between included."""
    if "mask" not in trials:
        return np.ones((trials.sizes["trial"], trials.sizes["time"]), dtype=bool)
    mask = trials["mask"]
    if "unit" in mask.dims:
        mask = mask.any("unit")
    seen = mask.transpose("trial", "time").values.astype(bool)
    after = np.cumsum(seen, axis=1) > 0
    before = np.cumsum(seen[:, ::-1], axis=1)[:, ::-1] > 0
    return after & before


def simulated_dataset(
    name: str,
    observed: np.ndarray,
    latents: np.ndarray,
    inside: np.ndarray,
    time: np.ndarray,
    inputs: np.ndarray,
    unit_ids,
    attrs: dict,
) -> xr.Dataset:
    """Simulated trials as a Dataset shaped like recorded ones, with the latents that made them.

    Parameters
    ----------
    name : counts or signal
    observed, latents, inputs : (trial, time, unit), (trial, time, latent), (trial, time, input)
    inside : (trial, time), False past the end of a trial
    """
    dataset = xr.Dataset(
        {
            name: (("trial", "time", "unit"), np.where(inside[..., None], observed, 0)),
            "latents": (("trial", "time", "latent"), np.where(inside[..., None], latents, np.nan)),
            "mask": (("trial", "time"), inside),
        },
        coords={
            "trial": np.arange(len(observed)),
            "time": time,
            "unit": np.asarray(unit_ids),
            "latent": np.arange(latents.shape[2]),
        },
        attrs=attrs,
    )
    if inputs.shape[2]:
        dataset["inputs"] = (("trial", "time", "input"), inputs)
    return dataset
