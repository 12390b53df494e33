"""How a unit's current becomes its rate: r = φ(x; h), with one bias h per unit.

| name | φ(x; h) |
|---|---|
| relu | max(x − h, 0) |
| clipped_relu | max(x + h, 0) − max(x, 0), bounded by h |
| tanh | tanh(x − h) |
| softplus | log(1 + exp(x − h)) |
| identity | x − h |

relu and clipped_relu are piecewise linear, so all fixed points of a network made of them can be found
exactly (Pals et al. 2024, arXiv 2406.16749).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PIECEWISE_LINEAR = ("relu", "clipped_relu")


def relu(current: Tensor, bias: Tensor) -> Tensor:
    return torch.relu(current - bias)


def clipped_relu(current: Tensor, bias: Tensor) -> Tensor:
    return torch.relu(current + bias) - torch.relu(current)


def tanh(current: Tensor, bias: Tensor) -> Tensor:
    return torch.tanh(current - bias)


def softplus(current: Tensor, bias: Tensor) -> Tensor:
    return torch.nn.functional.softplus(current - bias)


def identity(current: Tensor, bias: Tensor) -> Tensor:
    return current - bias


ACTIVATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": relu,
    "clipped_relu": clipped_relu,
    "tanh": tanh,
    "softplus": softplus,
    "identity": identity,
}
