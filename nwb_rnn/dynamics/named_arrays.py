"""The noise-free map of a low-rank model that is given as named arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nwb_rnn.dynamics.maps import LowRankMap
from nwb_rnn.errors import InputError


def network_of(arrays: Mapping[str, np.ndarray], inputs: Sequence[float] | None = None) -> LowRankMap:
    """The map z' = F(z) of `LowRankRNN.to_arrays()`.

    Parameters
    ----------
    arrays : left_vectors (N, R), right_vectors (R, N), unit_bias (N,), decay (), activation, bin_size,
        and input_weights (N, U) where the model has inputs
    inputs : (U,) a constant input; zero when left out

    Raises
    ------
    InputError : `inputs` is not one number for each input of the model
    """
    weights = np.asarray(arrays.get("input_weights", np.zeros((len(arrays["unit_bias"]), 0))), dtype=float)
    constant = np.zeros(weights.shape[1]) if inputs is None else np.asarray(inputs, dtype=float)
    if constant.shape != (weights.shape[1],):
        raise InputError(f"inputs has shape {constant.shape}; this model takes {weights.shape[1]} inputs")
    return LowRankMap(
        decay=float(arrays["decay"]),
        left_vectors=arrays["left_vectors"],
        right_vectors=arrays["right_vectors"],
        unit_bias=arrays["unit_bias"],
        activation=str(arrays["activation"]),
        input_current=weights @ constant,
        bin_size=float(arrays["bin_size"]),
    )
