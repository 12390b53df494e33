"""A linear dynamical system seen through counts: mode of the posterior, Laplace evidence, and EM.

    z_{t+1} = A z_t + N(0, Q),   z_0 ~ N(m_0, Q_0),   y_t ~ p(y | η_t),   η_t = C z_t + d

About any path the log-likelihood of a bin is h·z − ½ zᵀ J z + c with J = Cᵀ diag(w) C, w the Fisher
information of η. Smoothing with these J and h is one step of Newton's method (Fisher scoring where the link
is not canonical) for the mode ẑ of p(z | y); there the integral of the quadratic is the Laplace evidence

    log p(y) ≈ log p(y | ẑ) + log p(ẑ) + ½ B T R log 2π − ½ log |H|.

EM with this Gaussian as the posterior follows Macke et al. (2011) and Buesing, Macke & Sahani (2012): A, Q,
m_0 and Q_0 in closed form; C and d by one Fisher-scoring step on the expected likelihood, by Gauss–Hermite
quadrature over η, which is Gaussian with mean c·m_t + d and variance cᵀ V_t c.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nwb_rnn.fitting.count_law import CountLaw, moment_dispersion
from nwb_rnn.fitting.linear_gaussian import Posterior, maximise_dynamics, smooth_information
from nwb_rnn.fitting.subspace import LinearSystem

_NEWTON_STEPS = 25
_HALVINGS = 12
_TOLERANCE = 1e-3  # nats a bin that a Newton step must gain for another one
_PENALTY = 2e-4  # on C² and (d − d_0)², for each bin, so that silent units stay finite
_NODES, _WEIGHTS = np.sqrt(3) * np.array([0.0, 1.0, -1.0]), np.array([4, 1, 1]) / 6  # Gauss–Hermite
_LEAST_RATE = 1e-4  # counts per bin


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
    path = start
    if path is None:  # as for a generalised linear model, each count is first taken for its own mean
        path = _quadratic(system, law, observed, seen, law.predictor(observed + 0.5)).mean
    here = _log_joint(system, law, observed, seen, path)
    for _ in range(_NEWTON_STEPS):
        found = _quadratic(system, law, observed, seen, path @ system.readout.T + system.bias)
        path, there = _step(system, law, observed, seen, path, here, found.mean)
        done = np.all(there - here <= _TOLERANCE * bins)
        here = there
        if done:
            break
    eta = path @ system.readout.T + system.bias
    constant = (law.log_likelihood(observed, eta) - law.terms(observed, eta)) * seen
    evidence = found.log_likelihood + constant.sum((1, 2))
    return replace(found, mean=path, log_likelihood=evidence)  # a last full step may have been refused


def count_expectation_maximisation(
    system: LinearSystem, law: CountLaw, observed: np.ndarray, mask: np.ndarray, iterations: int,
    start: np.ndarray | None = None,
) -> tuple[LinearSystem, CountLaw, Posterior]:  # fmt: skip
    """Improve `system` by at most `iterations` of Laplace EM; returns it with its law and posterior.

    It stops where the evidence no longer rises, as near the top, since the posterior is not quite Gaussian.
    The dispersions of a negative binomial law start unknown (Poisson) and are found by moments.
    """
    seen = np.broadcast_to(mask, observed.shape).astype(float)
    posterior = smooth_counts(system, law, observed, seen, start)
    best = system, law, posterior
    for _ in range(iterations):
        system = maximise_dynamics(system, posterior, seen)
        system, law = _maximise_readout(system, law, posterior, observed, seen)
        posterior = smooth_counts(system, law, observed, seen, posterior.mean)
        if not posterior.log_likelihood.sum() > best[2].log_likelihood.sum():
            break
        best = system, law, posterior
    return best


def _quadratic(system, law, observed, seen, eta) -> Posterior:
    """The posterior of the likelihood's quadratic expansion about η (B, T, D), and its evidence.

    The evidence is without what does not depend on the system, such as log y!.
    """
    score, weight = law.score(observed, eta)
    score, weight, offset = score * seen, weight * seen, eta - system.bias
    outer = (system.readout[:, :, None] * system.readout[:, None, :]).reshape(len(system.bias), -1)
    precision = (weight @ outer).reshape(*eta.shape[:2], *system.transition.shape)
    found = smooth_information(system, precision, (score + weight * offset) @ system.readout)
    constant = law.terms(observed, eta) * seen - score * offset - 0.5 * weight * offset**2
    return replace(found, log_likelihood=found.log_likelihood + constant.sum((1, 2)))


def _log_joint(system, law, observed, seen, path) -> np.ndarray:
    """log p(y, z) of each trial (B,), up to what does not depend on z."""
    likelihood = (law.terms(observed, path @ system.readout.T + system.bias) * seen).sum((1, 2))
    first = path[:, 0] - system.initial_mean
    noise = path[:, 1:] - path[:, :-1] @ system.transition.T
    prior = (first @ np.linalg.inv(system.initial_covariance) * first).sum(-1)
    return likelihood - 0.5 * (
        prior + (noise @ np.linalg.inv(system.transition_covariance) * noise).sum((1, 2))
    )


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
    """C and d by one Fisher-scoring step, halved for units whose expected likelihood it would lower."""
    inside = np.nonzero(seen.any(-1))
    rows = _Rows(observed[inside], seen[inside], posterior.mean[inside], posterior.covariance[inside])
    theta = np.column_stack([system.readout, system.bias])
    count = np.maximum(rows.seen.sum(0), 1.0)
    centre, penalty = np.zeros_like(theta), _PENALTY * count
    centre[:, -1] = law.predictor(np.maximum((rows.observed * rows.seen).sum(0) / count, _LEAST_RATE))

    def value(theta):
        expected = sum(w * law.terms(rows.observed, eta) for w, eta in rows.predictors(theta))
        return (rows.seen * expected).sum(0) - 0.5 * penalty * ((theta - centre) ** 2).sum(1)

    slope, curvature = rows.derivatives(law, theta)
    slope -= penalty[:, None] * (theta - centre)
    curvature += penalty[:, None, None] * np.eye(theta.shape[1])
    step = np.clip(np.linalg.solve(curvature, slope[..., None])[..., 0], -1, 1)
    here = value(theta)
    for _ in range(_HALVINGS):
        worse = ~(value(theta + step) >= here)
        if not worse.any():
            break
        step[worse] /= 2
    else:
        step[worse] = 0
    theta = theta + step
    if law.observation == "negative_binomial":
        law = replace(law, dispersion=rows.dispersion(law, theta))
    return replace(system, readout=theta[:, :-1], bias=theta[:, -1]), law


@dataclass(frozen=True)
class _Rows:
    """Observed bins in a row: observed, seen (P, D); the latents' mean (P, R) and covariance (P, R, R)."""

    observed: np.ndarray
    seen: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def _law_of_predictor(self, theta):
        """Mean and standard deviation of η, (P, D) both."""
        outer = (theta[:, :-1, None] * theta[:, None, :-1]).reshape(len(theta), -1)
        variance = self.covariance.reshape(len(self.mean), -1) @ outer.T
        return self.mean @ theta[:, :-1].T + theta[:, -1], np.sqrt(np.maximum(variance, 1e-16))

    def predictors(self, theta):
        """Weight and η (P, D) at each node."""
        mean, spread = self._law_of_predictor(theta)
        return [(w, mean + x * spread) for x, w in zip(_NODES, _WEIGHTS, strict=True)]

    def derivatives(self, law: CountLaw, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope (D, R + 1) of the expected log-likelihood in C, d, and about its expected curvature."""
        mean, spread = self._law_of_predictor(theta)
        on_mean, on_spread, information = (np.zeros_like(mean) for _ in range(3))
        for x, w in zip(_NODES, _WEIGHTS, strict=True):
            score, weight = law.score(self.observed, mean + x * spread)
            on_mean += w * score * self.seen
            on_spread += w * x * score * self.seen
            information += w * weight * self.seen
        rank = self.mean.shape[1]
        design = np.column_stack([self.mean, np.ones(len(self.mean))])
        slope = on_mean.T @ design
        flat = self.covariance.reshape(len(design), -1)
        pull = ((on_spread / spread).T @ flat).reshape(-1, rank, rank)  # d spread / dc = V c / spread
        slope[:, :-1] += (pull @ theta[:, :-1, None])[..., 0]
        second = design[:, :, None] * design[:, None, :]
        second[:, :-1, :-1] += self.covariance
        return slope, (information.T @ second.reshape(len(design), -1)).reshape(-1, rank + 1, rank + 1)

    def dispersion(self, law: CountLaw, theta: np.ndarray) -> np.ndarray:
        nodes = self.predictors(theta)
        expected = np.concatenate([law.mean(eta) for _, eta in nodes])
        seen = np.concatenate([w * self.seen for w, _ in nodes])
        return moment_dispersion(expected, np.tile(self.observed, (len(nodes), 1)), seen)
