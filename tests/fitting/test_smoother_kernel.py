"""The compiled smoother equals the one in numpy."""

import numpy as np
import pytest

from nwb_rnn.fitting import linear_gaussian
from nwb_rnn.fitting.subspace import LinearSystem

pytest.importorskip("numba")


@pytest.mark.parametrize(("rank", "bins"), [(1, 1), (1, 9), (3, 2), (4, 60)])
def test_the_loop_equals_numpy(rank, bins):
    rng = np.random.default_rng(rank)
    root, first = 0.3 * rng.standard_normal((2, rank, rank)) + np.eye(rank)
    system = LinearSystem(
        transition=0.9 * np.linalg.qr(rng.standard_normal((rank, rank)))[0],
        transition_covariance=root @ root.T,
        readout=np.zeros((2, rank)),
        bias=np.zeros(2),
        noise=np.ones(2),
        initial_mean=rng.standard_normal(rank),
        initial_covariance=first @ first.T,
    )
    weights = rng.standard_normal((5, bins, 2, rank))
    weights[rng.random((5, bins)) < 0.3] = 0  # bins that say nothing
    precision = np.einsum("btdr,btds->btrs", weights, weights)
    linear = np.einsum("btdr,btd->btr", weights, rng.standard_normal((5, bins, 2)))
    fast = linear_gaussian.smooth_information(system, precision, linear)
    slow = linear_gaussian._smooth_together(system, precision, linear)
    for name in ("mean", "covariance", "lagged", "log_likelihood"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), rtol=1e-9, atol=1e-10)
