"""Adam for all parameters of a model as one vector, each number stepped by its own size.

One vector costs the overhead of one parameter in every step. Adam moves every number by about the learning
rate, whatever its gradient; a parameter θ is therefore kept as size · x, and Adam moves x. Sizes are rounded
to powers of two: then θ and x agree to the last bit, and a resumed fit goes on as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class ScaledAdam:
    """
    Parameters
    ----------
    module : its parameters become views of one vector
    size : step size of a named parameter, relative to the learning rate, before rounding
    """

    def __init__(self, module: nn.Module, size: Callable[[str, Tensor], float]):
        named = list(module.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        rounded = [2.0 ** round(math.log2(size(name, parameter))) for name, parameter in named]
        self._sizes = torch.cat(
            [torch.full((p.numel(),), s).to(p) for s, (_, p) in zip(rounded, named, strict=True)]
        )
        self._flat = torch.cat([p.detach().flatten() for p in self.parameters])
        for parameter, part in zip(self.parameters, self._parts(self._flat), strict=True):
            parameter.data = part
        self._scaled = self._flat / self._sizes
        self._steps = torch.zeros((), device=self._scaled.device)
        self._mean, self._square = torch.zeros_like(self._scaled), torch.zeros_like(self._scaled)

    def step(self, gradients: Sequence[Tensor | None], learning_rate: float, clip_norm: float) -> Tensor:
        """One step down `gradients`, scaled to a norm of at most `clip_norm`.

        Returns
        -------
        The norm before that, as a tensor; if it is not finite, nothing has moved.
        """
        given = zip(gradients, self.parameters, strict=True)
        gradient = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in given])
        norm = torch.linalg.vector_norm(gradient)
        if not bool(torch.isfinite(norm)):
            return norm
        self._move(gradient.mul_(self._sizes * (clip_norm / (norm + 1e-6)).clamp(max=1.0)), learning_rate)
        torch.mul(self._scaled, self._sizes, out=self._flat)
        return norm

    @torch.no_grad()
    def _move(self, gradient: Tensor, learning_rate: float) -> None:
        adam(
            [self._scaled],
            [gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Copies of the moments, for a checkpoint."""
        return {name: value.clone() for name, value in self._moments.items()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the moments of `state()`, and the parameters as they now are; start anew from an empty one."""
        for name, value in self._moments.items():
            value.copy_(state[name]) if state else value.zero_()
        torch.div(self._flat, self._sizes, out=self._scaled)

    @property
    def _moments(self) -> dict[str, Tensor]:
        return {"step": self._steps, "exp_avg": self._mean, "exp_avg_sq": self._square}

    def _parts(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([p.numel() for p in self.parameters])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]
