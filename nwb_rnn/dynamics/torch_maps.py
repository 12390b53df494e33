"""Step functions written in torch, as float64 maps with batched Jacobians.

Any function or torch.nn.Module that takes states (batch, R) to the next ones (batch, R), each row by
itself, becomes a `TorchMap`. `recurrent_map` writes the step of torch.nn.RNN, GRU and LSTM (or their
cells) for a constant input; with several layers, or for an LSTM, the state is the concatenation of all
hidden states followed by all cell states.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from nwb_rnn.errors import InputError

RECURRENT = (torch.nn.RNNBase, torch.nn.RNNCellBase)
ROWS = 2**16


@dataclass(eq=False)
class TorchMap:
    """z' = F(z) in float64 with dF/dz.

    Attributes
    ----------
    function : (B, R) tensor -> (B, R) tensor; a module is copied and cast to float64
    bin_size : Δ, s; 1 for steps without a unit
    """

    function: Callable
    bin_size: float = 1.0

    def __post_init__(self):
        if isinstance(self.function, torch.nn.Module):
            self.function = copy.deepcopy(self.function).double().eval()
            self.function.requires_grad_(False)

    def step(self, z: np.ndarray) -> np.ndarray:
        """F(z), (B, R) -> (B, R).

        Raises
        ------
        InputError : the function does not return states of the shape it was given.
        """
        with torch.no_grad():
            after = self.function(torch.from_numpy(np.ascontiguousarray(z, dtype=np.float64)))
        if not isinstance(after, torch.Tensor) or after.shape != z.shape:
            got = tuple(after.shape) if isinstance(after, torch.Tensor) else type(after).__name__
            raise InputError(
                f"The step function returned {got} for states of shape {z.shape}; it must return the next "
                "states as one tensor of that shape. Wrap it, or use recurrent_map for torch RNN modules."
            )
        return after.numpy()

    def jacobian(self, z: np.ndarray) -> np.ndarray:
        """dF/dz, (B, R) -> (B, R, R).

        Each state is copied R times and copy r asks reverse differentiation for row r: one backward pass
        over (R·B) states, four times faster here than torch.func.vmap(jacfwd), and any module will do.
        """
        count, rank = z.shape
        at_once = max(1, ROWS // rank)
        parts = [self._rows(z[k : k + at_once]) for k in range(0, count, at_once)]
        return np.concatenate(parts) if parts else np.zeros((0, rank, rank))

    def _rows(self, z: np.ndarray) -> np.ndarray:
        count, rank = z.shape
        states = torch.from_numpy(np.repeat(z, rank, axis=0)).requires_grad_()
        rows = torch.eye(rank, dtype=torch.float64).repeat(count, 1)
        after = self.function(states)
        if not after.requires_grad:
            return np.zeros((count, rank, rank))
        return torch.autograd.grad(after, states, rows)[0].reshape(count, rank, rank).numpy()

    def residual(self, z: np.ndarray) -> np.ndarray:
        """q = ½‖F(z) − z‖², (B, R) -> (B,)."""
        return 0.5 * np.square(self.step(z) - z).sum(axis=-1)


def recurrent_map(
    module: torch.nn.Module, inputs: np.ndarray | None = None, *, bin_size: float = 1.0
) -> TorchMap:
    """The state map of torch.nn.RNN, GRU, LSTM or one of their cells under a constant input.

    Parameters
    ----------
    module : unidirectional, without projection
    inputs : (U,) constant input; zeros when None
    bin_size : s

    Raises
    ------
    InputError : the module is none of these, is bidirectional or has a projection, or `inputs` has
        another length than the module's input_size.
    """
    if not isinstance(module, RECURRENT):
        raise InputError(f"{type(module).__name__} is not torch's RNN, GRU or LSTM; pass a step function.")
    if getattr(module, "bidirectional", False) or getattr(module, "proj_size", 0):
        raise InputError("A bidirectional or projected network has no state map of its own; use a plain one.")
    drive = np.zeros(module.input_size) if inputs is None else np.asarray(inputs, dtype=np.float64)
    if drive.shape != (module.input_size,):
        raise InputError(f"inputs has shape {drive.shape}; the module expects ({module.input_size},).")
    layers = _layers(module)
    cell, gates = _cell_of(module)
    u = torch.from_numpy(drive)

    def step(state: torch.Tensor) -> torch.Tensor:
        parts = state.split(module.hidden_size, dim=-1)
        hidden, cells = parts[: len(layers)], parts[len(layers) :]
        below, after, cells_after = u.expand(state.shape[0], -1), [], []
        for k, weights in enumerate(layers):
            below, inner = cell(weights, below, hidden[k], cells[k] if gates == 4 else None)
            after.append(below)
            cells_after.append(inner)
        return torch.cat(after + (cells_after if gates == 4 else []), dim=-1)

    return TorchMap(step, bin_size)


def _layers(module) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Per layer: input weights, recurrent weights, input bias, recurrent bias, in float64."""
    suffixes = [f"_l{k}" for k in range(module.num_layers)] if isinstance(module, torch.nn.RNNBase) else [""]
    result = []
    for suffix in suffixes:
        recurrent = getattr(module, f"weight_hh{suffix}").detach().double()
        zero = torch.zeros(recurrent.shape[0], dtype=torch.float64)
        biases = [
            getattr(module, f"bias_{name}{suffix}").detach().double() if module.bias else zero
            for name in ("ih", "hh")
        ]
        result.append((getattr(module, f"weight_ih{suffix}").detach().double(), recurrent, *biases))
    return result


def _cell_of(module) -> tuple[Callable, int]:
    """The equations of one layer, (weights, input, hidden, cell) -> (hidden, cell), and its gates."""
    if isinstance(module, (torch.nn.LSTM, torch.nn.LSTMCell)):
        return _lstm_cell, 4
    if isinstance(module, (torch.nn.GRU, torch.nn.GRUCell)):
        return _gru_cell, 3
    squash = torch.relu if module.nonlinearity == "relu" else torch.tanh

    def vanilla_cell(weights, below, hidden, _):
        w, u, b, d = weights
        return squash(below @ w.T + b + hidden @ u.T + d), None

    return vanilla_cell, 1


def _gru_cell(weights, below, hidden, _):
    """Cho et al. 2014, as torch.nn.GRU has it: the reset gate acts on U h + d."""
    w, u, b, d = weights
    reset_in, update_in, new_in = (below @ w.T + b).chunk(3, dim=-1)
    reset_back, update_back, new_back = (hidden @ u.T + d).chunk(3, dim=-1)
    reset = torch.sigmoid(reset_in + reset_back)
    update = torch.sigmoid(update_in + update_back)
    new = torch.tanh(new_in + reset * new_back)
    return (1 - update) * new + update * hidden, None


def _lstm_cell(weights, below, hidden, cell):
    """Hochreiter & Schmidhuber 1997 with forget gate, as torch.nn.LSTM has it."""
    w, u, b, d = weights
    enter, forget, candidate, leave = (below @ w.T + b + hidden @ u.T + d).chunk(4, dim=-1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
    return torch.sigmoid(leave) * torch.tanh(cell), cell
