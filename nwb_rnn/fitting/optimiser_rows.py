"""Optimisers of M models side by side: their numbers as the rows of matrices, and one step for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from nwb_rnn.fitting import cuda_adam
from nwb_rnn.fitting.optimiser import ScaledAdam
from nwb_rnn.smc.backends.cuda_launch import launch

MOST_STEPS = 256  # between two looks at what happened
_BLOCK = 1024


class OptimiserRows:
    """
    Parameters
    ----------
    optimisers : of models of one shape; what they hold moves into the rows, where they find it as before
    clip_norms : largest norm of each model's gradient

    Attributes
    ----------
    flat : (M, P), the parameters
    alive : (M,), 1 until a model's objective or gradient is not finite; such a model moves no more
    """

    def __init__(self, optimisers: Sequence[ScaledAdam], clip_norms: Sequence[float]):
        self._optimisers = optimisers
        like, models = optimisers[0].flat, len(optimisers)
        self._arrays = dict(
            zip(ScaledAdam.OWN, like.new_empty(len(ScaledAdam.OWN), models, len(like)), strict=True)
        )
        for optimiser, *rows in zip(optimisers, *self._arrays.values(), strict=True):
            optimiser.move_into(*rows)
        self.flat = self._arrays["flat"]
        self.alive = like.new_ones(models)
        self._arrays |= {
            "alive": self.alive,
            "clips": torch.tensor(clip_norms).to(like),
            "rates": like.new_zeros(MOST_STEPS, models),
            "roots": like.new_zeros(MOST_STEPS, models),
            "step": like.new_empty(3, models),
            "at": torch.zeros(1, dtype=torch.int64, device=like.device),
        }

    def plan(self, rates: Sequence[Sequence[float]]) -> None:
        """Learning rates of the coming steps, those of each model; at most `MOST_STEPS`."""
        planned = [o.corrections(of_model) for o, of_model in zip(self._optimisers, rates, strict=True)]
        table = torch.tensor(planned, dtype=torch.float64).permute(2, 1, 0)  # (2, steps, M)
        for name, rows in zip(("rates", "roots"), table, strict=True):
            self._arrays[name][: len(rows)].copy_(rows)
        self._arrays["at"].zero_()
        self.alive.fill_(1)

    def step(self, gradient: Tensor, values: Tensor) -> None:
        """The next planned step of every model down its row of `gradient`, if its `values` (M,) is finite."""
        models, count = gradient.shape
        norms = torch.linalg.vector_norm(gradient, dim=1)
        arrays = {"norms": norms, "values": values, "gradient": gradient} | self._arrays
        launch(cuda_adam.judge, arrays, {"M": models, "BLOCK": triton.next_power_of_2(models)}, 1, 1)
        blocks = triton.cdiv(count, _BLOCK)
        options = {"M": models, "P": count, "BLOCKS": blocks, "BLOCK": _BLOCK}
        launch(cuda_adam.move, arrays, options, models * blocks, 4)

    def took(self, steps: int) -> None:
        """Count the steps that were taken."""
        for optimiser in self._optimisers:
            optimiser.count(steps)
