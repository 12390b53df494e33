"""Ridge on inverted rates where inputs that nobody recorded change the bias of every unit over time.

    d_t = J r_t + W u_t + b_t + e_t,      b_{t+1} = b_t + w_t,      e ~ N(0, s²),  w_t ~ N(0, q_t)

d_t is the regression target of `rate_data`. b, the sum of bias and unknown input, is a random walk whose step
variance q_t belongs to a bin and is shared by the units of a region: an input that jumps costs one bin, one
that drifts costs little in each. Differences remove the level of b: with Δ the first difference over time,

    Δd = Δr Jᵀ + Δu Wᵀ + (w + Δe),      S = diag(q) + s² Δ Δᵀ                        (tridiagonal)
    J ~ N(0, V):   weights = (ΔXᵀ S⁻¹ ΔX + V⁻¹)⁻¹ ΔXᵀ S⁻¹ Δd
    P = (S + ΔX V ΔXᵀ)⁻¹,   a = P Δd,   b_t + e_t = d_t − J r_t − W u_t,   e = s² Δᵀ a

s², q_t, and the variance of weights between regions maximise the likelihood of Δd, each by the fixed point
θ ← θ · (its part of |a|²)/(its part of tr P), with s kept from falling below a floor. Within a region of n
units V = gain²/n. The free run goes on with the last b.

Noise that smoothing left in the rates is no white noise in d: it changes as slowly as the activity, and b
would take it for input. So the floor is `FLOOR` in clean data, and in smoothed data as much as `PERSISTENCE`
times the standard deviation that the smoothing's error makes in d − J r: white noise with about the same
part at the frequencies of the activity.

Where rates saturate, the share of φ's range that a recording takes decides its currents. It is the factor
f of r = f · recorded that maximises the same likelihood with the Jacobian, Σ log dx/d(recorded).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cho_solve_banded, cholesky_banded, solve_triangular

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.rate_data import RateData
from nwb_rnn.models.rate import EDGE

INPUT_VARIANCE = 1.0  # of W
FLOOR = 0.005
VISIBLE = 0.05  # floor above which noise hides the share of the range
PERSISTENCE = 12.0
_SMALLEST = 1e-12
_DISTANCES = (0.03, 0.01, 0.003, 0.001, 0.0003)  # of the largest rate from 1


@dataclass(frozen=True, eq=False)
class Walk:
    """
    Attributes
    ----------
    weights : (n, K)
    bias : (S, n) b_t
    steps : (S − 1,) q_t
    noise : s
    between : variance of the weights in the second group
    log_likelihood : of Δd
    """

    weights: np.ndarray
    bias: np.ndarray
    steps: np.ndarray
    noise: float
    between: float
    log_likelihood: float


@dataclass(frozen=True, eq=False)
class UnknownInput:
    """
    Attributes
    ----------
    recurrent, inputs : (D, D) J and (D, U) W
    bias : (D,) the last b
    noise : (D,) of the current in a step, α s
    share : (D,) factor of the rates
    start : (D,) currents of the first bin
    log_likelihood : of each region
    """

    recurrent: np.ndarray
    inputs: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    share: np.ndarray
    start: np.ndarray
    log_likelihood: list[float]


def fit_unknown_input(
    data: RateData,
    regions: np.ndarray | None,
    gain: float,
    floor: float | None = None,
    iterations: int = 12,
    share: np.ndarray | None = None,
) -> UnknownInput:
    """Fit one recording.

    Parameters
    ----------
    data : one trial of tanh units without gaps
    regions : (D,) names; one region where None
    gain : g, V = g²/n within a region of n units
    floor : least s; from the error of the smoothing, and at least `FLOOR`, where None
    iterations : of the fixed point
    share : (D,) factor of the rates; where None it is found in clean data, and 1 in data with noise

    Raises
    ------
    InputError : several trials, a gap, or another activation
    """
    if data.activation != "tanh":
        raise InputError(f"method='unknown_input' is for activation='tanh', not {data.activation!r}")
    if len(data.mask) != 1:
        raise InputError(
            f"method='unknown_input' follows an input through one recording; these are {len(data.mask)} "
            "trials: use ridge"
        )
    if not (floor is None or floor > 0) or int(iterations) < 2:
        raise InputError(f"floor={floor} must be positive, iterations={iterations} at least 2")
    seen = data.mask[0].nonzero()[0]
    if len(seen) < 3 or seen[-1] - seen[0] + 1 != len(seen):
        raise InputError("method='unknown_input' needs at least three recorded bins, and no gap between them")
    rates, inputs = data.rates[0, seen], data.inputs[0, seen]
    units, columns = rates.shape[1], inputs.shape[1]
    names = np.zeros(units) if regions is None else np.asarray(regions)
    factor, joined = np.ones(units), np.empty((units, units + columns))
    bias, noise, likelihood = np.empty(units), np.empty(units), []
    least = floors(data, rates, names) if floor is None else dict.fromkeys(names.tolist(), floor)
    variance = {name: gain**2 / np.sum(names == name) for name in dict.fromkeys(names.tolist())}
    for name, size in variance.items():
        own = names == name
        if share is not None:
            factor[own] = share[own]
        elif data.error is None or least[name] <= VISIBLE:
            factor[own] = share_of_range(rates[:, own], inputs, data.alpha, size, least[name])
    scaled = np.clip(factor * rates, -1 + EDGE, 1 - EDGE)
    regressors = np.concatenate([scaled[:-1], inputs[:-1]], axis=1)
    for name, size in variance.items():
        own = names == name
        prior = np.concatenate([np.where(own, size, 1e-3 * size), np.full(columns, INPUT_VARIANCE)])
        between = np.concatenate([~own, np.zeros(columns, dtype=bool)])
        wanted = targets(scaled[:, own], data.alpha)
        walk = random_walk_ridge(regressors, wanted, prior, between, least[name], iterations)
        joined[own], bias[own] = walk.weights, walk.bias[-1]
        left = wanted - regressors @ walk.weights.T - walk.bias
        noise[own] = data.alpha * np.sqrt(np.mean(left**2))
        likelihood.append(walk.log_likelihood)
    start = np.arctanh(scaled[0])
    return UnknownInput(joined[:, :units], joined[:, units:], bias, noise, factor, start, likelihood)


def floors(data: RateData, rates: np.ndarray, names: np.ndarray) -> dict[str, float]:
    """Least s of each region, of rates (T, D)."""
    if data.error is None:
        return dict.fromkeys(names.tolist(), FLOOR)
    slope = np.mean(1 / (1 - np.clip(rates, -1 + EDGE, 1 - EDGE) ** 2), axis=0)
    size = (PERSISTENCE * slope * data.error) ** 2
    return {name: max(FLOOR, float(np.sqrt(size[names == name].mean()))) for name in set(names.tolist())}


def random_walk_ridge(
    regressors: np.ndarray,
    target: np.ndarray,
    variance: np.ndarray,
    between: np.ndarray,
    floor: float,
    iterations: int = 12,
    start: Walk | None = None,
) -> Walk:
    """The regression of one region.

    Parameters
    ----------
    regressors : (S, K), of bins in a row
    target : (S, n)
    variance : (K,) of each weight before the data; of those in `between` a first guess
    between : (K,) bool, weights whose variance is found
    floor : least s
    start : where s, q and the variance begin
    """
    x, y = np.diff(regressors, axis=0), np.diff(target, axis=0)
    steps, units = y.shape
    prior = np.array(variance, dtype=float)
    most = float(prior.max())
    if start is None:
        noise, walk = (
            max(0.1 * float(target.var()), floor**2),
            np.full(steps, 0.1 * float(y.var()) + _SMALLEST),
        )
    else:
        noise, walk = start.noise**2, start.steps.copy()
        prior[between] = start.between
    for number in range(iterations):
        lower = cholesky_banded(np.stack([walk + 2 * noise, np.full(steps, -noise)]), lower=True)
        solved = cho_solve_banded((lower, True), np.concatenate([x, y], axis=1))
        sx, sy = solved[:, : x.shape[1]], solved[:, x.shape[1] :]
        system = x.T @ sx
        system[np.diag_indices_from(system)] += 1 / prior
        factor = cho_factor(system, lower=True)
        weights = cho_solve(factor, x.T @ sy)
        a = sy - sx @ weights
        if number == iterations - 1:
            break
        middle, beside = _inverse_bands(lower)
        spread = solve_triangular(factor[0], sx.T, lower=True)
        middle -= np.sum(spread**2, axis=0)
        beside -= np.sum(spread[:, :-1] * spread[:, 1:], axis=0)
        trace = 2 * middle.sum() - 2 * beside.sum()
        if between.any():
            inverse = solve_triangular(factor[0], np.eye(len(system)), lower=True)
            known = np.sum(inverse**2, axis=0)[between].sum() / prior[between][0]
            found = np.sum(weights[between] ** 2) / (units * max(between.sum() - known, 1e-9))
            prior[between] = np.clip(found, 1e-10, most)
        walk = np.maximum(walk * np.mean(a**2, axis=1) / np.maximum(middle, 1e-300), _SMALLEST)
        noise = max(noise * np.sum(_spread(a) ** 2) / (units * max(trace, 1e-300)), floor**2)
    determinant = 2 * np.log(lower[0]).sum() + 2 * np.log(np.diag(factor[0])).sum() + np.log(prior).sum()
    likelihood = -0.5 * units * (steps * np.log(2 * np.pi) + determinant) - 0.5 * float(np.sum(y * a))
    bias = target - regressors @ weights - noise * _spread(a)
    size = float(prior[between][0]) if between.any() else 0.0
    return Walk(weights.T, bias, walk, float(np.sqrt(noise)), size, likelihood)


def share_of_range(
    rates: np.ndarray, inputs: np.ndarray, alpha: float, variance: float, floor: float
) -> float:
    """The factor f of the rates (T, n) of a region, in (−1, 1) up to a factor, that tanh's currents need.

    Parameters
    ----------
    inputs : (T, U)
    variance : of a weight between two units of the region
    """
    largest = float(np.abs(rates).max())
    prior = np.concatenate([np.full(rates.shape[1], variance), np.full(inputs.shape[1], INPUT_VARIANCE)])
    nowhere = np.zeros(len(prior), dtype=bool)

    def value(distance: float, start: Walk | None) -> tuple[float, Walk]:
        factor = (1 - np.exp(distance)) / largest
        x = np.clip(factor * rates, -1 + EDGE, 1 - EDGE)
        seen = np.concatenate([x[:-1], inputs[:-1]], axis=1)
        walk = random_walk_ridge(
            seen, targets(x, alpha), prior, nowhere, floor, 8 if start is None else 3, start
        )
        return walk.log_likelihood + float(np.sum(np.log(factor / (1 - x[1:] ** 2)))), walk

    tried, walks = [], []
    places = np.log(_DISTANCES)
    for place in places:
        score, walk = value(place, walks[-1] if walks else None)
        tried.append(score)
        walks.append(walk)
    best = int(np.argmax(tried))
    low, high = places[min(best + 1, len(places) - 1)], places[max(best - 1, 0)]
    golden, walk = 0.5 * (np.sqrt(5) - 1), walks[best]
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = value(left, walk)[0], value(right, walk)[0]
    for _ in range(5):
        if at_left > at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left, walk = value(left, walk)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right, walk = value(right, walk)
    return (1 - float(np.exp(0.5 * (low + high)))) / largest


def targets(rates: np.ndarray, alpha: float) -> np.ndarray:
    """(T − 1, n) d_t of rates (T, n) of tanh units."""
    currents = np.arctanh(rates)
    return (currents[1:] - (1 - alpha) * currents[:-1]) / alpha


def _spread(a: np.ndarray) -> np.ndarray:
    """Δᵀ a: (S − 1, n) -> (S, n)."""
    out = np.zeros((len(a) + 1, a.shape[1]))
    out[1:] += a
    out[:-1] -= a
    return out


def _inverse_bands(lower: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diagonal and first off-diagonal of the inverse of L Lᵀ, L bidiagonal in (2, n) band form."""
    size = lower.shape[1]
    middle, beside = np.empty(size), np.empty(size - 1)
    square, ratio = 1 / lower[0] ** 2, -lower[1] / lower[0]
    middle[-1] = square[-1]
    for i in range(size - 2, -1, -1):
        beside[i] = ratio[i] * middle[i + 1]
        middle[i] = square[i] + ratio[i] * beside[i]
    return middle, beside
