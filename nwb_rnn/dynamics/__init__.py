"""What a fitted model means: fixed points, cycles, stability, bifurcations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

_HOMES = {
    "Attractor": "nwb_rnn.dynamics.attractors",
    "Branch": "nwb_rnn.dynamics.continuation",
    "Connection": "nwb_rnn.dynamics.connections",
    "Cycle": "nwb_rnn.dynamics.cycles",
    "FixedPoints": "nwb_rnn.dynamics.fixed_points",
    "Linearisation": "nwb_rnn.dynamics.spectra",
    "LowRankMap": "nwb_rnn.dynamics.maps",
    "TorchMap": "nwb_rnn.dynamics.torch_maps",
    "count_regions": "nwb_rnn.dynamics.regions",
    "find_cycles": "nwb_rnn.dynamics.cycles",
    "find_fixed_points": "nwb_rnn.dynamics.find",
    "follow_branch": "nwb_rnn.dynamics.continuation",
    "heteroclinic_connections": "nwb_rnn.dynamics.connections",
    "input_jacobian": "nwb_rnn.dynamics.linearisation",
    "lyapunov_exponents": "nwb_rnn.dynamics.linearisation",
    "match_attractors": "nwb_rnn.dynamics.attractors",
    "noise_spectrum": "nwb_rnn.dynamics.spectra",
    "recurrent_map": "nwb_rnn.dynamics.torch_maps",
}

__all__ = [
    "Attractor",
    "Branch",
    "Connection",
    "Cycle",
    "FixedPoints",
    "Linearisation",
    "LowRankMap",
    "TorchMap",
    "count_regions",
    "find_cycles",
    "find_fixed_points",
    "follow_branch",
    "heteroclinic_connections",
    "input_jacobian",
    "lyapunov_exponents",
    "match_attractors",
    "noise_spectrum",
    "recurrent_map",
]

if TYPE_CHECKING:
    from nwb_rnn.dynamics.attractors import Attractor, match_attractors
    from nwb_rnn.dynamics.connections import Connection, heteroclinic_connections
    from nwb_rnn.dynamics.continuation import Branch, follow_branch
    from nwb_rnn.dynamics.cycles import Cycle, find_cycles
    from nwb_rnn.dynamics.find import find_fixed_points
    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.dynamics.linearisation import input_jacobian, lyapunov_exponents
    from nwb_rnn.dynamics.maps import LowRankMap
    from nwb_rnn.dynamics.regions import count_regions
    from nwb_rnn.dynamics.spectra import Linearisation, noise_spectrum
    from nwb_rnn.dynamics.torch_maps import TorchMap, recurrent_map


def __getattr__(name: str):
    """Import on first use, so that readers of stored results do not pay for torch and numba."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nwb_rnn.dynamics' has no attribute {name!r}; it has {', '.join(__all__)}")
