"""Sums of the law of counts over units and over bins, which Laplace EM and the M step of counts are made of.

`Bins` and `Regression` are definitions in numpy; `count_kernel` has both in compiled code, which `bins` and
`regression` choose where there is numba.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from nwb_rnn.fitting.count_law import CountLaw

if TYPE_CHECKING:
    from nwb_rnn.fitting.count_kernel import CompiledRegression

NODES, WEIGHTS = np.sqrt(3) * np.array([0.0, 1.0, -1.0]), np.array([4, 1, 1]) / 6  # Gauss–Hermite
_LEAST_VARIANCE = 1e-16  # of η


def bins(observed: np.ndarray, mask: np.ndarray) -> Bins:
    """The sums for trials `observed` (B, T, D) with `mask` (B, T, D) or (B, T, 1)."""
    seen = np.broadcast_to(mask, observed.shape).astype(float)
    if importlib.util.find_spec("numba") is None:
        return Bins(observed, seen)
    from nwb_rnn.fitting.count_kernel import CompiledBins

    return CompiledBins(observed, seen)


def regression(observed: np.ndarray, seen: np.ndarray, design: np.ndarray) -> Regression | CompiledRegression:
    """The sums for bins `observed` and `seen` (P, D), of each of which `design` (S, P, I) has S versions."""
    if importlib.util.find_spec("numba") is None:
        return Regression(observed, seen, design)
    from nwb_rnn.fitting.count_kernel import CompiledRegression

    return CompiledRegression.of(observed, seen, design)


class Bins:
    """Counts of trials, observed and seen (B, T, D)."""

    def __init__(self, observed: np.ndarray, seen: np.ndarray):
        self.observed, self.seen = observed, seen

    def expansion(self, law: CountLaw, readout: np.ndarray, bias: np.ndarray, path: np.ndarray | None):
        """J (B, T, R, R), h (B, T, R) and c (B,) with log p(y | z) ≈ Σ_t (h·z − ½ zᵀ J z) + c around a path.

        c lacks what does not depend on z, such as log y!. Without a path (B, T, R) each count stands for its
        own mean.
        """
        if path is None:
            eta = law.predictor(self.observed + 0.5)
        else:
            eta = path @ readout.T + bias
        score, weight = law.score(self.observed, eta)
        score, weight, offset = score * self.seen, weight * self.seen, eta - bias
        outer = (readout[:, :, None] * readout[:, None, :]).reshape(len(bias), -1)
        precision = (weight @ outer).reshape(*eta.shape[:2], readout.shape[1], readout.shape[1])
        constant = law.terms(self.observed, eta) * self.seen - score * offset - 0.5 * weight * offset**2
        return precision, (score + weight * offset) @ readout, constant.sum((1, 2))

    def log_likelihood(
        self, law: CountLaw, readout: np.ndarray, bias: np.ndarray, path: np.ndarray, trials: np.ndarray
    ) -> np.ndarray:
        """log p(y | z) of some trials, by their indices, at a path (B, T, R); c lacks the same as above."""
        terms = law.terms(self.observed[trials], path[trials] @ readout.T + bias)
        return (terms * self.seen[trials]).sum((1, 2))

    def free(self, law: CountLaw) -> np.ndarray:
        """What does not depend on z, (B,)."""
        return (law.free_terms(self.observed) * self.seen).sum((1, 2))

    def regression(self, mean: np.ndarray, covariance: np.ndarray) -> Regression | CompiledRegression:
        """Of the observed bins on latents of mean (B, T, R) and covariance (B, T, R, R), and a constant."""
        return self.definition(mean, covariance)

    def definition(self, mean: np.ndarray, covariance: np.ndarray) -> Regression:
        inside = np.nonzero(self.seen.any(-1))
        design = np.concatenate([mean[inside], np.ones((len(inside[0]), 1))], 1)
        return Regression(self.observed[inside], self.seen[inside], design[None], covariance[inside])


class Regression:
    """Σ_p E[log p(y_p | η_p)] over the bins p in which a unit was seen, for η_p = θ · x_p.

    Parameters
    ----------
    observed, seen : (P, D)
    design : (S, P, I), S versions of x, over which the sum goes too
    covariance : (P, R, R) of the first R numbers of x, where η is Gaussian, or None
    """

    def __init__(
        self, observed: np.ndarray, seen: np.ndarray, design: np.ndarray, covariance: np.ndarray | None = None
    ):
        self.observed, self.seen, self.design, self.covariance = observed, seen, design, covariance

    def predictors(self, theta: np.ndarray) -> list[tuple[float, np.ndarray]]:
        """Weight and η (S, P, D) at each node."""
        mean, spread = self._law_of_predictor(theta)
        if spread is None:
            return [(1.0, mean)]
        return [(w, mean + x * spread) for x, w in zip(NODES, WEIGHTS, strict=True)]

    def value(self, law: CountLaw, theta: np.ndarray) -> np.ndarray:
        """(D,) of θ (D, I), without what does not depend on θ."""
        expected = sum(w * law.terms(self.observed, eta) for w, eta in self.predictors(theta))
        return (self.seen * expected).sum((0, 1))

    def derivatives(self, law: CountLaw, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The value, its slope (D, I) in θ, and about its expected curvature (D, I, I)."""
        mean, spread = self._law_of_predictor(theta)
        on_mean, on_spread, information = (np.zeros_like(mean) for _ in range(3))
        nodes = [(0.0, 1.0)] if spread is None else zip(NODES, WEIGHTS, strict=True)
        for x, w in nodes:
            score, weight = law.score(self.observed, mean if spread is None else mean + x * spread)
            on_mean += w * score * self.seen
            on_spread += w * x * score * self.seen
            information += w * weight * self.seen
        slope = np.einsum("spd,spi->di", on_mean, self.design, optimize=True)
        second = self.design[..., :, None] * self.design[..., None, :]
        if spread is not None:
            rank = self.covariance.shape[1]
            flat = self.covariance.reshape(len(self.covariance), -1)
            # d spread / dc = V c / spread
            pull = ((on_spread[0] / spread[0]).T @ flat).reshape(-1, rank, rank)
            slope[:, :rank] += (pull @ theta[:, :rank, None])[..., 0]
            second[..., :rank, :rank] += self.covariance
        curvature = np.tensordot(information, second, ((0, 1), (0, 1)))
        return self.value(law, theta), slope, curvature

    def _law_of_predictor(self, theta):
        """Mean and standard deviation of η, (S, P, D) both; no deviation without a covariance."""
        mean = self.design @ theta.T
        if self.covariance is None:
            return mean, None
        c = theta[:, : self.covariance.shape[1]]
        outer = (c[:, :, None] * c[:, None, :]).reshape(len(theta), -1)
        variance = self.covariance.reshape(len(self.covariance), -1) @ outer.T
        return mean, np.broadcast_to(np.sqrt(np.maximum(variance, _LEAST_VARIANCE)), mean.shape)
