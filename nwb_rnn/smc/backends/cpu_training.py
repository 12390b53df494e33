"""log p(y) under the optimal proposal and its gradient, as one training step needs them.

The kernels, values and gradients are those of `cpu.log_likelihood`, but outside of torch's graph and in
arrays that are used again for every batch of the same shape: for a model of a few thousand numbers, making
those anew and keeping a graph take as long as the filter itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.backends import cpu, cpu_optimal, cpu_problem
from nwb_rnn.smc.backends.cpu_steps import add_by_kind, allocating_loop
from nwb_rnn.smc.backends.cpu_tables import Proposal
from nwb_rnn.smc.backends.cpu_terms import OptimalTerms
from nwb_rnn.smc.sequence import SequenceInputs
from nwb_rnn.smc.trials import TrialTensors


class Natural(NamedTuple):
    """Natural parameters, or gradients on them; decay is (1,), the others as in `LowRankParameters`."""

    left_vectors: np.ndarray
    right_vectors: np.ndarray
    input_weights: np.ndarray
    unit_bias: np.ndarray
    decay: np.ndarray
    transition_cholesky: np.ndarray
    initial_mean: np.ndarray
    initial_cholesky: np.ndarray
    readout_weights: np.ndarray
    readout_bias: np.ndarray
    observation_noise: np.ndarray


class TrainingPass:
    """Value and gradient for one model and batches of one shape."""

    def __init__(
        self,
        config: LowRankConfig,
        natural: Natural,
        trials: TrialTensors,
        draws: tuple[Tensor, Tensor],
        resampling: str,
        resampling_gradient: float,
    ):
        """`natural` and the draws, noise (B, T, K, R) and uniforms (B, T, 1 or K), are read at each call."""
        self._natural, self._noise = natural, draws[0].numpy()
        self._filtering = config.filter_inputs and trials.inputs.shape[2] > 0
        inputs = _inputs(config, natural, trials)
        self._passes = cpu.Passes(
            cpu_problem.Problem(inputs, *draws, resampling, None, True, resampling_gradient)
        )
        self.take(trials)

    def take(self, trials: TrialTensors) -> None:
        """From now on these trials, of the same shape as those before."""
        passes, bins = self._passes, trials.pattern.shape[1]
        rows = trials.pattern.numel()
        kind = trials.pattern.clone()
        kind[:, 0] += trials.patterns.shape[0]
        observed, pattern = trials.observed.reshape(rows, -1), trials.pattern.reshape(rows)
        self._given = tuple(map(cpu_problem.array, (observed, trials.patterns, pattern, kind.reshape(rows))))
        self._inputs = cpu_problem.array(trials.inputs)
        if not self._filtering:
            passes.data = passes.data._replace(filtered=self._inputs.reshape(rows, -1))
        passes.lengths = np.minimum(trials.lengths.numpy(), bins)

    def __call__(self, weight: float, on_natural: Natural) -> float:
        """Σ log p(y) over trials; `weight` times its gradient goes into `on_natural`."""
        passes, natural = self._passes, self._natural
        _load(natural, self._noise, passes.model.network, passes.model.input_weights, passes.data.noise)
        if self._filtering:
            filter_inputs(self._inputs, natural.decay, passes.data.filtered)
        given = (
            natural.readout_weights.T.copy(),
            natural.observation_noise,
            natural.readout_bias,
            *self._given,
        )
        terms = cpu_optimal.terms(natural.transition_cholesky, natural.initial_cholesky, *given)
        passes.proposal = Proposal(
            kind=self._given[-1],
            gain=terms[4],
            offset=terms[9],
            scale=terms[5],
            weight_constant=terms[10],
            weight_linear=terms[11],
            metric=terms[12],
            log_ratio=passes.proposal.log_ratio,
        )
        value = float(passes.log_increments().sum())
        sums, local = passes.pull(np.full(len(self._given[0]), weight, self._noise.dtype))
        clipped = passes.problem.inputs.activation == "clipped_relu"
        _collect(sums, clipped, on_natural)
        if self._filtering:
            pull_filter(self._inputs, natural.decay, passes.data.filtered, local.filtered, on_natural.decay)
        _pull_terms(given, terms, local, on_natural)
        return value


def _inputs(config: LowRankConfig, natural: Natural, trials: TrialTensors) -> SequenceInputs:
    """Tensors that share the memory of `natural`, and room for filtered inputs."""
    tensors = {name: torch.from_numpy(value) for name, value in natural._asdict().items()}
    made_of = ("transition_cholesky", "initial_cholesky", "readout_weights", "readout_bias")
    terms = OptimalTerms(
        (*(tensors[name] for name in made_of), tensors["observation_noise"]),
        trials.observed,
        trials.patterns,
        trials.pattern,
    )
    return SequenceInputs(
        parameters=LowRankParameters(**tensors | {"decay": tensors["decay"][0]}),
        activation=config.activation,
        observation=config.observation,
        link=config.link,
        observed=trials.observed,
        mask=trials.mask,
        filtered=torch.zeros_like(trials.inputs),
        lengths=trials.lengths,
        proposal=terms.named(terms.found),
    )


@allocating_loop
def _load(natural, noise, network, input_weights, noise_rows):
    """Fill the network's pack of `cpu_units`, W (U, N') and the noise as rows (I, R, K')."""
    left, right, units = natural.left_vectors, natural.right_vectors, natural.left_vectors.shape[0]
    rank, lanes = left.shape[1], network.shape[2]
    for n in range(units):
        i, w = n // lanes, n % lanes
        for r in range(rank):
            network[i, r, w] = left[n, r]
            network[i, rank + r, w] = right[r, n]
        network[i, 2 * rank, w] = natural.unit_bias[n]
        for u in range(input_weights.shape[0]):
            input_weights[u, n] = natural.input_weights[n, u]
    bins = noise.shape[1]
    for b in range(noise.shape[0]):
        for t in range(bins):
            for k in range(noise.shape[2]):
                for r in range(rank):
                    noise_rows[b * bins + t, r, k] = noise[b, t, k, r]


@allocating_loop
def filter_inputs(inputs, decay, filtered):
    """As `low_rank.filtered_inputs`; (B, T, U) into rows (I, U)."""
    bins, a = inputs.shape[1], decay[0]
    for b in range(inputs.shape[0]):
        for u in range(inputs.shape[2]):
            state = inputs[b, 0, u]
            for t in range(bins):
                filtered[b * bins + t, u] = state
                state = a * state + (1 - a) * inputs[b, t, u]


@allocating_loop
def pull_filter(inputs, decay, filtered, on_filtered, on_decay):
    """Adjoint of `filter_inputs`; adds to `on_decay`."""
    bins, a = inputs.shape[1], decay[0]
    for b in range(inputs.shape[0]):
        for u in range(inputs.shape[2]):
            on_state = a * 0
            for t in range(bins - 1, 0, -1):
                on_state += on_filtered[b * bins + t, u]
                on_decay[0] += on_state * (filtered[b * bins + t - 1, u] - inputs[b, t - 1, u])
                on_state *= a


@allocating_loop
def _collect(sums, clipped, on):
    """Add up the chunks of `sums`, the first of which is overwritten, and take the packs apart."""
    for c in range(1, sums.network.shape[0]):
        sums.network[0] += sums.network[c]
        sums.current[0] += sums.current[c]
        sums.input_weights[0] += sums.input_weights[c]
        sums.decay[0] += sums.decay[c]
        sums.initial_mean[0] += sums.initial_mean[c]
    network, current = sums.network[0], sums.current[0]
    units, rank, lanes = on.left_vectors.shape[0], on.left_vectors.shape[1], network.shape[2]
    for n in range(units):
        i, w = n // lanes, n % lanes
        for r in range(rank):
            on.left_vectors[n, r] = network[i, r, w]
            on.right_vectors[r, n] = network[i, rank + r, w]
        on.unit_bias[n] = network[i, 2 * rank, w] if clipped else -(network[i, 2 * rank + 1, w] + current[n])
        for u in range(on.input_weights.shape[1]):
            on.input_weights[n, u] = sums.input_weights[0, u, n]
    on.decay[:] = sums.decay[0]
    on.initial_mean[:] = sums.initial_mean[0]


@allocating_loop
def _pull_terms(given, terms, local, on):
    """From gradients on the terms of each bin to those on what the terms were made of."""
    weights, noise, bias, observed, patterns, pattern, kind = given
    on_gain, on_scale = np.zeros_like(terms[4]), np.zeros_like(terms[4])
    on_metric = np.zeros_like(terms[4])
    add_by_kind(kind, local.gain, on_gain)
    add_by_kind(kind, local.scale, on_scale)
    add_by_kind(kind, local.metric, on_metric)
    factor, first, on_weights, on_bias, on_noise = cpu_optimal.pull_terms(
        weights,
        noise,
        bias,
        observed,
        patterns,
        pattern,
        kind,
        terms,
        on_gain,
        local.offset,
        on_scale,
        local.weight_constant,
        local.weight_linear,
        on_metric,
    )
    on.transition_cholesky[:] = factor
    on.initial_cholesky[:] = first
    on.readout_weights[:] = on_weights.T
    on.readout_bias[:] = on_bias
    on.observation_noise[:] = on_noise
