"""Fixed points of a map z' = F(z) with their linearisation, and whether the list is proved complete.

A fixed point solves F(z) = z. Near it, F(z + d) = z + J d + ..., so the eigenvalues of J say what
happens to a small push: |λ| < 1 dies out with the time constant −Δ/ln|λ|, |λ| > 1 grows, and a complex
pair turns at the frequency |arg λ|/(2πΔ), where Δ is the bin width in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from nwb_rnn.errors import InputError

FIXED_BELOW = 1e-20
MARGIN = 1e-9

_COMPLEX = ("eigenvalues", "eigenvectors")
_TEXT = ("status", "kind")


@dataclass(frozen=True, eq=False, repr=False)
class FixedPoints:
    """P fixed points of a map on R latents; prints as a table.

    Attributes
    ----------
    location : (P, R) float64
    residual : (P,) q = ½‖F(z) − z‖² evaluated at `location`
    status : (P,) text: ``"fixed"``, ``"slow"`` or ``"not converged"``
    kind : (P,) text: ``"stable node"``, ``"stable focus"``, ``"saddle"``, ``"saddle focus"``,
        ``"unstable node"``, ``"unstable focus"``, ``"centre"`` (some |λ| = 1), ``"kink"`` (a unit of a
        piecewise-linear map sits exactly on its kink, where J is not defined) or ``"degenerate"``
        (I − J is singular: the point belongs to a line, plane or cluster that is not resolved further)
    stable : (P,) bool: every small push dies out
    jacobian : (P, R, R) dF/dz
    eigenvalues : (P, R) complex, largest modulus first
    eigenvectors : (P, R, R) complex; column k belongs to eigenvalue k
    unstable_directions : (P,) int, how many eigenvalues lie outside the unit circle
    time_constants : (P, R) s, −Δ/ln|λ|; negative where the direction grows, infinite where |λ| = 1
    frequencies : (P, R) Hz, |arg λ|/(2πΔ)
    bin_size : Δ, s (1 where the map has no bin width: times are then in steps)
    regions : (P, N) int8 how many of its kinks each unit has passed (relu: 0 or 1, clipped relu:
        0, 1 or 2; −1 on a kink), None for smooth maps
    radius : (P,) the point is proved to lie within this distance (per coordinate) of `location`;
        NaN where nothing is proved
    hits : (P,) how many starts of a search ended here; None for exact methods
    complete : True only when it is proved that no fixed point is missing
    proof : how that was proved, or what is missing
    unseen : expected number of points that a search has not met (Chao 1984); NaN for exact methods
    method : ``"exact"``, ``"enumerate"`` or ``"newton"``
    inputs : the constant input the points belong to; None for none
    """

    location: np.ndarray
    residual: np.ndarray
    status: np.ndarray
    kind: np.ndarray
    stable: np.ndarray
    jacobian: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    unstable_directions: np.ndarray
    time_constants: np.ndarray
    frequencies: np.ndarray
    bin_size: float = 1.0
    regions: np.ndarray | None = None
    radius: np.ndarray | None = None
    hits: np.ndarray | None = None
    complete: bool = False
    proof: str = ""
    unseen: float = float("nan")
    method: str = ""
    inputs: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.location)

    def __getitem__(self, choice) -> FixedPoints:
        """Some of the points, by index, slice or boolean mask; a proper subset is no longer complete."""
        rows = np.atleast_1d(np.arange(len(self))[choice])
        changes = {
            item.name: getattr(self, item.name)[rows]
            for item in fields(self)
            if isinstance(getattr(self, item.name), np.ndarray) and item.name != "inputs"
        }
        if len(rows) < len(self):
            changes |= {"complete": False, "proof": f"{len(rows)} of {len(self)} points selected"}
        return replace(self, **changes)

    def unstable_vectors(self, point: int) -> np.ndarray:
        """(R, count) complex directions along which a push away from `point` grows, fastest first."""
        return self.eigenvectors[point][:, : self.unstable_directions[point]]

    def describe(self, inputs: np.ndarray) -> FixedPoints:
        """The same points, naming the constant input (U,) they belong to."""
        return replace(self, inputs=np.asarray(inputs, dtype=np.float64))

    def __str__(self) -> str:
        return _as_table(self)

    __repr__ = __str__

    def to_dict(self) -> dict:
        """Plain arrays and scalars only; complex arrays become `..._real` and `..._imag`; no None."""
        result: dict = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            if item.name in _COMPLEX:
                result[f"{item.name}_real"] = value.real.copy()
                result[f"{item.name}_imag"] = value.imag.copy()
            else:
                result[item.name] = value
        return result

    @classmethod
    def from_dict(cls, values: Mapping) -> FixedPoints:
        """The inverse of `to_dict`; eigenvectors, time constants and the like are made again if absent.

        Raises
        ------
        InputError : `location`, `residual` or `jacobian` is missing.
        """
        values = dict(values)
        for name in _COMPLEX:
            if f"{name}_real" in values:
                values[name] = np.asarray(values.pop(f"{name}_real")) + 1j * np.asarray(
                    values.pop(f"{name}_imag")
                )
        for name in _TEXT:
            if name in values:
                values[name] = np.asarray(values[name]).astype(str)
        missing = [name for name in ("location", "residual", "jacobian") if name not in values]
        if missing:
            raise InputError(
                f"Fixed points were given without {', '.join(missing)}; pass the dictionary that "
                "FixedPoints.to_dict() returns."
            )
        names = {item.name for item in fields(cls)}
        known = {name: value for name, value in values.items() if name in names}
        basis = characterise(known["location"], known["jacobian"], residual=known["residual"])
        return replace(basis, **known)

    def to_xarray(self):
        """xarray.Dataset with dims (point, latent, mode[, unit])."""
        import xarray

        dims = {
            "location": ("point", "latent"),
            "jacobian": ("point", "latent", "latent_from"),
            "eigenvalues": ("point", "mode"),
            "eigenvectors": ("point", "latent", "mode"),
            "time_constants": ("point", "mode"),
            "frequencies": ("point", "mode"),
            "regions": ("point", "unit"),
        }
        variables, attributes = {}, {}
        for item in fields(self):
            value = getattr(self, item.name)
            if value is None:
                continue
            if isinstance(value, np.ndarray) and item.name != "inputs":
                variables[item.name] = (dims.get(item.name, ("point",)), value)
            else:
                attributes[item.name] = value
        attributes["complete"] = int(self.complete)
        return xarray.Dataset(variables, attrs=attributes)

    def to_pandas(self):
        """pandas.DataFrame, one row per point: location, q, kind, stability, slowest mode."""
        import pandas

        columns = {f"z{k + 1}": self.location[:, k] for k in range(self.location.shape[1])}
        columns |= {
            "kind": self.kind,
            "stable": self.stable,
            "status": self.status,
            "residual": self.residual,
            "unstable_directions": self.unstable_directions,
            "largest_modulus": np.abs(self.eigenvalues).max(axis=1, initial=0.0),
            "time_constant": _slowest(self.time_constants),
            "frequency": self.frequencies[:, 0] if self.frequencies.shape[1] else np.zeros(len(self)),
        }
        return pandas.DataFrame(columns).rename_axis("point")


def characterise(
    location: np.ndarray,
    jacobian: np.ndarray,
    *,
    residual: np.ndarray,
    bin_size: float = 1.0,
    status: np.ndarray | None = None,
    kind: Mapping[int, str] | None = None,
    **extra,
) -> FixedPoints:
    """Linearise: eigenvalues, kinds, time constants and frequencies from the Jacobians.

    Parameters
    ----------
    location : (P, R)
    jacobian : (P, R, R)
    residual : (P,)
    bin_size : s
    status : (P,) text; by default fixed below q = 1e-20 and slow above
    kind : point -> kind, where the finder knows better than the eigenvalues (``"kink"``, ``"degenerate"``)
    extra : further fields of `FixedPoints`
    """
    location = np.asarray(location, dtype=np.float64)
    residual = np.asarray(residual, dtype=np.float64)
    jacobian = np.asarray(jacobian, dtype=np.float64)
    eigenvalues, eigenvectors = sorted_eigenvalues(jacobian)
    modulus = np.abs(eigenvalues)
    kinds = np.array([kind_from(values) for values in eigenvalues], dtype="<U16")
    stable = (modulus < 1.0).all(axis=1)
    for point, name in (kind or {}).items():
        kinds[point] = name
        stable[point] = False
    if status is None:
        status = np.where(residual < FIXED_BELOW, "fixed", "slow")
    return FixedPoints(
        location=location,
        residual=residual,
        status=np.asarray(status).astype(str),
        kind=kinds,
        stable=stable,
        jacobian=jacobian,
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
        unstable_directions=(modulus > 1.0).sum(axis=1),
        time_constants=time_constants(eigenvalues, bin_size),
        frequencies=np.abs(np.angle(eigenvalues)) / (2 * np.pi * bin_size),
        bin_size=float(bin_size),
        **extra,
    )


def sorted_eigenvalues(jacobian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (P, R) and vectors (P, R, R) of (P, R, R) matrices, largest modulus first."""
    if len(jacobian) == 0:
        return jacobian[:, 0].astype(complex), jacobian.astype(complex)
    values, vectors = np.linalg.eig(jacobian)
    order = np.argsort(-np.abs(values), axis=-1, kind="stable")
    values = np.take_along_axis(values, order, axis=-1)
    return values.astype(complex), np.take_along_axis(vectors, order[:, None, :], axis=-1).astype(complex)


def time_constants(eigenvalues: np.ndarray, bin_size: float) -> np.ndarray:
    """−Δ/ln|λ| in seconds: 0 where λ = 0, infinite where |λ| = 1, negative where |λ| > 1."""
    with np.errstate(divide="ignore"):
        rate = -np.log(np.abs(eigenvalues)) / bin_size
        return np.where(rate == 0.0, np.inf, 1.0 / np.where(rate == 0.0, 1.0, rate))


def kind_from(eigenvalues: np.ndarray) -> str:
    """Name of a fixed point of a map from its eigenvalues (R,)."""
    modulus = np.abs(eigenvalues)
    if (np.abs(eigenvalues - 1.0) < MARGIN).any():
        return "degenerate"
    if (np.abs(modulus - 1.0) < MARGIN).any():
        return "centre"
    turning = (np.abs(eigenvalues.imag) > MARGIN).any()
    if (modulus < 1.0).all():
        return "stable focus" if turning else "stable node"
    if (modulus > 1.0).all():
        return "unstable focus" if turning else "unstable node"
    return "saddle focus" if turning else "saddle"


def _slowest(constants: np.ndarray) -> np.ndarray:
    """Of each row, the entry largest in size."""
    if constants.size == 0:
        return np.zeros(len(constants))
    return np.take_along_axis(constants, np.abs(constants).argmax(axis=1)[:, None], axis=1)[:, 0]


def _as_table(points: FixedPoints) -> str:
    count, rank = points.location.shape
    claim = "complete" if points.complete else "not proved complete"
    head = f"{count} fixed point{'' if count == 1 else 's'} in {rank} latents ({points.method}; {claim})"
    lines = [head]
    if points.proof:
        lines.append(points.proof)
    lines.append(
        f"{'':>4} {'kind':<15} {'stable':<6} {'unstable':>8} {'max |λ|':>8} {'τ (s)':>9} {'f (Hz)':>7} "
        f"{'q':>8}  location"
    )
    slowest = _slowest(points.time_constants)
    for p in range(count):
        place = ", ".join(f"{value:.4g}" for value in points.location[p, :6]) + (", …" if rank > 6 else "")
        kind = points.kind[p] if points.status[p] == "fixed" else f"{points.status[p]}"
        lines.append(
            f"{p:>4} {kind:<15} {'yes' if points.stable[p] else 'no':<6} "
            f"{points.unstable_directions[p]:>8} {np.abs(points.eigenvalues[p]).max(initial=0.0):>8.4f} "
            f"{slowest[p]:>9.3g} {points.frequencies[p].max(initial=0.0):>7.3g} "
            f"{points.residual[p]:>8.1e}  ({place})"
        )
    return "\n".join(lines)
