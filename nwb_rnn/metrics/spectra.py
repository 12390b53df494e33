"""Power spectra of trials of unequal length, for recorded and simulated trials alike."""

from __future__ import annotations

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.smc.trials import observed_name

_FEWEST_BINS = 64  # of a stretch: with a handful there is no spectrum to speak of


def spectrum(
    trials: xr.Dataset, pooled: bool = True, segment: float | None = None, longest: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Power spectral density, averaged over stretches of all trials (Welch 1967).

    Each stretch has its own mean taken away and a Hann window; stretches overlap by half, and only
    stretches in which every bin was observed, for some unit at least, count.

    Parameters
    ----------
    trials : what `Recording.align` or `simulate` returns
    pooled : True takes the spectrum of the summed rate of all units, which shows rhythms that units share
        in phase; False averages the spectra of single units. Signals are never summed
    segment : length of a stretch, s; by default the median length of a trial, at most `longest`
    longest : s; where bins are so wide that it holds fewer than 64 of them, as in calcium, the length of 64

    Returns
    -------
    frequency (F,), Hz, between zero and the Nyquist frequency
    power (F,), (spikes/s)²/Hz, or squared signal per Hz

    Raises
    ------
    InputError : no trial is as long as `segment`, or fewer than 4 bins fit into one
    """
    name, size = observed_name(trials), float(trials.attrs["bin_size"])
    values = trials[name].transpose("trial", "time", "unit").values.astype(float)
    inside = bins_inside(trials)
    if name == "counts":
        values = (values.sum(axis=2, keepdims=True) if pooled else values) / size
    if segment is None:
        segment = min(float(np.median(inside.sum(axis=1))) * size, max(longest, _FEWEST_BINS * size))
    bins = round(segment / size)
    if bins < 4:
        raise InputError(f"a spectrum needs stretches of at least 4 bins; {segment:g} s holds {bins}")
    pieces = [
        piece for trial, seen in zip(values, inside, strict=True) for piece in _pieces(trial, seen, bins)
    ]
    if not pieces:
        raise InputError(f"no trial has {segment:g} s observed without a gap; give a shorter segment")
    window = np.hanning(bins + 1)[:-1]
    stack = np.stack(pieces)
    stack = (stack - stack.mean(axis=1, keepdims=True)) * window[:, None]
    power = np.square(np.abs(np.fft.rfft(stack, axis=1))).mean(axis=(0, 2)) * size / np.square(window).sum()
    inner = slice(1, (bins + 1) // 2)  # neither zero nor the Nyquist frequency, which are not doubled
    return np.fft.rfftfreq(bins, size)[inner], 2 * power[inner]


def bins_inside(trials: xr.Dataset) -> np.ndarray:
    """(trial, time) True where any unit was observed."""
    if "mask" not in trials:
        return np.ones((trials.sizes["trial"], trials.sizes["time"]), dtype=bool)
    mask = trials["mask"]
    mask = mask.any("unit") if "unit" in mask.dims else mask
    return mask.transpose("trial", "time").values.astype(bool)


def _pieces(values: np.ndarray, seen: np.ndarray, bins: int) -> list[np.ndarray]:
    """Stretches of `bins` bins that were wholly observed, half overlapping; values (T, D)."""
    starts = range(0, len(values) - bins + 1, max(1, bins // 2))
    return [values[start : start + bins] for start in starts if seen[start : start + bins].all()]
