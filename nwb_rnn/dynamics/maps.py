"""The noise-free map of a low-rank network, in float64.

    F(z) = a z + V φ(M z + c; h)

M (N, R) and V (R, N) are the connectivity J = M V of N units, a is the decay, c the constant current
that an input brings to every unit (W v for a constant filtered input v), and φ one of

    relu           max(x − h, 0)
    clipped_relu   max(x + h, 0) − max(x, 0)
    tanh           tanh(x − h)
    softplus       ln(1 + exp(x − h))
    identity       x − h

(Pals et al. 2024, arXiv 2406.16749, equations of the latent transition without noise).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from nwb_rnn.errors import InputError

ACTIVATIONS = ("relu", "clipped_relu", "tanh", "softplus", "identity")
PIECEWISE_LINEAR = ("relu", "clipped_relu", "identity")


@dataclass(frozen=True, eq=False)
class LowRankMap:
    """One step of the noise-free latent dynamics under a constant input.

    Attributes
    ----------
    decay : a, one number
    left_vectors : (N, R) M
    right_vectors : (R, N) V
    unit_bias : (N,) h
    activation : one of `ACTIVATIONS`
    input_current : (N,) c; zeros when None
    bin_size : Δ, s

    Raises
    ------
    InputError : shapes disagree, a value is not finite, or the activation is unknown.
    """

    decay: float
    left_vectors: np.ndarray
    right_vectors: np.ndarray
    unit_bias: np.ndarray
    activation: str = "relu"
    input_current: np.ndarray | None = None
    bin_size: float = 1.0

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)

        put("decay", float(self.decay))
        put("bin_size", float(self.bin_size))
        for name in ("left_vectors", "right_vectors", "unit_bias"):
            put(name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        if self.left_vectors.ndim != 2:
            raise InputError(f"left_vectors has shape {self.left_vectors.shape}; expected (units, rank).")
        units, rank = self.left_vectors.shape
        current = np.zeros(units) if self.input_current is None else self.input_current
        put("input_current", np.ascontiguousarray(current, dtype=np.float64))
        expected = {"right_vectors": (rank, units), "unit_bias": (units,), "input_current": (units,)}
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise InputError(
                    f"{name} has shape {getattr(self, name).shape}; left_vectors {(units, rank)} "
                    f"asks for {shape}."
                )
        if self.activation not in ACTIVATIONS:
            raise InputError(
                f"activation is {self.activation!r}; a low-rank map knows {', '.join(ACTIVATIONS)}. "
                "For another one pass a step function to find_fixed_points."
            )
        numbers = (self.left_vectors, self.right_vectors, self.unit_bias, self.input_current, self.decay)
        if not all(np.isfinite(value).all() for value in numbers) or not self.bin_size > 0:
            raise InputError("The map holds values that are not finite, or a bin width that is not positive.")

    @property
    def rank(self) -> int:
        """R, the number of latents."""
        return self.left_vectors.shape[1]

    @property
    def units(self) -> int:
        """N, the number of network units."""
        return self.left_vectors.shape[0]

    @property
    def is_piecewise_linear(self) -> bool:
        """True when every fixed point can be found and proved."""
        return self.activation in PIECEWISE_LINEAR

    @property
    def bending_units(self) -> np.ndarray:
        """(N,) bool: units whose kink bends F, because latents drive them and they drive latents."""
        return np.asarray(self.left_vectors.any(axis=1) & self.right_vectors.any(axis=0))

    def with_current(self, current: np.ndarray) -> LowRankMap:
        """The same network under another constant current (N,)."""
        return replace(self, input_current=current)

    def in_units_of(self, size: float) -> LowRankMap:
        """The same map of y = z / size; without rounding where `size` is a power of two."""
        return replace(self, left_vectors=self.left_vectors * size, right_vectors=self.right_vectors / size)

    def currents(self, z: np.ndarray) -> np.ndarray:
        """x = M z + c, (..., R) -> (..., N)."""
        return z @ self.left_vectors.T + self.input_current

    def step(self, z: np.ndarray) -> np.ndarray:
        """F(z), (..., R) -> (..., R)."""
        return self.decay * z + self._rates(self.currents(z)) @ self.right_vectors.T

    __call__ = step

    def residual(self, z: np.ndarray) -> np.ndarray:
        """q = ½‖F(z) − z‖², (..., R) -> (...)."""
        return 0.5 * np.square(self.step(z) - z).sum(axis=-1)

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """dF/dz = a I + V φ'(x) M, (..., R) -> (..., R, R); on a kink the mean of both sides."""
        slope = self._slopes(self.currents(z))
        product = (slope @ self._rank_one_terms).reshape(*slope.shape[:-1], self.rank, self.rank)
        return product + self.decay * np.eye(self.rank)

    def input_jacobian(self, z: np.ndarray, input_weights: np.ndarray) -> np.ndarray:
        """dF/dv = V φ'(x) W for input weights W (N, U), (..., R) -> (..., R, U)."""
        slope = self._slopes(self.currents(z))
        return (slope[..., None, :] * self.right_vectors) @ input_weights

    def regions(self, z: np.ndarray, tolerance: float | np.ndarray = 0.0) -> np.ndarray:
        """(..., N) int8: how many kinks each unit has passed; −1 within `tolerance` of a kink."""
        x = self.currents(z)
        passed = np.zeros(x.shape, dtype=np.int8)
        for kink in self._kinks():
            passed += (x > kink).astype(np.int8)
        for kink in self._kinks() if np.any(tolerance) else ():
            passed[np.abs(x - kink) <= tolerance] = -1
        return passed

    def slopes_beside(self, z: np.ndarray, units: np.ndarray) -> np.ndarray:
        """(2, K) slopes of the K given units just below and just above their currents at z (R,)."""
        x = self.currents(z)
        reach = 1e-7 * (1.0 + np.abs(x) + np.abs(self.unit_bias))
        return np.stack([self._slopes(x - reach)[units], self._slopes(x + reach)[units]])

    def simulate(self, z: np.ndarray, steps: int) -> np.ndarray:
        """The orbit from z (..., R): (steps + 1, ..., R), first the start itself."""
        orbit = np.empty((steps + 1, *np.shape(z)))
        orbit[0] = z
        for t in range(steps):
            orbit[t + 1] = self.step(orbit[t])
        return orbit

    @cached_property
    def _rank_one_terms(self) -> np.ndarray:
        """(N, R·R) V_ri M_is of each unit: the Jacobian is their sum weighted by the slopes."""
        terms = self.right_vectors.T[:, :, None] * self.left_vectors[:, None, :]
        return terms.reshape(self.units, self.rank**2)

    def _kinks(self) -> tuple[np.ndarray, ...]:
        """Currents (N,) at which each unit changes its slope."""
        if self.activation == "relu":
            return (self.unit_bias,)
        if self.activation == "clipped_relu":
            return (-self.unit_bias, np.zeros_like(self.unit_bias))
        return ()

    def _rates(self, x: np.ndarray) -> np.ndarray:
        h = self.unit_bias
        if self.activation == "relu":
            return np.maximum(x - h, 0.0)
        if self.activation == "clipped_relu":
            return np.maximum(x + h, 0.0) - np.maximum(x, 0.0)
        if self.activation == "tanh":
            return np.tanh(x - h)
        if self.activation == "softplus":
            return np.logaddexp(0.0, x - h)
        return x - h

    def _slopes(self, x: np.ndarray) -> np.ndarray:
        h = self.unit_bias
        if self.activation == "relu":
            return np.heaviside(x - h, 0.5)
        if self.activation == "clipped_relu":
            return np.heaviside(x + h, 0.5) - np.heaviside(x, 0.5)
        if self.activation == "tanh":
            return 1.0 - np.square(np.tanh(x - h))
        if self.activation == "softplus":
            return 0.5 * (1.0 + np.tanh(0.5 * (x - h)))
        return np.ones_like(x)
