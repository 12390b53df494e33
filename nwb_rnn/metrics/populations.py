"""A recording beside a network that did the same task: single units, and the population.

Both come as averages (condition, time, unit) of the same conditions and bins; units are others. Rates are
first divided by their range plus a fifth of the median range, so that no unit rules. Beside what is compared
directly stands the same number for the network with its conditions in another order: what smooth responses
give by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.components import principal_components, soft_normalised
from nwb_rnn.metrics.conditions import complete
from nwb_rnn.metrics.dynamical_similarity import dynamical_similarity
from nwb_rnn.metrics.psth import best_matches
from nwb_rnn.metrics.rotations import Rotations, jpca
from nwb_rnn.metrics.subspaces import alignment_index, canonical_correlations
from nwb_rnn.metrics.tangling import tangling
from nwb_rnn.metrics.tuning import angle_between, cosine_tuning


@dataclass(frozen=True)
class Row:
    """One line of a comparison.

    Attributes
    ----------
    part : single units, population, mechanism, robustness or generalisation
    measure : what is measured, with its unit
    recorded, model : of each of the two; NaN where there is none
    together : a measure of both together, such as a correlation; NaN where there is none
    chance : the same with conditions shuffled, or for random axes; NaN where there is none
    """

    part: str
    measure: str
    recorded: float = float("nan")
    model: float = float("nan")
    together: float = float("nan")
    chance: float = float("nan")


@dataclass(frozen=True, eq=False)
class PopulationComparison:
    """
    Attributes
    ----------
    rows : the table
    matches : (D,) correlation of each recorded unit with the network's best unit
    shuffled_matches : (D,) the same with the network's conditions in another order
    canonical, shuffled_canonical : (K,) canonical correlations
    rotations : jPCA of the recording and of the model, in movement
    """

    rows: list[Row]
    matches: np.ndarray
    shuffled_matches: np.ndarray
    canonical: np.ndarray
    shuffled_canonical: np.ndarray
    rotations: tuple[Rotations, Rotations]


def compare_populations(
    recorded: np.ndarray,
    modelled: np.ndarray,
    bin_size: float,
    directions: np.ndarray,
    preparation: np.ndarray,
    movement: np.ndarray,
    components: int = 6,
    shuffles: int = 50,
    seed: int = 0,
) -> PopulationComparison:
    """Measure both.

    Parameters
    ----------
    recorded, modelled : (C, T, D) and (C, T, M), same conditions and bins
    bin_size : s
    directions : (C,) of the conditions, rad
    preparation, movement : (T,) bool, which bins belong to each
    components : K of the principal components, even
    shuffles : of the control of jPCA, and random axes of the alignment of subspaces
    seed : of everything random

    Raises
    ------
    InputError : conditions or bins that differ, or too few bins of preparation or movement
    """
    recorded, modelled = complete(recorded, "recorded"), complete(modelled, "modelled")
    if recorded.shape[:2] != modelled.shape[:2] or recorded.shape[:2] != (len(directions), len(movement)):
        raise InputError(
            f"recorded {recorded.shape}, modelled {modelled.shape}, {len(directions)} directions and "
            f"{len(movement)} bins: expected the same conditions and bins, with nothing missing"
        )
    if preparation.sum() < 4 or movement.sum() < 8:
        raise InputError(
            f"{preparation.sum()} bins of preparation and {movement.sum()} of movement; at least 4 and 8 are "
            "needed: widen the windows or align with narrower bins"
        )
    both = [_normalised(x) for x in (recorded, modelled)]
    order = _no_one_in_place(len(directions), np.random.default_rng(seed))
    shuffled = both[1][order]
    matches, other = best_matches(both[0], both[1])[0], best_matches(both[0], shuffled)[0]
    components = min(components, 2 * (min(x.shape[2] for x in both) // 2), 2 * (len(directions) - 1))
    rotations = tuple(jpca(x[:, movement], bin_size, components, shuffles, seed) for x in both)
    canonical = [_canonical(both[0], x, components) for x in (both[1], shuffled)]
    rows = [
        Row(
            "single units",
            "correlation with the best unit, median",
            together=float(np.nanmedian(matches)),
            chance=float(np.nanmedian(other)),
        ),
        *_tuning_rows(both, directions, preparation, movement),
        *_dimension_rows(both),
        *_rotation_rows(rotations),
        Row(
            "population",
            f"canonical correlation, mean of {components}",
            together=float(np.mean(canonical[0])),
            chance=float(np.mean(canonical[1])),
        ),
        Row("population", "tangling, 90th percentile (1/s²)", *[_tangled(x, bin_size) for x in both]),
        *_alignment_rows(both, preparation, movement, min(components, len(directions) - 1), shuffles, seed),
        _similarity_row(both, components, seed),
    ]
    return PopulationComparison(rows, matches, other, *canonical, rotations)


def _normalised(rates: np.ndarray) -> np.ndarray:
    """Soft-normalised rates of the units that change at all."""
    span = np.ptp(rates, axis=(0, 1))
    moving = span > 1e-9 * max(span.max(), 1e-300)
    if moving.sum() < 2:
        raise InputError("fewer than two units change their rates, so there is no population to compare")
    rates = rates[:, :, moving]
    return soft_normalised(rates, 0.2 * float(np.median(span[moving])))


def _no_one_in_place(count: int, rng: np.random.Generator) -> np.ndarray:
    """An order of conditions in which none is where it was."""
    place = np.arange(count)
    while count > 1:
        order = rng.permutation(count)
        if (order != place).all():
            return order
    return place


def _scores(rates: np.ndarray, count: int) -> np.ndarray:
    return principal_components(rates, min(count, rates.shape[2])).scores


def _canonical(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Of what differs between conditions: the mean over them goes up and down alike in any two networks."""
    return canonical_correlations(
        *[principal_components(x, count, centre="conditions").scores for x in (first, second)]
    )


def _tuning_rows(both, directions, preparation, movement) -> list[Row]:
    found = [
        [cosine_tuning(x[:, when].mean(axis=1), directions) for when in (preparation, movement)] for x in both
    ]
    rows = []
    for k, name in enumerate(("preparation", "movement")):
        values = [float(np.nanmedian(f[k].r2)) for f in found]
        rows.append(Row("single units", f"cosine tuning in {name}, median R²", *values))
    turned = [float(np.median(np.degrees(angle_between(f[0].preferred, f[1].preferred)))) for f in found]
    rows.append(Row("single units", "preferred direction turns by, median (°)", *turned))
    return rows


def _dimension_rows(both) -> list[Row]:
    found = [principal_components(x, 2) for x in both]
    return [
        Row("population", "components for 90 % of variance", *[float(f.needed(0.9)) for f in found]),
        Row("population", "participation ratio", *[f.participation for f in found]),
    ]


def _rotation_rows(rotations) -> list[Row]:
    return [
        Row("population", "jPCA R², skew-symmetric", *[r.r2 for r in rotations]),
        Row("population", "jPCA R², skew-symmetric over any", *[r.ratio for r in rotations]),
        Row(
            "population",
            "the same, units' conditions shuffled (mean)",
            *[float(np.mean(r.shuffled)) if len(r.shuffled) else float("nan") for r in rotations],
        ),
        Row("population", "jPCA frequency (Hz)", *[float(r.frequency[0]) for r in rotations]),
    ]


def _tangled(rates: np.ndarray, bin_size: float) -> float:
    return float(np.percentile(tangling(_scores(rates, 8), bin_size), 90))


def _alignment_rows(both, preparation, movement, dimensions, draws, seed) -> list[Row]:
    found = [alignment_index(x[:, preparation], x[:, movement], dimensions, draws, seed) for x in both]
    chance = [float(np.mean(f.chance)) if len(f.chance) else float("nan") for f in found]
    return [
        Row("population", "alignment of preparation and movement", *[f.index for f in found]),
        Row("population", "the same, random axes (mean)", *chance),
    ]


def _similarity_row(both, components, seed) -> Row:
    """Beside it, the recording against the network run backwards in time."""
    states = [_scores(x, components) for x in both]
    delays = min(5, states[0].shape[1] // 3)
    rank = min(components, *[s.shape[2] for s in states])
    options = dict(delays=delays, rank=rank, starts=12, seed=seed)
    distances = [dynamical_similarity(states[0], s, **options) for s in (states[1], states[1][:, ::-1])]
    return Row(
        "population",
        "distance of dynamics (rad; chance: time reversed)",
        float("nan"),
        float("nan"),
        *distances,
    )
