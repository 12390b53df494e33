"""The compiled gradient of a training step against that of torch's graph, and fits that use either."""

from __future__ import annotations

import pytest
import torch
from smc.backend_contract import GRADIENTS, VALUES, distance
from smc.backend_problems import Case, make

from nwb_rnn.fitting.options import TrainingOptions
from nwb_rnn.fitting.trainable import TrainableLowRank
from nwb_rnn.fitting.trainer import Trainer
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.trials import TrialTensors

CASES = [
    (Case(batch=5, bins=9), {}),
    (
        Case(activation="tanh", mask="units", unequal=True, inputs=2, dtype=torch.float64),
        {"noise": "diagonal"},
    ),
    (Case(activation="relu", mask="bins", inputs=1, dtype=torch.float64), {"filter_inputs": False}),
    (Case(activation="softplus", resampling="multinomial", inputs=3, batch=19, bins=4), {}),
    (Case(activation="identity", resampling="none", rank=1, bins=1, dtype=torch.float64), {}),
]


def trainer(case: Case, options: dict) -> Trainer:
    problem = make(case)
    generator = torch.Generator().manual_seed(1)
    names = set(LowRankParameters.__dataclass_fields__)
    start = LowRankParameters(**{n: x.detach() for n, x in problem.leaves.items() if n in names})
    config = LowRankConfig(
        rank=case.rank,
        units=case.units,
        activation=case.activation,
        observation="gaussian",
        **options,
    )
    inputs = torch.randn(case.batch, case.bins, case.inputs, generator=generator, dtype=case.dtype)
    trials = TrialTensors(inputs=inputs, **problem.data)
    training = TrainingOptions(
        iterations=20,
        batch_size=case.batch,
        particles=case.particles,
        proposal="optimal",
        resampling=case.resampling,
        resampling_gradient=0.9,
        progress=False,
    )
    return Trainer(TrainableLowRank(config, start, None), trials, None, training)


def value_and_gradients(of: Trainer, seed: int):
    of.generator.manual_seed(seed)
    value = of.gradient(of.batch())
    return value, {name: gradient.clone() for name, gradient in of.optimiser.gradients.items()}


@pytest.mark.parametrize(("case", "options"), CASES, ids=lambda x: str(x) if isinstance(x, Case) else "")
def test_same_value_and_gradients_as_the_graph(case, options):
    compiled, graph = trainer(case, options), trainer(case, options | {})
    assert compiled._compiled is not None
    graph._compiled = None
    for seed in (3, 4, 3):  # again, as arrays are used again
        value, gradients = value_and_gradients(compiled, seed)
        expected, expected_gradients = value_and_gradients(graph, seed)
        assert abs(value - expected) < VALUES[case.dtype] * abs(expected)
        for name, gradient in expected_gradients.items():
            assert distance(gradients[name], gradient) < GRADIENTS[case.dtype], name
            if gradient.numel() and name not in ("input_weights", "decay_logit"):
                assert case.bins == 1 or gradient.any(), name


def test_batches_of_changing_shape():
    """Random trials, cut to the longest of them."""
    case = Case(unequal=True, mask="units", batch=6, bins=8, dtype=torch.float64)
    compiled, graph = trainer(case, {}), trainer(case, {})
    graph._compiled = None
    for chosen in ([0, 1], [5, 1], [4, 5], [2, 3, 5], [0]):
        found = []
        for one in (compiled, graph):
            one.generator.manual_seed(0)
            value = one.gradient(one.trials.select(torch.tensor(chosen)))
            found.append((value, one.optimiser._gradient.clone()))
        assert abs(found[0][0] - found[1][0]) < 1e-9 * abs(found[1][0])
        assert distance(found[0][1], found[1][1]) < 1e-9


def test_recovers_after_a_broken_step():
    """What a NaN leaves in the arrays does not reach the next step."""
    one = trainer(Case(), {})
    value, gradients = value_and_gradients(one, 0)
    bias = one.module.unit_bias.data[0].clone()
    one.module.unit_bias.data[0] = float("nan")
    assert value_and_gradients(one, 0)[0] != value
    one.module.unit_bias.data[0] = bias
    again, same = value_and_gradients(one, 0)
    assert again == value
    assert all(torch.equal(same[name], gradient) for name, gradient in gradients.items())


@pytest.mark.parametrize("change", [{"proposal": "bootstrap"}, {"backend": "reference"}])
def test_other_models_go_through_the_graph(change):
    one = trainer(Case(), {})
    options = TrainingOptions(**{"proposal": "optimal", "progress": False} | change)
    assert Trainer(one.module, one.trials, None, options)._compiled is None
