"""Parameters as an optimiser wants them: unconstrained, and turned into natural ones when used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters

_FREE = ("left_vectors", "right_vectors", "input_weights", "unit_bias", "initial_mean", "readout_bias")
_OPTIONAL = ("readout_weights", "readout_gain")


class TrainableLowRank(nn.Module):
    """Raw parameters: decay as a logit, variances as logs, Cholesky factors with a log diagonal."""

    def __init__(self, config: LowRankConfig, start: LowRankParameters, encoder: ConvEncoder | None):
        super().__init__()
        self.config = config
        self.encoder = encoder
        present = start.present()
        for name in (*_FREE, *(n for n in _OPTIONAL if n in present)):
            setattr(self, name, nn.Parameter(present[name].clone()))
        self.decay_logit = nn.Parameter(torch.logit(start.decay.clone()))
        self.transition_raw = nn.Parameter(_raw_cholesky(start.transition_cholesky))
        self.initial_raw = nn.Parameter(_raw_cholesky(start.initial_cholesky))
        if start.observation_noise is not None:
            self.log_observation_noise = nn.Parameter(torch.log(start.observation_noise))
        if config.noise == "diagonal":
            eye = torch.eye(config.rank)
            self.transition_raw.register_hook(lambda g: g * eye.to(g))

    def natural(self) -> LowRankParameters:
        """The parameters that the equations use."""
        values = {name: getattr(self, name) for name in _FREE}
        values |= {name: getattr(self, name) for name in _OPTIONAL if hasattr(self, name)}
        if hasattr(self, "log_observation_noise"):
            values["observation_noise"] = torch.exp(self.log_observation_noise)
        return LowRankParameters(
            decay=torch.sigmoid(self.decay_logit),
            transition_cholesky=_cholesky(self.transition_raw),
            initial_cholesky=_cholesky(self.initial_raw),
            **values,
        )


def _raw_cholesky(factor: Tensor) -> Tensor:
    return torch.tril(factor, -1) + torch.diag(torch.log(torch.diagonal(factor)))


def _cholesky(raw: Tensor) -> Tensor:
    return torch.tril(raw, -1) + torch.diag(torch.exp(torch.diagonal(raw)))
