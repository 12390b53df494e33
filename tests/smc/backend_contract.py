"""What every backend has to keep to: the values and gradients of the reference.

Two tensors are compared by the norm of their difference over the norm of the reference's, each tensor for
itself: 1e-5 for values and 1e-4 for gradients in float32, 1e-9 for both in float64.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from smc.backend_problems import Case, make
from torch import Tensor

from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.backends import reference
from nwb_rnn.smc.filter import prepare
from nwb_rnn.smc.many import prepare_many, stacked
from nwb_rnn.smc.trials import TrialTensors

VALUES = {torch.float32: 1e-5, torch.float64: 1e-9}
GRADIENTS = {torch.float32: 1e-4, torch.float64: 1e-9}
ACTIVATIONS = ("relu", "clipped_relu", "tanh", "softplus", "identity")
_FEW = {"batch": 2, "bins": 4, "units": 18, "observed": 5, "dtype": torch.float64}
LAWS = (("gaussian", "identity"), ("poisson", "softplus"), ("poisson", "exp"))


def every_model(**sizes) -> list[Case]:
    """Every activation, observation, readout and proposal; the other options take turns."""
    turns = itertools.cycle(
        [
            {"resampling_gradient": 0.9, "mask": "units", "unequal": True, "inputs": 2},
            {"resampling": "multinomial", "mask": "bins", "inputs": 1},
            {"resampling": "none", "unequal": True},
            {"resampling_gradient": 1.0, "mask": "units"},
            {"resampling": "multinomial", "resampling_gradient": 0.9, "unequal": True, "inputs": 3},
            {"resampling": "none", "resampling_gradient": 0.9, "mask": "bins", "inputs": 2},
            {"mask": "bins", "unequal": True},
        ]
    )
    cases = [
        Case(activation=activation, **sizes, **next(turns)) for activation in ACTIVATIONS for _ in range(3)
    ]
    options = itertools.product(ACTIVATIONS, LAWS, ("affine", "one_to_one"), ("encoder", "bootstrap"))
    for seed, (activation, (observation, link), readout, proposal) in enumerate(options):
        cases.append(
            Case(
                activation=activation,
                observation=observation,
                link=link,
                readout=readout,
                proposal=proposal,
                seed=seed,
                **sizes,
                **next(turns),
            )
        )
    return cases


def distance(found: Tensor, expected: Tensor) -> float:
    """|found − expected| / |expected|, in Euclidean norms."""
    return ((found - expected).norm() / expected.norm().clamp(min=1e-12)).item()


def negative_binomials(**sizes) -> list[Case]:
    """Counts that vary more than Poisson ones, for each link, readout and precision."""
    return [
        Case(
            **{"observation": "negative_binomial", "readout": readout, "activation": activation}
            | options
            | sizes
        )
        for options in (
            dict(link="softplus", proposal="encoder", mask="units", unequal=True, inputs=2),
            dict(link="exp", proposal="bootstrap", resampling="multinomial", mask="bins"),
            dict(link="exp", proposal="encoder", resampling="none", dtype=torch.float64, observed=19),
            dict(link="softplus", proposal="bootstrap", dtype=torch.float64, unequal=True),
        )
        for readout, activation in (
            ("affine", "tanh"),
            ("one_to_one", "clipped_relu"),
            ("one_to_one", "relu"),
        )
    ]


def outcome(backend, problem, ancestors=None):
    """The result, and the gradients of a weighted sum of the log increments by leaf."""
    case = problem.case
    leaves = problem.leaves
    inputs = problem.inputs()
    result = backend.run(
        inputs, problem.noise, problem.uniforms, case.resampling, ancestors, case.resampling_gradient
    )
    weights = torch.linspace(0.5, 1.5, case.batch * case.bins, dtype=case.dtype, device=problem.noise.device)
    objective = (result.log_increments * weights.reshape(case.batch, case.bins)).sum()
    found = torch.autograd.grad(objective, list(leaves.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
    return result, gradients


class BackendContract:
    """Inherited by the tests of each backend: `backend` is its module, `device` where it runs.

    `sizes` are those of a case where a test does not ask for its own.
    """

    backend = None
    terms = "reference"  # the backend that makes the proposal terms of several models
    device = "cpu"
    sizes: ClassVar[dict[str, int]] = {}

    def compare(self, case: Case, given: bool = False) -> None:
        """Values, gradients and ancestors of a run that draws; with `given` also of one that is told them."""
        problem = make(case).to(self.device)
        assert self.backend.supports(problem.inputs(), case.resampling) is None
        expected, expected_gradients = outcome(reference, problem)
        last = problem.data["lengths"].cpu() - 1
        trials = torch.arange(case.batch)
        running = torch.arange(case.bins) <= last[:, None]
        limit = VALUES[case.dtype]
        for ancestors in (None, expected.ancestors) if given else (None,):
            found, gradients = outcome(self.backend, problem, ancestors)
            assert torch.equal(found.ancestors.cpu()[running], expected.ancestors.cpu()[running])
            assert distance(found.log_increments, expected.log_increments) < limit
            assert distance(found.latents[trials, last], expected.latents[trials, last]) < limit
            assert distance(found.log_weights[trials, last], expected.log_weights[trials, last]) < 10 * limit
            assert ((found.ancestors >= 0) & (found.ancestors < case.particles)).all()
            for name, gradient in gradients.items():
                off = distance(gradient, expected_gradients[name])
                assert off < GRADIENTS[case.dtype], f"gradient on {name}: {off:.1e}"

    @pytest.mark.parametrize("case", every_model(), ids=str)
    def test_every_model_in_single_precision(self, case):
        self.compare(case)

    @pytest.mark.parametrize("case", negative_binomials(), ids=str)
    def test_negative_binomial_counts(self, case):
        self.compare(case)

    @pytest.mark.parametrize(
        "case",
        [
            Case(dtype=torch.float64, mask="units", unequal=True, inputs=2, resampling_gradient=0.9),
            Case(dtype=torch.float64, activation="tanh", resampling="none"),
            Case(dtype=torch.float64, proposal="bootstrap", activation="softplus", readout="one_to_one"),
            Case(
                dtype=torch.float64,
                resampling_gradient=1.0,
                proposal="encoder",
                activation="relu",
                observation="poisson",
                link="softplus",
                inputs=1,
                unequal=True,
            ),
            Case(dtype=torch.float64, proposal="encoder", observation="poisson", link="exp", mask="units"),
        ],
        ids=str,
    )
    def test_double_precision(self, case):
        self.compare(replace(case, **self.sizes), given=True)

    @pytest.mark.parametrize(
        "sizes",
        [
            {"particles": 1},
            {"bins": 1},
            {"rank": 1},
            {"rank": 6, "particles": 33},
            {"units": 3, "observed": 40, "inputs": 2},
            {"batch": 1, "bins": 1, "particles": 1, "rank": 1, "units": 1, "observed": 1},
            {"batch": 21, "bins": 3, "particles": 16},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("proposal", ["optimal", "encoder"])
    def test_sizes(self, proposal, sizes):
        self.compare(Case(proposal=proposal, resampling_gradient=0.9, **sizes))

    @pytest.mark.parametrize(
        "case",
        [
            Case(mask="units", unequal=True, inputs=2, **_FEW),
            Case(proposal="bootstrap", activation="tanh", resampling="none", inputs=1, **_FEW),
            Case(
                proposal="bootstrap",
                observation="negative_binomial",
                link="softplus",
                readout="one_to_one",
                inputs=1,
                **_FEW,
            ),
        ],
        ids=str,
    )
    def test_models_as_one_batch(self, case):
        """M models with a leading axis give what each of them gives the reference alone."""
        problem = make(case).to(self.device)
        names = [name for name in problem.leaves if name in LowRankParameters.__dataclass_fields__]
        leaves = [
            torch.stack([problem.leaves[name].detach() * (1 + 0.1 * m) for m in range(3)]) for name in names
        ]
        parameters = LowRankParameters(**{n: x.requires_grad_() for n, x in zip(names, leaves, strict=True)})
        config = LowRankConfig(
            rank=case.rank,
            units=case.units,
            activation=case.activation,
            observation=case.observation,
            readout=case.readout,
        )
        draw = dict(generator=torch.Generator().manual_seed(2), dtype=case.dtype)
        trials, draws = [], []
        for _ in range(3):
            shape = case.batch, case.bins
            inputs = torch.randn(*shape, case.inputs, **draw).to(self.device)
            trials.append(TrialTensors(inputs=inputs, **problem.data))
            noise = torch.randn(*shape, case.particles, case.rank, **draw).to(self.device)
            draws.append((noise, torch.rand(*shape, 1, **draw).to(self.device)))
        expected = []
        for m, (noise, uniforms) in enumerate(draws):
            one = prepare(parameters.map(lambda x, m=m: x[m]), config, trials[m], case.proposal)
            expected.append(reference.run(one, noise, uniforms, case.resampling).log_increments)
        together = prepare_many(parameters, config, stacked(trials), case.proposal, backend=self.terms)
        noise, uniforms = (torch.cat(x) for x in zip(*draws, strict=True))
        found = self.backend.run(together, noise, uniforms, case.resampling).log_increments
        running = torch.arange(case.bins, device=self.device) < together.lengths[:, None]
        found, expected = found * running, torch.cat(expected) * running
        assert distance(found, expected) < VALUES[case.dtype]
        weights = torch.linspace(0.5, 1.5, found.numel(), dtype=case.dtype, device=self.device)
        pairs = [
            torch.autograd.grad((x.flatten() * weights).sum(), leaves, allow_unused=True)
            for x in (found, expected)
        ]
        for name, one, other in zip(names, *pairs, strict=True):
            if other is not None and other.numel():
                if name.endswith("cholesky"):  # what is above the diagonal of a factor is no parameter
                    one, other = one.tril(), other.tril()
                assert distance(one, other) < GRADIENTS[case.dtype], name

    def test_without_gradients_every_bin_is_filtered(self):
        """Bins after the last observed one hold predictions, as in the reference."""
        problem = make(Case(unequal=True, **self.sizes)).to(self.device)
        with torch.no_grad():
            expected = reference.run(problem.inputs(), problem.noise, problem.uniforms)
            found = self.backend.run(problem.inputs(), problem.noise, problem.uniforms)
        assert distance(found.latents, expected.latents) < 1e-5
        assert distance(found.log_weights, expected.log_weights) < 1e-5

    @pytest.mark.parametrize("proposal", ["optimal", "encoder"])
    def test_a_nan_stays_visible(self, proposal):
        problem = make(Case(proposal=proposal, **self.sizes)).to(self.device)
        with torch.no_grad():
            problem.leaves["right_vectors"][0, 0] = float("nan")
        result, gradients = outcome(self.backend, problem)
        assert torch.isnan(result.log_increments).any()
        assert torch.isnan(gradients["left_vectors"]).any()

    def test_the_same_call_gives_the_same_bits(self):
        problem = make(Case(proposal="encoder", inputs=1, **{"batch": 5} | self.sizes)).to(self.device)
        first, first_gradients = outcome(self.backend, problem)
        second, second_gradients = outcome(self.backend, problem)
        assert torch.equal(first.log_increments, second.log_increments)
        for name, gradient in first_gradients.items():
            assert torch.equal(gradient, second_gradients[name])
