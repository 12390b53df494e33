"""`match_free_runs`: a fitted low-rank RNN whose simulations live where its recording does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators import matching, posterior, sessions
from nwb_rnn.estimators.software import versions
from nwb_rnn.fitting.free_law import FreeLawOptions, match_free_law
from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc import trials as tensors
from nwb_rnn.smc.filter import FilterOptions
from nwb_rnn.smc.proposals import choose

if TYPE_CHECKING:
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

_AT_THE_ENDS = 20  # steps whose mean is remembered


def match_free_runs(
    model: LowRankRNN,
    trials: xr.Dataset | Sequence[xr.Dataset],
    particles: int = 64,
    seed: int | None = None,
    progress: bool = True,
    callback: Callable[[dict], None] | None = None,
    **options,
) -> LowRankRNN:
    """A model like `model` whose free runs have the law and the spectra of the recording.

    For long recordings without inputs, of which simulations should look like the recording: a likelihood
    hardly asks for that. See `nwb_rnn.fitting.free_law` for what is compared and how; it runs on the CPU.
    The left and right vectors, the biases and the transition noise change; readout, observation noise and
    decay stay. What is won belongs to these trials: on a part of an EEG recording that was left out, the
    result was no nearer. Judge it by data that were not used here, and by its likelihood, `score`, which
    falls a little.

    Parameters
    ----------
    model : fitted, with Gaussian observations and an affine readout; it stays as it is
    trials : what it was fitted to, with trials of at least `window` bins
    particles : of the filter that draws latents given the recording
    seed : of the draws and runs; by default the model's own
    progress : show a progress bar
    callback : called with iteration, law and spectrum (the two distances) after every step
    options : iterations, runs, window, smoothing, weight, learning_rate; see
        `nwb_rnn.fitting.free_law.FreeLawOptions`

    Returns
    -------
    A new model in the canonical basis, with the first and last distances in
    `data_description["matched_free_runs"]`.

    Raises
    ------
    InputError : a model or trials that this can't be done with, or an unknown option.
    DivergenceError : a learning rate that is too high.
    """
    _check(model, options)
    chosen = FreeLawOptions(**options)
    seed = model.config.seed if seed is None else seed
    paths = _drawn(model, trials, particles, seed)
    parameters, history = match_free_law(
        model.config, model.parameters, paths, chosen, seed, progress, callback
    )
    return _like(model, parameters, {"seed": seed, **asdict(chosen), **_ends(history)})


def _check(model: LowRankRNN, options: dict) -> None:
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

    if not isinstance(model, LowRankRNN):
        raise InputError(f"match_free_runs takes a LowRankRNN, not a {type(model).__name__}")
    config, known = model.config, FreeLawOptions.__dataclass_fields__
    if unknown := sorted(set(options) - set(known)):
        raise InputError(f"unknown option(s) {', '.join(unknown)}; choose from {', '.join(known)}")
    if config.observation != "gaussian" or config.readout != "affine" or config.indicator != "none":
        raise InputError(
            f"match_free_runs takes Gaussian observations with an affine readout and no indicator; this "
            f"model has observation={config.observation!r}, readout={config.readout!r}, "
            f"indicator={config.indicator!r}"
        )
    if count := model.parameters.input_weights.shape[1]:
        raise InputError(f"match_free_runs knows no inputs, and this model has {count}: free runs have none")


def _drawn(model: LowRankRNN, trials, particles: int, seed: int) -> list[torch.Tensor]:
    """Latents (T, R) drawn given the recording, of each stretch of a trial without a gap."""
    p = model.parameters
    data = tensors.from_dataset(matching.matched(sessions.as_one(trials), model.data_description, 0))
    data = data.to(p.decay.device, p.decay.dtype)
    options = FilterOptions(particles, choose("auto", model.config))
    paths = posterior.smoothed_draws(model.config, p, data, options, seed)
    seen = (data.mask > 0).any(-1)
    return [piece for path, inside in zip(paths, seen, strict=True) for piece in _pieces(path, inside)]


def _pieces(path: torch.Tensor, inside: torch.Tensor) -> list[torch.Tensor]:
    """Stretches of `path` (T, R) of which all bins are `inside` (at least T)."""
    flags = inside[: len(path)].int().numpy()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags, [0]])))
    return [path[first:last] for first, last in edges.reshape(-1, 2)]


def _ends(history: list[dict]) -> dict:
    """Mean of each distance over the first and over the last steps."""
    parts = history[:_AT_THE_ENDS], history[-_AT_THE_ENDS:]
    return {name: [float(np.mean([h[name] for h in part])) for part in parts] for name in ("law", "spectrum")}


def _like(model: LowRankRNN, parameters: LowRankParameters, said: dict) -> LowRankRNN:
    found = model._assemble(
        asdict(model.config),
        parameters,
        copy.deepcopy(model._encoder),
        history=list(model.history),
        data_description=copy.deepcopy(model.data_description) | {"matched_free_runs": said},
        software=versions(),
    )
    found.to_canonical()
    return found
