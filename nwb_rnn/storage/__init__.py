"""Estimators to NWB and back, through the types of ndx-latent-dynamics."""

from nwb_rnn.storage.naming import derivative_name
from nwb_rnn.storage.reading import load, load_fixed_points, load_latents
from nwb_rnn.storage.validation import Finding, validate
from nwb_rnn.storage.writing import write

__all__ = ["Finding", "derivative_name", "load", "load_fixed_points", "load_latents", "validate", "write"]
