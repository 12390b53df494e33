"""A low-rank RNN as a dict of named numpy arrays, and back: what is stored, shared and made by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch

from nwb_rnn.errors import InputError
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters

_SETTINGS = ("activation", "observation", "readout", "link", "noise", "filter_inputs")
_ENCODER = "encoder_"


def to_arrays(
    config: LowRankConfig, parameters: LowRankParameters, encoder: ConvEncoder | None, bin_size: float
) -> dict[str, np.ndarray]:
    """Parameters under their own names, settings as 0-d arrays, the encoder's tensors as encoder_*."""
    arrays = {name: tensor.detach().cpu().numpy() for name, tensor in parameters.present().items()}
    if encoder is not None:
        for name, tensor in encoder.state_dict().items():
            arrays[_ENCODER + name.replace(".", "_")] = tensor.detach().cpu().numpy()
    for name in _SETTINGS:
        arrays[name] = np.array(getattr(config, name))
    arrays["bin_size"] = np.array(float(bin_size))
    return arrays


def from_arrays(arrays: dict, config: LowRankConfig | None = None):
    """Config, parameters, encoder (or None) and bin width from named arrays.

    Only left_vectors, right_vectors and a readout (readout_weights or readout_gain) are needed; what is
    left out gets a neutral value: no inputs, zero biases, decay 0, transition and initial covariance I,
    and unit observation noise.
    """
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    _refuse_unknown(arrays)
    for name in ("left_vectors", "right_vectors"):
        if name not in arrays:
            raise InputError(f"from_arrays needs {name!r}; given: {', '.join(sorted(arrays))}")
    config = config or _config_of(arrays)
    shapes = _shapes(arrays, config)
    neutral = _neutral(shapes, config)
    values = {}
    for name, shape in shapes.items():
        value = arrays.get(name, neutral.get(name))
        if value is None:
            raise InputError(f"from_arrays needs {name!r} of shape {shape} for this model")
        if value.shape != shape:
            raise InputError(f"{name} has shape {value.shape}; the other arrays ask for {shape}")
        if not np.isfinite(value).all():
            raise InputError(f"{name} holds NaN or infinite values")
        if name in ("observation_noise", "dispersion") and not (value > 0).all():
            raise InputError(
                f"{name} holds numbers that are not positive; it needs one above 0 for each unit"
            )
        if name == "indicator_decay" and not ((value >= 0) & (value < 1)).all():
            raise InputError(
                "indicator_decay holds numbers outside [0, 1); it is exp(-bin_size / time constant)"
            )
        values[name] = torch.tensor(value, dtype=torch.float32)
    bin_size = float(arrays.get("bin_size", np.array(1.0)))
    return config, LowRankParameters(**values), _encoder(arrays, config, shapes), bin_size


def _config_of(arrays: dict[str, np.ndarray]) -> LowRankConfig:
    units, rank = arrays["left_vectors"].shape
    settings = {n: arrays[n].item() for n in _SETTINGS if n in arrays}
    if "readout_gain" in arrays:
        settings.setdefault("readout", "one_to_one")
    if "readout_network_output" in arrays:
        settings.setdefault("readout", "network")
        settings["readout_units"] = arrays["readout_network_output"].shape[1]
    if "observation_noise" in arrays:
        settings.setdefault("observation", "gaussian")
    if "indicator_decay" in arrays:
        settings["indicator"] = "ar1"
    if "dispersion" in arrays:
        settings.setdefault("observation", "negative_binomial")
    return LowRankConfig(rank=rank, units=units, **settings)


def _shapes(arrays: dict[str, np.ndarray], config: LowRankConfig) -> dict[str, tuple[int, ...]]:
    name = "readout_gain" if config.readout == "one_to_one" else "readout_weights"
    if name not in arrays:
        raise InputError(f"from_arrays needs {name!r} for readout={config.readout!r}")
    units, rank, observed = config.units, config.rank, arrays[name].shape[0]
    inputs = arrays["input_weights"].shape[1] if "input_weights" in arrays else 0
    shapes: dict[str, tuple[int, ...]] = {
        "left_vectors": (units, rank),
        "right_vectors": (rank, units),
        "input_weights": (units, inputs),
        "unit_bias": (units,),
        "decay": (),
        "transition_cholesky": (rank, rank),
        "initial_mean": (rank,),
        "initial_cholesky": (rank, rank),
        "readout_bias": (observed,),
        name: (observed, rank) if name == "readout_weights" else (observed,),
    }
    if config.observation == "gaussian":
        shapes["observation_noise"] = (observed,)
    if config.observation == "negative_binomial":
        shapes["dispersion"] = (observed,)
    if config.indicator != "none":
        shapes["indicator_decay"] = (observed,)
    if config.readout == "network":
        hidden = config.readout_units
        shapes["readout_network_input"] = (hidden, rank)
        shapes["readout_network_bias"] = (hidden,)
        shapes["readout_network_output"] = (observed, hidden)
    config.check_observed(observed)
    return shapes


def _neutral(shapes: dict[str, tuple[int, ...]], config: LowRankConfig) -> dict[str, np.ndarray]:
    neutral = {n: np.zeros(shapes[n]) for n in ("input_weights", "unit_bias", "decay", "initial_mean")}
    neutral["readout_bias"] = np.zeros(shapes["readout_bias"])
    neutral["transition_cholesky"] = neutral["initial_cholesky"] = np.eye(config.rank)
    neutral["observation_noise"] = np.ones(shapes["readout_bias"])
    return neutral


def _refuse_unknown(arrays: dict[str, np.ndarray]) -> None:
    known = {f.name for f in fields(LowRankParameters)} | set(_SETTINGS) | {"bin_size"}
    unknown = sorted(n for n in arrays if n not in known and not n.startswith(_ENCODER))
    if unknown:
        raise InputError(
            f"from_arrays does not know {', '.join(unknown)}; it knows {', '.join(sorted(known))}"
        )


def _encoder(arrays, config, shapes) -> ConvEncoder | None:
    stored = {name[len(_ENCODER) :]: value for name, value in arrays.items() if name.startswith(_ENCODER)}
    if not stored:
        return None
    kernels = [stored[f"convolutions_{i}_weight"].shape for i in range(len(config.encoder_kernels))]
    config = replace(config, encoder_kernels=tuple(k[2] for k in kernels), encoder_channels=kernels[0][0])
    encoder = ConvEncoder(config, shapes["readout_bias"][0], torch.Generator())
    state = {n: torch.tensor(stored[n.replace(".", "_")], dtype=torch.float32) for n in encoder.state_dict()}
    encoder.load_state_dict(state)
    return encoder.requires_grad_(False)
