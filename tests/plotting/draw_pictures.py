"""Draws the pictures that `test_pictures` compares; run it to make them anew after a change that is meant.

python tests/plotting/draw_pictures.py
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nwb_rnn import plotting
from nwb_rnn.dynamics import LowRankMap, find_fixed_points
from nwb_rnn.plotting.fixed_points import plot_fixed_points

FOLDER = Path(__file__).parent / "pictures"


def trials(seed: int = 0) -> xr.Dataset:
    """Eight trials of two conditions with counts, rates and latents, without any fit."""
    rng = np.random.default_rng(seed)
    time = (np.arange(40) + 0.5) * 0.01
    side = np.array(["left", "right"] * 4)
    phase = 2 * np.pi * 4 * time + np.where(side == "left", 0.0, 2.0)[:, None]
    latent = np.stack([np.cos(phase), np.sin(phase)], axis=-1) + 0.05 * rng.standard_normal((8, 1, 2))
    rate = 0.4 * np.exp(latent @ rng.standard_normal((2, 6)))
    return xr.Dataset(
        {
            "counts": (("trial", "time", "unit"), rng.poisson(rate).astype(float)),
            "rates": (("trial", "time", "unit"), rate),
            "mask": (("trial", "time"), np.ones((8, 40), dtype=bool)),
            "latent_mean": (("trial", "time", "latent"), latent),
            "latent_std": (("trial", "time", "latent"), np.full_like(latent, 0.2)),
        },
        coords={"trial": np.arange(8), "unit": np.arange(6), "time": time, "side": ("trial", side)},
        attrs={"bin_size": 0.01, "align_to": "go"},
    )


def currents() -> xr.Dataset:
    size = 1 + np.sin(np.arange(40) / 6 + np.arange(2)[:, None, None, None] + np.arange(2)[:, None, None])
    return xr.Dataset(
        {
            "current": (("target", "source", "trial", "time"), size * np.ones((2, 2, 1, 40))),
            "share": (("target", "source"), [[0.7, 0.3], [0.4, 0.6]]),
        },
        coords={"target": ["M1", "PMd"], "source": ["M1", "PMd"], "time": np.arange(40) * 0.01},
    )


def network() -> LowRankMap:
    angle = 0.3
    turn = 0.97 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return LowRankMap(0.0, np.eye(2), 1.4 * turn, np.zeros(2), "tanh", bin_size=0.01)


def with_fixed_points(ax: Axes) -> Axes:
    """Two stable points, a saddle between them, and nullclines that cross there."""
    bistable = LowRankMap(0.0, np.eye(2), np.array([[1.6, 0.4], [0.3, 0.6]]), np.zeros(2), "tanh", None, 0.01)
    points = find_fixed_points(bistable)
    plotting.flow_field(bistable, points=points, ax=ax, nullclines=True)
    return plot_fixed_points(points, ax)


def pictures(seed: int = 0) -> dict[str, Callable[[Axes], object]]:
    first, second = trials(seed), trials(seed + 1)
    weights = np.random.default_rng(seed).standard_normal((12, 12))
    history = [{"iteration": 10 * k, "objective": -5 / (k + 1), "validation": -6 / (k + 1)} for k in range(9)]
    return {
        "raster": lambda ax: plotting.raster(first, 0, ax=ax),
        "latents": lambda ax: plotting.latents(first, 0, ax=ax),
        "state_space": lambda ax: plotting.state_space(first, "side", ax=ax),
        "psth": lambda ax: plotting.psth(first, first, 2, "side", ax=ax),
        "mean_rates": lambda ax: plotting.mean_rates(first, second, ax=ax),
        "spike_statistics": lambda ax: plotting.spike_statistics(first, second, "autocorrelation", ax=ax),
        "connectivity": lambda ax: plotting.connectivity(weights, ["M1"] * 5 + ["PMd"] * 7, ax=ax),
        "region_currents": lambda ax: plotting.region_currents(currents(), "M1", ax=ax),
        "training_curve": lambda ax: plotting.training_curve(history, ax=ax),
        "flow_field": lambda ax: plotting.flow_field(network(), first, ax=ax),
        "fixed_points": lambda ax: with_fixed_points(ax),
    }


def drawn(draw: Callable[[Axes], object]) -> bytes:
    """A small PNG in matplotlib's own defaults, whatever the user's are."""
    file = io.BytesIO()
    with matplotlib.rc_context(matplotlib.rcParamsDefault | {"font.size": 8}):
        figure = Figure(figsize=(4.0, 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.subplots())
        figure.savefig(file, dpi=60, format="png", metadata={"Software": None})
    return file.getvalue()


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, draw in pictures().items():
        (FOLDER / f"{name}.png").write_bytes(drawn(draw))
