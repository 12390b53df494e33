"""Latents of trials."""

from typing import Any

import numpy as np

from ndx_latent_dynamics.models import plain_array
from ndx_latent_dynamics.registration import make_class


class LatentMethods:
    """What `TrialAlignedLatents` can do."""

    def trial(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Times (t,), s from the event, and mean latents (t, R) of the bins inside the trial at `row`."""
        latents: Any = self
        time, mean = plain_array(latents.time), np.asarray(latents.latent_mean[row])
        if latents.mask is None:
            return time, mean
        inside = np.asarray(latents.mask[row]).astype(bool)
        return time[inside], mean[inside]


TrialAlignedLatents = make_class("TrialAlignedLatents", LatentMethods)
