"""A linear dynamical system seen through counts: mode of the posterior, Laplace evidence, and EM.

    z_{t+1} = A z_t + N(0, Q),   z_0 ~ N(m_0, Q_0),   y_t ~ p(y | η_t),   η_t = C z_t + d

About any path the log-likelihood of a bin is h·z − ½ zᵀ J z + c with J = Cᵀ diag(w) C, w the Fisher
information of η. Smoothing with these J and h is one step of Newton's method (Fisher scoring where the link is
not canonical) for the mode ẑ of p(z | y); there the integral of the quadratic is the Laplace evidence

    log p(y) ≈ log p(y | ẑ) + log p(ẑ) + ½ B T R log 2π − ½ log |H|.

EM with this Gaussian as the posterior follows Macke et al. (2011) and Buesing, Macke & Sahani (2012): A, Q, m_0
and Q_0 in closed form; C and d by one Fisher-scoring step on likelihoods averaged over the 2 R points
m_t ± √R L_t e_i with L_t L_tᵀ the posterior covariance, which has that law's first three moments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nwb_rnn.fitting.linear_gaussian import Posterior, maximise_dynamics, smooth_information
from nwb_rnn.fitting.subspace import LinearSystem
from nwb_rnn.models import observations

_NEWTON_STEPS = 25
_HALVINGS = 6
_TOLERANCE = 1e-4  # nats a bin that a Newton step must gain for another one
_PENALTY = 2e-4  # on C² and (d − d_0)², for each bin, so that silent units stay finite
_LEAST_RATE = 1e-4  # counts per bin
DISPERSIONS = (0.05, 1000.0)  # of negative binomial counts


@dataclass(frozen=True)
class CountLaw:
    """p(y | η) of D units: poisson or negative_binomial, links as in `LowRankConfig`, dispersions (D,)."""

    observation: str
    link: str
    dispersion: np.ndarray | None = None

    def select(self, units: np.ndarray) -> CountLaw:
        """The law of some of the units."""
        names = self.link.split(",")
        link = self.link if len(names) == 1 else ",".join(names[u] for u in units)
        return replace(self, link=link, dispersion=None if self.dispersion is None else self.dispersion[units])

    def mean(self, predictor: np.ndarray) -> np.ndarray:
        return observations.mean(torch.as_tensor(predictor), "poisson", self.link).numpy()

    def score(self, observed: np.ndarray, predictor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """d log p / dη and its expected square (Fisher information), both like `predictor`."""
        eta = torch.as_tensor(predictor)
        expected = observations.mean(eta, "poisson", self.link)
        slope = observations.slope(eta, "poisson", self.link) / self._variance(expected)
        information = slope * observations.slope(eta, "poisson", self.link)
        return (slope * (torch.as_tensor(observed) - expected)).numpy(), information.numpy()

    def log_likelihood(self, observed: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        """log p(y | η), not summed."""
        kind = "poisson" if self.dispersion is None else "negative_binomial"
        y, eta = torch.as_tensor(observed), torch.as_tensor(predictor)
        return observations.log_likelihood(y, eta, kind, self.link, self._spread()).numpy()

    def _spread(self) -> torch.Tensor | None:
        return None if self.dispersion is None else torch.as_tensor(self.dispersion)

    def _variance(self, expected: torch.Tensor) -> torch.Tensor:
        kind = "poisson" if self.dispersion is None else "negative_binomial"
        return observations.variance(expected, kind, self._spread())


def smooth_counts(
    system: LinearSystem,
    law: CountLaw,
    observed: np.ndarray,
    mask: np.ndarray,
    start: np.ndarray | None = None,
) -> Posterior:
    """The Gaussian at the mode, for trials `observed` (B, T, D) with `mask` (B, T, D) or (B, T, 1).

    `log_likelihood` of the result is the Laplace evidence; `start` (B, T, R) is where Newton's method begins.
    """
    seen = np.broadcast_to(mask, observed.shape).astype(float)
    bins = np.maximum(seen.any(-1).sum(1), 1)
    path = np.zeros((*observed.shape[:2], len(system.transition))) if start is None else start
    here = _log_joint(system, law, observed, seen, path)
    for _ in range(_NEWTON_STEPS):
        found = _quadratic(system, law, observed, seen, path)
        path, there = _step(system, law, observed, seen, path, here, found.mean)
        done = np.all(there - here <= _TOLERANCE * bins)
        here = there
        if done:
            break
    return found


def count_expectation_maximisation(
    system: LinearSystem, law: CountLaw, observed: np.ndarray, mask: np.ndarray, iterations: int,
    start: np.ndarray | None = None,
) -> tuple[LinearSystem, CountLaw, Posterior]:  # fmt: skip
    """Improve `system` by `iterations` of Laplace EM; returns it with its law and posterior.

    The dispersions of a negative binomial law start unknown (Poisson) and are found by moments.
    """
    seen = np.broadcast_to(mask, observed.shape).astype(float)
    posterior = smooth_counts(system, law, observed, seen, start)
    for _ in range(iterations):
        system = maximise_dynamics(system, posterior, seen)
        system, law = _maximise_readout(system, law, posterior, observed, seen)
        posterior = smooth_counts(system, law, observed, seen, posterior.mean)
    return system, law, posterior


def moment_dispersion(expected: np.ndarray, observed: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """k (D,) from Σ (y − μ)² − μ = Σ μ² / k over rows (P, D), within the range where k can be told."""
    excess = (seen * ((observed - expected) ** 2 - expected)).sum(0)
    share = np.maximum(excess, 0) / np.maximum((seen * expected**2).sum(0), 1e-12)
    return 1 / np.clip(share, 1 / DISPERSIONS[1], 1 / DISPERSIONS[0])


def _quadratic(system, law, observed, seen, path) -> Posterior:
    """The posterior of the likelihood's quadratic expansion about `path`, and its evidence."""
    eta = path @ system.readout.T + system.bias
    score, weight = law.score(observed, eta)
    score, weight = score * seen, weight * seen
    outer = (system.readout[:, :, None] * system.readout[:, None, :]).reshape(len(system.bias), -1)
    precision = (weight @ outer).reshape(*path.shape, path.shape[2])
    linear = score @ system.readout + (precision @ path[..., None])[..., 0]
    found = smooth_information(system, precision, linear)
    constant = (law.log_likelihood(observed, eta) * seen).sum(-1)
    constant += 0.5 * (path * (precision @ path[..., None])[..., 0]).sum(-1) - (linear * path).sum(-1)
    return replace(found, log_likelihood=found.log_likelihood + constant.sum(1))


def _log_joint(system, law, observed, seen, path) -> np.ndarray:
    """log p(y, z) of each trial (B,), up to what does not depend on z."""
    likelihood = (law.log_likelihood(observed, path @ system.readout.T + system.bias) * seen).sum((1, 2))
    first = path[:, 0] - system.initial_mean
    noise = path[:, 1:] - path[:, :-1] @ system.transition.T
    prior = (first @ np.linalg.inv(system.initial_covariance) * first).sum(-1)
    return likelihood - 0.5 * (prior + (noise @ np.linalg.inv(system.transition_covariance) * noise).sum((1, 2)))


def _step(system, law, observed, seen, path, here, goal):
    """From `path` towards `goal`, each trial by the largest of 1, ½, ¼ … that raises log p(y, z)."""
    path, value, left = path.copy(), here.copy(), np.arange(len(path))
    for power in range(_HALVINGS):
        tried = path[left] + 0.5**power * (goal[left] - path[left])
        there = _log_joint(system, law, observed[left], seen[left], tried)
        better = there >= here[left]
        path[left[better]], value[left[better]] = tried[better], there[better]
        left = left[~better]
        if not len(left):
            break
    return path, value


def _maximise_readout(system, law, posterior, observed, seen):
    rows = np.nonzero(seen.any(-1))
    y, weight, mean = observed[rows], seen[rows], posterior.mean[rows]
    rank = mean.shape[1]
    factor = np.sqrt(rank) * np.linalg.cholesky(posterior.covariance[rows] + 1e-12 * np.eye(rank))
    points = [mean + sign * factor[:, :, i] for i in range(rank) for sign in (1, -1)]
    theta = np.column_stack([system.readout, system.bias])
    centre = np.zeros_like(theta)
    centre[:, -1] = _bias_of_mean(law, y, weight)
    penalty = _PENALTY * np.maximum(weight.sum(0), 1.0)
    slope, curvature = np.zeros_like(theta), np.zeros((len(theta), (rank + 1) ** 2))
    for z in points:
        design = np.column_stack([z, np.ones(len(z))])
        score, information = law.score(y, design @ theta.T)
        slope += (weight * score).T @ design / len(points)
        outer = (design[:, :, None] * design[:, None, :]).reshape(len(z), -1)
        curvature += (weight * information).T @ outer / len(points)
    slope -= penalty[:, None] * (theta - centre)
    curvature = curvature.reshape(-1, rank + 1, rank + 1) + penalty[:, None, None] * np.eye(rank + 1)
    theta = theta + np.clip(np.linalg.solve(curvature, slope[..., None])[..., 0], -1, 1)
    if law.observation == "negative_binomial":
        expected = np.concatenate([law.mean(z @ theta[:, :-1].T + theta[:, -1]) for z in points])
        copies = len(points)
        law = replace(
            law, dispersion=moment_dispersion(expected, np.tile(y, (copies, 1)), np.tile(weight, (copies, 1)))
        )
    return replace(system, readout=theta[:, :-1], bias=theta[:, -1]), law


def _bias_of_mean(law: CountLaw, observed: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """η (D,) of each unit's mean count."""
    mean = np.maximum((observed * seen).sum(0) / np.maximum(seen.sum(0), 1), _LEAST_RATE)
    exponential = np.array([name == "exp" for name in law.link.split(",")])
    return np.where(exponential, np.log(mean), mean + np.log(-np.expm1(-mean)))
