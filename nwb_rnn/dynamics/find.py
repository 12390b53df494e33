"""One door to every fixed-point finder."""

from __future__ import annotations

import numpy as np

from nwb_rnn.dynamics.fixed_points import FixedPoints
from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.errors import InputError

METHODS = ("auto", "exact", "enumerate", "newton")


def find_fixed_points(
    step,
    starts: np.ndarray | None = None,
    *,
    method: str = "auto",
    region: tuple[np.ndarray, np.ndarray] | None = None,
    threads: int = 1,
    **options,
) -> FixedPoints:
    """Fixed points F(z) = z of a low-rank map or of any step function.

    Parameters
    ----------
    step : a `LowRankMap`, or a function or torch.nn.Module that takes states (batch, R) to the next ones
    starts : (S, R) where a search begins, usually visited states; `LowRankMap` draws its own when None
    method : ``"exact"`` (branch and bound, proved complete; relu, clipped_relu, identity), ``"enumerate"``
        (every linear region; the same maps), ``"newton"`` (Levenberg–Marquardt from many starts; any map)
        or ``"auto"``: exact where the units are piecewise linear, newton otherwise
    region : (low, high), each (R,) or one number: only points inside
    threads : workers of the exact methods
    options : of `exact_fixed_points`, `enumerate_fixed_points` or `newton_fixed_points`

    Returns
    -------
    FixedPoints

    Raises
    ------
    InputError : unknown method, or one that does not suit the map.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; expected one of {', '.join(METHODS)}.")
    linear_pieces = isinstance(step, LowRankMap) and step.is_piecewise_linear
    if method == "auto":
        method = "exact" if linear_pieces else "newton"
    if method == "newton":
        from nwb_rnn.dynamics.newton import newton_fixed_points

        return newton_fixed_points(step, starts, region=region, **options)
    if not linear_pieces:
        what = (
            f"has {step.activation} units" if isinstance(step, LowRankMap) else f"is a {type(step).__name__}"
        )
        raise InputError(
            f'method="{method}" needs a LowRankMap with piecewise-linear units; this map {what}. '
            'Use method="newton".'
        )
    if method == "exact":
        from nwb_rnn.dynamics.branch_and_bound import exact_fixed_points

        return exact_fixed_points(step, region=region, threads=threads, **options)
    from nwb_rnn.dynamics.regions import enumerate_fixed_points

    points = enumerate_fixed_points(step, threads=threads, **options)
    if region is None:
        return points
    low, high = region
    return points[((points.location >= low) & (points.location <= high)).all(axis=1)]
