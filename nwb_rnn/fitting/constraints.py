"""Connections that must not be there, and Dale's law, kept exactly.

The feasible weights are a box for each connection: {0} where it is masked, [0, ∞) from an excitatory unit,
(−∞, 0] from an inhibitory one, else the line. Ridge under them,

    min ½ tr Θ G Θᵀ − tr Θ Cᵀ + ½ λ ‖Θ‖²    over Θ in the boxes,

is solved by ADMM (Boyd et al. 2011) with one factorisation for all rows, and polished: on the support that
ADMM found each row is solved exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from nwb_rnn.errors import InputError


@dataclass(frozen=True, eq=False)
class Constraints:
    """
    Attributes
    ----------
    mask : (N, N) bool, True where a connection (to, from) is allowed
    sign : (N,) int8, 1 excitatory, −1 inhibitory, 0 free: of the weights *from* that unit
    """

    mask: np.ndarray
    sign: np.ndarray

    @staticmethod
    def make(
        units: int,
        mask: np.ndarray | None = None,
        sign: np.ndarray | None = None,
        zero_diagonal: bool = False,
    ) -> Constraints:
        """Checked constraints of a network of `units`; a missing mask or sign constrains nothing.

        Raises
        ------
        InputError : another shape, or signs that are not −1, 0 or 1
        """
        allowed = np.ones((units, units), dtype=bool) if mask is None else np.array(mask, dtype=bool)
        signs = np.zeros(units, dtype=np.int8) if sign is None else np.array(sign, dtype=np.int8)
        if allowed.shape != (units, units):
            raise InputError(f"mask has shape {allowed.shape}; this network needs ({units}, {units})")
        if signs.shape != (units,) or not np.isin(signs, (-1, 0, 1)).all():
            raise InputError(f"unit_sign must hold {units} numbers out of -1, 0 and 1")
        if zero_diagonal:
            np.fill_diagonal(allowed, False)
        return Constraints(allowed, signs)

    @property
    def is_free(self) -> bool:
        """True where nothing is constrained."""
        return bool(self.mask.all() and not self.sign.any())

    def project(self, weights: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """The nearest allowed weights; the first N columns are connections, further ones are free."""
        low, high = self.bounds(weights.shape[1], rows)
        return np.clip(weights, low, high)

    def signed(self, weights: np.ndarray, rows: slice = slice(None)) -> np.ndarray:
        """Weights of the same size with the signs of the units they come from, 0 where masked.

        Random weights keep their strength, which `project` would halve under Dale's law.
        """
        units = len(self.sign)
        made = np.array(weights, dtype=float)
        made[:, :units] = np.where(self.sign == 0, made[:, :units], np.abs(made[:, :units]) * self.sign)
        return self.project(made, rows)

    def bounds(self, columns: int, rows: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """(rows, columns) smallest and largest allowed weight."""
        mask = self.mask[rows]
        low = np.full((mask.shape[0], columns), -np.inf)
        high = np.full_like(low, np.inf)
        units = mask.shape[1]
        low[:, :units] = np.where(mask & (self.sign <= 0), -np.inf, 0.0)
        high[:, :units] = np.where(mask & (self.sign >= 0), np.inf, 0.0)
        return low, high


def constrained_ridge(
    gram: np.ndarray,
    cross: np.ndarray,
    ridge: np.ndarray,
    constraints: Constraints,
    rows: slice = slice(None),
    iterations: int = 300,
) -> np.ndarray:
    """Ridge regression of every row under the constraints.

    Parameters
    ----------
    gram : (K, K) XᵀX
    cross : (D, K) dᵀX
    ridge : (K,) penalty of each regressor

    Returns
    -------
    (D, K) weights that are feasible exactly
    """
    system = gram + np.diag(ridge)
    if constraints.is_free:
        return cho_solve(cho_factor(system), cross.T).T
    low, high = constraints.bounds(gram.shape[0], rows)
    if not constraints.sign.any():
        return solve_on_support(system, cross, ~((low == 0) & (high == 0)))
    solved = admm(system, cross, low, high, iterations)
    return _polish(system, cross, solved, low, high)


def admm(
    system: np.ndarray,
    cross: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    iterations: int,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Feasible weights near the minimum of ½ Θ S Θᵀ − Θ Cᵀ in the box; rows (D, K) share S (K, K)."""
    penalty = float(np.exp(np.mean(np.log(np.maximum(np.linalg.eigvalsh(system), 1e-9)))))
    inverse = np.linalg.inv(system + penalty * np.eye(len(system)))
    feasible = np.clip(cross @ inverse, low, high) if start is None else np.clip(start, low, high)
    dual = np.zeros_like(feasible)
    for _ in range(iterations):
        free = (cross + penalty * (feasible - dual)) @ inverse
        feasible = np.clip(free + dual, low, high)
        gap = free - feasible
        dual += gap
        if np.abs(gap).max() < 1e-9 * (1.0 + np.abs(feasible).max()):
            break
    return feasible


def solve_on_support(system: np.ndarray, cross: np.ndarray, support: np.ndarray) -> np.ndarray:
    """Each row solved with only its supported regressors; exact zeros elsewhere."""
    inverse = np.linalg.inv(system)
    free = cross @ inverse
    solved = np.zeros_like(free)
    for i, kept in enumerate(support):
        out = ~kept
        if not out.any():
            solved[i] = free[i]
        elif 2 * out.sum() < len(out):
            fix = np.linalg.solve(inverse[np.ix_(out, out)], free[i, out])
            solved[i] = free[i] - inverse[:, out] @ fix
        elif kept.any():
            solved[i, kept] = np.linalg.solve(system[np.ix_(kept, kept)], cross[i, kept])
        solved[i, out] = 0.0
    return solved


def _polish(
    system: np.ndarray, cross: np.ndarray, found: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Rows solved on the support of `found`, kept where they stay feasible and are better."""
    support = (found != 0) | ((low == -np.inf) & (high == np.inf))
    exact = np.clip(solve_on_support(system, cross, support), low, high)
    better = _objective(system, cross, exact) < _objective(system, cross, found)
    return np.where(better[:, None], exact, found)


def _objective(system: np.ndarray, cross: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return 0.5 * np.einsum("ik,ik->i", weights @ system, weights) - np.einsum("ik,ik->i", weights, cross)
