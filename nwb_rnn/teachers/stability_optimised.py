"""Stability-optimised circuits: strong excitation held in check by inhibition that is tuned to it.

Hennequin, Vogels & Gerstner (2014, Neuron 82). A random network that obeys Dale's law is chaotic or
explosive: the spectral abscissa α(W), the largest real part of its eigenvalues, is about 10 where 1 is the
limit. Inhibitory weights are moved down the gradient of the smoothed spectral abscissa s (Vanbiervliet et
al. 2009), defined for a given ε by

    tr Q(s) = 1/ε,      A Q + Q Aᵀ = −I,      A = W − s I

(s lies above α, and comes nearer as ε falls). With the other Gramian, Aᵀ P + P A = −I,

    ∂s/∂W = P Q / tr(P Q)

so each step costs one Schur form and two triangular Lyapunov equations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import schur
from scipy.linalg.lapack import dtrsyl

from nwb_rnn.errors import DivergenceError, InputError

_INHIBITION = 3.0  # γ: mean inhibitory over mean excitatory weight, as published
_DENSITY = 0.4  # most inhibitory connections that may exist, as published
_STEP = 30.0


@dataclass(frozen=True, eq=False)
class Circuit:
    """
    Attributes
    ----------
    weights : (N, N) W, from each unit (second axis) to each unit (first axis); its columns keep their sign
    unit_sign : (N,) +1 excitatory, −1 inhibitory
    abscissa : (steps + 1,) α(W) before each step and after the last
    """

    weights: np.ndarray
    unit_sign: np.ndarray
    abscissa: np.ndarray


def stability_optimised_circuit(
    units: int = 200,
    probability: float = 0.1,
    radius: float = 10.0,
    abscissa: float = 0.15,
    steps: int = 2000,
    seed: int = 0,
) -> Circuit:
    """Draw a random network and move its inhibitory weights until its spectral abscissa is low.

    The first half of the units is excitatory. Excitatory weights are w₀/√N and inhibitory ones −γ w₀/√N,
    with w₀² = 2 ρ² / (p (1 − p) (1 + γ²)), γ = 3. Each step follows the gradient at s = max(1.5 α,
    α + 0.2), keeps the largest 40 % of the inhibitory connections at most, none positive and none of a
    unit to itself, and scales them back to γ times the mean of the excitatory ones.

    Parameters
    ----------
    units : N, even
    probability : p of a connection
    radius : ρ of the circle that holds the eigenvalues at the start
    abscissa : α to reach
    steps : at most
    seed : of the first weights

    Raises
    ------
    InputError : an odd number of units, or numbers out of range
    DivergenceError : the abscissa was not reached
    """
    if units < 4 or units % 2 or not 0 < probability < 1 or radius <= 0:
        raise InputError(
            f"units={units}, probability={probability}, radius={radius}: give an even number of at least 4 "
            "units, a probability between 0 and 1, and a positive radius"
        )
    weights = random_balanced(units, probability, radius, np.random.default_rng(seed))
    half = units // 2
    history = [spectral_abscissa(weights)]
    while history[-1] > abscissa:
        if len(history) > steps:
            raise DivergenceError(
                f"the spectral abscissa is {history[-1]:.3g} after {steps} steps, and {abscissa:g} was asked "
                "for: allow more steps, or a higher abscissa (few units cannot reach 0.15)"
            )
        level = max(1.5 * history[-1], history[-1] + 0.2)
        weights[:, half:] -= _STEP * smoothed_abscissa_gradient(weights, level)[:, half:]
        weights[:, half:] = _kept_inhibitory(weights[:, half:], _INHIBITION * weights[:, :half].mean())
        history.append(spectral_abscissa(weights))
    sign = np.where(np.arange(units) < half, 1, -1)
    return Circuit(weights, sign, np.array(history))


def random_balanced(units: int, probability: float, radius: float, rng: np.random.Generator) -> np.ndarray:
    """(N, N) weights with Dale's law before optimisation; see `stability_optimised_circuit`."""
    connected = rng.random((units, units)) < probability
    np.fill_diagonal(connected, False)
    size = np.sqrt(2 * radius**2 / (probability * (1 - probability) * (1 + _INHIBITION**2)))
    column = np.where(np.arange(units) < units // 2, 1.0, -_INHIBITION) * size / np.sqrt(units)
    return connected * column


def spectral_abscissa(weights: np.ndarray) -> float:
    """Largest real part of the eigenvalues of (N, N) weights."""
    return float(np.linalg.eigvals(weights).real.max())


def gramians(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q and P (N, N) of a stable matrix A: A Q + Q Aᵀ = −I and Aᵀ P + P A = −I, from one Schur form.

    Q collects where noise drives the states, P how much activity follows from each of them.
    """
    triangle, basis, *_ = schur(matrix, output="real")
    minus = -np.eye(len(matrix))
    found = []
    for first, second in (("N", "T"), ("T", "N")):
        solution, scale, _ = dtrsyl(triangle, triangle, minus, trana=first, tranb=second)
        found.append(basis @ (solution / scale) @ basis.T)
    return found[0], found[1]


def smoothed_abscissa_gradient(weights: np.ndarray, level: float) -> np.ndarray:
    """∂s/∂W (N, N) at s = `level`, above the spectral abscissa, for the ε that gives this s."""
    reachable, observable = gramians(weights - level * np.eye(len(weights)))
    gradient = observable @ reachable
    return gradient / np.trace(gradient)


def smoothed_abscissa(weights: np.ndarray, epsilon: float, tolerance: float = 1e-12) -> float:
    """The s above the spectral abscissa at which tr Q(s) = 1/ε, by Newton steps on log tr Q.

    Parameters
    ----------
    weights : (N, N)
    epsilon : ε, positive; smaller brings s nearer to the spectral abscissa
    """
    if epsilon <= 0:
        raise InputError(f"epsilon={epsilon}; expected a positive number")
    low = spectral_abscissa(weights)
    level = low + 1.0
    for _ in range(200):
        reachable, observable = gramians(weights - level * np.eye(len(weights)))
        total = np.trace(reachable)
        slope = -2 * np.sum(observable * reachable) / total
        change = (np.log(1 / epsilon) - np.log(total)) / slope
        level = max(level + change, 0.5 * (low + level))
        if abs(change) < tolerance * (1 + abs(level)):
            return float(level)
    raise DivergenceError(f"the smoothed abscissa for epsilon={epsilon} did not converge; take a larger one")


def _kept_inhibitory(weights: np.ndarray, size: float) -> np.ndarray:
    """Inhibitory columns (N, N/2) without positive ones, self-connections and the weakest, at mean −size."""
    units, half = weights.shape
    weights = np.minimum(weights, 0.0)
    weights[np.arange(units - half, units), np.arange(half)] = 0.0
    most = int(_DENSITY * weights.size)
    if np.count_nonzero(weights) > most:
        weights[weights > np.partition(weights, most - 1, axis=None)[most - 1]] = 0.0
    return weights * (-size / weights.mean())
