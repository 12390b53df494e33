"""The equations: activations, filtered inputs, observation laws, canonical basis, configuration."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nwb_rnn.errors import InputError
from nwb_rnn.models import low_rank, observations
from nwb_rnn.models.activations import ACTIVATIONS
from nwb_rnn.models.canonical import canonical_basis, change_basis
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters

WRITTEN_OUT = {
    "relu": lambda x, h: np.maximum(x - h, 0),
    "clipped_relu": lambda x, h: np.maximum(x + h, 0) - np.maximum(x, 0),
    "tanh": lambda x, h: np.tanh(x - h),
    "softplus": lambda x, h: np.logaddexp(0, x - h),
    "identity": lambda x, h: x - h,
}


class ActivationContract:
    """What every activation must do."""

    name: str

    def test_equals_its_formula(self):
        x, h = np.random.default_rng(0).standard_normal((2, 50, 7)) * 3
        ours = ACTIVATIONS[self.name](torch.as_tensor(x), torch.as_tensor(h)).numpy()
        np.testing.assert_allclose(ours, WRITTEN_OUT[self.name](x, h), rtol=1e-12, atol=1e-12)

    def test_never_falls_where_its_bias_lets_it_rise(self):
        x = torch.linspace(-30, 30, 400, dtype=torch.float64)
        rise = torch.diff(ACTIVATIONS[self.name](x, torch.tensor(1.5, dtype=torch.float64)))
        assert (rise >= -1e-12).all()


for _name in ACTIVATIONS:
    globals()[f"Test_{_name}"] = type(f"Test_{_name}", (ActivationContract,), {"name": _name})


def random_parameters(seed: int, rank: int, units: int = 12) -> LowRankParameters:
    rng = np.random.default_rng(seed)
    factor = np.tril(rng.standard_normal((2, rank, rank))) + 2 * np.eye(rank)
    values = dict(
        left_vectors=rng.standard_normal((units, rank)),
        right_vectors=rng.standard_normal((rank, units)) / units,
        input_weights=rng.standard_normal((units, 2)),
        unit_bias=rng.standard_normal(units),
        decay=0.8,
        transition_cholesky=factor[0],
        initial_mean=rng.standard_normal(rank),
        initial_cholesky=factor[1],
        readout_weights=rng.standard_normal((5, rank)),
        readout_bias=rng.standard_normal(5),
    )
    return LowRankParameters(**{k: torch.as_tensor(v, dtype=torch.float64) for k, v in values.items()})


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 4))
def test_the_canonical_basis_changes_nothing_but_the_names_of_the_latents(seed, rank):
    p = random_parameters(seed, rank)
    basis = canonical_basis(p)
    q = change_basis(p, basis)
    z = torch.randn(9, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v = torch.ones(9, 2, dtype=torch.float64)
    for activation in ("relu", "tanh"):
        moved = low_rank.transition_mean(p, activation, z, v) @ basis.T
        torch.testing.assert_close(low_rank.transition_mean(q, activation, z @ basis.T, v), moved)
        eta = low_rank.predictor(p, activation, z, v)
        torch.testing.assert_close(low_rank.predictor(q, activation, z @ basis.T, v), eta)
    covariance = p.transition_cholesky @ p.transition_cholesky.T
    expected = basis @ covariance @ basis.T
    torch.testing.assert_close(q.transition_cholesky @ q.transition_cholesky.T, expected)
    assert (torch.diagonal(q.transition_cholesky) > 0).all()
    torch.testing.assert_close(q.transition_cholesky, torch.tril(q.transition_cholesky))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 4))
def test_two_bases_of_one_network_have_one_canonical_form(seed, rank):
    p = random_parameters(seed, rank)
    mix = torch.as_tensor(np.random.default_rng(seed + 1).standard_normal((rank, rank))) + 3 * torch.eye(rank)
    other = change_basis(p, mix)
    a, b = (change_basis(x, canonical_basis(x)) for x in (p, other))
    for name in ("left_vectors", "right_vectors", "readout_weights", "initial_mean", "transition_cholesky"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-6, atol=1e-8)
    gram = a.left_vectors.T @ a.left_vectors
    torch.testing.assert_close(gram, torch.eye(rank, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_no_canonical_basis_for_dependent_left_vectors():
    p = random_parameters(0, 2)
    flat = p.left_vectors[:, :1].expand(-1, 2).clone()
    assert canonical_basis(LowRankParameters(**{**p.present(), "left_vectors": flat})) is None


def test_filtered_inputs_are_an_exponential_average_started_at_rest():
    u = np.random.default_rng(0).standard_normal((2, 6, 3))
    ours = low_rank.filtered_inputs(torch.as_tensor(u), torch.tensor(0.75), True).numpy()
    for t in range(6):
        kernel = [0.25 * 0.75 ** (t - 1 - s) for s in range(t)]
        expected = 0.75**t * u[:, 0] + sum(k * u[:, s] for s, k in enumerate(kernel))
        np.testing.assert_allclose(ours[:, t], expected, rtol=1e-6)
    unfiltered = low_rank.filtered_inputs(torch.as_tensor(u), torch.tensor(0.75), False)
    np.testing.assert_array_equal(unfiltered.numpy(), u)


@pytest.mark.parametrize("link", ["softplus", "exp"])
def test_poisson_log_likelihood_equals_scipy(link):
    rng = np.random.default_rng(1)
    y, eta = rng.poisson(3, (40, 4)), rng.standard_normal((40, 4))
    rate = np.exp(eta) if link == "exp" else np.logaddexp(0, eta)
    ours = observations.log_likelihood(torch.as_tensor(y * 1.0), torch.as_tensor(eta), "poisson", link, None)
    np.testing.assert_allclose(ours.numpy(), stats.poisson(rate).logpmf(y), rtol=1e-5)


def test_gaussian_log_likelihood_equals_scipy():
    rng = np.random.default_rng(1)
    y, eta, noise = rng.standard_normal((40, 4)), rng.standard_normal((40, 4)), rng.uniform(0.1, 2, 4)
    ours = observations.log_likelihood(
        *(torch.as_tensor(x) for x in (y, eta)), "gaussian", "identity", torch.as_tensor(noise)
    )
    np.testing.assert_allclose(ours.numpy(), stats.norm(eta, np.sqrt(noise)).logpdf(y), rtol=1e-10)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"rank": 5, "units": 4}, "larger than units"),
        ({"rank": 0}, "at least 1"),
        ({"rank": 2, "activation": "sigmoid"}, "clipped_relu"),
        ({"rank": 2, "observation": "binomial"}, "poisson"),
        ({"rank": 2, "observation": "gaussian", "link": "exp"}, "identity"),
        ({"rank": 2, "encoder_kernels": (4,)}, "odd"),
        ({"rank": 2, "encoder_dropout": 1.0}, "encoder_dropout"),
    ],
)
def test_bad_configurations_say_what_is_wrong(settings, word):
    with pytest.raises(InputError, match=word):
        LowRankConfig(**settings)
