"""Trials of rate teachers for tests."""

from __future__ import annotations

import numpy as np
import xarray as xr


def trials_of(
    activity: np.ndarray, bin_size: float = 0.01, segments: int = 1, first_unit: int = 0, name: str = "signal"
) -> xr.Dataset:
    """One long recording (T, D) as trials of equal length."""
    bins = len(activity) // segments
    cut = activity[: segments * bins].reshape(segments, bins, -1)
    return xr.Dataset(
        {
            name: (("trial", "time", "unit"), cut),
            "mask": (("trial", "time"), np.ones(cut.shape[:2], dtype=bool)),
        },
        coords={
            "trial": np.arange(segments),
            "time": (np.arange(bins) + 0.5) * bin_size,
            "unit": np.arange(first_unit, first_unit + cut.shape[2]),
        },
        attrs={"bin_size": bin_size, "align_to": "start_time", "source": "{}"},
    )


def off_diagonal(weights: np.ndarray) -> np.ndarray:
    return weights[~np.eye(len(weights), dtype=bool)]
