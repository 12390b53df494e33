"""Networks of relu units whose fixed points and linearisation are known in closed form.

Four relu units make one odd saturating function of the latents along a direction u (R,),

    clip(x; k) = ½ Σ_{s=±1} s [max(s x + k, 0) − max(s x − k, 0)],    x = u·z, cut off at ±k

and P of them a network  F(z) = a z + Σ_p w_p u_p clip(u_p·z; k_p)  with the symmetric Jacobian

    J(z) = a I + Σ_{p: |u_p·z| < k_p} w_p u_p u_pᵀ
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.teachers.readout import readout_arrays


@dataclass(frozen=True)
class KnownNetwork:
    """
    Attributes
    ----------
    arrays : for `LowRankRNN.from_arrays` and `simulate_session`
    fixed_points : (P, R), all of them
    eigenvalues : (P, R) of the map at each, largest first
    """

    arrays: dict[str, np.ndarray]
    fixed_points: np.ndarray
    eigenvalues: np.ndarray

    @property
    def stable(self) -> np.ndarray:
        """(P,) bool: every small push dies out."""
        return np.abs(self.eigenvalues).max(axis=1) < 1


@dataclass(frozen=True)
class Saturating:
    """The map above: `decay` a, `directions` u (P, R) of length 1, `weights` w (P,), `limits` k (P,)."""

    decay: float
    directions: np.ndarray
    weights: np.ndarray
    limits: np.ndarray

    def step(self, latents: np.ndarray) -> np.ndarray:
        """F(z) for latents (..., R)."""
        cut = np.clip(latents @ self.directions.T, -self.limits, self.limits)
        return self.decay * latents + (cut * self.weights) @ self.directions

    def radius(self, axis: np.ndarray) -> float:
        """r > 0 with axis·F(r axis) = r; with weights of one sign that grow at 0 there is exactly one.

        The left side is piecewise linear in r, and every piece that could hold the root is solved.
        """
        along = self.directions @ axis
        share = self.weights * np.abs(along)
        kinks = np.divide(self.limits, np.abs(along), out=np.full(len(along), np.inf), where=along != 0)
        edges = np.concatenate([[0.0], np.sort(kinks)])
        for low, high in zip(edges, [*edges[1:], np.inf], strict=True):
            cut = kinks <= low
            slope = self.decay + (share * np.abs(along))[~cut].sum()
            found = (share * self.limits)[cut].sum() / (1 - slope) if slope < 1 else np.inf
            if low < found <= high:
                return float(found)
        raise InputError("the latents do not grow away from 0 along this axis, or never turn back")

    def eigenvalues(self, latents: np.ndarray) -> np.ndarray:
        """(P, R) eigenvalues of J at latents (P, R), largest first."""
        linear = (np.abs(latents @ self.directions.T) < self.limits) * self.weights
        outer = np.einsum("qp,pr,ps->qrs", linear, self.directions, self.directions)
        return np.linalg.eigvalsh(self.decay * np.eye(latents.shape[1]) + outer)[:, ::-1]

    def network(
        self, points: np.ndarray, start: float, noise: float, bin_size: float, **readout
    ) -> KnownNetwork:
        """Weights of the relu units, and a readout; `start` is the standard deviation of the first latents,
        `noise` that of the latent noise per bin, `readout` as for `readout_arrays`."""
        signs = np.array([1.0, 1.0, -1.0, -1.0])  # of s, for the units with +k and with −k
        outer = np.array([1.0, -1.0, 1.0, -1.0])
        rank = self.directions.shape[1]
        left = signs[:, None, None] * self.directions
        right = 0.5 * (signs * outer)[:, None, None] * self.weights[:, None] * self.directions
        arrays = {
            "left_vectors": left.reshape(-1, rank),
            "right_vectors": right.reshape(-1, rank).T.copy(),
            "unit_bias": (-outer[:, None] * self.limits).ravel(),
            "decay": np.array(self.decay),
            "transition_cholesky": noise * np.eye(rank),
            "initial_mean": np.zeros(rank),
            "initial_cholesky": start * np.eye(rank),
            "activation": np.array("relu"),
            "bin_size": np.array(bin_size),
        }
        return KnownNetwork(
            arrays | readout_arrays(bin_size=bin_size, **readout), points, self.eigenvalues(points)
        )
