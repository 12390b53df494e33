"""Which trials are for training, validation and test, and which units are held out; by a seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from nwb_rnn.errors import InputError

if TYPE_CHECKING:
    import xarray


@overload
def split_trials(
    trials: xarray.Dataset,
    fractions: Mapping[str, float],
    by: str | Sequence[str] | None = None,
    seed: int = 0,
) -> dict[str, xarray.Dataset]: ...


@overload
def split_trials(
    trials: xarray.Dataset,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    by: str | Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[xarray.Dataset, ...]: ...


def split_trials(trials, fractions=(0.8, 0.1, 0.1), by=None, seed=0):
    """Split trials at random into parts, in equal shares of every condition.

    Within each condition the trials are shuffled and dealt out; over all conditions together every part
    gets its share to within one trial. Each part keeps the order of the recording.

    Parameters
    ----------
    trials : as `align` returns
    fractions : of each part, summing to 1; a mapping names the parts
    by : coordinate or coordinates of ``trial`` whose values are the conditions
    seed : of the shuffling; the same seed gives the same split

    Returns
    -------
    tuple or, for a mapping of fractions, dict of xarray.Dataset

    Raises
    ------
    InputError : fractions that do not sum to 1, a part without a trial, no such coordinate
    """
    names = list(fractions) if isinstance(fractions, Mapping) else None
    shares = np.array(
        list(fractions.values()) if isinstance(fractions, Mapping) else list(fractions), dtype=float
    )
    if len(shares) == 0 or not np.all(shares > 0) or abs(shares.sum() - 1) > 1e-9:
        raise InputError(
            f"fractions must be positive and sum to 1; {shares.tolist()} sum to {shares.sum():g}"
        )
    part = _deal(conditions(trials, by), shares, np.random.default_rng(seed))
    counts = np.bincount(part, minlength=len(shares))
    if np.any(counts == 0):
        raise InputError(
            f"{trials.sizes['trial']} trials split as {shares.tolist()} leave a part without any "
            f"({counts.tolist()}); take fewer parts or other fractions"
        )
    parts = [trials.isel(trial=np.flatnonzero(part == i)) for i in range(len(shares))]
    return dict(zip(names, parts, strict=True)) if names is not None else tuple(parts)


def conditions(trials: xarray.Dataset, by: str | Sequence[str] | None) -> np.ndarray:
    """(N,) number of the condition of each trial: one for each combination of values that occurs."""
    count = trials.sizes["trial"]
    if by is None:
        return np.zeros(count, dtype=np.int64)
    result = np.zeros(count, dtype=np.int64)
    for name in [by] if isinstance(by, str) else by:
        if name not in trials.coords or trials[name].dims != ("trial",):
            has = ", ".join(str(c) for c in trials.coords if trials[c].dims == ("trial",))
            raise InputError(f"there is no coordinate {name!r} of trials to split by; there are {has}")
        _, number = np.unique(trials[name].values, return_inverse=True)
        _, result = np.unique(result * (number.max() + 1) + number, return_inverse=True)
    return result


def _deal(condition: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) number of the part of each trial.

    The trials of one condition after the other, shuffled within each, go one by one to the part that is
    furthest behind its share, so shares hold in each condition and over all.
    """
    order = rng.permutation(len(condition))
    order = order[np.argsort(condition[order], kind="stable")]
    part = np.zeros(len(condition), dtype=np.int64)
    given = np.zeros(len(shares))
    for i, trial in enumerate(order):
        behind = shares * (i + 1) - given
        part[trial] = int(np.argmax(behind))
        given[part[trial]] += 1
    return part


def hold_out_units(
    trials: xarray.Dataset, fraction: float = 0.25, seed: int = 0
) -> tuple[xarray.Dataset, xarray.Dataset]:
    """Split units at random into those that are seen and those that are held out for prediction.

    Parameters
    ----------
    fraction : of units held out, at least one and not all
    seed : of the choice

    Returns
    -------
    (held_in, held_out) : the same trials with some units each, in their order

    Raises
    ------
    InputError : fewer than two units, or a fraction outside (0, 1)
    """
    units = trials.sizes["unit"]
    if not 0 < fraction < 1 or units < 2:
        raise InputError(
            f"holding out needs a fraction between 0 and 1 and two units; {fraction} of {units} given"
        )
    count = min(max(1, round(fraction * units)), units - 1)
    held = np.zeros(units, dtype=bool)
    held[np.random.default_rng(seed).choice(units, size=count, replace=False)] = True
    return trials.isel(unit=np.flatnonzero(~held)), trials.isel(unit=np.flatnonzero(held))
