"""Regions of random arrangements, counted, against Σ_{r≤R} C(N, r)."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_maps import random_map

from nwb_rnn.dynamics import LowRankMap, find_fixed_points
from nwb_rnn.dynamics.piecewise_linear import latent_system
from nwb_rnn.dynamics.regions import arrange, count_regions, enumerate_fixed_points
from nwb_rnn.errors import InputError


@pytest.mark.parametrize(
    ("units", "rank", "regions"),
    [(64, 2, 2_081), (128, 2, 8_257), (256, 2, 32_897), (32, 3, 5_489), (64, 3, 43_745), (24, 4, 12_951)],
)
def test_known_counts(units, rank, regions):
    assert regions == sum(comb(units, r) for r in range(rank + 1))
    assert count_regions(random_map(units, rank, 1)) == regions


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 14), st.integers(1, 4), st.integers(0, 10_000), st.booleans())
def test_random_counts(units, rank, seed, clipped):
    """Relu: Σ C(N, r). Clipped with two parallel kinks each: Σ C(N, r) 2^r, one kink of r units each."""
    network = random_map(units, rank, seed, "clipped_relu" if clipped else "relu")
    expected = sum(comb(units, r) * (2**r if clipped else 1) for r in range(rank + 1))
    assert count_regions(network) == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 7), st.integers(1, 3), st.integers(0, 10_000), st.booleans())
def test_every_region_that_points_fall_into_is_one_of_those_counted(units, rank, seed, clipped):
    """No more sign patterns occur among many points than regions exist, and nearly all are met at rank 1."""
    network = random_map(units, rank, seed, "clipped_relu" if clipped else "relu")
    z = np.random.default_rng(seed).normal(size=(20_000, rank)) * 10 ** np.linspace(-1, 3, 20_000)[:, None]
    seen = len(np.unique(network.regions(z), axis=0))
    assert seen <= count_regions(network)


def test_each_region_is_visited_once():
    """With V = 0 no region holds a second point: the one solution z = 0 is met in exactly one region."""
    network = random_map(20, 3, 4)
    network = LowRankMap(
        0.9, network.left_vectors, 0 * network.right_vectors + 1e-9, network.unit_bias, "relu"
    )
    found = enumerate_fixed_points(network)
    assert len(found) == 1 and found.complete


def test_threads_visit_the_same_regions():
    network = random_map(24, 3, 8, "clipped_relu")
    one, two = enumerate_fixed_points(network), enumerate_fixed_points(network, threads=2)
    assert one.proof == two.proof
    np.testing.assert_allclose(one.location, two.location, atol=1e-10)


def test_parallel_and_coinciding_kinks_share_planes():
    left = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    network = LowRankMap(0.9, left, np.ones((2, 5)), np.array([1.0, 2.0, -1.0, 0.0, 1.0]), "relu")
    assert len(arrange(latent_system(network)).offsets) == 2
    assert count_regions(network) == 4


def test_too_many_regions_are_refused_with_advice():
    with pytest.raises(InputError, match="exact"):
        find_fixed_points(random_map(200, 4, 0), method="enumerate", max_regions=1e6)
