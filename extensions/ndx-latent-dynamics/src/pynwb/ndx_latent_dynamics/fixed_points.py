"""Tables of fixed points."""

from typing import Any

import numpy as np

from ndx_latent_dynamics.registration import make_class


class FixedPointMethods:
    """What a `FixedPointTable` can do."""

    def eigenvalues(self) -> np.ndarray:
        """(P, R) complex eigenvalues of the Jacobians."""
        return self._complex("eigenvalues")

    def eigenvectors(self) -> np.ndarray:
        """(P, R, R) complex eigenvectors of the Jacobians, one per column."""
        return self._complex("eigenvectors")

    def _complex(self, name: str) -> np.ndarray:
        table: Any = self
        for part in ("real", "imag"):
            if f"{name}_{part}" not in table.colnames:
                raise ValueError(
                    f"this table has no column {name}_{part}; it has {', '.join(table.colnames)}"
                )
        real, imag = (np.asarray(table[f"{name}_{part}"].data) for part in ("real", "imag"))
        return real + 1j * imag


FixedPointTable = make_class("FixedPointTable", FixedPointMethods)
