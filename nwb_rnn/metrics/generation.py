"""Do trials that a model draws look like recorded ones? State distribution, rhythms, and spiking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics import spiking
from nwb_rnn.metrics.attractor import spectrum_distance, state_space_divergence
from nwb_rnn.metrics.baselines import NULLS, null_trials, smoothed_values
from nwb_rnn.metrics.comparison import mean_rates
from nwb_rnn.metrics.conditions import values_and_mask
from nwb_rnn.metrics.prediction import Setting
from nwb_rnn.metrics.scorecard import Score
from nwb_rnn.smc.trials import observed_name

Draws = dict[str, list[xr.Dataset]]


def draw(setting: Setting, seeds: int, rank: int) -> Draws:
    """Trials like the recorded ones by the model and by each baseline, once for each seed.

    "recorded" is one random half of the trials, to be held against the other half: how near a perfect
    model would come with half of the data.
    """
    trials = setting.trials
    count = trials.sizes["trial"]
    kinds = [kind for kind in NULLS if kind != "condition_average" or setting.by is not None]
    found: Draws = {"model": []} | {kind: [] for kind in kinds}
    for seed in range(setting.seed, setting.seed + seeds):
        drawn = setting.model.simulate(trials=count, like=trials, seed=seed)
        if observed_name(drawn) != observed_name(trials):
            raise InputError(f"the model simulates a {observed_name(drawn)}, not {observed_name(trials)}")
        found["model"].append(drawn.sel(unit=trials["unit"].values))
        rng = np.random.default_rng(seed)
        for kind in kinds:
            found[kind].append(null_trials(trials, kind, setting.by, setting.width, rng, rank))
    return found


@dataclass(frozen=True, eq=False)
class Summaries:
    """One statistic of the recording, of random halves of it, and of every draw."""

    recorded: Any
    halves: list[tuple[Any, Any]]
    draws: dict[str, list[Any]]

    @classmethod
    def of(
        cls, setting: Setting, draws: Draws, statistic: Callable[[xr.Dataset], Any], without=()
    ) -> Summaries:
        trials = setting.trials
        half = trials.sizes["trial"] // 2
        halves = []
        for seed in range(len(draws["model"]) if half else 0):
            order = np.random.default_rng(setting.seed + seed).permutation(trials.sizes["trial"])
            parts = (np.sort(order[:half]), np.sort(order[half : 2 * half]))
            halves.append(tuple(statistic(trials.isel(trial=rows)) for rows in parts))
        found = {k: [statistic(x) for x in v] for k, v in draws.items() if k not in without}
        return cls(statistic(trials), halves, found)

    def score(self, measure: Callable[[Any, Any], float], **facts) -> Score:
        """`measure(recorded, drawn)` of every draw, and of the halves as the baseline "recorded"."""
        found = {k: [measure(self.recorded, x) for x in v] for k, v in self.draws.items()}
        if self.halves:
            found["recorded"] = [measure(a, b) for a, b in self.halves]
        values = found.pop("model")
        over = f"{len(values)} seed{'' if len(values) == 1 else 's'}"
        return Score.of(values=values, over=over, baselines=found, **facts)


def distributions(setting: Setting, draws: Draws) -> list[Score]:
    """D_stsp and D_H of simulated trials; counts are smoothed first, and every unit is z-scored."""
    series = Summaries.of(setting, draws, lambda trials: _series(trials, setting.width))

    def divergence(recorded, drawn):
        return state_space_divergence(*_standardised(recorded, drawn), seed=setting.seed)

    def distance(recorded, drawn):
        return spectrum_distance(*_standardised(recorded, drawn))

    return [
        series.score(
            divergence,
            name="state_space_divergence",
            unit="nats",
            better="lower",
            meaning="D_stsp of simulated against recorded states",
        ),
        series.score(
            distance,
            name="spectrum_distance",
            unit="Hellinger",
            better="lower",
            meaning="D_H of simulated against recorded spectra, one trial after the other",
        ),
    ]


def spike_statistics(setting: Setting, draws: Draws) -> list[Score]:
    """Rates, variability of intervals, pairwise correlations and population autocorrelation.

    Of the first three the correlation over units or pairs ("match") and the root mean square difference; of
    the autocorrelation only the latter.
    """
    statistics = (
        ("mean_rate", mean_rates, "spikes/s", "mean rate of each unit"),
        ("interval_variability", spiking.interval_variability, "CV", "variability of each unit's intervals"),
        ("pairwise_correlation", _pairs, "r", "correlation of the counts of each pair"),
        ("autocorrelation", _autocorrelation, "r", "autocorrelation of the summed counts"),
    )
    rows = []
    for name, statistic, unit, meaning in statistics:
        found = Summaries.of(setting, draws, statistic, without=("linear",))
        if name != "autocorrelation":
            rows.append(
                found.score(_correlation, name=f"{name}_match", unit="r", better="higher", meaning=meaning)
            )
        rows.append(
            found.score(_difference, name=f"{name}_difference", unit=unit, better="lower", meaning=meaning)
        )
    return rows


def _pairs(trials: xr.Dataset) -> np.ndarray:
    return spiking.above_diagonal(spiking.pairwise_correlations(trials))


def _autocorrelation(trials: xr.Dataset) -> np.ndarray:
    return spiking.population_autocorrelation(trials)[1]


def _series(trials: xr.Dataset, width: float) -> np.ndarray:
    """(S, D) bins in which all units were observed, one trial after the other."""
    values, mask = values_and_mask(trials)
    if observed_name(trials) == "counts":
        values = smoothed_values(trials, width)
    inside = mask.all(axis=2)
    if not inside.any():
        raise InputError("no bin was observed in all units")
    return values[inside]


def _standardised(recorded: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both z-scored, without units that never change in the recording."""
    alive = recorded.std(axis=0) > 0
    if not alive.any():
        raise InputError("no unit ever changes")
    made = []
    for values in (recorded[:, alive], drawn[:, alive]):
        spread = values.std(axis=0)
        made.append((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))
    return made[0], made[1]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 2 or np.ptp(first[known]) == 0 or np.ptp(second[known]) == 0:
        return float("nan")
    return float(np.corrcoef(first[known], second[known])[0, 1])


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    length = min(len(first), len(second))
    known = np.isfinite(first[:length]) & np.isfinite(second[:length])
    if not known.any():
        return float("nan")
    return float(np.sqrt(np.mean(np.square(first[:length][known] - second[:length][known]))))
