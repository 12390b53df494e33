"""Tuning of single units to a direction (Georgopoulos et al. 1982)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError


@dataclass(frozen=True, eq=False)
class Tuning:
    """
    Attributes
    ----------
    preferred : (N,) preferred direction, rad, −π to π
    depth : (N,) modulation m, in the unit of the rates
    baseline : (N,) mean b over the circle
    r2 : (N,) share of the variance over conditions that the cosine explains; NaN for a flat unit
    """

    preferred: np.ndarray
    depth: np.ndarray
    baseline: np.ndarray
    r2: np.ndarray


def cosine_tuning(rates: np.ndarray, directions: np.ndarray) -> Tuning:
    """Least-squares fit of  rate = b + m cos(θ − θ_p)  to each unit.

    Parameters
    ----------
    rates : (C, N) mean of each condition in some window
    directions : (C,) θ, rad

    Raises
    ------
    InputError : fewer than three different directions, or numbers of conditions that differ
    """
    rates, directions = np.asarray(rates, dtype=float), np.asarray(directions, dtype=float)
    if rates.ndim != 2 or directions.shape != rates.shape[:1]:
        raise InputError(
            f"rates {rates.shape} and directions {directions.shape}; expected (condition, unit), (condition,)"
        )
    design = np.column_stack([np.ones_like(directions), np.cos(directions), np.sin(directions)])
    if np.linalg.matrix_rank(design) < 3:
        raise InputError("cosine tuning needs at least three different directions")
    weights = np.linalg.lstsq(design, rates, rcond=None)[0]
    left = np.square(rates - design @ weights).sum(axis=0)
    spread = np.square(rates - rates.mean(axis=0)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(spread > 0, 1 - left / spread, np.nan)
    return Tuning(
        preferred=np.arctan2(weights[2], weights[1]),
        depth=np.hypot(weights[1], weights[2]),
        baseline=weights[0],
        r2=r2,
    )


def angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """|first − second| on the circle, rad, 0 to π; π/2 is expected of unrelated directions."""
    return np.abs(np.angle(np.exp(1j * (np.asarray(first) - np.asarray(second)))))
