"""Do generated series live where recorded ones do, with the same rhythms?

Both measures come from dynamical systems reconstruction (Koppe et al. 2019; Mikhaeil et al. 2022) and are
used as in Pals et al. 2024: series are z-scored first, `smoothed_like_published` adds their smoothing.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter
from scipy.special import logsumexp

from nwb_rnn.errors import InputError

_LOG_ZERO = -103.97  # below this log density float32 holds a plain zero


def state_space_divergence(
    recorded: np.ndarray,
    generated: np.ndarray,
    sigma: float = 1.0,
    samples: int = 1000,
    seed: int = 0,
    as_published: bool = True,
) -> float:
    """D_stsp: KL divergence from the recorded to the generated distribution of states.

        D = E_x [log p(x) − log q(x)],   x ~ p,   p(x) = 1/T Σ_t N(x; x_t, σ² I), q likewise

    Parameters
    ----------
    recorded, generated : (T, D) and (T', D) series, z-scored
    sigma : width of the kernels
    samples : Monte Carlo samples from p
    as_published : leave out samples at which one of the densities is zero in float32, as the published
        evaluations do; False keeps them, which punishes states that are never visited much harder
    """
    _check(recorded, generated)
    rng = np.random.default_rng(seed)
    centres = recorded[rng.integers(len(recorded), size=samples)]
    points = centres + sigma * rng.standard_normal(centres.shape)
    p, q = _log_density(points, recorded, sigma), _log_density(points, generated, sigma)
    kept = (np.minimum(p, q) > _LOG_ZERO) if as_published else np.ones(samples, dtype=bool)
    if not kept.any():
        raise InputError("the generated series never comes near the recorded one; try as_published=False")
    return float(np.mean((p - q)[kept]))


def _log_density(points: np.ndarray, kernels: np.ndarray, sigma: float) -> np.ndarray:
    """log of the mean Gaussian kernel at `points` (P, D), up to a constant shared by all densities."""
    squared = (points**2).sum(1)[:, None] + (kernels**2).sum(1) - 2 * points @ kernels.T
    return logsumexp(-squared / (2 * sigma**2), axis=1) - np.log(len(kernels))


def spectrum_distance(recorded: np.ndarray, generated: np.ndarray, sigma: float = 20.0) -> float:
    """D_H: Hellinger distance between power spectra, mean over channels; 0 (equal) to 1 (disjoint).

    Parameters
    ----------
    recorded, generated : (T, D) series, z-scored; the longer one is cut, and both to an even length, as in
        the published evaluation
    sigma : of the Gaussian that smooths each spectrum, frequency bins
    """
    _check(recorded, generated)
    length = min(len(recorded), len(generated)) // 2 * 2
    p, q = (_normalised_spectrum(x[:length], sigma) for x in (recorded, generated))
    return float(np.sqrt(np.maximum(1 - np.sqrt(p * q).sum(0), 0)).mean())


def _normalised_spectrum(series: np.ndarray, sigma: float) -> np.ndarray:
    power = np.abs(np.fft.rfft(series, axis=0)) ** 2
    power = gaussian_filter1d(power, sigma, axis=0)
    return power / power.sum(0)


def smoothed_like_published(series: np.ndarray, points: int = 15) -> np.ndarray:
    """Causal smoothing with a Hann window of `points`, then z-scored: what Pals et al. 2024 score."""
    window = np.hanning(points)
    smooth = lfilter(window / window.sum(), 1.0, series, axis=0)
    return (smooth - smooth.mean(0)) / smooth.std(0)


def _check(recorded: np.ndarray, generated: np.ndarray) -> None:
    for name, series in (("recorded", recorded), ("generated", generated)):
        if np.ndim(series) != 2 or not np.isfinite(series).all():
            raise InputError(f"{name} must be a finite array (bins, channels); got shape {np.shape(series)}")
    if recorded.shape[1] != generated.shape[1]:
        raise InputError(f"recorded has {recorded.shape[1]} channels and generated {generated.shape[1]}")
