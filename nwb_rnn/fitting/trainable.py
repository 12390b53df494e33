"""Parameters as an optimiser wants them: unconstrained, and turned into natural ones when used."""

from __future__ import annotations

from collections.abc import Mapping

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
        self.transition_raw = nn.Parameter(raw_cholesky(start.transition_cholesky))
        self.initial_raw = nn.Parameter(raw_cholesky(start.initial_cholesky))
        if start.observation_noise is not None:
            self.log_observation_noise = nn.Parameter(torch.log(start.observation_noise))
        if start.dispersion is not None:
            self.log_dispersion = nn.Parameter(torch.log(start.dispersion))

    def natural(self) -> LowRankParameters:
        """The parameters that the equations use."""
        return natural(self.config, dict(self.named_parameters(recurse=False)))


def natural(config: LowRankConfig, raw: Mapping[str, Tensor]) -> LowRankParameters:
    """The same from parameters by name, or from those of M models with a leading axis of M."""
    values = {name: raw[name] for name in (*_FREE, *_OPTIONAL) if name in raw}
    spread = "dispersion" if "log_dispersion" in raw else "observation_noise"
    decay, transition, initial, values[spread] = _Natural.apply(
        raw["decay_logit"],
        raw["transition_raw"],
        raw["initial_raw"],
        raw.get(f"log_{spread}"),
        config.noise == "diagonal",
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
        natural = torch.sigmoid(logit), cholesky(transition), cholesky(initial), noise
        ctx.diagonal = diagonal
        ctx.save_for_backward(*natural)
        return natural

    @staticmethod
    def backward(ctx, on_decay, on_transition, on_initial, on_noise):
        decay, transition, initial, noise = ctx.saved_tensors
        on_transition, on_initial = _pull_factor(transition, on_transition), _pull_factor(initial, on_initial)
        if ctx.diagonal:
            on_transition = torch.diag_embed(on_transition.diagonal(dim1=-2, dim2=-1))
        on_log_noise = None if noise is None else on_noise * noise
        return on_decay * decay * (1 - decay), on_transition, on_initial, on_log_noise, None


def _pull_factor(factor: Tensor, gradient: Tensor) -> Tensor:
    """From the gradient on a Cholesky factor to that on its raw form."""
    found = torch.tril(gradient)
    found.diagonal(dim1=-2, dim2=-1).mul_(factor.diagonal(dim1=-2, dim2=-1))
    return found


def raw_cholesky(factor: Tensor) -> Tensor:
    return torch.tril(factor, -1) + torch.diag(torch.log(torch.diagonal(factor)))


def cholesky(raw: Tensor) -> Tensor:
    factor = torch.tril(raw)
    factor.diagonal(dim1=-2, dim2=-1).exp_()
    return factor
