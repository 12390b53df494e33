"""Rate networks with known connectivity: three chaotic regions, and a random network of any size.

The three-region network follows the published description of the demonstration of Perich et al. 2020
(bioRxiv 2020.12.18.423348): regions A, B, C of 100 units, each chaotic by itself, few and weak
connections between them, and inputs to two of them that the fit is not told about,

    τ dx/dt = −x + J r + W u,   r = tanh(x),   Euler steps of `bin_size`.

Region B hears a sequence, a bump that travels across its units in `duration` seconds; region C hears one
frozen moment of such a sequence, and another one after `lead` seconds. Activity is recorded without noise,
each region over its largest magnitude, or as Poisson spikes or with observation noise (`observed`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError

REGIONS = ("A", "B", "C")


@dataclass(frozen=True, eq=False)
class RateTeacher:
    """A simulated rate network and the truth behind it.

    Attributes
    ----------
    activity : (T, N) recorded rates in (−1, 1): tanh(x), each region over its largest magnitude
    rates : (T, N) r = tanh(x)
    currents : (T, N) x
    drive : (T, N) external current W u into each unit
    recurrent_weights : (N, N) J, from the second axis to the first
    regions : (N,) name of each unit's region
    time_constant, bin_size : τ and Δ, s
    """

    activity: np.ndarray
    rates: np.ndarray
    currents: np.ndarray
    drive: np.ndarray
    recurrent_weights: np.ndarray
    regions: np.ndarray
    time_constant: float
    bin_size: float

    def region_current(self, target: str, source: str) -> np.ndarray:
        """(T, units of target) J_ba r_a, the current that `source` sends to `target`."""
        rows, columns = self.regions == target, self.regions == source
        return self.rates[:, columns] @ self.recurrent_weights[np.ix_(rows, columns)].T


def three_region_teacher(
    units: int = 100,
    duration: float = 10.0,
    lead: float = 2.0,
    gain: tuple[float, float, float] = (1.8, 1.5, 1.5),
    connected: float = 0.05,
    between: float = 0.02,
    driven: float = 0.5,
    input_strength: tuple[float, float] = (1.0, -1.0),
    bump_width: float = 0.2,
    time_constant: float = 0.1,
    bin_size: float = 0.01,
    seed: int = 0,
) -> RateTeacher:
    """The three-region chaotic network: 300 units, 1,201 samples of 10 ms with the defaults.

    Parameters
    ----------
    units : of each region
    duration, lead : s; the sequence starts after `lead`, and the whole takes their sum
    gain : g of regions A, B, C: weights within a region ~ N(0, g²/units)
    connected, between : share of connected pairs of units of different regions, and their weight
    driven : share of the units of B and C that hear the input
    input_strength : of the inputs to B and C
    bump_width : standard deviation of the bump as a share of the region
    time_constant, bin_size : s

    Raises
    ------
    InputError : a bin that is not shorter than the time constant
    """
    if not 0 < bin_size <= time_constant:
        raise InputError(f"bin_size={bin_size} s must lie in (0, time_constant={time_constant} s]")
    rng = np.random.default_rng(seed)
    total = 3 * units
    weights = np.zeros((total, total))
    parts = [slice(k * units, (k + 1) * units) for k in range(3)]
    for b, rows in enumerate(parts):
        for a, columns in enumerate(parts):
            if a == b:
                weights[rows, columns] = gain[a] / np.sqrt(units) * rng.standard_normal((units, units))
            else:
                present = rng.random((units, units)) < connected
                weights[rows, columns] = between * present
    samples = int(np.floor((duration + lead) / bin_size + 1e-9)) + 1
    drive = np.zeros((samples, total))
    bumps = _travelling_bump(samples, units, int(lead / bin_size), bump_width)
    ears = rng.random((2, units)) < driven
    drive[:, parts[1]] = input_strength[0] * bumps * ears[0]
    frozen = np.where(np.arange(samples)[:, None] < int(lead / bin_size), bumps[0], bumps[samples // 2])
    drive[:, parts[2]] = input_strength[1] * frozen * ears[1]
    start = rng.uniform(-1, 1, total)
    currents = simulate_currents(weights, drive, start, bin_size / time_constant)
    rates = np.tanh(currents)
    scale = np.concatenate([np.full(units, np.abs(rates[:, part]).max()) for part in parts])
    names = np.repeat(REGIONS, units)
    return RateTeacher(rates / scale, rates, currents, drive, weights, names, time_constant, bin_size)


def random_teacher(
    units: int = 200,
    samples: int = 3000,
    gain: float = 3.0,
    noise: float = 0.1,
    time_constant: float = 0.02,
    bin_size: float = 0.01,
    seed: int = 0,
) -> RateTeacher:
    """One chaotic region with process noise: a teacher of the very form that is fitted (matched).

    How well J can be known depends on how much of the state space the activity visits, and on α = Δ/τ: the
    standard error of a weight is about √(2/(α T)) where noise alone excites a direction.

    Parameters
    ----------
    gain : g, weights ~ N(0, g²/units), no connection from a unit to itself
    noise : standard deviation of what is added to x in each step
    """
    rng = np.random.default_rng(seed)
    weights = gain / np.sqrt(units) * rng.standard_normal((units, units))
    np.fill_diagonal(weights, 0.0)
    alpha = bin_size / time_constant
    drive = noise / alpha * rng.standard_normal((samples + 100, units))
    currents = simulate_currents(weights, drive, rng.standard_normal(units), alpha)[100:]
    rates = np.tanh(currents)
    nothing = np.zeros_like(rates)
    names = np.repeat(REGIONS[:1], units)
    return RateTeacher(rates, rates, currents, nothing, weights, names, time_constant, bin_size)


def observed(
    activity: np.ndarray,
    noise: float = 0.0,
    spikes: float = 0.0,
    bin_size: float = 0.01,
    seed: int = 0,
) -> np.ndarray:
    """What a recording shows of activity in (−1, 1), (T, N).

    Parameters
    ----------
    noise : standard deviation of Gaussian observation noise; with it the result may leave (−1, 1)
    spikes : mean rate in spikes/s; then counts ~ Poisson(spikes · (1 + activity) · bin_size)
    """
    rng = np.random.default_rng(seed)
    if spikes > 0:
        return rng.poisson(spikes * np.clip(1 + activity, 0, None) * bin_size).astype(float)
    return activity + noise * rng.standard_normal(activity.shape)


def simulate_currents(weights: np.ndarray, drive: np.ndarray, start: np.ndarray, alpha: float) -> np.ndarray:
    """x_{t+1} = x_t + α (−x_t + J tanh(x_t) + drive_t) from `start` (N,): (T, N), first the start."""
    currents = np.empty_like(drive)
    currents[0] = start
    for t in range(len(drive) - 1):
        x = currents[t]
        currents[t + 1] = x + alpha * (-x + weights @ np.tanh(x) + drive[t])
    return currents


def _travelling_bump(samples: int, units: int, lead: int, width: float) -> np.ndarray:
    """(T, units) a bump that stands at the first unit for `lead` samples, then crosses to the last."""
    centre = np.clip(np.arange(samples) - lead, 0, None) / max(samples - lead - 1, 1)
    place = np.arange(units) / max(units - 1, 1)
    return np.exp(-0.5 * ((place - centre[:, None]) / width) ** 2)
