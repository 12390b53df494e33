"""Trajectory tangling (Russo et al. 2018, Neuron 97): do like states have unlike futures?"""

from __future__ import annotations

import numpy as np

from nwb_rnn.errors import InputError

_BLOCK = 4_000_000  # numbers held at once


def tangling(states: np.ndarray, bin_size: float, floor: float = 0.1) -> np.ndarray:
    """Q(t) = max over t' of ‖ẋ_t − ẋ_t'‖² / (‖x_t − x_t'‖² + ε), over all conditions and bins.

    Smooth autonomous dynamics keep it low; it is high where trajectories cross or pass close by in
    different directions.

    Parameters
    ----------
    states : (C, T, K), such as the scores of eight principal components
    bin_size : s
    floor : ε as a share of the total variance of the states; 0.1 as published

    Returns
    -------
    (C, T − 1), 1/s²; ẋ is the difference between neighbouring bins and x their mean

    Raises
    ------
    InputError : not three axes, fewer than two bins, or missing values
    """
    states = np.asarray(states, dtype=float)
    if states.ndim != 3 or states.shape[1] < 2 or not np.isfinite(states).all():
        raise InputError(
            f"states have shape {states.shape}; expected finite (condition, time, component), two bins "
            "or more"
        )
    conditions, bins, size = states.shape
    change = (np.diff(states, axis=1) / bin_size).reshape(-1, size)
    place = ((states[:, 1:] + states[:, :-1]) / 2).reshape(-1, size)
    smallest = floor * np.square(place - place.mean(axis=0)).sum(axis=1).mean()
    rows = max(1, _BLOCK // len(place))
    found = [
        (_squared(change[i : i + rows], change) / (_squared(place[i : i + rows], place) + smallest)).max(1)
        for i in range(0, len(place), rows)
    ]
    return np.concatenate(found).reshape(conditions, bins - 1)


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(A, B) squared distances."""
    squared = np.square(first).sum(1)[:, None] + np.square(second).sum(1) - 2 * first @ second.T
    return np.maximum(squared, 0.0)
