"""How well expected counts predict recorded ones."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, xlogy

from nwb_rnn.errors import InputError

_LEAST = 1e-9  # what a rate of exactly zero counts as, as in the evaluation of Pei et al. 2021


def poisson_log_likelihood(expected: np.ndarray, counts: np.ndarray, mask: np.ndarray) -> float:
    """Σ log Poisson(counts; expected) over the entries where `mask` is True; all of one shape."""
    expected, counts = expected[mask], counts[mask]
    if (expected < 0).any():
        raise InputError("expected counts are negative; a Poisson rate must be at least 0")
    with np.errstate(divide="ignore"):
        return float((xlogy(counts, expected) - expected - gammaln(counts + 1)).sum())


def bits_per_spike(
    expected: np.ndarray, counts: np.ndarray, mask: np.ndarray, mean: np.ndarray | None = None
) -> float:
    """(LL(expected) − LL(mean rate of each unit)) / (spikes · ln 2), Poisson (Pei et al. 2021).

    An expected count of exactly zero counts as 1e-9, as in the published evaluation.

    Parameters
    ----------
    expected, counts : (B, T, D) expected and recorded counts per bin
    mask : (B, T) or (B, T, D), True where observed
    mean : (D,) counts per bin of the null model; by default each unit's own mean over these bins

    Raises
    ------
    InputError : there is not one spike to divide by.
    """
    mask = np.broadcast_to(mask if mask.ndim == 3 else mask[..., None], counts.shape)
    spikes = counts[mask].sum()
    if spikes == 0:
        raise InputError("bits per spike need at least one spike; these trials and units have none")
    if mean is None:
        mean = np.where(mask, counts, 0).sum((0, 1)) / np.maximum(mask.sum((0, 1)), 1)
    null = np.broadcast_to(np.where(mean == 0, _LEAST, mean), counts.shape)
    expected = np.where(expected == 0, _LEAST, expected)
    gain = poisson_log_likelihood(expected, counts, mask) - poisson_log_likelihood(null, counts, mask)
    return float(gain / (spikes * np.log(2)))
