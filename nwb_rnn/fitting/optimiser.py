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

BETA_MEAN, BETA_SQUARE = 0.9, 0.999


class ScaledAdam:
    """
    Parameters
    ----------
    module : its parameters become views of one vector
    size : step size of a named parameter, relative to the learning rate, before rounding

    Attributes
    ----------
    gradients : where to write the gradient on each parameter, by name, before a `step`
    """

    OWN = ("flat", "scaled", "mean", "square", "sizes")

    def __init__(self, module: nn.Module, size: Callable[[str, Tensor], float]):
        named = list(module.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        rounded = [2.0 ** round(math.log2(size(name, parameter))) for name, parameter in named]
        self._sizes = torch.cat(
            [torch.full((p.numel(),), s).to(p) for s, (_, p) in zip(rounded, named, strict=True)]
        )
        self._flat = torch.cat([p.detach().flatten() for p in self.parameters])
        self._attach()
        self._scaled = self._flat / self._sizes
        self._steps = 0
        self._mean, self._square = torch.zeros_like(self._scaled), torch.zeros_like(self._scaled)
        self._gradient, self._spread = torch.zeros_like(self._scaled), torch.empty_like(self._scaled)
        names = [name for name, _ in named]
        self.gradients = dict(zip(names, self._parts(self._gradient), strict=True))

    def take(self, gradients: Sequence[Tensor | None]) -> None:
        """Write gradients in the order of `parameters`; None counts as zero."""
        given = zip(gradients, self.parameters, strict=True)
        flat = [(torch.zeros_like(p) if g is None else g).flatten() for g, p in given]
        torch.cat(flat, out=self._gradient)

    @property
    def flat(self) -> Tensor:
        """All parameters as one vector, in the order of `parameters`."""
        return self._flat

    def move_into(self, *places: Tensor) -> None:
        """Keep what `OWN` names in those places, each (P,), from now on."""
        for name, place in zip(self.OWN, places, strict=True):
            setattr(self, f"_{name}", place.copy_(getattr(self, f"_{name}")))
        self._attach()

    def corrections(self, learning_rates: Sequence[float]) -> list[tuple[float, float]]:
        """What the coming steps with these learning rates multiply the moments' ratio and the root with."""
        found = []
        for steps, learning_rate in enumerate(learning_rates, self._steps + 1):
            found.append((learning_rate / (1 - BETA_MEAN**steps), (1 - BETA_SQUARE**steps) ** -0.5))
        return found

    def count(self, steps: int) -> None:
        """Steps that were taken elsewhere, on the numbers of `OWN`."""
        self._steps += steps

    def step(self, learning_rate: float, clip_norm: float) -> float:
        """One step down `gradients`, scaled to a norm of at most `clip_norm`.

        Returns
        -------
        The norm before that; if it is not finite, nothing has moved.
        """
        norm = float(torch.linalg.vector_norm(self._gradient))
        if math.isfinite(norm):
            scale = min(1.0, clip_norm / (norm + 1e-6))
            self._move(self._gradient.mul_(self._sizes).mul_(scale), learning_rate)
            torch.mul(self._scaled, self._sizes, out=self._flat)
        return norm

    def _move(self, gradient: Tensor, learning_rate: float) -> None:
        """Kingma & Ba 2015, algorithm 1."""
        ((rate, root),) = self.corrections([learning_rate])
        self._steps += 1
        self._mean.lerp_(gradient, 1 - BETA_MEAN)
        self._square.mul_(BETA_SQUARE).addcmul_(gradient, gradient, value=1 - BETA_SQUARE)
        spread = torch.sqrt(self._square, out=self._spread)
        spread.mul_(root).add_(1e-8)
        self._scaled.addcdiv_(self._mean, spread, value=-rate)

    def state(self) -> dict[str, Tensor]:
        """Copies of the moments, for a checkpoint."""
        steps = torch.tensor(float(self._steps))
        return {"step": steps, "exp_avg": self._mean.clone(), "exp_avg_sq": self._square.clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take the moments of `state()`, and the parameters as they now are; start anew from an empty one."""
        self._steps = int(state["step"]) if state else 0
        for name, moment in (("exp_avg", self._mean), ("exp_avg_sq", self._square)):
            moment.copy_(state[name]) if state else moment.zero_()
        torch.div(self._flat, self._sizes, out=self._scaled)

    def _attach(self) -> None:
        for parameter, part in zip(self.parameters, self._parts(self._flat), strict=True):
            parameter.data = part

    def _parts(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([p.numel() for p in self.parameters])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]
