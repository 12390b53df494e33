"""NWB types for fitted models of latent neural dynamics, their latents and their fixed points.

Importing this module registers the types with pynwb.
"""

from importlib.resources import files
from pathlib import Path

from pynwb import load_namespaces

__version__ = "0.2.0"

NAMESPACE = "ndx-latent-dynamics"


def _namespace_file() -> Path:
    """The YAML file: inside the package once installed, in `spec/` of a source checkout before that."""
    home = Path(str(files(__name__)))
    name = f"{NAMESPACE}.namespace.yaml"
    places = [home / "spec" / name, home.parents[2] / "spec" / name]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"{name} is in none of {', '.join(str(p.parent) for p in places)}; install again")


load_namespaces(str(_namespace_file()))

from ndx_latent_dynamics.fixed_points import FixedPointTable  # noqa: E402
from ndx_latent_dynamics.latents import TrialAlignedLatents  # noqa: E402
from ndx_latent_dynamics.models import (  # noqa: E402
    FitHistoryTable,
    LatentDynamicsModel,
    LowRankRNN,
    ParameterArray,
    ParameterGroup,
    RateRNN,
    TaskRNN,
)

__all__ = [
    "NAMESPACE",
    "FitHistoryTable",
    "FixedPointTable",
    "LatentDynamicsModel",
    "LowRankRNN",
    "ParameterArray",
    "ParameterGroup",
    "RateRNN",
    "TaskRNN",
    "TrialAlignedLatents",
]
