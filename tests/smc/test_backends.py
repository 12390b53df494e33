"""The CPU backend against the reference, and what only it promises."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from smc.backend_contract import BackendContract, outcome
from smc.backend_problems import Case, make

from nwb_rnn.smc.backends import cpu, reference


class TestCpu(BackendContract):
    backend = cpu

    @pytest.mark.parametrize(
        ("change", "word"),
        [(dict(readout="network"), "network readout"), (dict(link="exp,softplus"), "link exp,softplus")],
    )
    def test_what_has_no_kernel_goes_to_the_reference(self, change, word):
        case = Case(proposal="bootstrap", observation="poisson", observed=2, **{"link": "exp"} | change)
        problem = make(case)
        assert word in cpu.supports(problem.inputs(), case.resampling)
        result, gradients = outcome(reference, problem)
        assert torch.isfinite(result.log_increments).all()
        assert all(torch.isfinite(g).all() for g in gradients.values())


def test_the_number_of_threads_does_not_change_a_bit(monkeypatch):
    problem = make(Case(proposal="encoder", batch=21, inputs=1, unequal=True))
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(cpu, "threads", threads)
        found.append(outcome(cpu, problem))
    assert torch.equal(found[0][0].log_increments, found[1][0].log_increments)
    for name, gradient in found[0][1].items():
        assert torch.equal(gradient, found[1][1][name])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_threads_it_does_not_have(monkeypatch):
    monkeypatch.setattr(cpu, "threads", 2)
    cpu.in_threads(lambda first, last: None, 4)
    assert cpu._pools
    child = os.fork()
    if child == 0:
        os._exit(0 if not cpu._pools else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(cpu, "threads", 2)

    def work(first, last):
        if threading.current_thread() is not threading.main_thread():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cpu.in_threads(work, 4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"activation": "swish"}, "swish"),
        ({"observation": "negative_binomial"}, "negative_binomial"),
        ({"link": "cube"}, "cube"),
    ],
)
def test_says_what_it_cannot_do(change, reason):
    inputs = make(Case(proposal="bootstrap")).inputs()
    assert reason in cpu.supports(replace(inputs, **change), "systematic")
    assert cpu.supports(inputs, "systematic") is None


def test_half_precision_is_left_to_the_reference():
    inputs = make(Case(proposal="bootstrap")).inputs()
    half = replace(inputs, parameters=inputs.parameters.map(lambda x: x.half()))
    assert "float16" in cpu.supports(half, "systematic")


def test_counts_too_large_or_broken_for_the_table_of_factorials():
    problem = make(Case(proposal="bootstrap", observation="poisson", link="exp", dtype=torch.float64))
    observed = problem.data["observed"]
    plain, _ = outcome(cpu, problem)
    observed[0, 0, 1], observed[0, 1, 1] = 300, 1.5
    from nwb_rnn.smc.backends import reference

    expected, _ = outcome(reference, problem, plain.ancestors)
    found, _ = outcome(cpu, problem, plain.ancestors)
    assert torch.allclose(found.log_increments, expected.log_increments, rtol=1e-10)


def test_links_far_out_stay_finite_or_overflow_as_the_reference_does():
    """Predictors from −200 to 200: softplus stays finite, exp overflows to inf in float32."""
    for link, finite in (("softplus", True), ("exp", False)):
        problem = make(Case(proposal="bootstrap", observation="poisson", link=link, bins=1))
        with torch.no_grad():
            problem.leaves["readout_weights"].zero_()
            problem.leaves["readout_bias"].copy_(torch.linspace(-200, 200, problem.case.observed))
        result, _ = outcome(cpu, problem)
        assert math.isfinite(result.log_increments.sum().item()) == finite


_SECOND = """
import sys, time
sys.path.insert(0, sys.argv[1])
from smc.backend_problems import Case, make
from nwb_rnn.smc.backends import cpu, reference
problem = make(Case())
inputs = problem.inputs()
start = time.process_time()
cpu.run(inputs, problem.noise, problem.uniforms).log_increments.sum().backward()
print(time.process_time() - start)
"""


def test_a_second_process_starts_fast():
    """Under two seconds of processor time where compiling takes ten."""
    outcome(cpu, make(Case()))
    command = [sys.executable, "-c", _SECOND, str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2
