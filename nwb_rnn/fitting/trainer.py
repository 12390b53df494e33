"""The training loop of variational sequential Monte Carlo: Adam on Σ_t log mean_k w_t^k per observed bin."""

from __future__ import annotations

import importlib.util
import math
import time
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting import checkpoint as checkpoints
from nwb_rnn.fitting.interruption import interruptible
from nwb_rnn.fitting.maximisation import starts_wanted
from nwb_rnn.fitting.one_pass import OnePass
from nwb_rnn.fitting.optimiser import ScaledAdam
from nwb_rnn.fitting.options import TrainingOptions
from nwb_rnn.fitting.particle_em import polish
from nwb_rnn.fitting.trainable import TrainableLowRank
from nwb_rnn.models.low_rank import LowRankParameters
from nwb_rnn.smc.expansion import expandable, prepare_expanded
from nwb_rnn.smc.filter import FilterOptions, log_likelihood, run_filter
from nwb_rnn.smc.trials import TrialTensors

_RETRIES = 3  # times that a diverged fit goes back to its last good state with half the learning rate


@dataclass
class _Progress:
    iteration: int = 0
    seconds: float = 0.0
    rate_factor: float = 1.0
    retries: int = 0
    best: float = -math.inf
    stale: int = 0
    stopped: bool = False
    history: list[dict] = field(default_factory=list)


class Trainer:
    """Trains a `TrainableLowRank` in place.

    Parameters
    ----------
    module : the model to train; on return it holds the parameters with the best validation score, or
        without validation the last ones
    trials, validation : data to fit and data to choose by
    options : see `TrainingOptions`
    """

    def __init__(
        self,
        module: TrainableLowRank,
        trials: TrialTensors,
        validation: TrialTensors | None,
        options: TrainingOptions,
    ):
        self.options = options
        self.module = module.to(options.device)
        dtype = module.left_vectors.dtype
        device = torch.device(options.device)
        self._print = self._fingerprint(trials, validation)
        self.trials = trials.to(device, dtype)
        self.validation = None if validation is None else validation.to(device, dtype)
        self.optimiser = ScaledAdam(module, _step_size)
        self._compiled = self._compiled_gradient()
        self.generator = torch.Generator(device).manual_seed(2 * module.config.seed + 1)
        self.progress = _Progress()
        self._good = self._state()
        self._best: dict[str, Tensor] | None = None
        self._objective = math.nan
        if options.crop and options.crop > trials.observed.shape[1]:
            raise InputError(
                f"crop={options.crop} bins is longer than the longest trial ({trials.observed.shape[1]} bins)"
            )

    def _compiled_gradient(self):
        """A `compiled.CompiledGradient`, or None where torch's graph is needed."""
        options = self.options
        if options.proposal != "optimal" or options.backend not in ("auto", "cpu"):
            return None
        if self.module.left_vectors.device.type != "cpu":
            return None
        if importlib.util.find_spec("numba") is None:
            return None
        from nwb_rnn.fitting.compiled import CompiledGradient

        return CompiledGradient.of(self.module, options, self.optimiser.gradients)

    def run(self) -> list[dict]:
        """Train to the end, from a checkpoint if there is one; returns the history."""
        from tqdm import tqdm

        self.begin()
        bar = tqdm(
            total=self.options.iterations,
            initial=self.progress.iteration,
            desc="fitting",
            disable=not self.options.progress,
        )
        together = OnePass.of([self])
        with bar, interruptible() as interruption:
            while not self.over:
                before = self.progress.iteration
                self.iterate() if together is None else together.run()
                bar.update(self.progress.iteration - before)
                if self.check_if_due():
                    bar.set_postfix(self._shown())
                if interruption.asked:
                    self.keep()
                    raise KeyboardInterrupt
        self.end()
        return self.progress.history

    def begin(self) -> None:
        """Go on from the checkpoint if there is one, and start the clock."""
        if self.options.checkpoint is not None and self.options.checkpoint.exists():
            self._resume()
        self._started = time.perf_counter() - self.progress.seconds

    @property
    def over(self) -> bool:
        return self._done() or self.progress.stopped

    def check_if_due(self) -> bool:
        """Every so many iterations and after the last one: history, validation, snapshot, checkpoint."""
        due = self.progress.iteration % self.options.validate_every == 0 or self._done()
        if due:
            self.progress.seconds = time.perf_counter() - self._started
            self._check()
        return due

    def keep(self) -> None:
        """Save the state as it is now, for an interrupted fit to go on from."""
        self._good = self._state()
        self._save()

    def end(self) -> None:
        """Take the best parameters where validation chose some."""
        if self._best is not None:
            self.module.load_state_dict(self._best)

    @torch.no_grad()
    def polished(self, iterations: int) -> LowRankParameters | None:
        """The trained parameters after particle expectation maximisation.

        None for no iterations, and where the validation trials say that it is no better.
        """
        if iterations < 1:
            return None
        config, options, module = self.module.config, self.options, self.module
        trained = module.natural()
        found = polish(
            config,
            trained,
            module.encoder,
            self._to_polish(),
            options.proposal,
            options.backend,
            iterations,
            options.progress,
        )
        if self.validation is None:
            return found
        scores = [self._score_without_encoder(p) for p in (trained, found)]
        return found if scores[1] >= scores[0] else None

    def _to_polish(self) -> TrialTensors:
        """Whole trials where they are enough to say how trials start, windows of a few long ones otherwise.

        Training takes windows at random, so that m_0 and Q_0 are those of any bin until then.
        """
        crop = self.options.crop
        if crop is None or len(self.trials.lengths) >= starts_wanted(self.module.config):
            return self.trials
        return self.trials.windows(crop)

    def objective(self, trials: TrialTensors, particles: int, generator: torch.Generator) -> Tensor:
        """log p(y) of each trial by the filter, (B,), differentiable."""
        encoder_mask = self.encoder_mask(trials, generator)
        return self._log_likelihood(self.module.natural(), trials, particles, generator, encoder_mask)

    def _log_likelihood(self, parameters, trials, particles, generator, encoder_mask) -> Tensor:
        how, module = self.filter_options(particles), self.module
        return log_likelihood(parameters, module.config, trials, how, generator, module.encoder, encoder_mask)

    def filter_options(self, particles: int) -> FilterOptions:
        options = self.options
        return FilterOptions(
            particles, options.proposal, options.backend, options.resampling, options.resampling_gradient
        )

    def encoder_mask(self, trials: TrialTensors, generator: torch.Generator) -> Tensor | None:
        """Hide a random share of units, up to twice `encoder_dropout`, in each trial; None hides none."""
        if self.options.proposal != "encoder" or not self.module.config.encoder_dropout:
            return None
        batch, _, units = trials.observed.shape
        draw = dict(generator=generator, device=generator.device)
        share = 2 * self.module.config.encoder_dropout * torch.rand(batch, 1, 1, **draw)
        return (torch.rand(batch, 1, units, **draw) >= share.clamp(max=0.9)).to(trials.observed)

    def iterate(self) -> None:
        """One iteration."""
        value = self.gradient(self.batch())
        (learning_rate,) = self.learning_rates(1)
        norm = self.optimiser.step(learning_rate, self.options.clip_norm)
        self.took(1, value + 0 * norm)

    def took(self, steps: int, value: float) -> None:
        """Go on from iterations that were taken; `value` is log p(y) per observed bin, if all went well."""
        if not math.isfinite(value):
            self._recover()
            return
        self._objective = value
        self.progress.iteration += steps

    def until_check(self) -> int:
        """Iterations up to the next check, or to the last iteration."""
        done, every = self.progress.iteration, self.options.validate_every
        return min(every - done % every, self.options.iterations - done)

    def gradient(self, batch: TrialTensors) -> float:
        """log p(y) per observed bin; the optimiser gets the gradient of minus that."""
        if self._compiled is not None:
            return self._compiled(batch, self.generator)
        value = self.objective(batch, self.options.particles, self.generator).sum()
        value = value / (batch.mask.amax(-1) > 0).sum()
        self.optimiser.take(torch.autograd.grad(-value, self.optimiser.parameters, allow_unused=True))
        return float(value.detach())

    def batch(self) -> TrialTensors:
        count = self.trials.observed.shape[0]
        size, crop = self.options.batch_size, self.options.crop
        device = self.generator.device
        if crop is None:
            if size >= count:
                return self.trials
            return self.trials.select(torch.randperm(count, generator=self.generator, device=device)[:size])
        lengths = self.trials.lengths
        room = (lengths - crop + 1).clamp(min=1).to(torch.float32)
        index = torch.multinomial(room, size, replacement=True, generator=self.generator)
        uniform = torch.rand(size, generator=self.generator, device=device)
        start = (uniform * room[index]).to(torch.int64).clamp(max=self.trials.observed.shape[1] - crop)
        return self.trials.crop(index, start, crop)

    def learning_rates(self, steps: int) -> list[float]:
        """Those of the coming iterations."""
        return [self._learning_rate(self.progress.iteration + i) for i in range(steps)]

    def _learning_rate(self, iteration: int) -> float:
        options = self.options
        share = iteration / options.iterations
        fall = options.final_fraction + (1 - options.final_fraction) * 0.5 * (1 + math.cos(math.pi * share))
        warm = min(1.0, (iteration + 1) / 20)
        return options.learning_rate * self.progress.rate_factor * fall * warm

    def _done(self) -> bool:
        return self.progress.iteration >= self.options.iterations

    def _check(self) -> None:
        """History, validation, early stopping, snapshot, checkpoint, callback."""
        progress, options = self.progress, self.options
        if progress.history and progress.history[-1]["iteration"] == progress.iteration:
            return
        score = self._validation_score()
        progress.history.append(
            {
                "iteration": progress.iteration,
                "objective": self._objective,
                "validation": score,
                "learning_rate": self._learning_rate(progress.iteration),
                "seconds": progress.seconds,
            }
        )
        if score is not None:
            if math.isfinite(score) and score > progress.best:
                progress.best, progress.stale = score, 0
                self._best = {k: v.clone() for k, v in self.module.state_dict().items()}
            else:
                progress.stale += 1
            progress.stopped = progress.stale >= options.patience
        self.keep()
        if options.callback is not None:
            options.callback(dict(progress.history[-1]))

    @torch.no_grad()
    def _validation_score(self) -> float | None:
        """log p(y) per observed bin of the validation trials."""
        return None if self.validation is None else self._score(self.module.natural())

    def _score(self, parameters: LowRankParameters) -> float:
        """The validation score of `parameters`, always with the same random numbers."""
        generator = torch.Generator(self.generator.device).manual_seed(self.module.config.seed)
        particles = self.options.validation_particles
        total = self._log_likelihood(parameters, self.validation, particles, generator, None).sum()
        return float(total / (self.validation.mask.amax(-1) > 0).sum())

    def _score_without_encoder(self, parameters: LowRankParameters) -> float:
        """As `_score`, for parameters that the encoder was not trained with, where counts can do without."""
        config, validation = self.module.config, self.validation
        if self.options.proposal != "encoder" or not expandable(config):
            return self._score(parameters)
        generator = torch.Generator(self.generator.device).manual_seed(config.seed)
        how = self.filter_options(self.options.validation_particles)
        inputs = prepare_expanded(config, parameters, validation, how, generator)
        total = run_filter(inputs, how, generator).log_increments.sum()
        return float(total / (validation.mask.amax(-1) > 0).sum())

    def _shown(self) -> dict[str, str]:
        last = self.progress.history[-1]
        shown = {"objective": f"{last['objective']:.4f}"}
        return shown if last["validation"] is None else shown | {"validation": f"{last['validation']:.4f}"}

    def _recover(self) -> None:
        """Back to the last good state with half the learning rate; give up after a few times."""
        progress = self.progress
        retries, at = progress.retries + 1, progress.iteration
        self._restore(self._good)
        progress.retries = retries
        progress.rate_factor *= 0.5**retries
        if retries > _RETRIES:
            raise DivergenceError(
                f"training diverged at iteration {at} (the objective or its gradient became NaN or infinite) "
                f"and did so again after {_RETRIES} restarts with a smaller learning rate; the model keeps "
                f"its last good state, from iteration {progress.iteration}. Try learning_rate="
                f"{self.options.learning_rate / 10:g}, and look for extreme values in the data"
            )

    def _state(self) -> tuple[dict[str, Tensor], dict]:
        tensors = {f"module.{k}": v.clone() for k, v in self.module.state_dict().items()}
        tensors |= {f"adam.{key}": value for key, value in self.optimiser.state().items()}
        tensors["generator"] = self.generator.get_state().clone()
        facts = dict(vars(self.progress))  # asdict would copy every entry of the history, at every check
        facts["history"] = list(facts["history"])
        return tensors, facts

    def _restore(self, state: tuple[dict[str, Tensor], dict]) -> None:
        tensors, facts = state
        self.module.load_state_dict(_part(tensors, "module."))
        self.optimiser.restore(_part(tensors, "adam."))
        self.generator.set_state(tensors["generator"].cpu())
        history = list(facts["history"])
        for name, value in facts.items():
            setattr(self.progress, name, value)
        self.progress.history = history

    def _save(self) -> None:
        if self.options.checkpoint is None:
            return
        tensors, facts = self._good
        best = {} if self._best is None else {f"best.{k}": v for k, v in self._best.items()}
        facts = {k: v for k, v in facts.items() if k != "best"}
        facts |= {"fingerprint": self._print, "best": self.progress.best if best else None}
        checkpoints.save(self.options.checkpoint, tensors | best, facts)

    def _resume(self) -> None:
        tensors, facts = checkpoints.load(self.options.checkpoint, self._print)
        best = _part(tensors, "best.")
        self._best = best or None
        facts = {k: v for k, v in facts.items() if k != "fingerprint"}
        if facts["best"] is None:
            facts["best"] = -math.inf
        self._restore((tensors, facts))
        self._good = self._state()

    def _fingerprint(self, trials: TrialTensors, validation: TrialTensors | None) -> str:
        options = asdict(self.options)
        for name in ("checkpoint", "progress", "callback", "device", "backend"):
            options.pop(name)
        return checkpoints.fingerprint(
            {"config": asdict(self.module.config), "options": options}, trials, validation
        )


def _step_size(name: str, parameter: Tensor) -> float:
    """Adam moves every number by about the learning rate: scale it to the size of what is moved."""
    if name == "input_weights" and parameter.numel():  # they start at a tenth of the input's inverse size
        return float(10 * parameter.detach().square().mean(0).sqrt().min().clamp(1e-9, 1.0))
    if (
        name not in ("left_vectors", "right_vectors", "readout_weights", "readout_gain")
        or not parameter.numel()
    ):
        return 1.0
    return float(parameter.detach().square().mean().sqrt().clamp(1e-3, 1.0))


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
