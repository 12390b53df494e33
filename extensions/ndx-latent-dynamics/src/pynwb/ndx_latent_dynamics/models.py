"""Fitted models: what they hold as numpy arrays, and one step of their dynamics."""

import json
from typing import Any

import numpy as np
from hdmf.container import AbstractContainer

from ndx_latent_dynamics.registration import make_class

ABOUT_THE_FIT = ("seed", "software", "score_names", "score_values", "input_names", "observed_unit_ids")


def plain_array(values: Any) -> np.ndarray:
    """Values of a dataset, read from its file if need be, with texts as numpy text."""
    array = np.asarray(values[()] if hasattr(values, "shape") and values.shape == () else values)
    if array.dtype.kind in "SO":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel()]
        return np.array(texts, dtype=str).reshape(array.shape)
    return array


def activate(name: str, currents: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Rates of units, the same shape as `currents` (..., N), by the activation of this name."""
    functions = {
        "relu": lambda: np.maximum(currents - bias, 0),
        "clipped_relu": lambda: np.maximum(currents + bias, 0) - np.maximum(currents, 0),
        "tanh": lambda: np.tanh(currents - bias),
        "softplus": lambda: np.logaddexp(0, currents - bias),
        "identity": lambda: currents - bias,
    }
    if name not in functions:
        raise ValueError(
            f"activation {name!r} is not one of {', '.join(functions)}; `equations` of the model says what "
            "it means"
        )
    return functions[name]()


class ParameterArrayMethods:
    """What a `ParameterArray` can do."""

    def to_numpy(self) -> np.ndarray:
        """The array, 0-dimensional where it is marked as a scalar."""
        array = plain_array(self.data)  # type: ignore[attr-defined]
        return array.reshape(()) if getattr(self, "scalar", None) else array


class ParameterGroupMethods:
    """What a `ParameterGroup` can do."""

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Name -> array."""
        return {name: item.to_numpy() for name, item in self.parameter_arrays.items()}  # type: ignore[attr-defined]


class ModelMethods:
    """What every `LatentDynamicsModel` can do."""

    def to_numpy(self) -> dict[str, np.ndarray]:
        """Name -> array of every parameter of the model, those of its groups of arrays included."""
        arrays: dict[str, np.ndarray] = {}
        for name, value in self.fields.items():  # type: ignore[attr-defined]
            if isinstance(value, ParameterGroupMethods):
                arrays |= value.to_numpy()
            elif name not in ABOUT_THE_FIT and not isinstance(value, str | AbstractContainer):
                arrays[name] = plain_array(value)
        return arrays

    def read_json(self, name: str) -> Any:
        """`configuration`, `data_description` or another JSON text of the model as Python values."""
        value = getattr(self, name)
        return {} if value is None else json.loads(value)

    def versions(self) -> dict[str, str]:
        """Package -> version of the software that made the fit."""
        rows = getattr(self, "software", None)
        return {} if rows is None else {str(name): str(version) for name, version in plain_array(rows)}

    def scores(self) -> dict[str, float]:
        """Name -> how well the model does."""
        names, values = getattr(self, "score_names", None), getattr(self, "score_values", None)
        if names is None or values is None:
            return {}
        return dict(zip(plain_array(names).tolist(), plain_array(values).tolist(), strict=True))


class LowRankMethods(ModelMethods):
    """What a `LowRankRNN` can do."""

    def connectivity(self) -> np.ndarray:
        """J = M V, (N, N): from each unit (second axis) to each unit (first axis)."""
        return plain_array(self.left_vectors) @ plain_array(self.right_vectors)  # type: ignore[attr-defined]

    def rates(self, latents: np.ndarray, filtered_inputs: np.ndarray | None = None) -> np.ndarray:
        """r = activation(M z + W v; h), (..., N), from latents (..., R) and filtered inputs (..., U)."""
        model: Any = self
        currents = np.asarray(latents) @ plain_array(model.left_vectors).T
        if filtered_inputs is not None and model.input_weights is not None:
            currents = currents + np.asarray(filtered_inputs) @ plain_array(model.input_weights).T
        return activate(model.activation, currents, plain_array(model.unit_bias))

    def step(self, latents: np.ndarray, filtered_inputs: np.ndarray | None = None) -> np.ndarray:
        """E[z'] = a z + V r, (..., R): the noise-free dynamics."""
        model: Any = self
        rates = self.rates(latents, filtered_inputs)
        return plain_array(model.decay) * np.asarray(latents) + rates @ plain_array(model.right_vectors).T

    def expected_observation(
        self, latents: np.ndarray, filtered_inputs: np.ndarray | None = None
    ) -> np.ndarray:
        """Mean observation per bin, (..., D), for an affine, one-to-one or network readout."""
        model: Any = self
        bias = plain_array(model.readout_bias)
        if model.readout == "affine":
            predictor = np.asarray(latents) @ plain_array(model.readout_weights).T + bias
        elif model.readout == "one_to_one":
            rates = self.rates(latents, filtered_inputs)[..., : len(bias)]
            predictor = plain_array(model.readout_gain) * rates + bias
        elif model.readout == "network" and "readout_network_output" in self.to_numpy():
            predictor = self._network_predictor(np.asarray(latents)) + bias
        else:
            raise ValueError(f"readout {model.readout!r} is defined by `equations` and `readout_network`")
        links = {"identity": lambda x: x, "exp": np.exp, "softplus": lambda x: np.logaddexp(0, x)}
        names = (model.link or "identity").split(",")
        if len(names) == 1:
            return links[names[0]](predictor)
        return np.stack([links[name](predictor[..., i]) for i, name in enumerate(names)], axis=-1)

    def _network_predictor(self, latents: np.ndarray) -> np.ndarray:
        """C z + B tanh(A z + b), (..., D)."""
        array = self.to_numpy()
        hidden = np.tanh(latents @ array["readout_network_input"].T + array["readout_network_bias"])
        return latents @ array["readout_weights"].T + hidden @ array["readout_network_output"].T


class RateMethods(ModelMethods):
    """What a `RateRNN` can do."""

    def rates(self, state: np.ndarray) -> np.ndarray:
        """r = activation(x), (..., N), from currents x (..., N)."""
        state = np.asarray(state)
        return activate(self.activation, state, np.zeros(1, dtype=state.dtype))  # type: ignore[attr-defined]

    def outputs(self, state: np.ndarray) -> np.ndarray:
        """readout_weights r + readout_bias, (..., M)."""
        model: Any = self
        if model.readout_weights is None:
            raise ValueError(f"{model.name!r} has no outputs: it was fitted to observed units alone")
        made = self.rates(state) @ plain_array(model.readout_weights).T
        return made if model.readout_bias is None else made + plain_array(model.readout_bias)

    def expected_observation(self, state: np.ndarray) -> np.ndarray:
        """Expected activity of the observed units, (..., D), in the units of the recording."""
        model: Any = self
        rates = self.rates(state)
        arrays = self.to_numpy()
        if "observed_weights" in arrays:
            rates = rates @ arrays["observed_weights"].T + arrays.get("observed_bias", 0.0)
        elif "observed_index" in arrays:
            rates = rates[..., arrays["observed_index"]]
        elif model.observed_unit_ids is not None:
            rates = rates[..., : len(model.observed_unit_ids)]
        return arrays.get("rate_offset", 0.0) + arrays.get("rate_gain", 1.0) * rates

    def step(self, state: np.ndarray, inputs: np.ndarray | None = None) -> np.ndarray:
        """x + (step / tau) (-x + J r + W u + b), (..., N), without noise, for the cell `rate`."""
        model: Any = self
        if model.cell not in (None, "rate"):
            raise ValueError(f"cell {model.cell!r} is defined by `equations` and `further_parameters`")
        state = np.asarray(state)
        drive = self.rates(state) @ plain_array(model.recurrent_weights).T
        if inputs is not None and model.input_weights is not None:
            drive = drive + np.asarray(inputs) @ plain_array(model.input_weights).T
        if model.unit_bias is not None:
            drive = drive + plain_array(model.unit_bias)
        width = model.step_size if model.step_size is not None else model.bin_size
        return state + plain_array(width) / plain_array(model.time_constant) * (drive - state)


ParameterArray = make_class("ParameterArray", ParameterArrayMethods)
ParameterGroup = make_class("ParameterGroup", ParameterGroupMethods)
FitHistoryTable = make_class("FitHistoryTable")
LatentDynamicsModel = make_class("LatentDynamicsModel", ModelMethods)
LowRankRNN = make_class("LowRankRNN", LowRankMethods)
RateRNN = make_class("RateRNN", RateMethods)
TaskRNN = make_class("TaskRNN")
