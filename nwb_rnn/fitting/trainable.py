"""Parameters as an optimiser wants them: unconstrained, and turned into natural ones when used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters

_FREE = ("left_vectors", "right_vectors", "input_weights", "unit_bias", "initial_mean", "readout_bias")
_OPTIONAL = (
    "readout_weights",
    "readout_gain",
    "readout_network_input",
    "readout_network_bias",
    "readout_network_output",
)


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
        if start.dispersion is not None:
            self.log_dispersion = nn.Parameter(torch.log(start.dispersion))

    def natural(self) -> LowRankParameters:
        """The parameters that the equations use."""
        values = {name: getattr(self, name) for name in _FREE}
        values |= {name: getattr(self, name) for name in _OPTIONAL if hasattr(self, name)}
        spread = "dispersion" if hasattr(self, "log_dispersion") else "observation_noise"
        decay, transition, initial, values[spread] = _Natural.apply(
            self.decay_logit,
            self.transition_raw,
            self.initial_raw,
            getattr(self, f"log_{spread}", None),
            self.config.noise == "diagonal",
        )
        return LowRankParameters(
            decay=decay,
            transition_cholesky=transition,
            initial_cholesky=initial,
            **values,
        )


class _Natural(torch.autograd.Function):
    """Logit, two factors with a log diagonal and a log, in one step: as four they cost more than the network.

    With `diagonal` noise only the diagonal of the transition factor gets a gradient.
    """

    @staticmethod
    def forward(ctx, logit, transition, initial, log_noise, diagonal):
        noise = None if log_noise is None else torch.exp(log_noise)
        natural = torch.sigmoid(logit), _cholesky(transition), _cholesky(initial), noise
        ctx.diagonal = diagonal
        ctx.save_for_backward(*natural)
        return natural

    @staticmethod
    def backward(ctx, on_decay, on_transition, on_initial, on_noise):
        decay, transition, initial, noise = ctx.saved_tensors
        on_transition, on_initial = _pull_factor(transition, on_transition), _pull_factor(initial, on_initial)
        if ctx.diagonal:
            on_transition = torch.diag(torch.diagonal(on_transition))
        on_log_noise = None if noise is None else on_noise * noise
        return on_decay * decay * (1 - decay), on_transition, on_initial, on_log_noise, None


def _pull_factor(factor: Tensor, gradient: Tensor) -> Tensor:
    """From the gradient on a Cholesky factor to that on its raw form."""
    found = torch.tril(gradient)
    found.diagonal().mul_(factor.diagonal())
    return found


def _raw_cholesky(factor: Tensor) -> Tensor:
    return torch.tril(factor, -1) + torch.diag(torch.log(torch.diagonal(factor)))


def _cholesky(raw: Tensor) -> Tensor:
    factor = torch.tril(raw)
    factor.diagonal().exp_()
    return factor
