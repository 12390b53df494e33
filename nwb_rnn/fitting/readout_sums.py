"""What an M step must know of a readout: log p(y | η) summed over drawn trajectories, and its derivatives.

`ReadoutSums` is the definition, in torch; those of counts on a CPU are compiled, see `count_kernel`.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from torch import Tensor, as_tensor

from nwb_rnn.fitting.count_law import CountLaw
from nwb_rnn.fitting.count_sums import regression
from nwb_rnn.models import observations

_BLOCK = 2_000  # rows of the regression at once


@dataclass(frozen=True)
class ReadoutSums:
    """Sums over bins and draws of them, for η = θ · x.

    Attributes
    ----------
    observation, link, spread : the law, float64 too, as in `models.observations`
    design : x (S, P, I) of S draws, float64
    observed, seen : (P, D), float64
    """

    observation: str
    link: str
    spread: Tensor | None
    design: Tensor
    observed: Tensor
    seen: Tensor

    def value(self, theta: Tensor) -> Tensor:
        """log p(y | η) of each unit (D,) for θ (D, I), up to a constant."""
        eta = self.design @ theta.T
        values = observations.log_likelihood(self.observed, eta, self.observation, self.link, self.spread)
        return (self.seen * values).sum((0, 1))

    def derivatives(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The slope (D, I) of the value, and the Fisher information (D, I, I) of θ.

        Of Gaussian observations both as if their variance were 1, which cancels in a step.
        """
        eta = self.design @ theta.T
        expected = observations.mean(eta, self.observation, self.link)
        slope = observations.slope(eta, self.observation, self.link)
        weight = self.seen
        if self.observation != "gaussian":
            weight = weight / observations.variance(expected, self.observation, self.spread)
        score = (weight * slope * (self.observed - expected)).flatten(0, 1).T @ self.design.flatten(0, 1)
        return score, self._weighted_gram((weight * slope**2).expand_as(eta))

    def _weighted_gram(self, weight: Tensor) -> Tensor:
        """Σ weight x xᵀ (D, I, I) for weights (S, P, D), as products of matrices, in blocks."""
        size = self.design.shape[-1]
        total = self.design.new_zeros(weight.shape[-1], size * size)
        rows = self.design.flatten(0, 1).split(_BLOCK), weight.flatten(0, 1).split(_BLOCK)
        for x, w in zip(*rows, strict=True):
            total += w.T @ (x[:, :, None] * x[:, None, :]).flatten(1)
        return total.unflatten(1, (size, size))


class CompiledReadoutSums:
    """As `ReadoutSums`, for counts."""

    def __init__(self, definition: ReadoutSums):
        d = definition
        dispersion = None if d.spread is None else d.spread.numpy()
        self._law = CountLaw(d.observation, d.link, dispersion)
        self._sums = regression(d.observed.numpy(), d.seen.numpy(), d.design.numpy())

    def value(self, theta: Tensor) -> Tensor:
        return as_tensor(self._sums.value(self._law, theta.numpy()))

    def derivatives(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        _, slope, information = self._sums.derivatives(self._law, theta.numpy())
        return as_tensor(slope), as_tensor(information)


def readout_sums(*law_and_data) -> ReadoutSums | CompiledReadoutSums:
    """The sums from the fields of `ReadoutSums`."""
    definition = ReadoutSums(*law_and_data)
    on_cpu = definition.design.device.type == "cpu"
    if definition.observation == "gaussian" or not on_cpu or importlib.util.find_spec("numba") is None:
        return definition
    return CompiledReadoutSums(definition)
