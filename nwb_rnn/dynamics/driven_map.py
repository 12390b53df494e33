"""One step of a network of rate units under a constant input, as a map with its Jacobian.

F(x) = (1 − α) x + α (J φ(x) + c),      dF/dx = (1 − α) I + α J diag φ'(x)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class DrivenMap:
    """
    Attributes
    ----------
    weights : (N, N) J, float64
    current : (N,) c = W u + b
    share : α = Δ / τ
    activation : tanh, relu or softplus
    bin_size : Δ, s
    """

    weights: np.ndarray
    current: np.ndarray
    share: float
    activation: str
    bin_size: float = 1.0

    def step(self, x: np.ndarray) -> np.ndarray:
        """F(x), (B, N)."""
        return (1 - self.share) * x + self.share * (self._rates(x) @ self.weights.T + self.current)

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """(B, N, N)."""
        if self.activation == "tanh":
            slopes = 1 - np.tanh(x) ** 2
        elif self.activation == "relu":
            slopes = (x > 0).astype(float)
        else:
            slopes = 0.5 * (1 + np.tanh(0.5 * x))
        return (1 - self.share) * np.eye(x.shape[1]) + self.share * self.weights * slopes[:, None, :]

    def residual(self, x: np.ndarray) -> np.ndarray:
        """q = ½‖F(x) − x‖², (B, N) -> (B,)."""
        return 0.5 * np.square(self.step(x) - x).sum(axis=-1)

    def _rates(self, x: np.ndarray) -> np.ndarray:
        if self.activation == "tanh":
            return np.tanh(x)
        return np.maximum(x, 0) if self.activation == "relu" else np.logaddexp(0, x)
