"""How many latents: held-out likelihood and co-smoothing for each rank, and a one-standard-error choice.

A choice by the best mean takes too many latents, since the curve is flat past the right rank and its top is a
matter of noise. The rule of one standard error (Breiman et al. 1984, Classification and Regression Trees)
takes the smallest rank whose score is within one standard error of the best.

All fits are scored on the same held-out trials, and trials differ by far more than ranks do. The standard
error is therefore that of the difference to the best rank, trial by trial (mean over seeds). Fits of one
rank differ too, by where training ends, and the spread of their means over s seeds adds its variance / s for
each of the two ranks. With one seed that is not known, and more latents are chosen too often.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.sweep.executors import each

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

FEWEST_TRIALS = 5


@dataclass(frozen=True)
class RankScore:
    """One fit of a rank.

    Attributes
    ----------
    per_trial : log p(y) of each held-out trial, divided by the mean number of its observed bins
    co_smoothing : bits per spike (counts) or R² (signals) of held-out units on held-out trials
    """

    rank: int
    seed: int
    per_trial: tuple[float, ...]
    co_smoothing: float

    @property
    def log_likelihood(self) -> float:
        """Held-out log p(y) per observed bin."""
        return float(np.mean(self.per_trial))


@dataclass(frozen=True)
class RankSelection:
    """Scores of every rank and seed; `chosen` by one standard error of the held-out log-likelihood.

    Attributes
    ----------
    scores : in the order of rank, then seed
    test_trials, held_out_units : ids of what was held out
    """

    scores: tuple[RankScore, ...]
    test_trials: tuple
    held_out_units: tuple

    @property
    def ranks(self) -> list[int]:
        """The ranks that were tried, in rising order."""
        return sorted({score.rank for score in self.scores})

    @property
    def best(self) -> int:
        """The rank of the highest mean log-likelihood."""
        return max(self.ranks, key=lambda rank: float(self._trials(rank).mean()))

    @property
    def chosen(self) -> int:
        """The smallest rank that is within one standard error of the best."""
        return next(r for r in self.ranks if self.gap(r) <= self.standard_error(r))

    def gap(self, rank: int) -> float:
        """Mean log p(y) per bin by which `rank` falls short of the best."""
        return float((self._trials(self.best) - self._trials(rank)).mean())

    def standard_error(self, rank: int) -> float:
        """Of `gap`, over held-out trials and seeds."""
        if rank == self.best:
            return 0.0
        difference = self._trials(self.best) - self._trials(rank)
        variance = difference.var(ddof=1) / len(difference)
        for each_rank in (self.best, rank):
            means = self._means(each_rank)
            if len(means) > 1:
                variance += means.var(ddof=1) / len(means)
        return float(np.sqrt(variance))

    def _trials(self, rank: int) -> np.ndarray:
        return np.mean([score.per_trial for score in self.scores if score.rank == rank], axis=0)

    def _means(self, rank: int) -> np.ndarray:
        return np.array([score.log_likelihood for score in self.scores if score.rank == rank])

    def table(self) -> list[dict[str, float]]:
        """A row for each rank: means over seeds, their standard deviations, and the gap to the best."""
        rows = []
        for rank in self.ranks:
            here = [score for score in self.scores if score.rank == rank]
            row: dict[str, float] = {"rank": rank, "fits": len(here)}
            for name in ("log_likelihood", "co_smoothing"):
                values = np.array([getattr(score, name) for score in here])
                row[name] = float(values.mean())
                row[f"{name}_spread"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            rows.append(row | {"gap": self.gap(rank), "standard_error": self.standard_error(rank)})
        return rows

    def __str__(self) -> str:
        lines = ["rank  fits  log p/bin (SD over seeds)  behind the best (SE)    co-smoothing (SD)"]
        for r in self.table():
            mark = "  <- chosen" if r["rank"] == self.chosen else ""
            lines.append(
                f"{r['rank']:4d}  {r['fits']:4d}"
                f"  {r['log_likelihood']:11.4f} ({r['log_likelihood_spread']:.4f})"
                f"      {r['gap']:11.4f} ({r['standard_error']:.4f})"
                f"  {r['co_smoothing']:11.4f} ({r['co_smoothing_spread']:.4f}){mark}"
            )
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """How far each rank falls short of the best, with its standard error and every seed."""
        from nwb_rnn.plotting.ranks import rank_curve

        best = float(self._trials(self.best).mean())
        seeds = [(score.rank, score.log_likelihood - best) for score in self.scores]
        means = [-self.gap(rank) for rank in self.ranks]
        errors = [self.standard_error(rank) for rank in self.ranks]
        return rank_curve(self.ranks, means, errors, seeds, self.chosen, ax)


def select_rank(
    trials: xr.Dataset,
    ranks: Sequence[int] = (1, 2, 3, 4, 6, 8),
    seeds: Sequence[int] = (0, 1, 2),
    test_fraction: float = 0.25,
    held_out_fraction: float = 0.25,
    split_seed: int = 0,
    folder: str | Path | None = None,
    workers: int = 1,
    threads: int = 1,
    progress: bool = True,
    network: dict[str, Any] | None = None,
    **training,
) -> RankSelection:
    """Fit every rank with every seed, and choose by what held-out trials say.

    Parameters
    ----------
    trials : what `Recording.align` returns
    ranks, seeds : of the fits
    test_fraction, held_out_fraction : share of trials and of units that are held out, drawn by `split_seed`
    folder : each result is written there when it is there; called again with the same data and options, the
        finished ones are read back
    workers, threads : processes, and threads in each; see `nwb_rnn.sweep.executors`
    network : further arguments of `LowRankRNN`; observation is that of the data by default
    training : arguments of `LowRankRNN.fit`

    Raises
    ------
    InputError : too few trials or units to hold some out, or no rank or seed
    StorageError : `folder` holds a result that cannot be read
    """
    from nwb_rnn.smc.trials import check_trials

    check_trials(trials)
    network = {"observation": "poisson" if "counts" in trials else "gaussian"} | (network or {})
    test, held = _held_out(trials, ranks, seeds, test_fraction, held_out_fraction, split_seed)
    pairs = [(int(rank), int(seed)) for rank in sorted(set(ranks)) for seed in seeds]
    key = _fingerprint(trials, test, held, network, training) if folder is not None else ""
    paths = {p: None if folder is None else Path(folder) / f"rank{p[0]}_seed{p[1]}_{key}.json" for p in pairs}
    found = {pair: _read(path) for pair, path in paths.items() if path is not None and path.exists()}
    todo = [pair for pair in pairs if pair not in found]
    inside, outside = trials.isel(trial=np.flatnonzero(~test)), trials.isel(trial=np.flatnonzero(test))
    ids = trials["unit"].values[held].tolist()
    arguments = [(inside, outside, ids, rank, seed, network, training) for rank, seed in todo]
    for index, score in each(_fit_and_score, arguments, workers, threads, progress, "ranks"):
        found[todo[index]] = score
        _write(paths[todo[index]], score)
    left_out = trials["trial"].values[test].tolist()
    return RankSelection(tuple(found[pair] for pair in pairs), tuple(left_out), tuple(ids))


def _held_out(trials, ranks, seeds, test_fraction, held_out_fraction, seed) -> tuple[np.ndarray, np.ndarray]:
    """Which trials (B,) and which units (D,) are held out."""
    if not (np.ndim(ranks) == np.ndim(seeds) == 1 and len(ranks) and len(seeds)):
        raise InputError(
            f"select_rank needs lists of ranks and seeds, such as ranks=(1, 2, 3); got ranks={ranks}, "
            f"seeds={seeds}"
        )
    batch, units = trials.sizes["trial"], trials.sizes["unit"]
    if batch < FEWEST_TRIALS or units < 2:
        raise InputError(
            f"{batch} trials and {units} units are too few to hold some out: cut a long recording into "
            f"segments (Recording.segments), {FEWEST_TRIALS} at least"
        )
    rng = np.random.default_rng(seed)
    parts = []
    for count, fraction in ((batch, test_fraction), (units, held_out_fraction)):
        if not 0 < fraction < 1:
            raise InputError(f"a share of {fraction} cannot be held out: give one between 0 and 1")
        size = min(max(round(fraction * count), 1 if count == units else 2), count - 1)
        parts.append(np.isin(np.arange(count), rng.permutation(count)[:size]))
    return parts[0], parts[1]


def _fit_and_score(inside, outside, held_ids, rank, seed, network, training) -> RankScore:
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
    from nwb_rnn.estimators.scoring import co_smoothing

    options = {"progress": False, **training}
    model = LowRankRNN(rank=rank, seed=seed, **network).fit(inside, **options)
    latents = model.infer(outside, kind="filtered")
    bins = latents["mask"].sum("time").values
    per_trial = latents["log_likelihood"].values / max(float(bins.mean()), 1.0)
    held = np.isin(outside["unit"].values, held_ids)
    predicted = model.infer(outside, held_out_units=held_ids)
    score = co_smoothing(predicted, outside, held, model.config.observation)
    return RankScore(rank, seed, tuple(map(float, per_trial)), float(next(iter(score.values()))))


def _fingerprint(trials, test, held, network, training) -> str:
    """Ten letters that change with the data, the split and the options."""
    digest = hashlib.sha256()
    for name in ("counts", "signal", "mask", "inputs"):
        if name in trials:
            digest.update(name.encode() + np.ascontiguousarray(trials[name].values).tobytes())
    digest.update(test.tobytes() + held.tobytes())
    quiet = {name: value for name, value in training.items() if name not in ("progress", "backend", "device")}
    digest.update(json.dumps([network, quiet], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:10]


def _write(path: Path | None, score: RankScore) -> None:
    if path is None:
        return
    from nwb_rnn.storage.atomic import replacing

    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as temporary:
        Path(temporary).write_text(json.dumps(asdict(score)), encoding="utf-8")


def _read(path: Path) -> RankScore:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return RankScore(**stored | {"per_trial": tuple(stored["per_trial"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(
            f"{path} is no result of select_rank: {error}. Delete it, to fit that rank again"
        ) from error
