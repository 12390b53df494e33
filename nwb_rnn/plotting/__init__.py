"""Figures; every function takes ``ax=`` and returns the axes, and `report` puts them together.

matplotlib itself is imported where something is drawn.
"""

from nwb_rnn.plotting.connectivity import connectivity, region_currents
from nwb_rnn.plotting.flow import flow_field
from nwb_rnn.plotting.latents import latents
from nwb_rnn.plotting.psth import psth
from nwb_rnn.plotting.rates import mean_rates, rates
from nwb_rnn.plotting.report import report
from nwb_rnn.plotting.spectra import power_spectra
from nwb_rnn.plotting.spikes import expected, raster
from nwb_rnn.plotting.state_space import state_space
from nwb_rnn.plotting.statistics import spike_statistics
from nwb_rnn.plotting.training import training_curve

__all__ = [
    "connectivity",
    "expected",
    "flow_field",
    "latents",
    "mean_rates",
    "power_spectra",
    "psth",
    "raster",
    "rates",
    "region_currents",
    "report",
    "spike_statistics",
    "state_space",
    "training_curve",
]
