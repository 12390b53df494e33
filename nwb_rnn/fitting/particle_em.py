"""Finish a fit by particle expectation maximisation.

The bound of variational sequential Monte Carlo is lower where particles disagree, and what its gradient
leaves out of the choice of ancestors adds to that, so that it ends at a wrong latent noise and readout.
Expectation maximisation ends where the gradient of log p(y) is zero, up to the error of 64 or more particles.

    E step  trajectories from the smoothing law by backward simulation; from the second on, particles of
            counts come from `smc.expansion` around the mean of the last trajectories, where there is one
    M step  `fitting.maximisation`

With counts most of what the steps need to know isn't observed, and plain steps θ ← EM(θ) move a tenth of the
way that is left, or less. They are taken from where the last two point to instead (Nesterov 1983),

    θ_{k+1} = EM(θ_k + β_k (θ_k − θ_{k−1})),    β_k = min(0.7, k / (k + 3))

which for a share λ of missing information shrinks what is left by about √(0.7 λ) a step in place of λ, and
does not add to the noise of directions in which EM is done in one step. The result is the mean over the last
third of the steps. Factors of covariances are extrapolated and averaged with the logarithm of their diagonal,
and variances as logarithms. Where log p(y) falls, as the E step sees it, β starts from 0 again (O'Donoghue &
Candès 2015). With signals plain steps arrive soon, and β = 0.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from nwb_rnn.fitting.maximisation import Draws, maximise_dynamics, maximise_readout
from nwb_rnn.fitting.trainable import cholesky, raw_cholesky
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.expansion import expandable, prepare_around
from nwb_rnn.smc.filter import FilterOptions, prepare, run_filter
from nwb_rnn.smc.smoother import backward_simulation
from nwb_rnn.smc.trials import TrialTensors

_PARTICLES, _PARTICLES_OF_MANY = 64, 256  # with up to _FEW_LATENTS latents, and with more
_BINS_DRAWN, _SAMPLES = 24_000, (4, 16)  # draws in all, and the least and the most of one trial
_MEMORY = 40_000_000  # numbers held while filtering
_MOMENTUM = 0.7
_SIGNALS, _COUNTS, _COUNTS_OF_MANY, _FEW_LATENTS = 8, 24, 4, 3  # steps; latents


def usual_steps(config: LowRankConfig) -> int:
    """8 for signals; for counts 24 with up to three latents, whose noise is stationary then, and 4 with more.

    With more latents long runs were no gain: on spikes of a linear track (six latents, 64 particles) four
    steps kept theta and the mean rates, eight less of them, and 24 flattened theta.
    """
    if config.observation == "gaussian":
        return _SIGNALS
    return _COUNTS if config.rank <= _FEW_LATENTS else _COUNTS_OF_MANY


@torch.no_grad()
def polish(
    config: LowRankConfig,
    parameters: LowRankParameters,
    encoder: ConvEncoder | None,
    trials: TrialTensors,
    proposal: str,
    backend: str,
    iterations: int,
    progress: bool = False,
) -> LowRankParameters:
    """`iterations` of E and M steps, accelerated for counts.

    `proposal` and `encoder` are those of the first E step, and of all where the module's text says so. The
    random numbers depend on `config.seed` alone.
    """
    from tqdm import tqdm

    particles = _PARTICLES if config.rank <= _FEW_LATENTS else _PARTICLES_OF_MANY
    options = FilterOptions(particles, proposal, backend)
    generator = torch.Generator(parameters.decay.device).manual_seed(2 * config.seed + 2)
    momentum = 0.0 if config.observation == "gaussian" else _MOMENTUM
    before = here = _raw(parameters)
    total, count, around, age, likelihood = None, 0, None, 0, None
    for k in tqdm(range(iterations), desc="polishing", disable=not progress):
        p = _natural(parameters, _line(before, here, 1 + min(momentum, age / (age + 3))))
        draws, found = _expect(config, p, encoder, trials, options, around, generator)
        age = 0 if likelihood is not None and _fell(likelihood, found) else age + 1
        likelihood = found
        if expandable(config):
            around = draws.latents.unflatten(0, (-1, draws.samples)).mean(1)
        p = maximise_dynamics(config, p, draws, generator)
        if config.readout != "one_to_one":
            p = maximise_readout(config, p, draws)
        before, here = here, _raw(p)
        if not all(torch.isfinite(x).all() for x in here.values()):
            break
        if k >= iterations - max(1, iterations // 3):
            count += 1
            total = here if total is None else _line(total, here, 1 / count)
    return parameters if total is None else _natural(parameters, total)


def _fell(before: Tensor, now: Tensor) -> bool:
    """Whether log p(y) of the trials (B,) fell by more than the standard error of the sum of changes."""
    change = now - before
    return bool(change.sum() < -(len(change) ** 0.5) * change.std(correction=0))


_FACTORS = ("transition_cholesky", "initial_cholesky")


def _raw(parameters: LowRankParameters) -> dict[str, Tensor]:
    found = parameters.present()
    found |= {name: raw_cholesky(found[name]) for name in _FACTORS}
    if parameters.observation_noise is not None:
        found["observation_noise"] = torch.log(parameters.observation_noise)
    return found


def _natural(like: LowRankParameters, raw: dict[str, Tensor]) -> LowRankParameters:
    raw = raw | {name: cholesky(raw[name]) for name in _FACTORS}
    if like.observation_noise is not None:
        raw["observation_noise"] = torch.exp(raw["observation_noise"])
    return replace(like, **raw)


def _line(start: dict[str, Tensor], end: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """start + share (end − start)."""
    return {name: x + share * (end[name] - x) for name, x in start.items()}


def _expect(config, parameters, encoder, trials, options, around, generator) -> tuple[Draws, Tensor]:
    """Draws for all trials and log p(y) of each.

    `around` (B, T, R) is where to expand the likelihood, or None for the proposal of `options`.
    """
    batch, bins, _ = trials.observed.shape
    samples = min(max(_BINS_DRAWN // int(trials.lengths.sum()), _SAMPLES[0]), _SAMPLES[1])
    per_trial = options.particles * (bins * (config.rank + 2) + config.units)
    size = max(1, _MEMORY // per_trial)
    parts, likelihoods = [], []
    for index in torch.arange(batch, device=generator.device).split(size):
        group = trials.select(index)
        if around is None:
            inputs = prepare(parameters, config, group, options.proposal, encoder)
        else:
            inputs = prepare_around(config, parameters, group, around[index, : group.observed.shape[1]])
        result = run_filter(inputs, options, generator)
        path = backward_simulation(parameters, config.activation, inputs.filtered, result, samples, generator)
        parts.append(_rows(path, inputs.filtered, group, bins))
        likelihoods.append(result.log_increments.sum(1))
    draws = Draws(*(torch.cat(p) for p in zip(*parts, strict=True)), samples)
    return draws, torch.cat(likelihoods)


def _rows(path: Tensor, filtered: Tensor, group: TrialTensors, bins: int):
    """One row per trial and sample, padded to `bins`."""
    batch, here, samples, _ = path.shape
    inside = torch.arange(here, device=path.device) < group.lengths[:, None]
    rows = (
        path.transpose(1, 2).reshape(batch * samples, here, -1),
        filtered.repeat_interleave(samples, 0),
        group.observed.repeat_interleave(samples, 0),
        group.mask.expand_as(group.observed).repeat_interleave(samples, 0),
        inside.repeat_interleave(samples, 0),
    )
    pad = bins - here
    return tuple(torch.nn.functional.pad(x, (0, 0, 0, pad) if x.ndim == 3 else (0, pad)) for x in rows)
