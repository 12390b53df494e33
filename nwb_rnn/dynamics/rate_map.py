"""The step of a rate network without noise, as a map whose fixed points can be searched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.models import rate
from nwb_rnn.models.rate import RateParameters


@dataclass(frozen=True, eq=False)
class RateMap:
    """F(x) = (1 − α) x + α (J φ(x) + W u + b) for a constant input u (U,).

    Attributes
    ----------
    bin_size : Δ, s
    """

    parameters: RateParameters
    activation: str
    inputs: np.ndarray

    @property
    def bin_size(self) -> float:
        return self.parameters.bin_size

    def step(self, z: np.ndarray) -> np.ndarray:
        """F(x), (..., N) -> (..., N)."""
        inputs = np.broadcast_to(self.inputs, (*z.shape[:-1], len(self.inputs)))
        return rate.step(self.parameters, self.activation, z, inputs)

    __call__ = step

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """dF/dx = (1 − α) I + α J diag φ'(x), (..., N) -> (..., N, N)."""
        p = self.parameters
        slope = rate.slopes_of(z, self.activation)
        return p.alpha * p.recurrent_weights * slope[..., None, :] + (1 - p.alpha) * np.eye(z.shape[-1])
