"""The equations of a fitted low-rank network as plain text, for readers of a file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_ACTIVATIONS = {
    "relu": "max(x - unit_bias, 0)",
    "clipped_relu": "max(x + unit_bias, 0) - max(x, 0)",
    "tanh": "tanh(x - unit_bias)",
    "softplus": "log(1 + exp(x - unit_bias))",
    "identity": "x - unit_bias",
}
_LINKS = {"identity": "predictor", "exp": "exp(predictor)", "softplus": "log(1 + exp(predictor))"}
_LAWS = {
    "gaussian": "y ~ Normal(mean, observation_noise), one variance per unit",
    "poisson": "y ~ Poisson(mean), counts per bin",
    "negative_binomial": "y ~ NegativeBinomial(mean, dispersion), variance = mean + mean^2 / dispersion",
}


def low_rank_equations(arrays: Mapping[str, np.ndarray]) -> str:
    """Equations of a low-rank network with the settings in `arrays`, one line each."""
    setting = {
        name: str(arrays[name]) for name in ("activation", "observation", "readout", "link") if name in arrays
    }
    lines = ["x = left_vectors z + input_weights v" if _has_inputs(arrays) else "x = left_vectors z"]
    lines.append(f"r = {_ACTIVATIONS.get(setting.get('activation', ''), setting.get('activation', '?'))}")
    lines.append("z' = decay z + right_vectors r + e,  e ~ Normal(0, L L^T),  L = transition_cholesky")
    lines.append("z_0 ~ Normal(initial_mean, L0 L0^T),  L0 = initial_cholesky")
    if _has_inputs(arrays):
        filtered = bool(arrays.get("filter_inputs", False))
        lines.append("v' = decay v + (1 - decay) u,  v_0 = u_0" if filtered else "v = u")
    lines.append(
        _READOUTS.get(setting.get("readout", ""), f"predictor: readout {setting.get('readout', '?')}")
    )
    lines.append(_link_line(setting.get("link", "?")))
    lines.append(_LAWS.get(setting.get("observation", ""), f"y ~ {setting.get('observation', '?')}"))
    if "indicator_decay" in arrays:
        lines.append("y here is the innovation of the recorded trace f: y_t = f_t - indicator_decay f_{t-1}")
    return "\n".join(lines)


def _link_line(link: str) -> str:
    if "," in link:
        used = " or ".join(_LINKS.get(name, name) for name in sorted(set(link.split(","))))
        return f"mean = {used}, by unit as `link` says"
    return f"mean = {_LINKS.get(link, link)}"


_READOUTS = {
    "affine": "predictor = readout_weights z + readout_bias",
    "one_to_one": "predictor_i = readout_gain_i r_i + readout_bias_i for the first D units",
    "network": "predictor = readout_weights z + readout_network_output tanh(readout_network_input z + "
    "readout_network_bias) + readout_bias",
}


def rate_equations(arrays: Mapping[str, np.ndarray]) -> str:
    """Equations of a network of rate units, one line each."""
    inputs = " + input_weights u" if _has_inputs(arrays) else ""
    activation = str(arrays.get("activation", "activation"))
    shown = _ACTIVATIONS.get(activation, f"{activation}(x)").replace("unit_bias", "0")
    lines = [
        f"time_constant dx/dt = -x + recurrent_weights r{inputs} + unit_bias + noise",
        f"r = {shown}",
        "x' = x + step_size / time_constant (-x + ...), in Euler steps",
    ]
    if "readout_weights" in arrays:
        lines.append("output = readout_weights r + readout_bias")
    if "rate_gain" in arrays:
        read = "(observed_weights r + observed_bias)"
        seen = read if "observed_weights" in arrays else "r[observed_index]"
        lines.append(f"recorded = rate_offset + rate_gain {seen}")
    return "\n".join(lines)


def _has_inputs(arrays: Mapping[str, np.ndarray]) -> bool:
    return "input_weights" in arrays and arrays["input_weights"].size > 0
