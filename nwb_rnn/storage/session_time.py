"""Latents of trials laid out in the time of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.recordings.recording import Dropped

if TYPE_CHECKING:
    import xarray


def in_session_time(latents: xarray.Dataset) -> tuple[np.ndarray, np.ndarray, list[Dropped]]:
    """Mean latents of all valid bins, one after the other, at event_time + time.

    Where trials overlap, the bins of the trial that begins first are kept.

    Parameters
    ----------
    latents : with latent_mean (trial, time, latent), mask (trial, time) and event_time (trial), s

    Returns
    -------
    timestamps : (S,) float64, s, strictly ascending
    values : (S, R)
    dropped : the bins that were left out because of an overlap
    """
    mean = latents["latent_mean"].transpose("trial", "time", "latent").values
    inside = valid_bins(latents) & np.isfinite(mean).all(axis=2)
    event, time = latents["event_time"].values.astype(float), latents["time"].values.astype(float)
    width = float(latents.attrs.get("bin_size", np.median(np.diff(time)) if len(time) > 1 else 0.0))
    step = width * (1 - 1e-6)
    stamps, values, lost, last = [], [], {}, -np.inf
    for trial in np.argsort(event, kind="stable"):
        bins = np.flatnonzero(inside[trial])
        at = event[trial] + time[bins]
        kept = (at >= last + step) & (at > last)
        if not kept.all():
            lost[latents["trial"].values[trial].item()] = int((~kept).sum())
        stamps.append(at[kept])
        values.append(mean[trial, bins[kept]])
        last = stamps[-1][-1] if kept.any() else last
    notes = []
    if lost:
        reason = (
            f"{sum(lost.values())} bins overlap with an earlier trial; left out of the session-time series"
        )
        notes.append(Dropped("sample", tuple(lost), reason))
    return np.concatenate(stamps), np.concatenate(values), notes


def valid_bins(latents: xarray.Dataset) -> np.ndarray:
    """(trial, time) bool, True where a bin lies inside its trial."""
    if "mask" not in latents:
        return np.ones((latents.sizes["trial"], latents.sizes["time"]), dtype=bool)
    mask = latents["mask"]
    if "unit" in mask.dims:
        mask = mask.any("unit")
    return mask.transpose("trial", "time").values.astype(bool)
