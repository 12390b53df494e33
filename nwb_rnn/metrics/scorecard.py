"""A table of scores, each with its spread and beside its baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from nwb_rnn.errors import InputError


@dataclass(frozen=True)
class Score:
    """
    Attributes
    ----------
    name : as in `Evaluation.to_dict`
    value : of the model
    spread : standard deviation over `over`; NaN with one repetition
    over : what was repeated, such as "5 folds" or "3 seeds"
    unit : bits/spike, R², nats, ...
    better : "higher", "lower", or "" where there is no better
    baselines : name → (value, spread) of the same score without the model
    meaning : one line
    """

    name: str
    value: float
    spread: float
    over: str
    unit: str
    better: str
    baselines: dict[str, tuple[float, float]] = field(default_factory=dict)
    meaning: str = ""

    @classmethod
    def of(cls, name: str, values: Sequence[float], over: str, **facts) -> Score:
        """From repetitions: their mean and standard deviation, and those of the repetitions of each baseline.

        `facts` are the further attributes.
        """
        baselines = {k: moments(v) for k, v in facts.pop("baselines").items()}
        value, spread = moments(values)
        return cls(name, value, spread, over, baselines=baselines, **facts)


def moments(values) -> tuple[float, float]:
    """Mean and standard deviation of the repetitions that are numbers."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    if not len(known):
        return float("nan"), float("nan")
    return float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else float("nan")


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores of a model on trials; prints as a table.

    Attributes
    ----------
    scores : one `Score` for each row
    notes : what was left out, and why
    """

    scores: tuple[Score, ...]
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Score:
        for score in self.scores:
            if score.name == name:
                return score
        raise InputError(f"there is no score {name!r}; there are {', '.join(s.name for s in self.scores)}")

    def __iter__(self) -> Iterator[Score]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def to_dict(self, baselines: bool = False) -> dict[str, float]:
        """Plain numbers by name, such as `model.scores` holds and `nwb_rnn.write` stores.

        With `baselines=True` also the spreads as `..._sd` and the baselines as `..._of_<baseline>`.
        Scores that are not known (NaN) are left out.
        """
        found = {}
        for score in self.scores:
            found[score.name] = score.value
            if baselines:
                found[f"{score.name}_sd"] = score.spread
                found |= {f"{score.name}_of_{k}": v for k, (v, _) in score.baselines.items()}
        return {name: float(value) for name, value in found.items() if np.isfinite(value)}

    def to_pandas(self):
        """pandas.DataFrame: one row for each score; a column of values and of spreads for each baseline."""
        import pandas

        rows = []
        for s in self.scores:
            row: dict = {"value": s.value, "sd": s.spread, "over": s.over, "unit": s.unit, "better": s.better}
            for name in self.baselines:
                row[name], row[f"{name}_sd"] = s.baselines.get(name, (np.nan, np.nan))
            rows.append(row)
        return pandas.DataFrame(rows, index=pandas.Index([s.name for s in self.scores], name="score"))

    def to_xarray(self):
        """xarray.Dataset with `value` and `sd` (score, source); source is "model" or a baseline."""
        import xarray

        sources = ["model", *self.baselines]
        table = np.full((2, len(self.scores), len(sources)), np.nan)
        for row, s in enumerate(self.scores):
            table[:, row, 0] = s.value, s.spread
            for name, pair in s.baselines.items():
                table[:, row, sources.index(name)] = pair
        return xarray.Dataset(
            {"value": (("score", "source"), table[0]), "sd": (("score", "source"), table[1])},
            {
                "score": [s.name for s in self.scores],
                "source": sources,
                "unit": ("score", [s.unit for s in self.scores]),
                "better": ("score", [s.better for s in self.scores]),
                "over": ("score", [s.over for s in self.scores]),
            },
        )

    @property
    def baselines(self) -> list[str]:
        """Names of all baselines, in the order in which they first occur."""
        return list(dict.fromkeys(name for score in self.scores for name in score.baselines))

    def __str__(self) -> str:
        head = ["score", "model", *(name.replace("_", " ") for name in self.baselines), "unit", "spread over"]
        rows = [head]
        for s in self.scores:
            cells = [s.name.replace("_", " "), _number(s.value, s.spread)]
            cells += [_number(*s.baselines[n]) if n in s.baselines else "" for n in self.baselines]
            rows.append([*cells, s.unit, s.over])
        widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    __repr__ = __str__


def _number(value: float, spread: float) -> str:
    if not np.isfinite(value):
        return "-"
    digits = 3 if abs(value) < 10 else 1
    return f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if np.isfinite(spread) else "")
