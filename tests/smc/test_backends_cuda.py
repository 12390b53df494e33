"""The Triton kernels against the reference: interpreted on the CPU everywhere, compiled where a GPU is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from smc.backend_contract import BackendContract, every_model, negative_binomials
from smc.backend_problems import Case, make

INTERPRET = "0" if torch.cuda.is_available() else "1"
with mock.patch.dict(os.environ, TRITON_INTERPRET=INTERPRET):  # read while the kernels are imported
    pytest.importorskip("triton")
    from nwb_rnn.smc.backends import cuda

SMALL = {"batch": 2, "bins": 3, "particles": 4, "units": 18, "observed": 5}
interpreted = pytest.mark.skipif(
    torch.cuda.is_available(), reason="the kernels are compiled here, not interpreted"
)


@pytest.fixture(autouse=True)
def _interpret(monkeypatch):
    """Triton reads it again when a kernel first runs."""
    monkeypatch.setenv("TRITON_INTERPRET", INTERPRET)


@interpreted
class TestInterpreted(BackendContract):
    """Every second model, since interpreting one takes seconds."""

    backend = cuda
    sizes = SMALL
    terms = "cuda"

    @pytest.mark.parametrize("case", every_model(**SMALL)[::2], ids=str)
    def test_every_model_in_single_precision(self, case):
        self.compare(case)

    @pytest.mark.parametrize("case", negative_binomials(**SMALL)[::2], ids=str)
    def test_negative_binomial_counts(self, case):
        self.compare(case)

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:All-NaN:RuntimeWarning")
    @pytest.mark.parametrize("proposal", ["optimal", "encoder"])
    def test_a_nan_stays_visible(self, proposal):
        super().test_a_nan_stays_visible(proposal)

    @pytest.mark.parametrize(
        "sizes",
        [
            {"particles": 1},
            {"bins": 1},
            {"rank": 6, "particles": 33, "bins": 2},
            {"particles": 20, "bins": 2},
            {"units": 140, "observed": 131, "bins": 2, "inputs": 2},
            {"batch": 1, "bins": 1, "particles": 1, "rank": 1, "units": 1, "observed": 1},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("proposal", ["optimal", "encoder"])
    def test_sizes(self, proposal, sizes):
        self.compare(Case(proposal=proposal, resampling_gradient=0.9, **(SMALL | sizes)))

    @pytest.mark.parametrize("readout", ["affine", "one_to_one"])
    def test_more_units_than_fit_the_registers(self, readout):
        """Weights are read, and their gradients added up, in memory."""
        sizes = {
            "rank": 6,
            "units": 270,
            "observed": 265,
            "bins": 2,
            "batch": 1,
            "inputs": 1,
            "particles": 10,
        }
        case = Case(proposal="encoder", readout=readout, resampling_gradient=0.9, **sizes)
        tiles = cuda._tiles(make(case).noise, case.units, case.observed, backward=True, many=False)
        assert tiles["BLOCK_N"] < case.units
        self.compare(case)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestCompiled(BackendContract):
    backend = cuda
    terms = "cuda"
    device = "cuda"

    @pytest.mark.parametrize("particles", [100, 1000])
    def test_many_particles(self, particles):
        for case in (
            Case(particles=particles, units=300, bins=4),
            Case(particles=particles, proposal="encoder", observation="poisson", link="softplus"),
        ):
            self.compare(case)
            self.compare(replace(case, resampling_gradient=0.9))

    @pytest.mark.parametrize("units", [128, 512, 1100])
    @pytest.mark.parametrize("rank", [3, 6])
    def test_many_units(self, units, rank):
        """Of as many observed units, single precision cannot tell the gradient on the decay to 1e-4."""
        case = Case(rank=rank, units=units, particles=16, bins=4, resampling_gradient=0.9)
        self.compare(case)
        observed = dict(readout="one_to_one", observed=units - 8, dtype=torch.float64)
        self.compare(replace(case, proposal="encoder", inputs=2, **observed))

    @pytest.mark.parametrize("proposal", ["optimal", "encoder"])
    def test_more_trials_than_multiprocessors(self, proposal):
        self.compare(Case(proposal=proposal, batch=300, bins=4, particles=10, units=64))


def test_more_particles_than_a_program_holds_run_on_the_reference(caplog):
    problem = make(Case(particles=1025, bins=1, batch=1))
    with torch.no_grad():
        result = cuda.run(problem.inputs(), problem.noise, problem.uniforms)
    assert result.latents.shape == problem.noise.shape
    assert "1025 particles" in caplog.text


@interpreted
def test_a_bootstrap_table_as_long_as_the_trials_is_not_taken_for_an_encoder_s():
    """Two bins and two kinds, in the order 1, 0."""
    TestInterpreted().compare(Case(proposal="bootstrap", batch=1, bins=2))


_COMPILE = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from smc.backend_problems import Case, make
from nwb_rnn.smc.backends import cuda
for case in (
    Case(units=512, observed=64, particles=10),
    Case(proposal="encoder", observation="poisson", link="softplus", mask="units", inputs=1, rank=4),
    Case(activation="tanh", dtype=torch.float64),
):
    problem = make(case)
    inputs = problem.inputs()
    assert "cpu" in cuda.supports(inputs, "systematic")
    options = cuda._options(inputs, problem.noise, problem.uniforms, "systematic")
    options |= {"DRAWING": True, "SHARE": 1.0, "ROW": 1}
    real = {torch.float32: "*fp32", torch.float64: "*fp64"}[case.dtype]
    for kernel in (cuda._forward, cuda._backward):
        tiles = cuda._tiles(problem.noise, case.units, case.observed, kernel is cuda._backward, False)
        options |= tiles
        names = kernel.arg_names
        whole = ("kind", "lengths", "ancestors")
        kinds = {n: "constexpr" if n.isupper() else "*i64" if n in whole else real for n in names}
        constants = {(i,): options[n] for i, n in enumerate(names) if n.isupper()}
        target = GPUTarget("cuda", 90, 32)
        source = ASTSource(kernel, kinds, constants)
        how = {"enable_fp_fusion": True, "num_warps": options["WARPS"]}
        done = triton.compile(source, target=target, options=how)
        assert "cubin" in done.asm
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Triton compiles on Linux")
def test_kernels_compile_for_a_gpu_that_is_not_here():
    """Down to machine code for compute capability 9.0, which needs no device."""
    command = [sys.executable, "-c", _COMPILE, str(Path(__file__).parents[1])]
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
