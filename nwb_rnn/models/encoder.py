"""The encoder proposal: a 1-D convolutional network that reads a recording and says where its latents are.

For each trial and bin it returns a Gaussian potential exp(−½ zᵀ H z + bᵀ z) (Pals et al. 2024, section 3),

    H = Bᵀ diag(λ) B,   b = Bᵀ diag(λ) m

with mean m and precision λ from the convolutions. B is the identity while training; a change of the
latents' basis z → A z turns it into B A⁻¹, so that the proposal stays what it was.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nwb_rnn.models.convolution import convolve, pays, unfolded
from nwb_rnn.models.low_rank import LowRankConfig

_MOST_UNFOLDED = 2**28  # numbers of all bins' neighbours, a gigabyte


class ConvEncoder(nn.Module):
    """Convolutions over bins, D observed units in, 2 R numbers a bin out."""

    def __init__(self, config: LowRankConfig, observed_units: int, generator: torch.Generator):
        super().__init__()
        self.causal = config.encoder_causal
        kernels = config.encoder_kernels
        widths = [observed_units, *[config.encoder_channels] * (len(kernels) - 1), 2 * config.rank]
        self.convolutions = nn.ModuleList(
            _convolution(widths[i], widths[i + 1], kernel) for i, kernel in enumerate(kernels)
        )
        for convolution in self.convolutions:
            _initialise(convolution, generator)
        with torch.no_grad():
            self.convolutions[-1].weight.mul_(0.1)
        self.register_buffer("center", torch.zeros(observed_units))
        self.register_buffer("spread", torch.ones(observed_units))
        self.register_buffer("basis", torch.eye(config.rank))

    def forward(self, observed: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Precision H (B, T, R, R) and linear term b (B, T, R).

        `observed` (B, T, D); `mask` (B, T, D) or (B, T, 1), 1 where observed. Units that are hidden count as
        zero after centring, the others are scaled up for them; a bin with no unit at all gets H = 0, b = 0.
        """
        seen = mask.expand_as(observed)
        share = seen.mean(-1, keepdim=True)
        x = (observed - self.center) / self.spread * seen / share.clamp(min=1e-6)
        x = x.transpose(0, 1)
        for i, layer in enumerate(self.convolutions):
            if i:
                x = torch.nn.functional.gelu(x)
            x = self._convolve(x, layer)
        x = x.transpose(0, 1)
        mean, log_precision = x.chunk(2, dim=-1)
        # a soft ceiling: precision stays within e^±8 of one latent standard deviation
        precision = torch.exp(8 * torch.tanh(log_precision / 8)) * (share > 0)
        linear = (precision * mean) @ self.basis
        # Bᵀ diag(λ) B as one product of λ with the outer products of B's rows, not a small one for each bin
        outer = self.basis[:, :, None] * self.basis[:, None, :]
        return (precision @ outer.flatten(1)).unflatten(-1, outer.shape[1:]), linear

    def _convolve(self, x: Tensor, layer: nn.Conv1d) -> Tensor:
        """One layer on (T, B, channels), zeros before and after each trial."""
        kernel = layer.kernel_size[0]
        before = kernel - 1 if self.causal else kernel // 2
        if kernel == 1:
            return x @ layer.weight[:, :, 0].T + layer.bias
        size = (layer.in_channels, layer.out_channels, kernel)
        if x.device.type != "cpu" and x.numel() * kernel < _MOST_UNFOLDED:
            return unfolded(x, layer.weight, before) + layer.bias
        if x.device.type == "cpu" and pays(*x.shape[:2], *size):
            return convolve(x, layer.weight, before) + layer.bias
        x = torch.nn.functional.pad(x.permute(1, 2, 0), (before, kernel - 1 - before))
        with_gradient = x.requires_grad or x.device.type != "cpu"
        found = layer(x) if with_gradient else _OfData.apply(x, layer.weight, layer.bias)
        return found.permute(2, 0, 1)


class _OfData(torch.autograd.Function):
    """A convolution of data, which need no gradient.

    The gradient on its weights is a convolution too, with trials in the place of channels; on a CPU that
    takes half the time of torch's own.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x, weight, bias):
        return torch.nn.functional.conv1d(x, weight, bias)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        on_weight = torch.nn.functional.conv1d(x.transpose(0, 1), gradient.transpose(0, 1)).transpose(0, 1)
        return None, on_weight, gradient.sum((0, 2))


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv1d:
    """Not initialised yet, so that torch's global generator is left alone.

    `nn.utils.skip_init` does the same, and imports sympy on its way: a third of the time of loading a model.
    """
    made = nn.Conv1d(inputs, outputs, kernel, device="meta")
    made.weight = nn.Parameter(torch.empty(outputs, inputs, kernel))
    made.bias = nn.Parameter(torch.empty(outputs))
    return made


def _initialise(convolution: nn.Conv1d, generator: torch.Generator) -> None:
    fan_in = convolution.weight.shape[1] * convolution.weight.shape[2]
    with torch.no_grad():
        convolution.weight.copy_(torch.randn(convolution.weight.shape, generator=generator) / fan_in**0.5)
        convolution.bias.zero_()
