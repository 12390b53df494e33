"""The stochastic low-rank RNN of Pals et al. 2024 (arXiv 2406.16749), as plain equations.

x_t = M z_t + W v_t                            currents of the N units
r_t = φ(x_t; h)                                their rates
z_{t+1} = a z_t + V r_t + ε_t,  ε_t ~ N(0, Q)  R latents, z_0 ~ N(m_0, Q_0)
v_{t+1} = a v_t + (1 − a) u_t                  inputs, filtered as the units filter them (or v_t = u_t)
η_t = C z_t + d                                affine readout, or
η_t = g r_t + d                                one-to-one readout: observed unit i is network unit i, or
η_t = C z_t + B tanh(A z_t + b) + d            network readout, with H hidden units
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from nwb_rnn.errors import InputError
from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.models.indicator import INDICATORS
from nwb_rnn.models.observations import LINKS, OBSERVATIONS


@dataclass(frozen=True)
class LowRankConfig:
    """Everything about a low-rank RNN that is not learned; checked when made.

    Attributes
    ----------
    rank : R, number of latents
    units : N, units of the network
    activation : relu, clipped_relu, tanh, softplus or identity
    observation : gaussian, poisson or negative_binomial
    readout : affine (from latents), one_to_one (from the rates of the first D units) or network (from
        latents, affine plus one hidden layer)
    readout_units : H, hidden units of a network readout
    link : softplus or exp for counts, or a sequence with one of them for each observed unit (kept as names
        joined by commas); identity for gaussian ("auto" chooses)
    noise : full or diagonal transition covariance while training
    filter_inputs : True for inputs low-passed with the network's own time constant
    indicator : none, or ar1 for fluorescence (Gaussian) that decays between bins, see `models.indicator`
    indicator_time_constant : of that decay, s; None estimates it for each unit
    encoder_channels, encoder_kernels, encoder_causal : the convolutions of the encoder proposal
    encoder_dropout : share of units hidden from the encoder at random in each training trial, so that
        it copes with held-out units
    seed : seed of the initial weights, of training, and of inference
    """

    rank: int
    units: int = 128
    activation: str = "clipped_relu"
    observation: str = "poisson"
    readout: str = "affine"
    link: str = "auto"
    noise: str = "full"
    filter_inputs: bool = True
    encoder_channels: int = 64
    encoder_kernels: tuple[int, ...] = (21, 11, 1)
    encoder_causal: bool = False
    encoder_dropout: float = 0.25
    readout_units: int = 16
    indicator: str = "none"
    indicator_time_constant: float | None = None
    seed: int = 0

    def __post_init__(self):
        if not isinstance(self.link, str):
            object.__setattr__(self, "link", _joined(self.link))
        if self.link == "auto":
            object.__setattr__(self, "link", "identity" if self.observation == "gaussian" else "softplus")
        object.__setattr__(self, "encoder_kernels", tuple(int(k) for k in self.encoder_kernels))
        self._check_sizes()
        for name, allowed in (
            ("activation", tuple(ACTIVATIONS)),
            ("observation", OBSERVATIONS),
            ("readout", ("affine", "one_to_one", "network")),
            ("noise", ("full", "diagonal")),
            ("indicator", INDICATORS),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name}={getattr(self, name)!r} is not known; choose from {', '.join(allowed)}"
                )
        self._check_indicator()
        allowed = ("identity",) if self.observation == "gaussian" else ("softplus", "exp")
        if not set(self.link.split(",")) <= set(allowed):
            known = set(self.link.split(",")) <= set(LINKS)
            raise InputError(
                f"link={self.link!r} {'does not go with' if known else 'is not known for'} "
                f"observation={self.observation!r}: use identity for gaussian, and softplus or exp (one "
                "name, or one for each unit) for poisson and negative_binomial"
            )

    def _check_indicator(self):
        if self.indicator != "none" and self.observation != "gaussian":
            raise InputError(
                f"indicator={self.indicator!r} is for fluorescence; it does not go with observation="
                f"{self.observation!r}: use observation='gaussian'"
            )
        if self.indicator_time_constant is not None and not self.indicator_time_constant > 0:
            raise InputError(f"indicator_time_constant={self.indicator_time_constant} s must be positive")

    def _check_sizes(self):
        for name in ("rank", "units", "encoder_channels", "readout_units"):
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise InputError(f"{name}={value!r} must be a whole number of at least 1")
        if self.rank > self.units:
            raise InputError(
                f"rank={self.rank} is larger than units={self.units}; N units have at most rank N: "
                "lower the rank or add units"
            )
        if not 0 <= self.encoder_dropout < 1:
            raise InputError(f"encoder_dropout={self.encoder_dropout} must lie in [0, 1)")
        if any(k < 1 or k % 2 == 0 for k in self.encoder_kernels):
            raise InputError(f"encoder_kernels={self.encoder_kernels} must be odd numbers of bins")

    def check_observed(self, observed: int) -> None:
        """Refuse a number of observed units that the readout or the links cannot be for."""
        if self.readout == "one_to_one" and observed > self.units:
            raise InputError(
                "a one-to-one readout needs at least as many network units as observed ones: "
                f"units={self.units}, observed {observed}"
            )
        links = self.link.count(",") + 1
        if links not in (1, observed):
            raise InputError(f"link names {links} units and {observed} are observed: give one name for each")


def _joined(links) -> str:
    names = [str(name) for name in links]
    return names[0] if len(set(names)) == 1 else ",".join(names)


@dataclass(frozen=True)
class LowRankParameters:
    """The learned numbers in their natural form, as tensors of one dtype on one device.

    Shapes: left_vectors (N, R), right_vectors (R, N), input_weights (N, U), unit_bias (N,), decay (),
    transition_cholesky (R, R), initial_mean (R,), initial_cholesky (R, R), readout_weights (D, R) for an
    affine readout or readout_gain (D,) for one-to-one, readout_bias (D,), observation_noise (D,) variance
    for Gaussian observations, dispersion (D,) for negative binomial ones (variance μ + μ² / dispersion). A
    network readout has readout_weights and readout_network_input A (H, R), readout_network_bias b (H,) and
    readout_network_output B (D, H). indicator_decay g (D,) belongs to
    fluorescence. What a model does not have is None.
    """

    left_vectors: Tensor
    right_vectors: Tensor
    input_weights: Tensor
    unit_bias: Tensor
    decay: Tensor
    transition_cholesky: Tensor
    initial_mean: Tensor
    initial_cholesky: Tensor
    readout_bias: Tensor
    readout_weights: Tensor | None = None
    readout_gain: Tensor | None = None
    observation_noise: Tensor | None = None
    dispersion: Tensor | None = None
    readout_network_input: Tensor | None = None
    readout_network_bias: Tensor | None = None
    readout_network_output: Tensor | None = None
    indicator_decay: Tensor | None = None

    @property
    def spread(self) -> Tensor | None:
        """What the law of the observations has beside its mean: a variance, a dispersion, or nothing."""
        return self.observation_noise if self.dispersion is None else self.dispersion

    def map(self, function) -> LowRankParameters:
        """Apply `function` to every tensor."""
        return replace(self, **{name: function(value) for name, value in self.present().items()})

    def present(self) -> dict[str, Tensor]:
        """Name -> tensor, without the fields this model does not have."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


def filtered_inputs(inputs: Tensor, decay: Tensor, filter_inputs: bool) -> Tensor:
    """v_t of the equations above from u_t (B, T, U), started at rest with the first input: v_0 = u_0."""
    if not filter_inputs or inputs.shape[-1] == 0:
        return inputs
    state, states = inputs[:, 0], []
    for t in range(inputs.shape[1]):
        states.append(state)
        state = decay * state + (1 - decay) * inputs[:, t]
    return torch.stack(states, dim=1)


def currents(parameters: LowRankParameters, latents: Tensor, filtered: Tensor | None) -> Tensor:
    """x = M z + W v: latents (..., R) and filtered inputs (..., U) -> (..., N)."""
    x = latents @ parameters.left_vectors.T
    if filtered is not None and filtered.shape[-1]:
        x = x + filtered @ parameters.input_weights.T
    return x


def rates(parameters: LowRankParameters, activation: str, latents: Tensor, filtered: Tensor | None) -> Tensor:
    """r = φ(x; h), (..., N)."""
    return ACTIVATIONS[activation](currents(parameters, latents, filtered), parameters.unit_bias)


def transition_mean(
    parameters: LowRankParameters, activation: str, latents: Tensor, filtered: Tensor | None
) -> Tensor:
    """E[z_{t+1} | z_t, v_t] = a z_t + V r_t, (..., R)."""
    r = rates(parameters, activation, latents, filtered)
    return parameters.decay * latents + r @ parameters.right_vectors.T


def predictor(
    parameters: LowRankParameters, activation: str, latents: Tensor, filtered: Tensor | None
) -> Tensor:
    """η of the observed units, (..., D)."""
    if parameters.readout_weights is not None:
        affine = latents @ parameters.readout_weights.T + parameters.readout_bias
        if parameters.readout_network_output is None:
            return affine
        return affine + readout_features(parameters, latents) @ parameters.readout_network_output.T
    observed = parameters.readout_bias.shape[0]
    r = rates(parameters, activation, latents, filtered)[..., :observed]
    return parameters.readout_gain * r + parameters.readout_bias


def readout_features(parameters: LowRankParameters, latents: Tensor) -> Tensor:
    """tanh(A z + b) of a network readout, (..., H)."""
    return torch.tanh(latents @ parameters.readout_network_input.T + parameters.readout_network_bias)
