"""From recorded rates to a rate network, by each method; `auto` puts them together.

Unrecorded units make a reservoir: their incoming weights are random (g/√N) and stay so in every method but
backprop, which trains all weights. full-FORCE makes a network of unrecorded units alone, and reads the
recorded ones out of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.closed_form import Normal, Weights, residual_noise, ridge
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.free_run import free_run_score
from nwb_rnn.fitting.rate_data import RateData, Regression, Targets, regression
from nwb_rnn.models.rate import RateConfig, RateParameters, currents_of, forced_run, rates_of

RATE_METHODS = ("auto", "ridge", "unknown_input", "convex", "rls", "full_force", "backprop", "performance")
PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
_VALIDATION_RUNS = 3
_TOLERATED = 0.25  # what unknown inputs may lose on the bins held out, by which the λ of ridge was chosen


@dataclass(eq=False)
class Solver:
    """One problem: data, constraints and the random part of the network.

    Attributes
    ----------
    data : what is fitted
    config, constraints, bin_size, rate_gain, rate_offset : of the network
    options : of the method
    targets : of the outputs, for "performance"
    regions : (D,) names of the recorded units' regions, for "unknown_input"
    history : a row for each check
    chosen : the method that "auto" settled for
    """

    data: RateData
    config: RateConfig
    constraints: Constraints
    bin_size: float
    rate_gain: np.ndarray
    rate_offset: np.ndarray
    options: dict = field(default_factory=dict)
    targets: Targets | None = None
    regions: np.ndarray | None = None
    history: list[dict] = field(default_factory=list)
    chosen: str = ""

    def __post_init__(self):
        self.began = time.perf_counter()
        self.observed = self.data.rates.shape[2]
        self.units = self.observed + self.config.unrecorded

    def solve(self, method: str) -> RateParameters:
        """The fitted network.

        Raises
        ------
        InputError : a method or option that is not known, or targets that it does not take
        """
        if method not in RATE_METHODS:
            raise InputError(f"method={method!r} is not known; choose from {', '.join(RATE_METHODS)}")
        if (self.targets is None) == (method == "performance"):
            raise InputError(
                "targets= and method='performance' go together: the other methods fit recorded units alone"
            )
        return getattr(self, f"_{method}")()

    # methods -----------------------------------------------------------------------------------------

    def _ridge(self) -> RateParameters:
        taken = self._take(penalty=None, validation=0.2)
        penalty = taken["penalty"]
        if penalty is None:
            penalty = self.chosen_penalty(taken["validation"])
        return self._linear(self.data, float(penalty), "ridge")

    def _unknown_input(self) -> RateParameters:
        if self.config.unrecorded or not self.constraints.is_free:
            raise InputError("method='unknown_input' knows no unrecorded units, masks or signs; use ridge")
        taken = self._take(floor=None, iterations=12)
        return self._with_unknown_input(self.data, **taken)[0]

    def _with_unknown_input(self, data: RateData, **taken) -> tuple[RateParameters, np.ndarray]:
        """The network, and the (D,) factor of the rates that its range asks for."""
        from nwb_rnn.fitting.unknown_input import fit_unknown_input

        found = fit_unknown_input(data, self.regions, self.config.gain, **taken)
        for number, likelihood in enumerate(found.log_likelihood):
            self._note(number + 1, likelihood, None)
        network = replace(
            self._blank(),
            recurrent_weights=found.recurrent,
            input_weights=found.inputs,
            unit_bias=found.bias,
            noise=found.noise,
            rate_gain=self.rate_gain / found.share,
            initial_state=found.start,
        )
        return network, found.share

    def _convex(self) -> RateParameters:
        taken = self._take(penalty=None, validation=0.2, iterations=30, limit=1.0)
        penalty = taken.pop("penalty")
        share = taken.pop("validation")
        if penalty is None:
            penalty = self.chosen_penalty(share)
        return self._linear(self.data, float(penalty), "convex", **taken)

    def _rls(self) -> RateParameters:
        from nwb_rnn.fitting.rls import rls

        taken = self._take(passes=30, start_variance=1.0, substeps=1, noise=0.0)
        blank = self._blank()
        rng = np.random.default_rng(self.config.seed)
        random = self.config.gain / np.sqrt(self.units) * rng.standard_normal((self.units, self.units))
        start = np.concatenate(
            [self.constraints.project(random), blank.input_weights, blank.unit_bias[:, None]], axis=1
        )
        start[self.observed :] = self._join(blank)[self.observed :]
        weights = rls(
            self.data,
            start,
            self.constraints,
            seed=self.config.seed,
            each_pass=lambda n, error: self._note(n + 1, -error, None),
            **taken,
        )
        found = Weights.split(weights[: self.observed], self.units)
        return self._finished(self.put(blank, found), self.data)

    def _full_force(self) -> RateParameters:
        from nwb_rnn.fitting.full_force import full_force

        if self.config.unrecorded < 1:
            raise InputError(
                "method='full_force' trains a network of unrecorded units that the recorded ones are read "
                "out of: give RateRNN(unrecorded=…), some hundreds"
            )
        if not self.constraints.is_free:
            raise InputError("method='full_force' knows no masks or signs; use convex or backprop for them")
        if not self.data.mask.all():
            raise InputError("method='full_force' needs trials that are recorded in every bin")
        taken = self._take(passes=10, drive=1.0, start_variance=100.0, settle=200)
        units = self.config.unrecorded
        level = self.data.rates.mean(axis=(0, 1))
        student = full_force(
            self.data.rates - level,
            self.data.inputs,
            units,
            self.data.alpha,
            taken.pop("passes"),
            activation=self.config.activation,
            gain=self.config.gain,
            seed=self.config.seed,
            each_trial=lambda n, error: self._note(n + 1, -error, None),
            **taken,
        )
        return RateParameters(
            recurrent_weights=student.recurrent,
            input_weights=student.inputs,
            unit_bias=np.zeros(units),
            time_constant=self.config.time_constant,
            bin_size=self.bin_size,
            noise=np.zeros(units),
            rate_gain=self.rate_gain,
            rate_offset=self.rate_offset,
            observed_index=np.zeros(0, dtype=np.int64),
            initial_state=student.start,
            observed_weights=student.readout,
            observed_bias=level,
        )

    def _backprop(self) -> RateParameters:
        start = self._take_start()
        return self._trained(self.data, start, None)

    def _performance(self) -> RateParameters:
        from nwb_rnn.fitting.performance_solver import train

        assert self.targets is not None  # `solve` saw to that
        parts = (self.data, self.targets, self.config, self.constraints, self.bin_size, self.options)
        found, rows = train(*parts)
        self.history += rows
        found = replace(found, rate_gain=self.rate_gain, rate_offset=self.rate_offset)
        return self._noisy(found, self.data, None, None)

    def _auto(self) -> RateParameters:
        """Closed form with λ by free run; then unknown inputs unless the free run on held-out data is clearly
        worse, else backprop where it is better."""
        share = self.options.pop("validation", 0.2)
        penalty = self.options.pop("penalty", None)
        if penalty is None:
            penalty = self.chosen_penalty(share)
        fit, held = self._split(share)
        before = self._linear(fit, penalty, "ridge")
        score = self._validated(before, held)
        if self._may_hear_inputs():
            whole, factor = self._with_unknown_input(self.data)
            part, _ = self._with_unknown_input(fit, iterations=8, share=factor)
            gained = self._validated(part, replace(held, rates=held.rates * factor)) - score
            self._note(len(self.history) + 1, score + gained, score + gained)
            if gained > -_TOLERATED:
                self.chosen = "unknown_input"
                return whole
        options = dict(self.options)
        repaired = self._trained(fit, before, held)
        gained = self._validated(repaired, held) - score
        start = self._linear(self.data, penalty, "ridge")
        self.chosen = "ridge"
        if gained <= 0.005 and self.config.rank is None:
            return start
        self.options, self.chosen = options, "backprop"
        return self._trained(self.data, start, None)

    # parts -------------------------------------------------------------------------------------------

    def _may_hear_inputs(self) -> bool:
        """Whether `unknown_input` can be had of these data."""
        c, seen = self.config, self.data.mask[0].nonzero()[0]
        plain = not c.unrecorded and c.rank is None and self.constraints.is_free and c.activation == "tanh"
        alone = len(self.data.mask) == 1 and seen[-1] - seen[0] + 1 == len(seen)
        return plain and alone and len(seen) >= 20

    def _take_start(self) -> RateParameters:
        share = self.options.pop("validation", 0.2)
        penalty = self.options.pop("penalty", None)
        return self._linear(self.data, penalty or self.chosen_penalty(share), "ridge")

    def _trained(self, data: RateData, start: RateParameters, held: RateData | None) -> RateParameters:
        from nwb_rnn.fitting.backprop import BackpropOptions, backprop

        known = {f.name for f in fields(BackpropOptions)}
        self._refuse(set(self.options) - known, known)
        options = BackpropOptions(
            **{
                "rank": self.config.rank,
                "sparse": self.config.sparse,
                "seed": self.config.seed,
                **self.options,
            }
        )
        states, _ = forced_run(start, data.activation, data.rates, data.mask, data.inputs)
        check = None if held is None else lambda p: self._validated(p, held)
        found, rows = backprop(data, start, self.constraints, options, states, check)
        self.history += rows
        return self._finished(found, data)

    def _linear(self, data: RateData, penalty: float, method: str, **options) -> RateParameters:
        blank, problem = self.problem(data)
        weights = self._weights(problem, Normal.of(problem), penalty, method, options)
        return self._finished(self.put(blank, weights), data, problem, weights)

    def _weights(
        self, problem: Regression, normal: Normal, penalty: float, method: str, options: dict
    ) -> Weights:
        if method == "ridge":
            return ridge(normal, penalty, self.units, self.constraints)
        from nwb_rnn.fitting.convex import convex

        return convex(problem, penalty, self.units, self.constraints, **options)

    def chosen_penalty(self, share: float) -> float:
        """λ whose ridge fit runs best by itself through what was held out."""
        fit, held = self._split(share)
        blank, problem = self.problem(fit)
        normal = Normal.of(problem)
        scores = []
        for number, penalty in enumerate(PENALTIES):
            weights = ridge(normal, penalty, self.units, self.constraints)
            network = self._finished(self.put(blank, weights), fit, problem, weights)
            scores.append(self._validated(network, held))
            self._note(number + 1, -penalty, scores[-1])
        return PENALTIES[int(np.argmax(scores))]

    def _validated(self, network: RateParameters, held: RateData) -> float:
        return free_run_score(network, held, network.noise, _VALIDATION_RUNS, self.config.seed)

    def _split(self, share: float) -> tuple[RateData, RateData]:
        """The last trials held out, or of fewer than five trials their last bins."""
        trials, bins = self.data.mask.shape
        if trials >= 5:
            order = np.random.default_rng(self.config.seed).permutation(trials)
            first = trials - max(1, round(share * trials))
            return self.data.select(np.sort(order[:first])), self.data.select(np.sort(order[first:]))
        ends = self.data.mask.any(axis=0).nonzero()[0]
        cut = int(ends[0] + (1 - share) * (ends[-1] + 1 - ends[0])) if len(ends) else bins
        return self.data.bins(slice(0, cut)), self.data.bins(slice(cut - 1, None))

    def problem(self, data: RateData) -> tuple[RateParameters, Regression]:
        """The network with only its random part, and the regression on all its rates."""
        blank = self._blank()
        if not self.config.unrecorded:
            return blank, regression(data)
        held, _ = forced_run(blank, data.activation, data.rates, data.mask, data.inputs)
        return blank, regression(data, rates_of(held, data.activation))

    def _blank(self) -> RateParameters:
        """Recorded rows 0; unrecorded rows random."""
        rng = np.random.default_rng(self.config.seed)
        n, d, columns = self.units, self.observed, self.data.inputs.shape[2]
        weights, inputs = np.zeros((n, n)), np.zeros((n, columns))
        random = self.config.gain / np.sqrt(n) * rng.standard_normal((n - d, n))
        weights[d:] = self.constraints.signed(random, slice(d, None))
        inputs[d:] = rng.standard_normal((n - d, columns))
        return RateParameters(
            recurrent_weights=weights,
            input_weights=inputs,
            unit_bias=np.zeros(n),
            time_constant=self.config.time_constant,
            bin_size=self.bin_size,
            noise=np.zeros(n),
            rate_gain=self.rate_gain,
            rate_offset=self.rate_offset,
            observed_index=np.arange(d),
            initial_state=np.zeros(n),
        )

    def put(self, blank: RateParameters, weights: Weights) -> RateParameters:
        """The network with these weights in the rows of the recorded units."""
        joined = self._join(blank)
        joined[: self.observed] = weights.joined
        split = Weights.split(joined, self.units)
        return replace(
            blank, recurrent_weights=split.recurrent, input_weights=split.inputs, unit_bias=split.bias
        )

    @staticmethod
    def _join(p: RateParameters) -> np.ndarray:
        return np.concatenate([p.recurrent_weights, p.input_weights, p.unit_bias[:, None]], axis=1)

    def _finished(
        self,
        network: RateParameters,
        data: RateData,
        problem: Regression | None = None,
        weights: Weights | None = None,
    ) -> RateParameters:
        """With the noise that its residuals show, and the mean state that trials start in."""
        network = self._noisy(network, data, problem, weights)
        first = data.mask.argmax(axis=1)
        start = np.zeros(self.units)
        starts = data.rates[np.arange(len(first)), first]
        start[: self.observed] = currents_of(starts, data.activation).mean(axis=0)
        return replace(network, initial_state=start)

    def _noisy(
        self, network: RateParameters, data: RateData, problem: Regression | None, weights: Weights | None
    ) -> RateParameters:
        """With the noise that the residuals show of the network held at the recording."""
        if problem is None or weights is None:
            held, _ = forced_run(network, data.activation, data.rates, data.mask, data.inputs)
            problem = regression(data, rates_of(held, data.activation))
            weights = Weights.split(self._join(network)[: self.observed], self.units)
        noise = np.zeros(self.units)
        noise[: self.observed] = residual_noise(problem, weights)
        return replace(network, noise=noise)

    def _take(self, **defaults):
        """The options of a method over its defaults."""
        self._refuse(set(self.options) - set(defaults), defaults)
        return defaults | self.options

    @staticmethod
    def _refuse(unknown, known) -> None:
        if unknown:
            raise InputError(
                f"fit does not know {', '.join(sorted(unknown))}; it knows {', '.join(sorted(known))}"
            )

    def _note(self, iteration: int, objective: float, validation: float | None) -> None:
        self.history.append(
            {
                "iteration": iteration,
                "objective": float(objective),
                "validation": validation,
                "learning_rate": 0.0,
                "seconds": time.perf_counter() - self.began,
            }
        )
