"""How well a model predicts what it did not see: units, the future, averages, and what a teacher knows.

Each function gives one `Score`: the model's value over all trials, its standard deviation over folds of
trials, and the same for what needs no model, fitted to other trials than it is scored on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics import baselines
from nwb_rnn.metrics.comparison import aligned_r2
from nwb_rnn.metrics.components import principal_components
from nwb_rnn.metrics.conditions import values_and_mask
from nwb_rnn.metrics.decoding import decode, folds_of, r2_of, rate_of_change
from nwb_rnn.metrics.likelihood import bits_per_spike
from nwb_rnn.metrics.psth import psth_r2
from nwb_rnn.metrics.readout import fit_readout
from nwb_rnn.metrics.scorecard import Score, moments
from nwb_rnn.recordings.splits import conditions
from nwb_rnn.smc.trials import observed_name


@dataclass(frozen=True, eq=False)
class Setting:
    """What all scores share.

    Attributes
    ----------
    model : with `infer`
    trials : scored; `reference` : other trials for the baselines, or None for the other folds of `trials`
    by : coordinate of the conditions, or None
    fold : (B,) number of the fold of each trial
    width : of the Gaussian of smoothed baselines, s
    inference : options of `model.infer`
    """

    model: Any
    trials: xr.Dataset
    reference: xr.Dataset | None
    by: Any
    folds: int
    width: float
    seed: int
    inference: Mapping[str, Any] = field(default_factory=dict)

    @property
    def counts(self) -> bool:
        return observed_name(self.trials) == "counts"

    @property
    def fold(self) -> np.ndarray:
        return folds_of(conditions(self.trials, self.by), self.folds, self.seed)

    def random(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def infer(self, trials: xr.Dataset | None = None, **options) -> xr.Dataset:
        """What the model infers of these trials, units in the order of the trials."""
        _can(self.model, "infer", options)
        trials = self.trials if trials is None else trials
        found = self.model.infer(trials, **{**self.inference, **options})
        return found.sel(unit=trials["unit"].values) if "unit" in found.dims else found

    def by_fold(self, predict: Callable[[xr.Dataset, xr.Dataset], np.ndarray], columns: int) -> np.ndarray:
        """(B, T, columns) predictions of each fold by a baseline fitted to other trials."""
        fold = self.fold
        found = np.full((self.trials.sizes["trial"], self.trials.sizes["time"], columns), np.nan)
        for number in range(self.folds):
            rest = self.trials.isel(trial=np.flatnonzero(fold != number))
            test = self.trials.isel(trial=np.flatnonzero(fold == number))
            found[fold == number] = predict(self.reference if self.reference is not None else rest, test)
        return found


def rates_of(inferred: xr.Dataset) -> np.ndarray:
    """(B, T, D) expected observation per bin; NaN outside of trials."""
    if "rates" not in inferred:
        raise InputError("this model infers no 'rates'")
    return inferred["rates"].transpose("trial", "time", "unit").values.astype(float)


def states_of(inferred: xr.Dataset) -> np.ndarray:
    """(B, T, R) latents, or the rates of a model without latents."""
    if "latent_mean" in inferred:
        return inferred["latent_mean"].transpose("trial", "time", "latent").values.astype(float)
    return rates_of(inferred)


def _can(model, verb: str, options: Mapping) -> None:
    """Refuse what this kind of model does not offer."""
    method = getattr(model, verb, None)
    kind = type(model).__name__
    if method is None:
        raise InputError(f"{kind} has no {verb}")
    known = inspect.signature(method).parameters
    missing = [name for name in options if name not in known]
    if missing and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        raise InputError(f"{kind}.{verb} has no {', '.join(missing)}")


def _predictive(expected, values, mask, counts: bool, mean: np.ndarray) -> float:
    """Bits per spike of counts, R² of signals, both against the mean (D,) of each unit over all trials."""
    mask = mask & np.isfinite(expected)
    if counts:
        return bits_per_spike(np.where(mask, expected, 1.0), values, mask, mean)
    left, spread = (np.square(np.where(mask, values - x, 0.0)).sum() for x in (expected, mean))
    return float(1 - left / spread) if spread > 0 else float("nan")


def _scored(setting: Setting, name: str, expected: Mapping[str, np.ndarray], values, mask, meaning) -> Score:
    """One row from predictions (B, T, D) by the model and by baselines."""
    mean = np.where(mask, values, 0.0).sum(axis=(0, 1)) / np.maximum(mask.sum(axis=(0, 1)), 1)
    counts, fold, found = setting.counts, setting.fold, {}
    for source, prediction in expected.items():
        parts = [
            _predictive(prediction[rows], values[rows], mask[rows], counts, mean)
            for rows in (fold == k for k in range(setting.folds))
            if not counts or values[rows][mask[rows]].any()
        ]
        found[source] = (_predictive(prediction, values, mask, counts, mean), moments(parts)[1])
    return Score(
        f"{name}_bits_per_spike" if counts else f"{name}_r2",
        *found.pop("model"),
        over=f"{setting.folds} folds",
        unit="bits/spike" if counts else "R²",
        better="higher",
        baselines=found,
        meaning=meaning,
    )


def co_smoothing(setting: Setting, held: np.ndarray) -> Score:
    """Units that inference did not see, predicted from the others; `held` (D,) says which."""
    values, mask = values_and_mask(setting.trials)
    ids = setting.trials["unit"].values[held].tolist()
    rates = rates_of(setting.infer(held_out_units=ids))[..., held]
    number = int(held.sum())
    expected = {
        "model": rates,
        "mean_rate": setting.by_fold(lambda a, b: baselines.mean_rate(a)[held], number),
        "condition_average": setting.by_fold(
            lambda a, b: baselines.condition_average(a, b, setting.by, setting.width)[..., held], number
        ),
        "smoothing": setting.by_fold(
            lambda a, b: baselines.regression_from_units(a, b, held, setting.width), number
        ),
        "shuffle": baselines.permuted_trials(rates, setting.random()),
    }
    meaning = f"{number} units that inference did not see, from the other {len(held) - number}"
    return _scored(setting, "co_smoothing", expected, values[..., held], mask[..., held], meaning)


def forward(setting: Setting, stop: int) -> Score:
    """All units from bin `stop` on, from what was recorded before."""
    values, mask = values_and_mask(setting.trials)
    mask = mask & (np.arange(values.shape[1]) >= stop)[:, None]
    if not mask.any():
        raise InputError("no trial is long enough for a forecast")
    time, size = setting.trials["time"].values, float(setting.trials.attrs["bin_size"])
    rates = rates_of(setting.infer(until=float(time[stop]) - size / 2))
    expected = _rates_and_baselines(setting, rates) | {
        "smoothing": setting.by_fold(
            lambda a, b: baselines.persistence(a, b, stop, setting.width), values.shape[2]
        )
    }
    meaning = f"bins from {time[stop]:g} s on, from those before"
    return _scored(setting, "forward", expected, values, mask, meaning)


def few_shot(setting: Setting, held: np.ndarray, shots: int, repeats: int) -> Score:
    """Held-out units read out of the latents of the others by a regression on only `shots` trials.

    Plain co-smoothing does not punish latents that hold more than the recording does; a readout that is
    learnt from few trials does (Dabholkar & Barak 2024, arXiv 2405.14425).
    """
    rng, counts = setting.random(), setting.counts
    ids = setting.trials["unit"].values[held].tolist()
    pools = [setting.trials] if setting.reference is None else [setting.reference, setting.trials]
    latents = [states_of(setting.infer(x, held_out_units=ids)) for x in pools]
    units = [baselines.smoothed_values(x, setting.width)[..., ~held] for x in pools]
    known = [tuple(x[..., held] for x in values_and_mask(x)) for x in pools]
    if not 1 <= shots < pools[0].sizes["trial"]:
        raise InputError(f"few-shot co-smoothing with {shots} of {pools[0].sizes['trial']} trials")
    found: dict[str, list[float]] = {"model": [], "mean_rate": [], "smoothing": [], "shuffle": []}
    for _ in range(repeats):
        order = rng.permutation(len(latents[0]))
        learn = order[:shots]
        test = order[shots:] if setting.reference is None else np.arange(len(latents[-1]))
        values, mask = (x[test] for x in known[-1])
        mean = np.where(mask, values, 0.0).sum(axis=(0, 1)) / np.maximum(mask.sum(axis=(0, 1)), 1)
        taught, seen = (x[learn] for x in known[0])
        flat = np.where(seen, taught, 0.0).sum(axis=(0, 1)) / np.maximum(seen.sum(axis=(0, 1)), 1)
        expected = {
            "model": _taught(latents[0][learn], taught, seen, latents[-1][test], counts),
            "mean_rate": np.broadcast_to(flat, values.shape),
            "smoothing": _taught(units[0][learn], taught, seen, units[-1][test], counts),
        }
        expected["shuffle"] = baselines.permuted_trials(expected["model"], rng)
        for source, prediction in expected.items():
            found[source].append(_predictive(prediction, values, mask, counts, mean))
    return Score.of(
        "few_shot_bits_per_spike" if counts else "few_shot_r2",
        found.pop("model"),
        f"{repeats} draw{'' if repeats == 1 else 's'} of {shots} trials",
        unit="bits/spike" if counts else "R²",
        better="higher",
        baselines=found,
        meaning=f"units that inference did not see, read out of its latents after {shots} trials",
    )


def _taught(features, values, mask, given, counts: bool) -> np.ndarray:
    """(B, T, H) of the test trials by a regression on the few."""
    known = np.isfinite(features).all(axis=2) & mask.all(axis=2)
    trial = np.broadcast_to(np.arange(len(known))[:, None], known.shape)
    readout = fit_readout(features[known], values[known], trial[known], counts)
    return np.where(np.isfinite(given).all(axis=2, keepdims=True), readout.predict(given), np.nan)


def psth(setting: Setting, inferred: xr.Dataset) -> list[Score]:
    """Rates against the smoothed averages of the conditions (PSTHs), as the mean R² over units.

    psth_average_r2 averages the rates over the trials of a condition first, as the evaluation of Pei et al.
    2021 does; psth_r2 takes those of each trial, which therefore must not vary about the PSTH.
    """
    trials, by, width = setting.trials, setting.by, setting.width
    mask = values_and_mask(trials)[1]
    target = np.where(mask, baselines.condition_average(trials, trials, by, width), np.nan)
    expected = _rates_and_baselines(setting, rates_of(inferred))
    rows = [
        _mean_r2(setting, "psth_r2", target, expected, "rates of each trial against its condition's PSTH")
    ]
    condition = conditions(trials, by)
    goal = _averaged(target, mask, condition)
    found = {
        name: (moments(psth_r2(goal, _averaged(x, mask, condition)))[0], float("nan"))
        for name, x in expected.items()
        if name != "smoothing"
    }
    value, spread = found.pop("model")
    meaning = "rates averaged over the trials of a condition against its PSTH"
    return [*rows, Score("psth_average_r2", value, spread, "", "R²", "higher", found, meaning)]


def _averaged(values: np.ndarray, mask: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """(C, T, D) averages over the trials of each condition; NaN where there are none."""
    known = mask & np.isfinite(values)
    rows = [condition == c for c in range(condition.max() + 1)]
    count = np.stack([known[r].sum(axis=0) for r in rows])
    total = np.stack([np.where(known, values, 0.0)[r].sum(axis=0) for r in rows])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _rates_and_baselines(setting: Setting, rates: np.ndarray) -> dict[str, np.ndarray]:
    units = rates.shape[2]
    return {
        "model": rates,
        "mean_rate": setting.by_fold(lambda a, b: baselines.mean_rate(a), units),
        "condition_average": setting.by_fold(
            lambda a, b: baselines.condition_average(a, b, setting.by, setting.width), units
        ),
        "smoothing": baselines.smoothed_values(setting.trials, setting.width),
        "shuffle": baselines.permuted_trials(rates, setting.random()),
    }


def _mean_r2(setting: Setting, name: str, target, expected: Mapping[str, np.ndarray], meaning: str) -> Score:
    """Mean over columns of R² against `target`, over all trials, and its spread over folds."""
    fold, found = setting.fold, {}
    for source, x in expected.items():
        x = np.broadcast_to(x, target.shape)
        parts = [moments(psth_r2(target[fold == k], x[fold == k]))[0] for k in range(setting.folds)]
        found[source] = (moments(psth_r2(target, x))[0], moments(parts)[1])
    value, spread = found.pop("model")
    return Score(name, value, spread, f"{setting.folds} folds", "R²", "higher", found, meaning)


def teacher_rates(setting: Setting, inferred: xr.Dataset, truth: np.ndarray) -> Score:
    """Inferred against true rates (B, T, D), both expected observations per bin."""
    rates, trials = rates_of(inferred), setting.trials
    target = np.where(values_and_mask(trials)[1] & np.isfinite(rates), truth, np.nan)
    expected = _rates_and_baselines(setting, rates)
    return _mean_r2(setting, "rate_r2", target, expected, "inferred against the teacher's rates")


def teacher_states(setting: Setting, inferred: xr.Dataset, truth: np.ndarray) -> Score:
    """Inferred states from the true ones (B, T, Q) by the best affine map: what was made up scores low."""
    states = states_of(inferred)
    smooth = baselines.smoothed_values(setting.trials, setting.width)
    known = np.isfinite(states).all(axis=2) & np.isfinite(truth).all(axis=2) & np.isfinite(smooth).all(axis=2)
    count = min(states.shape[2], smooth.shape[2])
    factors = np.full((*known.shape, count), np.nan)
    factors[known] = principal_components(smooth[known][None], count).scores[0]
    expected = {
        "model": states,
        "smoothing": factors,
        "shuffle": baselines.permuted_trials(states, setting.random()),
    }
    fold, found = setting.fold, {}
    for source, x in expected.items():
        parts = [known & (fold == k)[:, None] for k in range(setting.folds)]
        spread = moments([aligned_r2(truth[rows], x[rows]) for rows in parts])[1]
        found[source] = (aligned_r2(truth[known], x[known]), spread)
    value, spread = found.pop("model")
    meaning = "inferred states from the teacher's, by the best affine map"
    return Score("state_r2", value, spread, f"{setting.folds} folds", "R²", "higher", found, meaning)


def decoding(setting: Setting, inferred: xr.Dataset, name: str, change: bool) -> Score:
    """A behaviour of the trials, or its rate of change, from the latents by ridge regression."""
    trials = setting.trials
    target = trials[name].transpose("trial", "time", ...).values.astype(float)
    target = target[..., None] if target.ndim == 2 else target
    if change:
        target = rate_of_change(target, float(trials.attrs["bin_size"]))
    states, fold, rng = states_of(inferred), setting.fold, setting.random()
    sources = {
        "model": states,
        "smoothing": baselines.smoothed_values(trials, setting.width),
        "shuffle": baselines.permuted_trials(states, rng),
    }
    found = {}
    for source, features in sources.items():
        result = decode(features, target, fold)
        found[source] = (moments(result.r2)[0], moments([moments(r2)[0] for r2 in result.fold_r2])[1])
    if setting.by is not None:
        found["condition_average"] = _average_behaviour(setting, target)
    value, spread = found.pop("model")
    title = f"decoding_{name}_change_r2" if change else f"decoding_{name}_r2"
    meaning = (
        f"{'rate of change of ' if change else ''}{name} from the latents, ridge, nested cross-validation"
    )
    return Score(title, value, spread, f"{setting.folds} folds", "R²", "higher", found, meaning)


def _average_behaviour(setting: Setting, target: np.ndarray) -> tuple[float, float]:
    """R² of the mean behaviour of the same condition in the other folds."""
    condition, fold = conditions(setting.trials, setting.by), setting.fold
    predicted = np.full(target.shape, np.nan)
    for trial in range(len(target)):
        rows = target[(condition == condition[trial]) & (fold != fold[trial])]
        known = np.isfinite(rows)
        total = np.where(known, rows, 0.0).sum(axis=0)
        predicted[trial] = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
    known = np.isfinite(predicted).all(axis=2) & np.isfinite(target).all(axis=2)
    if not known.any():
        return float("nan"), float("nan")
    parts = [known & (fold == k)[:, None] for k in range(setting.folds)]
    scores = [moments(r2_of(target[rows], predicted[rows]))[0] for rows in parts if rows.any()]
    return moments(r2_of(target[known], predicted[known]))[0], moments(scores)[1]
