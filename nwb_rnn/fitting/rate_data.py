"""Recorded rates as what the solvers of a rate network regress on.

For a network in Euler steps, x_{t+1} = (1 − α) x_t + α (J r_t + W u_t + b): where both ends of a step were
recorded, x = φ⁻¹(r) turns the fit into a regression of

    d_t = (x_{t+1} − (1 − α) x_t)/α     on     [r_t, u_t, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nwb_rnn.models.rate import currents_of


@dataclass(frozen=True, eq=False)
class RateData:
    """Rates in φ's range.

    Attributes
    ----------
    rates : (B, T, D); anything where not recorded
    mask : (B, T) True where recorded
    inputs : (B, T, U); U may be 0
    alpha : Δ/τ
    activation : φ
    error : (D,) standard deviation that noise left in smoothed rates makes in d_t − J r_t at slope 1, with J
        of the gain in the configuration; None where unknown
    """

    rates: np.ndarray
    mask: np.ndarray
    inputs: np.ndarray
    alpha: float
    activation: str
    error: np.ndarray | None = None

    def select(self, trials: np.ndarray) -> RateData:
        """Some of the trials; also the same trial more than once."""
        return replace(self, rates=self.rates[trials], mask=self.mask[trials], inputs=self.inputs[trials])

    def bins(self, span: slice) -> RateData:
        """Some of the bins of every trial."""
        return replace(self, rates=self.rates[:, span], mask=self.mask[:, span], inputs=self.inputs[:, span])

    @property
    def steps(self) -> np.ndarray:
        """(B, T−1) True for steps with both ends recorded."""
        return self.mask[:, :-1] & self.mask[:, 1:]


@dataclass(frozen=True, eq=False)
class Targets:
    """What the outputs of a network shall be, in their own units.

    Attributes
    ----------
    values : (B, T, M); anything where the mask is False
    mask : (B, T) True where the outputs are wanted
    names : M of them
    """

    values: np.ndarray
    mask: np.ndarray
    names: tuple[str, ...]

    @property
    def level(self) -> np.ndarray:
        """(M,) means."""
        return self.values[self.mask].mean(axis=0)

    @property
    def size(self) -> np.ndarray:
        """(M,) standard deviations; 1 for an output that never changes."""
        spread = self.values[self.mask].std(axis=0)
        return np.where(spread > 0, spread, 1.0)


@dataclass(frozen=True, eq=False)
class Regression:
    """One row for each recorded step.

    Attributes
    ----------
    regressors : (S, N + U + 1) rates of all units, inputs, and 1
    before, after : (S, D) x_t and x_{t+1} of the recorded units
    target : (S, D) d_t
    after_rates : (S, D) r_{t+1}
    """

    regressors: np.ndarray
    before: np.ndarray
    after: np.ndarray
    target: np.ndarray
    after_rates: np.ndarray
    alpha: float
    activation: str


def regression(data: RateData, all_rates: np.ndarray | None = None) -> Regression:
    """The regression of the recorded units on all units.

    Parameters
    ----------
    all_rates : (B, T, N) rates of all units, the recorded ones first; those recorded when None
    """
    rates = data.rates if all_rates is None else all_rates
    keep = data.steps
    now = np.concatenate(
        [rates[:, :-1][keep], data.inputs[:, :-1][keep], np.ones((int(keep.sum()), 1))], axis=1
    )
    currents = currents_of(data.rates, data.activation)
    before, after = currents[:, :-1][keep], currents[:, 1:][keep]
    target = (after - (1 - data.alpha) * before) / data.alpha
    return Regression(now, before, after, target, data.rates[:, 1:][keep], data.alpha, data.activation)
