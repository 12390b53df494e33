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

from dataclasses import replace

import numpy as np

from nwb_rnn.fitting import count_sums
from nwb_rnn.fitting.count_law import CountLaw, moment_dispersion
from nwb_rnn.fitting.linear_gaussian import Posterior, maximise_dynamics, smooth_information
from nwb_rnn.fitting.subspace import LinearSystem

_NEWTON_STEPS = 25
_HALVINGS = 12
_TOLERANCE = 1e-3  # nats a bin that a Newton step must gain for another one
_PENALTY = 2e-4  # on C² and (d − d_0)², for each bin, so that silent units stay finite
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
    return _smooth(system, law, count_sums.bins(observed, mask), start)


def _smooth(system: LinearSystem, law: CountLaw, bins: count_sums.Bins, start: np.ndarray | None):
    seen = np.maximum(bins.seen.any(-1).sum(1), 1)
    path = start
    if path is None:  # as for a generalised linear model, each count is first taken for its own mean
        path = _quadratic(system, law, bins, None).mean
    here = _log_joint(system, law, bins, path, np.arange(len(path)))
    for _ in range(_NEWTON_STEPS):
        found = _quadratic(system, law, bins, path)
        path, there = _step(system, law, bins, path, here, found.mean)
        done = np.all(there - here <= _TOLERANCE * seen)
        here = there
        if done:
            break
    evidence = found.log_likelihood + bins.free(law)
    return replace(found, mean=path, log_likelihood=evidence)  # a last full step may have been refused


def count_expectation_maximisation(
    system: LinearSystem, law: CountLaw, observed: np.ndarray, mask: np.ndarray, iterations: int,
    start: np.ndarray | None = None,
) -> tuple[LinearSystem, CountLaw, Posterior]:  # fmt: skip
    """Improve `system` by at most `iterations` of Laplace EM; returns it with its law and posterior.

    It stops where the evidence no longer rises, as near the top, since the posterior is not quite Gaussian.
    The dispersions of a negative binomial law start unknown (Poisson) and are found by moments.
    """
    bins = count_sums.bins(observed, mask)
    posterior = _smooth(system, law, bins, start)
    best = system, law, posterior
    for _ in range(iterations):
        system = maximise_dynamics(system, posterior, bins.seen)
        system, law = _maximise_readout(system, law, posterior, bins)
        posterior = _smooth(system, law, bins, posterior.mean)
        if not posterior.log_likelihood.sum() > best[2].log_likelihood.sum():
            break
        best = system, law, posterior
    return best


def _quadratic(system, law, bins, path) -> Posterior:
    """The posterior of the likelihood's quadratic expansion about a path, and its evidence.

    The evidence is without what does not depend on the system, such as log y!.
    """
    precision, linear, constant = bins.expansion(law, system.readout, system.bias, path)
    found = smooth_information(system, precision, linear)
    return replace(found, log_likelihood=found.log_likelihood + constant)


def _log_joint(system, law, bins, path, trials) -> np.ndarray:
    """log p(y, z) of some trials at a path (B, T, R), up to what does not depend on z."""
    likelihood = bins.log_likelihood(law, system.readout, system.bias, path, trials)
    path = path[trials]
    first = path[:, 0] - system.initial_mean
    noise = path[:, 1:] - path[:, :-1] @ system.transition.T
    prior = (first @ np.linalg.inv(system.initial_covariance) * first).sum(-1)
    return likelihood - 0.5 * (
        prior + (noise @ np.linalg.inv(system.transition_covariance) * noise).sum((1, 2))
    )


def _step(system, law, bins, path, here, goal):
    """From `path` towards `goal`, each trial by the largest of 1, ½, ¼ … that raises log p(y, z)."""
    path, value, left = path.copy(), here.copy(), np.arange(len(path))
    for power in range(_HALVINGS):
        tried = path.copy()
        tried[left] += 0.5**power * (goal[left] - path[left])
        there = _log_joint(system, law, bins, tried, left)
        better = there >= here[left]
        taken = left[better]
        path[taken], value[taken] = tried[taken], there[better]
        left = left[~better]
        if not len(left):
            break
    return path, value


def _maximise_readout(system, law, posterior, bins):
    """C and d by one Fisher-scoring step, halved for units whose expected likelihood it would lower."""
    sums = bins.regression(posterior.mean, posterior.covariance)
    theta = np.column_stack([system.readout, system.bias])
    count = np.maximum(bins.seen.sum((0, 1)), 1.0)
    centre, penalty = np.zeros_like(theta), _PENALTY * count
    total = (bins.observed * bins.seen).sum((0, 1))
    centre[:, -1] = law.predictor(np.maximum(total / count, _LEAST_RATE))

    def worth(value, theta):
        return value - 0.5 * penalty * ((theta - centre) ** 2).sum(1)

    value, slope, curvature = sums.derivatives(law, theta)
    slope -= penalty[:, None] * (theta - centre)
    curvature += penalty[:, None, None] * np.eye(theta.shape[1])
    step = np.clip(np.linalg.solve(curvature, slope[..., None])[..., 0], -1, 1)
    here = worth(value, theta)
    for _ in range(_HALVINGS):
        worse = ~(worth(sums.value(law, theta + step), theta + step) >= here)
        if not worse.any():
            break
        step[worse] /= 2
    else:
        step[worse] = 0
    theta = theta + step
    if law.observation == "negative_binomial":
        law = replace(law, dispersion=_dispersion(law, theta, posterior, bins))
    return replace(system, readout=theta[:, :-1], bias=theta[:, -1]), law


def _dispersion(law: CountLaw, theta: np.ndarray, posterior: Posterior, bins: count_sums.Bins) -> np.ndarray:
    rows = bins.definition(posterior.mean, posterior.covariance)
    nodes = rows.predictors(theta)
    expected = np.concatenate([law.mean(eta[0]) for _, eta in nodes])
    seen = np.concatenate([w * rows.seen for w, _ in nodes])
    return moment_dispersion(expected, np.tile(rows.observed, (len(nodes), 1)), seen)
