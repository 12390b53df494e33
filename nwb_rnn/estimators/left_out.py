"""Channels that cannot be fitted: left out of the likelihood and said so, or refused where none is left.

The likelihood of a channel that never changes has no maximum: it grows without bound as the noise shrinks.
A channel that was never observed says nothing. Both keep their place in the readout, with no weight on the
latents. Silent units of a count recording need none of this: their rate has a finite best value near 0.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.standardise import Scale
from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.trials import TrialTensors

_COARSEST = 1e5  # offset over spread; float32 then still resolves a hundredth of the spread
_SPREADS = (1e-15, 1e15)  # their squares are variances in float32
_logger = logging.getLogger("nwb_rnn")


@dataclass(frozen=True)
class LeftOut:
    """Which channels are left out, (D,) bool, and the notes that go with the data's other ones."""

    channels: Tensor
    notes: list[dict]

    def hide(self, trials: TrialTensors) -> TrialTensors:
        """The same trials with these channels unobserved."""
        return trials.hide_units(self.channels) if bool(self.channels.any()) else trials

    def clear(self, parameters: LowRankParameters) -> LowRankParameters:
        """No weight on the latents, and the noise of a typical channel, for those left out."""
        gone = self.channels
        if not bool(gone.any()):
            return parameters
        changed = {}
        if parameters.readout_weights is not None:
            changed["readout_weights"] = parameters.readout_weights.masked_fill(gone[:, None], 0)
        if parameters.readout_gain is not None:
            changed["readout_gain"] = parameters.readout_gain.masked_fill(gone, 0)
        noise = parameters.observation_noise
        return replace(
            parameters, **changed, observation_noise=torch.where(gone, noise[~gone].median(), noise)
        )


def find(trials: TrialTensors, scale: Scale, unit_ids: list) -> LeftOut:
    """Channels of a continuous recording that are constant or were never observed.

    Raises
    ------
    InputError : no channel is left, or a channel that single precision cannot hold.
    """
    seen = trials.mask.expand_as(trials.observed).bool()
    never = ~seen.any(1).any(0)
    constant = scale.constant & ~never
    both = never | constant
    if bool(both.all()):
        raise InputError(
            f"not one of the {len(both)} channels changes in the observed bins of these trials, so there is "
            "nothing to fit: check the signal, the mask and the alignment window"
        )
    extreme = ((scale.spread < _SPREADS[0]) | (scale.spread > _SPREADS[1])) & ~both
    if bool(extreme.any()):
        d = int(extreme.nonzero()[0])
        raise InputError(
            f"channel {unit_ids[d]!r} has a standard deviation of {float(scale.spread[d]):.3g}, whose square "
            "single precision does not hold: give the signal in other units"
        )
    coarse = (scale.mean.abs() > _COARSEST * scale.spread) & ~both
    if bool(coarse.any()):
        d = int(coarse.nonzero()[0])
        raise InputError(
            f"channel {unit_ids[d]!r} varies by {float(scale.spread[d]):.3g} around "
            f"{float(scale.mean[d]):.3g}: single precision cannot resolve such changes. Subtract each "
            "channel's mean first"
        )
    notes = []
    for what, which in (("constant in the observed bins", constant), ("never observed", never)):
        if bool(which.any()):
            ids = [str(unit_ids[d]) for d in which.nonzero().flatten().tolist()]
            notes.append({"count": len(ids), "what": f"channels ({', '.join(ids[:10])})", "reason": what})
            _logger.warning(
                "%d channels are left out of the fit, %s: %s", len(ids), what, ", ".join(ids[:10])
            )
    return LeftOut(both, notes)
