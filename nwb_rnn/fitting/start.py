"""The trainable model before its first step."""

from __future__ import annotations

import torch

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.initialisation import initial_parameters
from nwb_rnn.fitting.trainable import TrainableLowRank
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.trials import TrialTensors

STARTS = ("data", "random", "current")


def starting_module(
    config: LowRankConfig,
    trials: TrialTensors,
    proposal: str,
    start: str,
    current: tuple[LowRankParameters, ConvEncoder | None] | None,
) -> TrainableLowRank:
    """Start from the data, from random weights, or from `current` parameters."""
    if start not in STARTS:
        raise InputError(f"start={start!r} is not known; choose from {', '.join(STARTS)}")
    observed = trials.observed.shape[2]
    config.check_observed(observed)
    if current is not None:
        parameters, encoder = current
    else:
        parameters, encoder = initial_parameters(config, trials, random=start == "random")[0], None
    if proposal == "encoder" and encoder is None:
        encoder = new_encoder(config, trials)
    if encoder is not None:
        encoder.requires_grad_(True)
    return TrainableLowRank(config, parameters, encoder)


def new_encoder(config: LowRankConfig, trials: TrialTensors) -> ConvEncoder:
    """An encoder with fresh weights that knows each unit's mean and spread."""
    encoder = ConvEncoder(config, trials.observed.shape[2], torch.Generator().manual_seed(config.seed))
    seen = trials.mask.expand_as(trials.observed)
    count = seen.sum((0, 1)).clamp(min=1)
    center = (trials.observed * seen).sum((0, 1)) / count
    spread = torch.sqrt((((trials.observed - center) * seen) ** 2).sum((0, 1)) / count)
    encoder.center.copy_(center)
    encoder.spread.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))
    return encoder
