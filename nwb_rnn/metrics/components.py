"""The space that a population's activity lives in: principal components of condition averages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import complete


@dataclass(frozen=True, eq=False)
class Components:
    """
    Attributes
    ----------
    scores : (C, T, K) activity along each component, largest variance first
    axes : (N, K) orthonormal
    share : (min(N, C·T),) share of the variance of every component, also of those not kept
    """

    scores: np.ndarray
    axes: np.ndarray
    share: np.ndarray

    @property
    def participation(self) -> float:
        """Participation ratio (Σ λ)² / Σ λ², a number of dimensions that needs no threshold."""
        return float(self.share.sum() ** 2 / np.square(self.share).sum())

    def needed(self, share: float = 0.9) -> int:
        """How many components hold this share of the variance."""
        return int(np.searchsorted(np.cumsum(self.share), share - 1e-12) + 1)


def principal_components(rates: np.ndarray, count: int, centre: str = "mean") -> Components:
    """Principal components of averages over trials.

    Parameters
    ----------
    rates : (condition, time, unit)
    count : K
    centre : "mean" takes away each unit's mean; "conditions" takes away, in each bin, the mean over
        conditions, which leaves what differs between them (Churchland et al. 2012)

    Raises
    ------
    InputError : more components than units or samples, or rates that never change
    """
    rates = centred(complete(rates), centre)
    flat = rates.reshape(-1, rates.shape[2])
    if not 1 <= count <= min(flat.shape):
        raise InputError(f"count={count}; expected 1 to {min(flat.shape)}, the number of units and samples")
    _, values, axes = np.linalg.svd(flat, full_matrices=False)
    if not values[0] > 0:
        raise InputError("these rates never change, so they have no principal components")
    axes = axes[:count].T
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(count)])
    return Components(rates @ axes, axes, np.square(values) / np.square(values).sum())


def centred(rates: np.ndarray, centre: str) -> np.ndarray:
    """Rates without each unit's mean, or without the mean over conditions in each bin."""
    if centre not in ("mean", "conditions"):
        raise InputError(f"centre={centre!r} is not known; choose mean or conditions")
    return rates - rates.mean(axis=(0, 1) if centre == "mean" else 0)


def soft_normalised(rates: np.ndarray, constant: float = 5.0) -> np.ndarray:
    """Rates over (range + constant) of each unit, so that strong units don't rule (Churchland et al. 2012).

    Parameters
    ----------
    rates : (condition, time, unit)
    constant : in the unit of the rates; 5 spikes/s as published
    """
    rates = np.asarray(rates, dtype=float)
    reach = np.nanmax(rates, axis=(0, 1)) - np.nanmin(rates, axis=(0, 1)) + constant
    return rates / np.where(reach > 0, reach, 1.0)
