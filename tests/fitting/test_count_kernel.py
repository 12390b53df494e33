"""Compiled sums of the law of counts equal the definitions in numpy."""

import numpy as np
import pytest

from nwb_rnn.fitting.count_law import CountLaw
from nwb_rnn.fitting.count_sums import Bins, Regression, bins, regression
from nwb_rnn.fitting.poisson_regression import poisson_regression

pytest.importorskip("numba")
UNITS = 3
K = np.array([0.1, 3.0, 200.0])
LAWS = [
    CountLaw("poisson", "softplus"),
    CountLaw("poisson", "exp"),
    CountLaw("poisson", "exp,softplus,exp"),
    CountLaw("negative_binomial", "softplus", K),
    CountLaw("negative_binomial", "softplus,exp,exp", K),
    CountLaw("negative_binomial", "exp"),  # dispersions not known yet: Poisson
]


def trials(rng, length=300):
    """Three trials, one short and with holes, another that was not observed at all."""
    observed = rng.poisson(1.5, (3, length, UNITS)).astype(float)
    seen = np.ones((3, length, UNITS), bool)
    seen[1, 40:] = seen[1, 5:9] = seen[1, :20, 2] = seen[2] = False
    return np.where(seen, observed, 0.0), seen


def posterior(rng, shape, rank):
    root = 0.4 * rng.standard_normal((*shape, rank, rank))
    return rng.standard_normal((*shape, rank)), root @ root.swapaxes(-1, -2)


def close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        # beyond 20 torch takes η for softplus η
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rank", [1, 4])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.observation} {law.link}")
def test_of_trials(law, rank):
    rng = np.random.default_rng(rank)
    observed, seen = trials(rng)
    fast, slow = bins(observed, seen), Bins(observed, seen.astype(float))
    assert type(fast) is not Bins
    readout, bias = rng.standard_normal((UNITS, rank)), rng.standard_normal(UNITS)
    path, covariance = posterior(rng, seen.shape[:2], rank)
    path[0, :4] *= 20  # where softplus is linear or tiny
    if "exp" in law.link:
        path = np.clip(path, -4, 4)
    for given in (path, None):
        close(fast.expansion(law, readout, bias, given), slow.expansion(law, readout, bias, given))
    some = np.array([0, 2, 1])
    values = [x.log_likelihood(law, readout, bias, path, some) for x in (fast, slow)]
    close(values[:1], values[1:])
    close([fast.free(law)], [slow.free(law)])
    theta = np.column_stack([readout, bias])
    sums = [x.regression(path, covariance) for x in (fast, slow)]
    close(*(x.derivatives(law, theta) for x in sums))
    close([sums[0].value(law, theta)], [sums[1].value(law, theta)])


@pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.observation} {law.link}")
def test_of_versions(law):
    rng = np.random.default_rng(5)
    observed, seen = rng.poisson(2.0, (150, UNITS)).astype(float), (rng.random((150, UNITS)) < 0.8) + 0.0
    given = observed * seen, seen, rng.standard_normal((4, 150, 6))
    theta = 0.5 * rng.standard_normal((UNITS, 6))
    fast, slow = regression(*given), Regression(*given)
    assert type(fast) is not Regression
    close(fast.derivatives(law, theta), slow.derivatives(law, theta))
    close([fast.value(law, theta)], [slow.value(law, theta)])


@pytest.mark.parametrize("law", LAWS[:5], ids=lambda law: f"{law.observation} {law.link}")
def test_the_slope_is_that_of_the_value(law):
    rng = np.random.default_rng(7)
    observed, seen = trials(rng, length=60)
    sums = bins(observed, seen).regression(*posterior(rng, seen.shape[:2], 2))
    theta = rng.standard_normal((UNITS, 3))
    _, slope, _ = sums.derivatives(law, theta)
    for i in range(3):
        move = np.zeros(3)
        move[i] = 1e-5
        change = (sums.value(law, theta + move) - sums.value(law, theta - move)) / 2e-5
        np.testing.assert_allclose(slope[:, i], change, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("link", ["softplus", "exp", "softplus,exp,exp"])
def test_poisson_regression_is_at_the_top_of_its_penalised_likelihood(link):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 2))
    law = CountLaw("poisson", link)
    y = rng.poisson(law.mean(x @ rng.standard_normal((2, UNITS)) + 0.5)).astype(float)
    seen = (rng.random(y.shape) < 0.9) + 0.0
    weights, bias = poisson_regression(x, y * seen, seen, link)
    design = np.column_stack([x, np.ones(500)])
    theta = np.column_stack([weights, bias])
    eta = design @ theta.T
    slope = (law.score(y, eta)[0] * seen).T @ design / seen.sum()
    centre = law.predictor((y * seen).sum(0) / seen.sum(0))
    slope -= 2e-4 / UNITS * (theta - np.column_stack([np.zeros((UNITS, 2)), centre]))
    assert np.abs(slope).max() < 1e-4
