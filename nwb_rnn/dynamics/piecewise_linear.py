"""One form for every system of piecewise-linear units whose zeros are sought.

    H(y) = D y + g + Σ_i v_i clip(m_i · y + b_i, 0, d_i)

A relu unit has d = ∞; a clipped relu of bias h has d = |h|. Both cases below have R equations in R
unknowns, so the same search serves them.

**The latents themselves**, y = z: D = (a − 1) I. The zeros of H are the fixed points of F.

**Infinity**, for relu: write z = n / s with max|n| = 1 and s = 1 / max|z|. Multiplying F(z) − z by s > 0
gives (a − 1) n + V max(M n + (c − h) s, 0), again piecewise linear, in the R − 1 free coordinates of n
on one of the 2R faces of the cube and in s. All points outside the cube max|z| ≤ z₀ are those with
0 < s ≤ 1/z₀, a bounded box per face, so a search of that box proves that nothing lies far out, or
finds what does. Only a zero at s = 0 (a ray along which the fixed-point equation holds at infinity)
leaves the question open.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from nwb_rnn.dynamics.maps import LowRankMap

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class ClippedSystem:
    """H(y) = D y + g + Σ_i v_i clip(m_i·y + b_i, 0, d_i), with bounds on its own rounding.

    Attributes
    ----------
    linear : (R, R) D, off by at most `linear_error` per entry
    constant : (R,) g, off by at most `constant_error`
    normals : (N, R) m
    offsets : (N,) b, off by at most `offset_error`
    weights : (N, R) v, one row per unit
    heights : (N,) d, infinite for relu
    offset_error : (N,) bound on the rounding of b
    """

    linear: np.ndarray
    constant: np.ndarray
    normals: np.ndarray
    offsets: np.ndarray
    weights: np.ndarray
    heights: np.ndarray
    linear_error: np.ndarray
    constant_error: np.ndarray
    offset_error: np.ndarray

    @property
    def rank(self) -> int:
        """R."""
        return len(self.constant)

    def arguments(self) -> tuple[np.ndarray, ...]:
        """All arrays in the order of the attributes above, as the compiled search takes them."""
        return tuple(getattr(self, item.name) for item in fields(self))


def latent_system(network: LowRankMap) -> ClippedSystem:
    """F(z) − z of a relu, clipped relu or identity network as a `ClippedSystem` in z."""
    rank = network.rank
    linear = (network.decay - 1.0) * np.eye(rank)
    linear_error = EPS * np.abs(linear)
    constant, constant_error = np.zeros(rank), np.zeros(rank)
    h, c = network.unit_bias, network.input_current
    weights = network.right_vectors.T.copy()
    normals = network.left_vectors
    if network.activation == "identity":
        m, v = normals, network.right_vectors
        growth = (network.units + 4) * EPS
        linear_error = linear_error + growth * (np.abs(v) @ np.abs(m)) + EPS * np.abs(linear + v @ m)
        constant_error = growth * (np.abs(v) @ (np.abs(c) + np.abs(h)))
        none = np.zeros((0, rank))
        return ClippedSystem(
            linear + v @ m,
            v @ (c - h),
            none,
            np.zeros(0),
            none.copy(),
            np.zeros(0),
            linear_error,
            constant_error,
            np.zeros(0),
        )
    if network.activation == "relu":
        offsets, heights = c - h, np.full(network.units, np.inf)
        exact = (c == 0) | (h == 0)
    else:
        # For h < 0 the unit is −clip(x, 0, |h|): it falls from 0 to h between x = 0 and x = −h.
        offsets = np.where(h > 0, c + h, c)
        exact = (c == 0) | (h <= 0)
        heights = np.abs(h)
        weights *= np.sign(h)[:, None]
    keep = (heights > 0) & (weights != 0).any(axis=1)
    return ClippedSystem(
        linear,
        constant,
        np.ascontiguousarray(normals[keep]),
        offsets[keep],
        np.ascontiguousarray(weights[keep]),
        heights[keep],
        linear_error,
        constant_error,
        np.where(exact, 0.0, EPS * np.abs(offsets))[keep],
    )


def face_system(system: ClippedSystem, axis: int, side: float) -> ClippedSystem:
    """The relu system at infinity on the face n[axis] = side of the cube; unknowns (n without axis, s).

    The last column carries s, with coefficient b_i (its rounding error goes along as an error of
    the normal's last entry times s, bounded in `offset_error` because 0 ≤ s ≤ s₀ ≤ 1 by choice of units).
    """
    others = np.arange(system.rank) != axis
    zero = np.zeros((system.rank, 1))
    return ClippedSystem(
        np.ascontiguousarray(np.concatenate([system.linear[:, others], zero], axis=1)),
        side * system.linear[:, axis],
        np.ascontiguousarray(np.concatenate([system.normals[:, others], system.offsets[:, None]], axis=1)),
        side * system.normals[:, axis],
        system.weights,
        system.heights,
        np.ascontiguousarray(np.concatenate([system.linear_error[:, others], zero], axis=1)),
        system.linear_error[:, axis].copy(),
        system.offset_error.copy(),
    )


def natural_size(network: LowRankMap) -> float:
    """The power of two next to the distance from the origin within which half the kinks lie; 1 without any.

    Searching y = z / size makes tolerances relative to the network, whatever the latents' units.
    """
    length = np.linalg.norm(network.left_vectors, axis=1)
    far = np.abs(network.input_current) + np.abs(network.unit_bias)
    ratio = far[(length > 0) & (far > 0)] / length[(length > 0) & (far > 0)]
    return float(2.0 ** np.clip(np.round(np.log2(np.median(ratio))), -400, 400)) if len(ratio) else 1.0


def clipped_bounds(network: LowRankMap) -> tuple[np.ndarray, np.ndarray] | None:
    """Box (low, high), each (R,), that holds every fixed point of a clipped network; None if a = 1.

    (1 − a) z = V r with every rate r_i between min(0, h_i) and max(0, h_i), coordinate by coordinate.
    """
    gain = 1.0 - network.decay
    if gain == 0.0:
        return None
    reach = network.right_vectors * network.unit_bias
    growth = (network.units + 4) * EPS
    low = np.minimum(reach, 0.0).sum(axis=1)
    high = np.maximum(reach, 0.0).sum(axis=1)
    slack = growth * np.abs(reach).sum(axis=1)
    low, high = (low - slack) / gain, (high + slack) / gain
    if gain < 0:
        low, high = high, low
    margin = 1e-6 * max(np.abs(low).max(), np.abs(high).max()) + 1e-300
    return low - margin, high + margin
