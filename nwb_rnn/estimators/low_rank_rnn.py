"""`LowRankRNN`: a stochastic low-rank RNN with the verbs fit, infer, simulate, score and fixed_points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators import arrays as array_form
from nwb_rnn.estimators import choices, matching, posterior, scoring, sessions
from nwb_rnn.estimators.estimator import Estimator
from nwb_rnn.estimators.software import versions
from nwb_rnn.fitting.options import TrainingOptions
from nwb_rnn.models.canonical import canonical_basis, change_basis, is_canonical
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.indicator import expected_trace
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.models.simulation import simulate
from nwb_rnn.smc import trials as tensors
from nwb_rnn.smc.expansion import expandable
from nwb_rnn.smc.filter import FilterOptions
from nwb_rnn.smc.proposals import choose

if TYPE_CHECKING:
    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.dynamics.maps import LowRankMap
    from nwb_rnn.dynamics.spectra import Linearisation
    from nwb_rnn.estimators.training import Fitted, Training


class LowRankRNN(Estimator[LowRankConfig, LowRankParameters]):
    """A stochastic low-rank RNN fitted to a recording (Pals et al. 2024, arXiv 2406.16749).

        x_t = M z_t + W v_t,   r_t = φ(x_t; h),   z_{t+1} = a z_t + V r_t + N(0, Q),   y_t ~ p(y | z_t)

    Parameters
    ----------
    rank : number of latents R
    units : number of network units N
    activation : φ: clipped_relu, relu, tanh, softplus or identity
    observation : poisson for spike counts, negative_binomial for counts that vary more (variance
        μ + μ² / k, one dispersion k for each unit), gaussian for continuous signals
    readout : affine (η = C z + d), one_to_one (η_i = g_i r_i + d_i for the first D network units), or network
        (η = C z + B tanh(A z + b) + d with `readout_units` hidden units)
    link : softplus or exp, the expected count per bin as a function of η; one name, or one for each unit
    seed : of the starting weights, of training, and of inference
    indicator : ar1 for fluorescence, y_t = g y_{t−1} + η_t + noise (`nwb_rnn.models.indicator`), with
        `indicator_time_constant` in s where it is known
    settings : further fields of `nwb_rnn.models.low_rank.LowRankConfig`

    Raises
    ------
    InputError : a setting that is unknown or does not go with the others.
    """

    def __init__(
        self,
        rank: int,
        units: int = 128,
        activation: str = "clipped_relu",
        observation: str = "poisson",
        readout: str = "affine",
        link: str | Sequence[str] = "auto",
        indicator: str = "none",
        seed: int = 0,
        **settings,
    ):
        super().__init__(
            LowRankConfig,
            rank=rank,
            units=units,
            activation=activation,
            observation=observation,
            readout=readout,
            link=link,
            indicator=indicator,
            seed=seed,
            **settings,
        )
        self._encoder: ConvEncoder | None = None
        self.is_canonical = False

    def __repr__(self) -> str:
        c = self.config
        state = (
            "not fitted"
            if self._parameters is None
            else f"{len(self.parameters.readout_bias)} observed units"
        )
        return (
            f"LowRankRNN(rank={c.rank}, units={c.units}, activation={c.activation!r}, "
            f"observation={c.observation!r}, readout={c.readout!r}; {state})"
        )

    # fitting -----------------------------------------------------------------------------------------

    def fit(
        self,
        trials: xr.Dataset | Sequence[xr.Dataset],
        validation: xr.Dataset | Sequence[xr.Dataset] | None = None,
        iterations: int = 500,
        batch_size: int = 16,
        particles: int = 16,
        learning_rate: float = 3e-3,
        proposal: str = "auto",
        device: str = "auto",
        backend: str = "auto",
        progress: bool = True,
        checkpoint: str | Path | None = None,
        callback: Callable[[dict], None] | None = None,
        start: str = "data",
        polish: int | None = None,
        **options,
    ) -> LowRankRNN:
        """Fit by variational sequential Monte Carlo.

        Parameters
        ----------
        trials : what `Recording.align` returns: `counts` or `signal` (trial, time, unit), `mask`, `inputs`;
            or a list of such, one for each session: they share the dynamics, each has its own readout, and
            `session(number)` is the model of one of them
        validation : further trials; training stops when their score no longer improves, and the best
            parameters are kept
        iterations, batch_size, particles, learning_rate : see `nwb_rnn.fitting.options.TrainingOptions`,
            as for further `options` (crop, patience, validate_every, resampling, clip_norm, …)
        proposal : bootstrap, optimal (Gaussian, affine) or encoder; auto takes optimal where it exists
        device : auto (the CPU), cpu or cuda, which pays for long fits and for many at once
        backend : auto, reference, cpu or cuda; how the particle filter is computed, not what
        checkpoint : a file that the state of training goes to; an interrupted fit called again with the
            same data and options goes on from there and ends at the same parameters
        callback : called with iteration, objective, validation, learning_rate and seconds at each check
        start : "data" from a linear system fitted to the data, "random", or "current" to go on from the
            parameters this model already has
        polish : steps of particle expectation maximisation after the last gradient step; 0 for none, by
            default as many as `nwb_rnn.fitting.particle_em.usual_steps` says

        Returns
        -------
        The model itself, in the canonical basis. `history` holds the objective and the validation score,
        log p(y) per observed bin, in standard units (each channel's own spread) for Gaussian observations.

        Raises
        ------
        InputError : data that cannot be fitted, or options that do not go together.
        DivergenceError : training left the finite numbers; the last good state is kept.
        """
        self.set_up_fit(
            trials,
            validation,
            proposal,
            device,
            checkpoint,
            start,
            polish,
            iterations=iterations,
            batch_size=batch_size,
            particles=particles,
            learning_rate=learning_rate,
            backend=backend,
            progress=progress,
            callback=callback,
            **options,
        ).run()
        return self

    def set_up_fit(
        self,
        trials: xr.Dataset | Sequence[xr.Dataset],
        validation: xr.Dataset | Sequence[xr.Dataset] | None = None,
        proposal: str = "auto",
        device: str = "auto",
        checkpoint: str | Path | None = None,
        start: str = "data",
        polish: int | None = None,
        **options,
    ) -> Training:
        """What `fit` does before its first iteration, from the same arguments; `run()` does the rest."""
        proposal = choose(proposal, self.config)
        from nwb_rnn.estimators.training import Training  # slow to import, and not needed to load a model

        options = choices.known_options(options)
        options |= {"proposal": proposal, "device": choices.device(device)}
        options["checkpoint"] = None if checkpoint is None else Path(checkpoint)
        return Training(
            self.config,
            sessions.as_one(trials),
            None if validation is None else sessions.as_one(validation),
            TrainingOptions(**options),
            start,
            polish,
            (self.parameters, self._encoder) if start == "current" else None,
            partial(self._take, sessions.descriptions(trials)),
        )

    def _take(self, described: list[dict], fitted: Fitted) -> None:
        """Keep what training on the sessions `described` reached, in the canonical basis."""
        self._parameters, self._encoder = fitted.parameters, fitted.encoder
        self.data_description, self.history = fitted.description, fitted.history
        self.data_description |= {"sessions": described} if described else {}
        self.software, self.scores = versions(), {}
        self.is_canonical = False
        self.to_canonical()

    def to_canonical(self) -> None:
        """Change to the canonical basis, in place; `fit` ends there, `from_arrays` keeps its own."""
        basis = canonical_basis(self.parameters)
        if basis is None:
            return
        self._parameters = change_basis(self.parameters, basis)
        if self._encoder is not None:
            inverse = torch.linalg.inv(basis)
            self._encoder.basis.copy_((self._encoder.basis.double() @ inverse).float())
        self.is_canonical = True

    def session(self, number: int) -> LowRankRNN:
        """The model of one of the sessions it was fitted to, from 0: the shared network and its own readout.

        It stands alone: its units have their own ids again, it is written to its session's file, and
        `data_description["shared_with"]` says what the others are.
        """
        described = self.data_description.get("sessions", [])
        parts = sessions.own_part(self.config, self.parameters, self._encoder, described, number)
        config, parameters, encoder = parts
        state = {"history": list(self.history), "software": dict(self.software)}
        state |= {"data_description": sessions.own_description(described, number)}
        return self._assemble(asdict(config), parameters, encoder, is_canonical=self.is_canonical, **state)

    # using -------------------------------------------------------------------------------------------

    def infer(
        self,
        trials: xr.Dataset | Sequence[xr.Dataset],
        kind: str = "smoothed",
        particles: int = 256,
        samples: int = 64,
        held_out_units: Sequence | None = None,
        until: float | None = None,
        proposal: str = "auto",
        resampling: str = "systematic",
        seed: int | None = None,
        device: str = "auto",
        backend: str = "auto",
        progress: bool = False,
        return_samples: bool = False,
    ) -> xr.Dataset:
        """Latents given the recording.

        Parameters
        ----------
        kind : "smoothed", given the whole trial, or "filtered", given the trial up to each bin
        particles : K of the filter
        samples : trajectories drawn by backward simulation for kind="smoothed", or draws of each bin's law
            for kind="filtered" with `return_samples`
        held_out_units : ids of units whose recording is not looked at; `rates` predicts them all the same
        until : time, s; the recording is not looked at from there on, and `rates` is a forecast
        proposal : as in `fit`, or expansion (counts with an affine readout, see `nwb_rnn.smc.expansion`);
            auto takes optimal or expansion where it exists, else the fitted encoder or bootstrap
        return_samples : add latent_samples (trial, sample, time, latent)

        Returns
        -------
        Dataset with latent_mean, latent_std (trial, time, latent), rates (trial, time, unit), expected
        observation per bin (of fluorescence, what the latents alone predict), log_likelihood (trial),
        effective_sample_size (trial, time) and mask; bins outside a trial are NaN.
        """
        if kind not in ("smoothed", "filtered"):
            raise InputError(f"kind={kind!r} is not known; choose smoothed or filtered")
        if samples < 1:
            raise InputError(f"samples={samples} must be at least 1")
        p, trials = self.parameters, sessions.as_one(trials)
        data = tensors.from_dataset(matching.matched(trials, self.data_description, p.input_weights.shape[1]))
        data = data.innovations(p.indicator_decay)
        if held_out_units is not None:
            data = data.hide_units(choices.units_mask(self.unit_ids, held_out_units))
        if until is not None:
            data = data.hide_from(int(np.searchsorted(trials["time"].values, until)))
        target = torch.device(choices.device(device))
        seed = self.config.seed if seed is None else seed
        options = FilterOptions(particles, self._proposal(proposal), backend, resampling)
        encoder = None if self._encoder is None else self._encoder.to(target)
        found = posterior.infer(
            self.config,
            p.map(lambda x: x.to(target)),
            encoder,
            data.to(target, p.decay.dtype),
            options,
            kind,
            samples,
            seed,
            progress,
            return_samples,
        )
        if encoder is not None:
            encoder.cpu()
        if p.indicator_decay is not None:
            found = replace(found, rates=expected_trace(found.rates, p.indicator_decay.numpy()))
        attrs = {"kind": kind, "particles": particles, "seed": seed, "proposal": options.proposal}
        return posterior.as_dataset(found, trials, self.unit_ids, attrs)

    def simulate(
        self,
        trials: int = 100,
        like: xr.Dataset | None = None,
        bins: int | None = None,
        inputs: np.ndarray | None = None,
        seed: int | None = None,
    ) -> xr.Dataset:
        """Draw new trials from the model.

        Parameters
        ----------
        trials : how many
        like : take the time axis, the lengths and the inputs of these trials, over and over
        bins : length where `like` is not given
        inputs : (trial, time, input); overrides the inputs of `like`
        seed : of this simulation; by default the model's own

        Returns
        -------
        Dataset shaped like trials: `counts` or `signal`, `mask`, and the `latents` (trial, time, latent)
        that made them.
        """
        p = self.parameters
        if like is None and bins is None and inputs is None:
            raise InputError("simulate needs to know how long a trial is: give like=trials or bins=…")
        count = p.input_weights.shape[1]
        inside, time, inputs = posterior.plan(trials, like, bins, inputs, self.bin_size, count)
        seed = self.config.seed if seed is None else seed
        generator = torch.Generator().manual_seed(seed)
        latents, observed = simulate(self.config, p, torch.as_tensor(inputs, dtype=p.decay.dtype), generator)
        ids = self.data_description.get("unit_ids", np.arange(observed.shape[2]))
        attrs = {"bin_size": self.bin_size, "align_to": "simulated", "seed": seed, "source": "simulated"}
        name = "counts" if self.config.observation != "gaussian" else "signal"
        return posterior.simulated_dataset(name, observed, latents, inside, time, inputs, ids, attrs)

    def score(
        self, trials: xr.Dataset | Sequence[xr.Dataset], held_out_units: Sequence | None = None, **options
    ) -> dict[str, float]:
        """Scores on (held-out) trials; further `options` go to `infer`.

        Returns
        -------
        log_likelihood_per_bin : marginal log p(y) by the filter, per observed bin
        bits_per_spike : for counts, the same against each unit's mean rate, per spike
        co_smoothing_bits_per_spike : only with `held_out_units`: their counts predicted from the others
        r2 : for signals, variance explained by the smoothed expectation of the recorded channels
        co_smoothing_r2 : for signals, only with `held_out_units`
        """
        trials = sessions.as_one(trials)
        given = matching.matched(trials, self.data_description, self.parameters.input_weights.shape[1])
        latents = self.infer(given, **options)
        fluorescence = self.config.indicator != "none"
        scores = scoring.marginal(latents, given, self.config.observation, pairs=fluorescence)
        if held_out_units is not None:
            held = choices.units_mask(self.unit_ids, held_out_units).numpy()
            latents = self.infer(given, held_out_units=held_out_units, **options)
            scores |= scoring.co_smoothing(latents, given, held, self.config.observation)
        self.scores = dict(scores)
        return scores

    def fixed_points(
        self, inputs: Sequence[float] | None = None, method: str = "auto", **options
    ) -> FixedPoints:
        """Where the latents stand still without noise, for a constant input (U,), zero by default.

        See `nwb_rnn.dynamics.find_fixed_points` for `method` and `options`; for relu and clipped_relu all
        fixed points are found, and `complete` says whether that is proved.
        """
        from nwb_rnn.dynamics import find_fixed_points

        points = find_fixed_points(self.step_map(inputs), method=method, **options)
        return points if inputs is None else points.describe(np.asarray(inputs, dtype=float))

    def step_map(self, inputs: Sequence[float] | None = None) -> LowRankMap:
        """One step without noise, F(z) = a z + V φ(M z + W u; h), for a constant input (U,), zero by default.

        What `nwb_rnn.dynamics` takes: its steps, Jacobians, cycles, exponents and branches, in float64.
        """
        from nwb_rnn.dynamics import LowRankMap

        p = self.parameters.map(lambda x: x.double())
        count = p.input_weights.shape[1]
        constant = np.zeros(count) if inputs is None else np.asarray(inputs, dtype=float)
        if constant.shape != (count,):
            raise InputError(f"inputs has shape {constant.shape}; this model takes {count} inputs")
        return LowRankMap(
            decay=float(p.decay),
            left_vectors=p.left_vectors.numpy(),
            right_vectors=p.right_vectors.numpy(),
            unit_bias=p.unit_bias.numpy(),
            activation=self.config.activation,
            input_current=p.input_weights.numpy() @ constant,
            bin_size=self.bin_size,
        )

    def linearise(
        self,
        inputs: Sequence[float] | None = None,
        at: np.ndarray | None = None,
        trials: int = 10,
        bins: int = 2000,
        seed: int | None = None,
    ) -> Linearisation:
        """The linear system nearest to the network: its modes and the spectra that it predicts.

        Parameters
        ----------
        inputs : (U,) constant input, zero by default
        at : (R,) linearise at this state, such as a fixed point; by default over the states of a simulation
            of `trials` × `bins` bins, the first tenth of each dropped
        seed : of the simulation; by default the model's own

        Returns
        -------
        `nwb_rnn.dynamics.Linearisation` with mean dF/dz and d E[y|z]/dz, Q, and the mean of Var(y|z). For
        counts the readout is linearised too: what their link bends is left out.

        Raises
        ------
        InputError : a wrong shape, or a model of fluorescence, whose decay no readout of the latents has.
        """
        from nwb_rnn.estimators.linearised import linearise

        return linearise(self, inputs, at, trials, bins, seed)

    # in and out --------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Every parameter and setting as a named numpy array; `from_arrays` makes the same model."""
        return array_form.to_arrays(self.config, self.parameters, self._encoder, self.bin_size)

    @classmethod
    def from_arrays(cls, *, seed: int = 0, unit_ids: Sequence | None = None, **arrays) -> LowRankRNN:
        """A model with known weights; names and shapes as `to_arrays` gives them.

        Raises
        ------
        InputError : an array that is missing, unknown, of the wrong shape, or not finite.
        """
        config, parameters, encoder, bin_size = array_form.from_arrays(arrays)
        ids = list(range(len(parameters.readout_bias))) if unit_ids is None else list(unit_ids)
        description = {"unit_ids": ids, "bin_size": bin_size}
        settings = asdict(config) | {"seed": seed}
        return cls._assemble(settings, parameters, encoder, data_description=description, software=versions())

    @classmethod
    def restore(
        cls,
        arrays: dict[str, np.ndarray],
        configuration: dict,
        history: list,
        data_description: dict,
        software: dict,
        scores: dict,
    ) -> LowRankRNN:
        """The model that storage read back: the same numbers, bit for bit."""
        config = LowRankConfig(**configuration)
        _, parameters, encoder, _ = array_form.from_arrays(arrays, config)
        return cls._assemble(
            configuration,
            parameters,
            encoder,
            history=list(history),
            data_description=dict(data_description),
            software=dict(software),
            scores=dict(scores),
            is_canonical=is_canonical(parameters),
        )

    @classmethod
    def _assemble(cls, settings: dict, parameters, encoder, **state) -> LowRankRNN:
        model = cls(**settings)
        model._parameters, model._encoder = parameters, encoder
        for name, value in state.items():
            setattr(model, name, value)
        return model

    # small things ------------------------------------------------------------------------------------

    def _proposal(self, proposal: str) -> str:
        if expandable(self.config) and proposal in ("auto", "expansion"):
            return "expansion"
        chosen = choose(proposal, self.config)
        if chosen == "encoder" and self._encoder is None:
            if proposal == "encoder":
                raise InputError("this model has no fitted encoder; use proposal='bootstrap'")
            return "bootstrap"
        return chosen
