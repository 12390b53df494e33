"""Fit continuous signals in units of their own spread, then put the readout back into theirs.

Volts, ΔF/F and z-scores then train alike: y' = (y − mean) / spread, channel by channel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.trials import TrialTensors


@dataclass(frozen=True)
class Scale:
    """Mean and spread (D,) of each channel over its observed bins; a `constant` channel has spread 1."""

    mean: Tensor
    spread: Tensor
    constant: Tensor

    @classmethod
    def of(cls, trials: TrialTensors) -> Scale:
        seen = trials.mask.expand_as(trials.observed).double()
        values, count = trials.observed.double(), seen.sum((0, 1)).clamp(min=1)
        mean = (values * seen).sum((0, 1)) / count
        spread = torch.sqrt((((values - mean) * seen) ** 2).sum((0, 1)) / count)
        constant = ~(spread > 1e-12 * (values * seen).abs().amax((0, 1)))
        return cls(mean, torch.where(constant, torch.ones_like(spread), spread), constant)

    def apply(self, trials: TrialTensors) -> TrialTensors:
        """The same trials in standard units and single precision; what was not observed stays 0."""
        scaled = (trials.observed.double() - self.mean) / self.spread * trials.mask
        return replace(trials, observed=scaled).to(scaled.device, torch.float32)

    def shrink(self, parameters: LowRankParameters) -> LowRankParameters:
        """Parameters for the channels' own units -> for standard units."""
        return _readout(parameters, 1 / self.spread, -self.mean / self.spread)

    def restore(self, parameters: LowRankParameters) -> LowRankParameters:
        """Parameters for standard units -> for the channels' own units."""
        return _readout(parameters, self.spread, self.mean)

    def restore_encoder(self, encoder: ConvEncoder) -> None:
        """Let an encoder that was trained on standard units read the channels' own, in place."""
        dtype = encoder.center.dtype
        encoder.center.copy_((encoder.center.double() * self.spread + self.mean).to(dtype))
        encoder.spread.copy_((encoder.spread.double() * self.spread).to(dtype))

    def shrink_encoder(self, encoder: ConvEncoder) -> None:
        """The opposite of `restore_encoder`."""
        dtype = encoder.center.dtype
        encoder.center.copy_(((encoder.center.double() - self.mean) / self.spread).to(dtype))
        encoder.spread.copy_((encoder.spread.double() / self.spread).to(dtype))


def _readout(p: LowRankParameters, factor: Tensor, offset: Tensor) -> LowRankParameters:
    """η -> factor η + offset for each channel, and the noise with it."""
    dtype = p.readout_bias.dtype
    changed = {"readout_bias": p.readout_bias.double() * factor + offset}
    if p.readout_weights is not None:
        changed["readout_weights"] = p.readout_weights.double() * factor[:, None]
    if p.readout_network_output is not None:
        changed["readout_network_output"] = p.readout_network_output.double() * factor[:, None]
    if p.readout_gain is not None:
        changed["readout_gain"] = p.readout_gain.double() * factor
    if p.observation_noise is not None:
        changed["observation_noise"] = p.observation_noise.double() * factor**2
    return replace(p, **{name: value.to(dtype) for name, value in changed.items()})
