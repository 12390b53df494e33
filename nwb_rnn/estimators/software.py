"""Which versions made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Name -> version of this package and of what its numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("nwb_rnn", "torch", "numpy", "scipy", "xarray", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if "nwb_rnn" not in found:
        from nwb_rnn import __version__

        found["nwb_rnn"] = __version__
    return found
