"""The linear dynamical system that a fit starts from.

Three are found in closed form: by subspace identification with many lags, which sees slow latents and rhythms
best, with few, which also sees latents that forget soon, and by factor analysis of single bins. Continuous
signals take the likeliest after a few steps of EM; counts the one of highest evidence after a few steps of
Laplace EM, and more steps of that. Counts are taken as signals only to find the three: a Gaussian likelihood
weighs each unit's noise alike at all rates, and EM under it flattens rhythms that spikes hold.

Sessions whose units were never recorded together get one system each, which are aligned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nwb_rnn.fitting.count_law import CountLaw
from nwb_rnn.fitting.factor_analysis import factor_dynamics
from nwb_rnn.fitting.laplace import count_expectation_maximisation, smooth_counts
from nwb_rnn.fitting.linear_gaussian import Posterior, expectation_maximisation, smooth
from nwb_rnn.fitting.poisson_regression import poisson_regression
from nwb_rnn.fitting.sessions_start import joint_system, unit_blocks
from nwb_rnn.fitting.subspace import LinearSystem, stable, subspace_identification
from nwb_rnn.models.low_rank import LowRankConfig

DECAY = 0.9  # of the network's units per bin, and of random latents
_EM_ITERATIONS = 8
_FEW_ITERATIONS, _MORE_ITERATIONS = 3, 20  # of Laplace EM
_COUNT_BINS = 12_000  # that it learns from
_CLEARLY = 0.01  # nats a bin; less says nothing after so few steps
_FEW_LAGS = 3


def linear_system(config: LowRankConfig, observed: np.ndarray, mask: np.ndarray, rng):
    """A linear system and its posterior; sessions whose units never meet are aligned first."""
    likeliest = _likeliest if config.observation == "gaussian" else _likeliest_of_counts

    def of_session(values, seen, units):
        return unit_variance(*likeliest(config, values, seen, units), seen)

    blocks = unit_blocks(mask)
    if len(blocks) == 1:
        return likeliest(config, observed, mask, blocks[0])
    system = joint_system(observed, mask, blocks, of_session, rng)
    if config.observation == "gaussian":
        return expectation_maximisation(system, observed, mask, _EM_ITERATIONS)
    few = _few(mask)
    law = _law(config)
    system, law, _ = count_expectation_maximisation(system, law, observed[few], mask[few], _EM_ITERATIONS)
    return system, smooth_counts(system, law, observed, mask)


def _candidates(observed: np.ndarray, mask: np.ndarray, rank: int) -> list[LinearSystem]:
    found = [subspace_identification(observed, mask, rank)]
    if rank <= observed.shape[2]:
        found.append(subspace_identification(observed, mask, rank, _FEW_LAGS))
        found.append(factor_dynamics(observed, mask, rank))
    return found


def _likeliest(config: LowRankConfig, observed: np.ndarray, mask: np.ndarray, units: np.ndarray):
    """Of three linear systems the likeliest after a few steps of EM, with its posterior."""
    found = _candidates(observed, mask, config.rank)
    found = [expectation_maximisation(system, observed, mask, _EM_ITERATIONS) for system in found]
    scores = np.array([posterior.log_likelihood.sum() for _, posterior in found]) / mask.any(-1).sum()
    return found[scores.argmax() if scores.max() > scores[0] + _CLEARLY else 0]


def _likeliest_of_counts(config: LowRankConfig, observed: np.ndarray, mask: np.ndarray, units: np.ndarray):
    """The same by Laplace EM: a few steps of it for each system, more for the likeliest."""
    law = _law(config).select(units)
    few = _few(mask)
    values, seen = observed[few], mask[few]
    found = [_seen_through(law, s, values, seen) for s in _candidates(observed, mask, config.rank)]
    system, law, posterior = max(found, key=lambda triple: triple[2].log_likelihood.sum())
    system, law, _ = count_expectation_maximisation(
        system, law, values, seen, _MORE_ITERATIONS, posterior.mean
    )
    return system, smooth_counts(system, law, observed, mask)


def _few(mask: np.ndarray) -> np.ndarray:
    """Segments, evenly spread, of which Laplace EM learns: all, or as many as have _COUNT_BINS bins."""
    share = min(1.0, _COUNT_BINS / max(mask.any(-1).sum(), 1))
    return np.unique(np.linspace(0, len(mask) - 1, max(1, round(share * len(mask)))).astype(int))


def _law(config: LowRankConfig) -> CountLaw:
    return CountLaw(config.observation, config.link)


def _seen_through(law: CountLaw, system: LinearSystem, observed: np.ndarray, mask: np.ndarray):
    """Laplace EM from a system for counts taken as signals."""
    latents = smooth(system, observed, mask).mean
    system = _with_link(law.link, system, latents, observed, mask)
    return count_expectation_maximisation(system, law, observed, mask, _FEW_ITERATIONS, latents)


def _with_link(link: str, system: LinearSystem, latents: np.ndarray, observed: np.ndarray, mask: np.ndarray):
    """The system with a readout for the link, by regression on `latents` (B, T, R)."""
    rows = np.nonzero(mask.any(-1))
    seen = np.broadcast_to(mask, observed.shape)[rows].astype(float)
    weights, bias = poisson_regression(latents[rows], observed[rows], seen, link)
    return replace(system, readout=weights, bias=bias)


def random_system(config: LowRankConfig, observed: np.ndarray, mask: np.ndarray, rng):
    """A linear system that knows only each unit's mean and variance, and its posterior."""
    rank = config.rank
    seen = np.broadcast_to(mask, observed.shape)
    count = np.maximum(seen.sum((0, 1)), 1)
    bias = np.where(seen, observed, 0).sum((0, 1)) / count
    variance = np.where(seen, (observed - bias) ** 2, 0).sum((0, 1)) / count + 1e-6
    weights = rng.standard_normal((len(bias), rank)) * np.sqrt(variance / (2 * rank))[:, None]
    system = LinearSystem(
        transition=DECAY * np.eye(rank),
        transition_covariance=(1 - DECAY**2) * np.eye(rank),
        readout=weights,
        bias=bias,
        noise=variance / 2,
        initial_mean=np.zeros(rank),
        initial_covariance=np.eye(rank),
    )
    posterior = smooth(system, observed, mask)
    if config.observation == "gaussian":
        return system, posterior
    return _with_link(config.link, system, posterior.mean, observed, mask), posterior


def unit_variance(
    system: LinearSystem, posterior: Posterior, mask: np.ndarray
) -> tuple[LinearSystem, Posterior]:
    """The same system in a basis where the latents have unit covariance over the observed bins."""
    inside = mask.any(-1)
    second = posterior.covariance + posterior.mean[..., :, None] * posterior.mean[..., None, :]
    values, vectors = np.linalg.eigh(second[inside].mean(0))
    values = np.maximum(values, 1e-6 * values.max())
    basis, inverse = (vectors / np.sqrt(values)).T, vectors * np.sqrt(values)
    system = LinearSystem(
        transition=stable(basis @ system.transition @ inverse),
        transition_covariance=basis @ system.transition_covariance @ basis.T,
        readout=system.readout @ inverse,
        bias=system.bias,
        noise=system.noise,
        initial_mean=basis @ posterior.mean[:, 0].mean(0),
        initial_covariance=basis @ (second[:, 0].mean(0) - _outer(posterior.mean[:, 0].mean(0))) @ basis.T,
    )
    mean = posterior.mean @ basis.T
    covariance = basis @ posterior.covariance @ basis.T
    return system, Posterior(mean, covariance, posterior.lagged, posterior.log_likelihood)


def _outer(vector: np.ndarray) -> np.ndarray:
    return np.outer(vector, vector)
