"""`RateRNN`: a network of rate units fitted to the recorded units themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators import matching, posterior, rate_arrays, rate_runs, rate_setup
from nwb_rnn.estimators import rate_uncertainty as uncertainty
from nwb_rnn.estimators.estimator import Estimator
from nwb_rnn.estimators.rate_targets import behaviour_of, targets_of
from nwb_rnn.estimators.software import versions
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.free_run import starting_states
from nwb_rnn.fitting.rate_data import RateData, Targets
from nwb_rnn.models.rate import RateConfig, RateParameters, free_run, outputs_of, recorded_rates

if TYPE_CHECKING:
    from nwb_rnn.dynamics.fixed_points import FixedPoints


class RateRNN(Estimator[RateConfig, RateParameters]):
    """A data-constrained rate network: its units are the recorded units, and more where asked for.

        τ dx/dt = −x + J r + W u + b + noise,   r = φ(x),   recorded = offset + gain r

    Parameters
    ----------
    activation : φ: tanh, relu or softplus
    time_constant : τ, s
    unrecorded : units beside the recorded ones
    mask : (N, N) True where a connection (to, from) may be; the recorded units come first
    unit_sign : (N,) 1 excitatory, −1 inhibitory, 0 free; with dale=True and no signs they are drawn
    regions : (D,) name of each recorded unit's region; or set `region_column`
    seed : of all random numbers
    settings : further fields of `nwb_rnn.models.rate.RateConfig`: rank, sparse, zero_diagonal, dale,
        excitatory, gain, smoothing, scaling, region_column

    Raises
    ------
    InputError : a setting that is unknown or does not go with the others.
    """

    def __init__(
        self,
        activation: str = "tanh",
        time_constant: float = 0.1,
        unrecorded: int = 0,
        mask: np.ndarray | None = None,
        unit_sign: np.ndarray | None = None,
        regions: Sequence[str] | None = None,
        seed: int = 0,
        **settings,
    ):
        super().__init__(
            RateConfig,
            activation=activation,
            time_constant=time_constant,
            unrecorded=unrecorded,
            seed=seed,
            **settings,
        )
        self._given = (mask, unit_sign)
        self.regions = None if regions is None else np.asarray(regions, dtype=str)
        self._constraints: Constraints | None = None

    # what the model is -------------------------------------------------------------------------------

    @property
    def constraints(self) -> Constraints:
        """Which connections may be there and of which sign; NotFittedError before `fit`."""
        units = len(self.parameters.unit_bias)
        return self._constraints if self._constraints is not None else Constraints.make(units)

    @property
    def bin_size(self) -> float:
        """Bin width, s."""
        return self.parameters.bin_size

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs; none for a network that was fitted to recorded units alone."""
        return list(self.data_description.get("output_names", []))

    def __repr__(self) -> str:
        c = self.config
        state = (
            "not fitted" if self._parameters is None else f"{len(self.parameters.rate_gain)} recorded units"
        )
        return (
            f"RateRNN(activation={c.activation!r}, time_constant={c.time_constant}, "
            f"unrecorded={c.unrecorded}; {state})"
        )

    # fitting -----------------------------------------------------------------------------------------

    def fit(self, trials: xr.Dataset, method: str = "auto", targets=None, **options) -> RateRNN:
        """Fit the network to recorded rates, and with targets to behaviour as well.

        Parameters
        ----------
        trials : what `Recording.align` returns: `signal`, or `counts` with `smoothing` set
        method : one of

            - ridge: closed form on inverted rates; options penalty (λ, chosen by free run when None) and
              validation (share held out for that)
            - unknown_input: ridge on one long recording of tanh units, without noise or with
              smoothing="auto" (with a fixed width it takes noise for inputs), in which inputs that were not
              recorded change the bias of each unit; the free run goes on with the last one. Weights within
              a region have the variance gain²/units, those between regions one that is estimated, and so is
              the share of tanh's range that each region of clean data takes; floor (least noise of a
              current, before α; from the error of the smoothing when None), iterations
            - convex: reweighted one-step fit; penalty, validation, iterations, limit
            - rls: FORCE; passes, start_variance, substeps, noise
            - full_force: `unrecorded` units with a readout; passes, drive, start_variance, settle
            - backprop: through time with teacher forcing, from a ridge fit; penalty, and the fields of
              `nwb_rnn.fitting.backprop.BackpropOptions`
            - auto: of one recording of tanh units without masks or signs unknown_input, unless ridge runs
              clearly better (by 0.25 of the variance) through the last part of it, fitted without that;
              otherwise ridge, then backprop where that makes the free run on held-out data better.
              `data_description["chosen"]` names what was taken
            - performance: outputs match `targets` and the recorded units match their activity, the others
              are free (after Salatiello & Giese 2020). With optimiser="backprop" the fields of
              `nwb_rnn.fitting.performance.PerformanceOptions`, among them output_weight, activity_weight and
              state_noise, and start: "random", or "recorded", in which unrecorded units carry what recorded
              ones did (`nwb_rnn.fitting.performance_start`); with optimiser="rls" the fields of
              `nwb_rnn.fitting.performance_rls.RLSOptions`. With both input_gain, the size of random W

        targets : for "performance": name of behaviour that the trials carry (align with behaviour=…), several
            names, "behaviour" for all of it, or an array (trial, time, output); bins where one is NaN do not
            count

        Returns
        -------
        The model itself. `history` has a row for each λ tried (objective −λ) and each check of training;
        `validation` is the explained variance of the free run on what was held out. For "performance" its
        rows are steps or passes: outputs and activity are the shares of the variance that are left of each.

        Raises
        ------
        InputError : data that cannot be fitted, or options that do not go together
        DivergenceError : training left the finite numbers
        """
        given = rate_arrays.prepared(trials, self.config)
        bin_size = matching.bin_size(given)
        alpha = rate_setup.share_of_step(self.config, bin_size)
        data, scale = rate_arrays.rate_data(given, None, self.config, alpha)
        wanted, chosen = (None, []) if targets is None else targets_of(trials, targets)
        solver = rate_setup.solver(self.config, self._given, data, scale, bin_size, wanted, options)
        observed = trials.sizes["unit"]
        solver.regions = rate_setup.regions_of(trials, self.regions, self.config.region_column, observed)
        self._parameters = solver.solve(method)
        self._constraints = solver.constraints
        self.history = solver.history
        self.data_description = matching.describe(trials, data.inputs.shape[2])
        self.data_description |= {"smoothing": given.attrs.get("smoothing", ""), "method": method}
        if solver.chosen:
            self.data_description["chosen"] = solver.chosen
        if wanted is not None:
            self.data_description |= {"output_names": list(wanted.names), "targets": chosen}
        units = len(self.parameters.unit_bias)
        self.regions = rate_setup.regions_of(trials, self.regions, self.config.region_column, units)
        self.software, self.scores = versions(), {}
        return self

    def _data(self, trials: xr.Dataset) -> RateData:
        """Trials of the model's units, in φ's range."""
        p = self.parameters
        given = rate_arrays.prepared(trials, self.config)
        if self.data_description.get("unit_ids") is not None:
            given = matching.matched(given, self.data_description, p.input_weights.shape[1])
        scale = rate_arrays.Scale(p.rate_gain, p.rate_offset)
        return rate_arrays.rate_data(given, scale, self.config, p.alpha)[0]

    # using -------------------------------------------------------------------------------------------

    def infer(self, trials: xr.Dataset) -> xr.Dataset:
        """States of the network while the recorded units are held at their recording.

        Returns
        -------
        Dataset with latent_mean (trial, time, latent), the currents x of all N units; rates (trial, time,
        unit), what the bin before predicted for the recorded units, in the units of the recording; mask; and
        of a network with outputs `outputs` (trial, time, output), in the units of the targets
        """
        p, data = self.parameters, self._data(trials)
        return self._labelled(*rate_runs.held(p, data), data.mask, trials, {"kind": "filtered"})

    def free_run(
        self, trials: xr.Dataset, warm_up: int = 1, noise: bool = False, seed: int | None = None
    ) -> xr.Dataset:
        """The network left alone after the first `warm_up` bins of each trial.

        Returns
        -------
        As `infer`; in the warm-up the recording itself.
        """
        p, data = self.parameters, self._data(trials)
        seed = self.config.seed if seed is None else seed
        ran = rate_runs.free(p, data, warm_up, p.noise if noise else 0.0, seed)
        return self._labelled(*ran, data.mask, trials, {"kind": "free run", "warm_up": warm_up})

    def forecast(
        self,
        trials: xr.Dataset,
        bins: int,
        inputs: np.ndarray | None = None,
        noise: bool = False,
        seed: int | None = None,
    ) -> xr.Dataset:
        """Run on from the last recorded bin of each trial, of which nothing later is known.

        Parameters
        ----------
        bins : how many, after the last recorded one
        inputs : (trial, bins, input) from the last recorded bin on; needed by a network with inputs

        Returns
        -------
        Dataset shaped like trials, as of `simulate`: `signal`, `mask` and the currents as `latents`; time, s,
        counts from the end of the last recorded bin
        """
        p, data = self.parameters, self._data(trials)
        inputs = rate_runs.future_inputs(p, len(data.mask), bins, inputs)
        seed = self.config.seed if seed is None else seed
        currents = rate_runs.onward(p, data, inputs, p.noise if noise else 0.0, seed)
        observed = recorded_rates(p, data.activation, currents)
        time, inside = (np.arange(bins) + 0.5) * p.bin_size, np.ones(currents.shape[:2], dtype=bool)
        ids = self.data_description.get("unit_ids", np.arange(observed.shape[2]))
        attrs = {"bin_size": p.bin_size, "align_to": "last recorded bin", "seed": seed, "source": "forecast"}
        return posterior.simulated_dataset("signal", observed, currents, inside, time, inputs, ids, attrs)

    def simulate(
        self,
        trials: int = 100,
        like: xr.Dataset | None = None,
        bins: int | None = None,
        inputs: np.ndarray | None = None,
        seed: int | None = None,
        noise: bool = True,
    ) -> xr.Dataset:
        """Draw new trials: free runs with the model's noise.

        Parameters
        ----------
        trials : how many
        like : take the time axis, lengths, inputs and starting states of these trials, over and over
        bins : length where `like` is not given; trials then start in the mean starting state
        inputs : (trial, time, input); overrides the inputs of `like`

        Returns
        -------
        Dataset shaped like trials: `signal`, `mask`, the currents as `latents`, and `outputs` if it has any
        """
        p = self.parameters
        if like is None and bins is None and inputs is None:
            raise InputError("simulate needs to know how long a trial is: give like=trials or bins=…")
        count = p.input_weights.shape[1]
        inside, time, inputs = posterior.plan(trials, like, bins, inputs, self.bin_size, count)
        start = np.repeat(p.initial_state[None], trials, axis=0)
        if like is not None:
            start = starting_states(p, self._data(like))[np.arange(trials) % like.sizes["trial"]]
        seed = self.config.seed if seed is None else seed
        rng = np.random.default_rng(seed)
        currents = free_run(p, self.config.activation, start, inputs, p.noise if noise else 0.0, rng)
        observed = recorded_rates(p, self.config.activation, currents)
        ids = self.data_description.get("unit_ids", np.arange(observed.shape[2]))
        attrs = {"bin_size": self.bin_size, "align_to": "simulated", "seed": seed, "source": "simulated"}
        made = posterior.simulated_dataset("signal", observed, currents, inside, time, inputs, ids, attrs)
        outputs = outputs_of(p, self.config.activation, currents)
        if outputs is None:
            return made
        made["outputs"] = (("trial", "time", "output"), np.where(inside[..., None], outputs, np.nan))
        return made.assign_coords(output=self.output_names)

    def score(
        self,
        trials: xr.Dataset,
        runs: int = 5,
        warm_up: int = 1,
        seed: int | None = None,
        targets=None,
    ) -> dict[str, float]:
        """Scores on (held-out) trials.

        Parameters
        ----------
        runs : free runs with new noise that are averaged
        warm_up : bins at the start in which the recording is given
        targets : as for `fit`, of a network with outputs; what it was fitted to when None, where the trials
            carry that

        Returns
        -------
        free_run_explained_variance : without noise; 1 − residual/variance over all units and bins
        noisy_free_run_explained_variance : mean of `runs` free runs with the model's noise
        free_run_r2 : without noise, variance about each unit's own mean
        one_step_r2 : variance about each unit's own mean explained one bin ahead
        output_r2, free_run_output_r2 : mean over outputs of R², with the recorded units held at their
            recording and in the free run without noise; only with targets
        """
        seed = self.config.seed if seed is None else seed
        wanted = self._targets(trials, targets)
        found = rate_runs.scores(self.parameters, self._data(trials), wanted, runs, warm_up, seed)
        self.scores = dict(found)
        return found

    def region_currents(self, trials: xr.Dataset) -> xr.Dataset:
        """Currents between regions while the recorded units are held at their recording.

        Returns
        -------
        Dataset: `current` (target, source, trial, time), the mean over the target's units of the current's
        magnitude, and `share` (target, source), that current's share of all of the target's

        Raises
        ------
        InputError : the model knows no regions
        """
        regions = self._need_regions()
        return rate_runs.region_currents(self.parameters, self._data(trials), regions, trials)

    def uncertainty(
        self, trials: xr.Dataset, resamples: int = 20, penalty: float | None = None, blocks: int = 10
    ) -> xr.Dataset:
        """J and the shares of region currents over resampled data and seeds.

        Trials are drawn with replacement (of a single trial, `blocks` stretches of time), the random part of
        the network gets a new seed, and the closed form is solved again: what is given is the spread of ridge
        fits, whatever method made this model.

        Parameters
        ----------
        penalty : λ; chosen once by free run when None

        Returns
        -------
        Dataset: recurrent_weights_mean, recurrent_weights_std (to, from), and with regions share_mean,
        share_std (target, source)
        """
        regions = self.regions
        data = self._data(trials)
        return uncertainty.resampled(self, data, regions, resamples, penalty, blocks)

    def fixed_points(
        self,
        inputs: Sequence[float] | None = None,
        trials: xr.Dataset | None = None,
        n_starts: int = 64,
        **options,
    ) -> FixedPoints:
        """Where the currents stand still without noise, searched from visited states.

        Parameters
        ----------
        inputs : (U,) constant input, zero by default
        trials : searches start from states visited in them; from a simulated trial when None
        n_starts, options : see `nwb_rnn.dynamics.newton.newton_fixed_points`
        """
        from nwb_rnn.dynamics.newton import newton_fixed_points
        from nwb_rnn.dynamics.rate_map import RateMap

        p = self.parameters
        count = p.input_weights.shape[1]
        constant = np.zeros(count) if inputs is None else np.asarray(inputs, dtype=float)
        if constant.shape != (count,):
            raise InputError(f"inputs has shape {constant.shape}; this model takes {count} inputs")
        data = None if trials is None else self._data(trials)
        visited = rate_runs.visited(p, self.config.activation, data, constant)
        rng = np.random.default_rng(self.config.seed)
        starts = visited[rng.integers(0, len(visited), n_starts)]
        points = newton_fixed_points(RateMap(p, self.config.activation, constant), starts, **options)
        return points.describe(constant) if inputs is not None else points

    # in and out --------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every parameter as a named numpy array; `from_arrays` makes the same model."""
        parts = (self.config, self.parameters, self.constraints, self.regions, self.output_names)
        return rate_arrays.to_arrays(*parts)

    @classmethod
    def from_arrays(cls, *, seed: int = 0, unit_ids: Sequence | None = None, **arrays) -> RateRNN:
        """A model with known weights; names and shapes as `to_arrays` gives them."""
        p, constraints, regions, activation, outputs = rate_arrays.from_arrays(arrays)
        ids = list(range(len(p.rate_gain))) if unit_ids is None else list(unit_ids)
        model = cls(
            activation=activation,
            time_constant=p.time_constant,
            unrecorded=len(p.unit_bias) - len(p.observed_index),
            seed=seed,
        )
        model.data_description = {"unit_ids": ids, "bin_size": p.bin_size, "observed": "signal"}
        model.data_description |= {"output_names": outputs} if outputs else {}
        model.software = versions()
        return model._with(p, constraints, regions)

    @classmethod
    def restore(
        cls,
        arrays: dict[str, np.ndarray],
        configuration: dict,
        history: list,
        data_description: dict,
        software: dict,
        scores: dict,
    ) -> RateRNN:
        """The model that storage read back: the same numbers, bit for bit."""
        if data_description.get("method") == "full_force" and "observed_weights" not in arrays:
            renamed = {"readout_weights": "observed_weights", "readout_bias": "observed_bias"}  # before 0.2
            arrays = {renamed.get(name, name): array for name, array in arrays.items()}
        p, constraints, regions, _, _ = rate_arrays.from_arrays(arrays)
        model = cls(**configuration)
        model.history, model.data_description = list(history), dict(data_description)
        model.software, model.scores = dict(software), dict(scores)
        return model._with(p, constraints, regions)

    def _with(self, p: RateParameters, constraints: Constraints, regions: np.ndarray | None) -> RateRNN:
        self._parameters, self._constraints, self.regions = p, constraints, regions
        self._given = (constraints.mask, constraints.sign)
        return self

    # small things ------------------------------------------------------------------------------------

    def _need_regions(self) -> np.ndarray:
        if self.regions is None:
            raise InputError(
                "this RateRNN knows no regions: give RateRNN(regions=[…]), one name per unit, or "
                "region_column= with a column of the units"
            )
        return self.regions

    def _labelled(self, currents, rates, mask, trials: xr.Dataset, attrs: dict) -> xr.Dataset:
        outputs = outputs_of(self.parameters, self.config.activation, currents)
        about = self.data_description
        return rate_runs.labelled(currents, rates, outputs, mask, trials, about, attrs)

    def _targets(self, trials: xr.Dataset, targets) -> Targets | None:
        """What the outputs shall be in these trials, or None where there are none, or it is not known."""
        fitted = self.data_description.get("targets", [])
        if self.parameters.readout_weights is None:
            if targets is not None:
                raise InputError(
                    "this RateRNN has no outputs: fit(trials, 'performance', targets=…) makes some"
                )
            return None
        if targets is None and not (fitted and set(fitted) <= set(behaviour_of(trials))):
            return None
        wanted, _ = targets_of(trials, fitted if targets is None else targets)
        if len(wanted.names) != len(self.output_names):
            raise InputError(f"targets makes {len(wanted.names)} outputs; the model has {self.output_names}")
        return wanted
