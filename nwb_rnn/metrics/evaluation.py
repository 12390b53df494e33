"""`evaluate`: every score of a model on trials, with its spread and beside its baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics import generation, prediction
from nwb_rnn.metrics.prediction import Setting
from nwb_rnn.metrics.scorecard import Evaluation, Score
from nwb_rnn.recordings.splits import conditions
from nwb_rnn.smc.trials import check_trials

_NO_BEHAVIOUR = {"counts", "signal", "mask", "inputs", "latents", "rates"}


def evaluate(
    model: Any,
    trials: xr.Dataset,
    reference: xr.Dataset | None = None,
    by: str | Sequence[str] | None = None,
    behaviour: Sequence[str] | None = None,
    teacher: Mapping[str, Any] | None = None,
    held_out_units: float | Sequence = 0.25,
    forecast: float = 0.25,
    shots: int = 8,
    folds: int = 5,
    seeds: int = 3,
    smoothing: float = 0.04,
    inference: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Score a fitted model on trials that it was not fitted to.

    - co_smoothing, forward: units, or later bins, that inference did not see. Baselines: mean rate,
      condition average, smoothing, shuffle.
    - few_shot: the same units, read out of the latents after a few trials.
    - psth_r2, psth_average_r2: rates of each trial, or their average, against the average of the condition.
    - rate_r2, state_r2: against a teacher.
    - decoding_…: behaviour, and its rate of change, from the latents.
    - state_space_divergence (D_stsp), spectrum_distance (D_H), mean_rate_…, interval_variability_…,
      pairwise_correlation_…, autocorrelation_…: simulated against recorded trials. Baselines: draws from
      mean rates and from condition averages, shuffled bins, a linear system, and one half of the recording
      against the other.

    Counts are scored in bits per spike (Pei et al. 2021), signals in R². Definitions are in the modules
    of `nwb_rnn.metrics`.

    Parameters
    ----------
    model : with `infer` or `simulate`, or both; rows that need what it lacks are left out, with a note
    trials : scored
    reference : trials that baselines and few-shot readouts are fitted to, such as the training trials;
        by default the other folds of `trials`
    by : coordinate of trials whose values are the conditions; one condition when left out
    behaviour : names of variables (trial, time[, component]) to decode; by default all there are
    teacher : `rates` (B, T, D), expected observations per bin, and `latents` (B, T, Q), of the same trials
    held_out_units : share of the units that co-smoothing predicts, or their ids
    forecast : share of the window, at its end, that `forward` predicts
    shots : trials of a few-shot readout
    folds : of the trials, for the spread of predictions and for cross-validation
    seeds : simulations, few-shot draws
    smoothing : standard deviation of the Gaussian of all smoothed baselines, s
    inference : options of `model.infer`, such as {"particles": 64}
    seed : of folds, held-out units, draws and simulations

    Returns
    -------
    Evaluation : prints as a table; `to_pandas()`, `to_xarray()`, `to_dict()`. Keep the numbers with the
        model, and in its NWB file, by `model.scores.update(evaluation.to_dict())`

    Raises
    ------
    InputError : no such condition, behaviour or unit, or numbers of folds or trials that do not fit
    """
    for given in (trials, reference):
        if given is not None:
            check_trials(given)
    conditions(trials, by)
    names = _behaviours(trials, behaviour)
    if folds < 2 or seeds < 1:
        raise InputError(f"folds={folds} and seeds={seeds}; expected at least 2 folds and 1 seed")
    count = trials.sizes["trial"]
    folds = min(folds, count)
    taught = (count if reference is None else reference.sizes["trial"]) - 1
    notes: list[str] = []
    setting = Setting(model, trials, reference, by, folds, smoothing, seed, dict(inference or {}))
    rows: list[Score] = []

    def add(what: str, make: Callable[[], Score | list[Score]]) -> None:
        try:
            made = make()
        except InputError as error:
            notes.append(f"no {what}: {error}")
            return
        rows.extend(made if isinstance(made, list) else [made])

    if not hasattr(model, "infer"):
        notes.append(f"no prediction: {type(model).__name__} has no infer")
    elif folds < 2:
        notes.append("no prediction: one trial cannot be split into folds")
    else:
        held = _held_out(trials, held_out_units, seed)
        _predictions(setting, add, held, forecast, min(shots, taught), seeds)
        _known(setting, add, teacher, names)
    if hasattr(model, "simulate"):
        _generations(setting, add, seeds)
    else:
        notes.append(f"no simulation: {type(model).__name__} has no simulate")
    return Evaluation(tuple(rows), tuple(notes))


def _predictions(setting: Setting, add, held: np.ndarray, forecast: float, shots: int, seeds: int) -> None:
    bins = setting.trials.sizes["time"]
    stop = min(max(1, round((1 - forecast) * bins)), bins - 1)
    if held.any():
        add("co-smoothing", lambda: prediction.co_smoothing(setting, held))
        add("few-shot co-smoothing", lambda: prediction.few_shot(setting, held, shots, seeds))
    add("forecast", lambda: prediction.forward(setting, stop))


def _known(setting: Setting, add, teacher: Mapping[str, Any] | None, behaviour: list[str]) -> None:
    """Scores of what is inferred from all units."""
    inferred: xr.Dataset | None = None

    def once() -> xr.Dataset:
        nonlocal inferred
        inferred = setting.infer() if inferred is None else inferred
        return inferred

    add("PSTH R²", lambda: prediction.psth(setting, once()))
    for key, make in (("rates", prediction.teacher_rates), ("latents", prediction.teacher_states)):
        if teacher is not None and key in teacher:
            truth = _truth(setting.trials, teacher[key], key)
            add(f"{key} of the teacher", lambda make=make, truth=truth: make(setting, once(), truth))
    for name in behaviour:
        for change in (False, True):
            add(
                f"decoding of {name}",
                lambda name=name, change=change: prediction.decoding(setting, once(), name, change),
            )


def _generations(setting: Setting, add, seeds: int) -> None:
    rank = int(getattr(getattr(setting.model, "config", None), "rank", 3))
    try:
        draws = generation.draw(setting, seeds, rank)
    except InputError as error:
        add("simulation", lambda error=error: _raise(error))
        return
    add("distributions of simulated trials", lambda: generation.distributions(setting, draws))
    if setting.counts:
        add("statistics of spiking", lambda: generation.spike_statistics(setting, draws))


def _raise(error: InputError):
    raise error


def _behaviours(trials: xr.Dataset, behaviour: Sequence[str] | None) -> list[str]:
    there = [
        str(n)
        for n, v in trials.data_vars.items()
        if n not in _NO_BEHAVIOUR and v.dims[:2] == ("trial", "time")
    ]
    if behaviour is None:
        return there
    names = [behaviour] if isinstance(behaviour, str) else list(behaviour)
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(
            f"there is no behaviour {missing[0]!r} in these trials; there is {', '.join(there) or 'none'}: "
            "align with behaviour=…"
        )
    return names


def _held_out(trials: xr.Dataset, held: float | Sequence, seed: int) -> np.ndarray:
    """(D,) True for units that are predicted."""
    ids = trials["unit"].values
    if isinstance(held, int | float):
        if not 0 <= held < 1:
            raise InputError(f"held_out_units={held}: give a share between 0 and 1, or a list of unit ids")
        count = min(max(1, round(held * len(ids))), len(ids) - 1) if held > 0 else 0
        mask = np.zeros(len(ids), dtype=bool)
        mask[np.random.default_rng(seed).permutation(len(ids))[:count]] = True
        return mask
    unknown = set(held) - set(ids.tolist())
    if unknown:
        raise InputError(f"held_out_units names {sorted(unknown)[:5]}, which these trials do not have")
    return np.isin(ids, list(held))


def _truth(trials: xr.Dataset, values: Any, name: str) -> np.ndarray:
    """(B, T, columns) of the teacher, checked against the trials."""
    last = "unit" if name == "rates" else "latent"
    if isinstance(values, xr.DataArray):
        values = values.transpose("trial", "time", last).values
    values = np.asarray(values, dtype=float)
    expected = (trials.sizes["trial"], trials.sizes["time"])
    if values.ndim != 3 or values.shape[:2] != expected:
        raise InputError(f"teacher[{name!r}] has shape {values.shape}; expected {(*expected, last)}")
    if name == "rates" and values.shape[2] != trials.sizes["unit"]:
        raise InputError(
            f"teacher['rates'] has {values.shape[2]} units; the trials have {trials.sizes['unit']}"
        )
    return values
