"""What the interactive views of a report draw, as plain numbers and texts that JSON can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.report.stored import Stored
from nwb_rnn.report.words import shown

if TYPE_CHECKING:
    import xarray as xr

    from nwb_rnn.dynamics.fixed_points import FixedPoints

MOST_NUMBERS = 120_000  # of latents; more would make a page of several MB
MOST_LEVELS = 12
MOST_POINTS = 500
_ACTIVATIONS = ("relu", "clipped_relu", "tanh", "softplus", "identity")


def scene(stored: Stored) -> dict[str, Any]:
    """Latents, network and fixed points for the views; parts that are not there are None.

    Latents are thinned to whole trials, evenly chosen, where a file holds very many; `chosen` of `total`
    says so. Numbers keep five significant digits; weights all that float32 has.
    """
    latents = None if stored.latents is None else latent_paths(stored.latents)
    return {
        "latents": latents,
        "network": network(stored),
        "points": [point for name, table in stored.points.items() for point in _points(name, table)][
            :MOST_POINTS
        ],
    }


def latent_paths(latents: xr.Dataset, most: int = MOST_NUMBERS) -> dict[str, Any]:
    """Mean latents of each trial, and the columns of the table of trials that can colour them."""
    mean = latents["latent_mean"].transpose("trial", "time", "latent").values.astype(float)
    count, bins, rank = mean.shape
    keep = max(1, min(count, most // max(1, bins * rank)))
    rows = np.unique(np.linspace(0, count - 1, keep).round().astype(int))
    trials = []
    for row in rows:
        known = np.flatnonzero(np.isfinite(mean[row]).all(axis=1))[: max(1, most // rank)]
        label = shown(latents["trial"].values[row])
        values = rounded(mean[row, known]).ravel().tolist()
        trials.append({"id": label, "time": rounded(latents["time"].values[known]).tolist(), "z": values})
    return {
        "rank": rank,
        "total": count,
        "trials": trials,
        "columns": [
            column for name in latents.coords if (column := _column(latents, str(name), rows)) is not None
        ],
        "event": shown(latents.attrs.get("align_to", "")),
    }


def _column(latents: xr.Dataset, name: str, rows: np.ndarray) -> dict[str, Any] | None:
    """A column with a few different values, as numbers of levels; None for any other."""
    values = latents[name]
    if values.dims != ("trial",) or name in ("trial", "event_time", "start_time", "stop_time"):
        return None
    texts = np.array([shown(value) for value in values.values])[rows]
    levels = list(dict.fromkeys(sorted(texts)))
    if not 2 <= len(levels) <= MOST_LEVELS:
        return None
    return {"name": shown(name), "levels": levels, "values": [levels.index(text) for text in texts]}


def network(stored: Stored) -> dict[str, Any] | None:
    """Weights of a low-rank network, for the flow; None for other models and activations."""
    arrays = stored.model.to_arrays()
    activation = str(arrays.get("activation", ""))
    if not {"left_vectors", "right_vectors", "unit_bias", "decay"} <= set(arrays):
        return None
    rank = arrays["left_vectors"].shape[1]
    if activation not in _ACTIVATIONS or rank < 2:
        return None
    centre, spread = _reach(stored.latents, rank)
    inputs = np.asarray(arrays.get("input_weights", np.zeros((len(arrays["unit_bias"]), 0))))
    names = [shown(name) for name in stored.model.data_description.get("input_names", [])]
    return {
        "activation": activation,
        "decay": float(arrays["decay"]),
        "binSize": float(arrays.get("bin_size", 1.0)),
        "left": _exact(arrays["left_vectors"]),
        "right": _exact(np.asarray(arrays["right_vectors"]).T),
        "bias": _exact(arrays["unit_bias"]),
        "inputs": _exact(inputs),
        "inputNames": (names + [f"input {k + 1}" for k in range(len(names), inputs.shape[1])])[
            : inputs.shape[1]
        ],
        "rank": rank,
        "units": len(arrays["unit_bias"]),
        "centre": rounded(centre).tolist(),
        "reach": rounded(spread).tolist(),
    }


def _reach(latents: xr.Dataset | None, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Middle of the latents and how far they go from there, (R,) each."""
    if latents is None:
        return np.zeros(rank), np.full(rank, 2.0)
    mean = latents["latent_mean"].transpose("trial", "time", "latent").values.reshape(-1, rank)
    mean = mean[np.isfinite(mean).all(axis=1)].astype(float)
    if not len(mean):
        return np.zeros(rank), np.full(rank, 2.0)
    low, high = np.quantile(mean, (0.002, 0.998), axis=0)
    return (low + high) / 2, np.maximum((high - low) / 2, 1e-6) * 1.25


def _points(table: str, points: FixedPoints) -> list[dict[str, Any]]:
    return [
        {
            "table": shown(table),
            "z": rounded(points.location[k]).tolist(),
            "kind": shown(points.kind[k]),
            "stable": bool(points.stable[k]),
        }
        for k in range(len(points))
    ]


def rounded(values: np.ndarray, digits: int = 5) -> np.ndarray:
    """Values with so many significant digits; what is not finite becomes 0, which JSON can hold."""
    values = np.nan_to_num(np.asarray(values, dtype=float), nan=0.0, posinf=0.0, neginf=0.0)
    magnitude = np.floor(np.log10(np.abs(values), out=np.zeros_like(values), where=values != 0))
    scale = 10.0 ** (digits - 1 - magnitude)
    return np.round(values * scale) / scale


def _exact(values: np.ndarray) -> list[float]:
    """Flat list of numbers, as exact as float32 is."""
    return [float(f"{value:.9g}") for value in np.asarray(values, dtype=float).ravel()]
