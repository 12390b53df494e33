"""Beyond the eigenvalues of one point: Lyapunov exponents and the effect of inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nwb_rnn.dynamics.newton import as_map


def lyapunov_exponents(
    step, start: np.ndarray, *, steps: int = 5000, discard: int = 500, count: int | None = None
) -> np.ndarray:
    """Largest Lyapunov exponents along one orbit, by QR (Benettin et al. 1980).

    Parameters
    ----------
    step : as for `find_fixed_points`
    start : (R,) first state
    steps : averaged over this many steps, after `discard` steps of transient
    count : how many exponents; all R when None

    Returns
    -------
    (count,) 1/s (per step where the map has no bin width), largest first; NaN if the orbit diverges
    """
    mapping = as_map(step)
    z = np.asarray(start, dtype=np.float64)[None]
    count = z.shape[1] if count is None else count
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((z.shape[1], count)))[0]
    growth = np.zeros(count)
    for t in range(discard + steps):
        if not np.isfinite(z).all():
            return np.full(count, np.nan)
        frame, triangle = np.linalg.qr(mapping.jacobian(z)[0] @ frame)
        if t >= discard:
            growth += np.log(np.maximum(np.abs(np.diag(triangle)), 1e-300))
        z = mapping.step(z)
    return np.sort(growth / steps)[::-1] / getattr(mapping, "bin_size", 1.0)


def input_jacobian(function: Callable, z: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """dF/du of a torch step function F(z, u) at states (B, R) under inputs (U,): (B, R, U).

    For a `LowRankMap` use its own `input_jacobian`.
    """
    import torch

    states = torch.from_numpy(np.asarray(z, dtype=np.float64))
    count, rank = states.shape
    drive = torch.from_numpy(np.asarray(inputs, dtype=np.float64)).expand(count * rank, -1)
    drive = drive.clone().requires_grad_()
    after = function(states.repeat_interleave(rank, dim=0), drive)
    rows = torch.eye(rank, dtype=torch.float64).repeat(count, 1)
    return torch.autograd.grad(after, drive, rows)[0].reshape(count, rank, -1).numpy()
