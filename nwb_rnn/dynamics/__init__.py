"""What a fitted model means: fixed points, cycles, stability, bifurcations."""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "FixedPoints": "nwb_rnn.dynamics.fixed_points",
    "LowRankMap": "nwb_rnn.dynamics.maps",
    "find_fixed_points": "nwb_rnn.dynamics.find",
}

__all__ = ["FixedPoints", "LowRankMap", "find_fixed_points"]


def __getattr__(name: str):
    """Import on first use, so that readers of stored results do not pay for torch and numba."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nwb_rnn.dynamics' has no attribute {name!r}; it has {', '.join(__all__)}")
