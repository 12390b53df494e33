"""The sums of an M step: compiled ones equal the definition, whose slope is that of its value."""

import numpy as np
import pytest
import torch

from nwb_rnn.fitting.readout_sums import CompiledReadoutSums, ReadoutSums, readout_sums

K = torch.tensor([0.1, 3.0, 200.0], dtype=torch.float64)
LAWS = [
    ("poisson", "softplus", None),
    ("poisson", "exp,softplus,exp", None),
    ("negative_binomial", "softplus", K),
    ("negative_binomial", "softplus,exp,exp", K),
]


def data(observation, link, spread):
    generator = torch.Generator().manual_seed(0)
    design = torch.randn(5, 70, 4, generator=generator, dtype=torch.float64)
    observed = torch.poisson(torch.full((70, 3), 1.5, dtype=torch.float64), generator=generator)
    seen = (torch.rand(70, 3, generator=generator) < 0.8).double()
    theta = 0.5 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    return (observation, link, spread, design, observed * seen, seen), theta


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law[0]} {law[1]}")
def test_compiled_sums(law):
    pytest.importorskip("numba")
    given, theta = data(*law)
    fast, slow = readout_sums(*given), ReadoutSums(*given)
    assert isinstance(fast, CompiledReadoutSums)
    for one, other in zip(fast.derivatives(theta), slow.derivatives(theta), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    steps = [sums.value(theta + 0.3) - sums.value(theta) for sums in (fast, slow)]
    torch.testing.assert_close(*steps, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "law", [*LAWS, ("gaussian", "identity", torch.ones(3, dtype=torch.float64))], ids=lambda law: law[:2]
)
def test_slope_and_information(law):
    given, theta = data(*law)
    sums = ReadoutSums(*given)
    score, information = sums.derivatives(theta)
    theta.requires_grad_()
    (slope,) = torch.autograd.grad(sums.value(theta).sum(), theta)
    torch.testing.assert_close(score, slope, rtol=1e-6, atol=1e-6)
    assert information.shape == (3, 4, 4)
    assert (np.linalg.eigvalsh(information.numpy()) > 0).all()
    if law[0] == "gaussian":  # exactly the curvature
        curvature = torch.autograd.functional.hessian(lambda t: sums.value(t).sum(), theta.detach())
        for d in range(3):
            torch.testing.assert_close(information[d], -curvature[d, :, d])
