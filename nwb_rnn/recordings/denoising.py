"""Smooth activity seen with noise that is new in every bin: smoothed in components of estimated widths.

    y_t = z_t C + η_t,   η_t ~ N(0, diag(σ²)),   Δ² z_k ~ N(0, q_k)

σ² of a unit is what its third differences show, |Δ³ y|²/20, which a smooth signal hardly reaches. In units of
their noise the data have isotropic noise; the rows of C are then the principal directions of lightly smoothed
data whose variance lies above what noise alone reaches (the edge of Marchenko and Pastur). Along each the
ratio q_k/σ² maximises the likelihood of the cosine transform, whose coefficients have the variances

    q_k/λ(ω) + σ²,    λ(ω) = (2 − 2 cos ω)²                                             (Whittle)

and z is the posterior mean, (1 + (σ²/q_k) Δ²ᵀ Δ²)⁻¹ y, a banded solve. The posterior variance in the same
approximation says how far off the result is, and how far off its differences are; to the former comes what
the data vary along the other directions more than noise does, evenly shared by the units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.smoothing import to_rates

if TYPE_CHECKING:
    import xarray

_SHORTEST = 8  # bins; shorter stretches say nothing about smoothness
_RATIOS = np.exp(np.linspace(-16.0, 24.0, 161))  # of q to σ²


@dataclass(frozen=True, eq=False)
class Smoothed:
    """
    Attributes
    ----------
    values : like the data; where they were not recorded, or the stretch is too short, the data themselves
    noise : (D,) σ
    error : (D,) standard deviation of the values about the truth
    step_error : (D,) of their differences from bin to bin
    components : how many
    """

    values: np.ndarray
    noise: np.ndarray
    error: np.ndarray
    step_error: np.ndarray
    components: int


def denoise(trials: xarray.Dataset, width: float = 0.03) -> xarray.Dataset:
    """Trials with a `signal` freed of noise that is independent from bin to bin and from unit to unit.

    Parameters
    ----------
    trials : as `align` returns; counts become rates in spikes/s
    width : s; standard deviation of the Gaussian that the directions are found under

    Returns
    -------
    xarray.Dataset : `signal`, and on unit the coordinates noise, smoothing_error and smoothing_step_error:
        standard deviations of the noise, and of what is left of it in the signal and in its differences

    Raises
    ------
    InputError : no stretch of at least 8 recorded bins
    """
    given = to_rates(trials) if "counts" in trials else trials
    values = given["signal"].transpose("trial", "time", "unit").values.astype(np.float64)
    mask = np.asarray(given["mask"].values, dtype=bool)
    mask = mask.all(axis=2) if mask.ndim == 3 else mask
    found = smooth_components(values, mask, width / float(given.attrs["bin_size"]))
    note = f"in {found.components} components, widths estimated"
    note = "; ".join(filter(None, [given.attrs.get("smoothing", ""), note]))
    result = given.drop_vars("signal").assign(signal=(("trial", "time", "unit"), found.values))
    sizes = {"noise": found.noise, "smoothing_error": found.error, "smoothing_step_error": found.step_error}
    result = result.assign_coords({name: ("unit", size) for name, size in sizes.items()})
    return result.assign_attrs(smoothing=note)


def smooth_components(values: np.ndarray, mask: np.ndarray, width: float) -> Smoothed:
    """The smoothing itself.

    Parameters
    ----------
    values : (B, T, D)
    mask : (B, T) True where recorded
    width : bins
    """
    from scipy.ndimage import gaussian_filter1d

    spans = [(b, s) for b in range(len(mask)) for s in stretches(mask[b]) if s.stop - s.start >= _SHORTEST]
    if not spans:
        raise InputError(
            f"smoothing='auto' needs a stretch of at least {_SHORTEST} recorded bins; give a width"
        )
    pieces = [values[b, s] for b, s in spans]
    noise = noise_of(pieces)
    scale = np.where(noise > 0, noise, 1.0)
    mean = np.concatenate(pieces).mean(axis=0)
    pieces = [(p - mean) / scale for p in pieces]
    light = np.concatenate([gaussian_filter1d(p, width, axis=0, mode="nearest") for p in pieces])
    size, directions = np.linalg.eigh(light.T @ light / len(light))
    kept = size > edge(len(light), values.shape[2], width)
    kept[-1] = True
    loadings = directions[:, kept]
    ratios = q_ratios([p @ loadings for p in pieces])
    out = values.copy()
    for (b, s), piece in zip(spans, pieces, strict=True):
        out[b, s] = mean + scale * (smooth_each(piece @ loadings, ratios) @ loadings.T)
    left, step = posterior_spread(ratios)
    everything = np.concatenate(pieces)
    others = np.mean(everything**2) * len(noise) - np.mean((everything @ loadings) ** 2) * len(ratios)
    lost = max(0.0, (others - (len(noise) - len(ratios))) / len(noise))
    error, step_error = noise * np.sqrt(loadings**2 @ left + lost), noise * np.sqrt(loadings**2 @ step)
    return Smoothed(out, noise, error, step_error, int(kept.sum()))


def stretches(mask: np.ndarray) -> list[slice]:
    """Runs of True in a mask (T,)."""
    steps = np.diff(np.concatenate([[0], mask.astype(int), [0]]))
    return [slice(a, b) for a, b in zip((steps == 1).nonzero()[0], (steps == -1).nonzero()[0], strict=True)]


def noise_of(pieces: list[np.ndarray]) -> np.ndarray:
    """(D,) σ by third differences of stretches (T, D)."""
    steps = np.concatenate([np.diff(p, 3, axis=0) for p in pieces])
    return np.sqrt(np.mean(steps**2, axis=0) / 20)


def edge(bins: int, units: int, width: float) -> float:
    """Largest variance of a direction of white noise of variance 1 under a Gaussian of `width` bins.

    The Gaussian leaves 1/(2√π width) of the variance, and as large a share of independent bins.
    """
    share = min(1.0, 1 / (2 * np.sqrt(np.pi) * max(width, 1e-9)))
    return share * (1 + np.sqrt(units / max(bins * share, 1.0))) ** 2


def q_ratios(scores: list[np.ndarray]) -> np.ndarray:
    """(K,) q/σ² of largest likelihood, of stretches (T, K) in units of the noise."""
    from scipy.fft import dct

    power = np.concatenate([dct(z, norm="ortho", axis=0)[2:] ** 2 for z in scores])
    rough = np.concatenate([roughness(len(z))[2:] for z in scores])
    best, most = np.full(power.shape[1], _RATIOS[0]), np.full(power.shape[1], -np.inf)
    for ratio in _RATIOS:
        variance = ratio / rough + 1
        value = -0.5 * (np.log(variance).sum() + (1 / variance) @ power)
        best, most = np.where(value > most, ratio, best), np.maximum(value, most)
    return best


def roughness(bins: int) -> np.ndarray:
    """(T,) λ of the frequencies of a cosine transform."""
    return (2 - 2 * np.cos(np.pi * np.arange(bins) / bins)) ** 2


def smooth_each(scores: np.ndarray, ratios: np.ndarray) -> np.ndarray:
    """(T, K) posterior means of components (T, K) in units of the noise."""
    from scipy.linalg import solveh_banded

    bins, out = len(scores), np.empty_like(scores)
    second = np.zeros((3, bins))  # Δ²ᵀ Δ², upper bands
    for i, a in enumerate((1.0, -2.0, 1.0)):
        for j, b in enumerate((1.0, -2.0, 1.0)[i:], start=i):
            second[2 - (j - i), j : bins - 2 + j] += a * b
    for k, ratio in enumerate(ratios):
        system = second / ratio
        system[2] += 1
        out[:, k] = solveh_banded(system, scores[:, k])
    return out


def posterior_spread(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(K,) variance of a component about the truth and of its differences, in units of the noise."""
    middle = np.pi * (np.arange(2048) + 0.5) / 2048
    rough = (2 - 2 * np.cos(middle)) ** 2
    left = ratios[:, None] / (ratios[:, None] + rough)
    return left.mean(axis=1), (left * np.sqrt(rough)).mean(axis=1)
