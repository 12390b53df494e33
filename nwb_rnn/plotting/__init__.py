"""Figures; every function takes ``ax=`` and returns the axes, and `report` puts them together."""

from __future__ import annotations

from importlib import import_module

_HOMES = {
    "expected": "nwb_rnn.plotting.spikes",
    "flow_field": "nwb_rnn.plotting.flow",
    "latents": "nwb_rnn.plotting.latents",
    "mean_rates": "nwb_rnn.plotting.rates",
    "power_spectra": "nwb_rnn.plotting.spectra",
    "raster": "nwb_rnn.plotting.spikes",
    "rates": "nwb_rnn.plotting.rates",
    "report": "nwb_rnn.plotting.report",
    "training_curve": "nwb_rnn.plotting.training",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    """Import on first use, so that matplotlib is loaded only where something is drawn."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'nwb_rnn.plotting' has no attribute {name!r}; it has {', '.join(__all__)}")
