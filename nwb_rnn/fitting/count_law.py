"""The law of spike counts in numpy, for the linear start: scores, information and likelihoods."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from nwb_rnn.models import observations

_DISPERSIONS = (0.05, 1000.0)  # of negative binomial counts


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
        return replace(
            self, link=link, dispersion=None if self.dispersion is None else self.dispersion[units]
        )

    def mean(self, predictor: np.ndarray) -> np.ndarray:
        return observations.mean(torch.as_tensor(predictor), "poisson", self.link).numpy()

    def predictor(self, mean: np.ndarray) -> np.ndarray:
        """η of the expected count `mean` > 0 (..., D)."""
        exponential = np.array([name == "exp" for name in self.link.split(",")])
        return np.where(exponential, np.log(mean), mean + np.log(-np.expm1(-mean)))

    def score(self, observed: np.ndarray, predictor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """d log p / dη and its expected square (Fisher information), both like `predictor`."""
        eta = torch.as_tensor(predictor)
        expected = observations.mean(eta, self._kind, self.link)
        slope = observations.slope(eta, self._kind, self.link)
        weight = slope / observations.variance(expected, self._kind, self._spread)
        return (weight * (torch.as_tensor(observed) - expected)).numpy(), (weight * slope).numpy()

    def log_likelihood(self, observed: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        """log p(y | η), not summed."""
        y, eta = torch.as_tensor(observed), torch.as_tensor(predictor)
        return observations.log_likelihood(y, eta, self._kind, self.link, self._spread).numpy()

    def free_terms(self, observed: np.ndarray) -> np.ndarray:
        """The rest of it, which depends on no η."""
        y = torch.as_tensor(observed)
        free = -torch.lgamma(y + 1)
        if self._spread is not None:
            free = free + observations.dispersion_terms(y, self._spread)
        return free.numpy()

    def terms(self, observed: np.ndarray, predictor: np.ndarray) -> np.ndarray:
        """The part of log p(y | η) that depends on η, which costs far less."""
        y, eta = torch.as_tensor(observed), torch.as_tensor(predictor)
        return observations.count_terms(y, eta, self._kind, self.link, self._spread).numpy()

    @property
    def _kind(self) -> str:
        return "poisson" if self.dispersion is None else "negative_binomial"

    @property
    def _spread(self) -> torch.Tensor | None:
        return None if self.dispersion is None else torch.as_tensor(self.dispersion)


def moment_dispersion(expected: np.ndarray, observed: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """k (D,) from Σ (y − μ)² − μ = Σ μ² / k over rows (P, D), within the range where k can be told."""
    excess = (seen * ((observed - expected) ** 2 - expected)).sum(0)
    share = np.maximum(excess, 0) / np.maximum((seen * expected**2).sum(0), 1e-12)
    return 1 / np.clip(share, 1 / _DISPERSIONS[1], 1 / _DISPERSIONS[0])
