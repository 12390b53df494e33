"""Cycles of maps whose cycles are known, and attractors matched to them."""

import numpy as np
import pytest
import torch
from random_maps import random_map

from nwb_rnn.dynamics import LowRankMap, find_fixed_points
from nwb_rnn.dynamics.attractors import match_attractors
from nwb_rnn.dynamics.cycles import IteratedMap, find_cycles
from nwb_rnn.errors import InputError


def tent(height) -> LowRankMap:
    """z' = h (z⁺ − 2 (z − ½)⁺): the tent map on [0, 1] for slope h."""
    return LowRankMap(
        0.0, np.ones((2, 1)), np.array([[height, -2 * height]]), np.array([0.0, 0.5]), "relu", bin_size=0.02
    )


def test_all_short_cycles_of_the_tent_map():
    """At slope 2 the k-step map has 2^k fixed points: 1, 2, 3, 6 and 9 cycles of periods 2 to 6."""
    cycles = find_cycles(tent(2.0), 6, sequences=3000)
    counts = np.bincount([cycle.period for cycle in cycles], minlength=7)
    assert counts[2:].tolist() == [1, 2, 3, 6, 9]
    for cycle in cycles:
        assert cycle.residual < 1e-20 and not cycle.stable
        np.testing.assert_allclose(np.abs(cycle.multipliers), [2.0**cycle.period], rtol=1e-9)
    two = cycles[0]
    np.testing.assert_allclose(np.sort(two.states[:, 0]), [0.4, 0.8], atol=1e-12)
    assert two.frequency == pytest.approx(25.0)


def test_fixed_points_are_cycles_of_one_step():
    network = random_map(24, 2, 10, "clipped_relu")
    exact = find_fixed_points(network)
    ones = [c for c in find_cycles(network, 1, min_period=1) if c.period == 1]
    assert len(ones) == len(exact)


def test_an_attracting_cycle_is_found_and_explains_the_simulation():
    """z' = 3/2 − 3 clip(z + ½, 0, 1): −3/2 and 3/2 follow each other, and 0 repels."""
    network = LowRankMap(
        0.0, np.array([[1.0], [0.0]]), np.array([[-3.0, 1.5]]), np.ones(2), "clipped_relu", [-0.5, 0.0]
    )
    (cycle,) = find_cycles(network, 4)
    assert cycle.name == "period-2 attractor"
    np.testing.assert_allclose(np.sort(cycle.states[:, 0]), [-1.5, 1.5])
    points = find_fixed_points(network)
    ends = match_attractors(network, np.linspace(-3, 3.1, 25)[:, None], points, (cycle,), steps=200)
    assert [end.name for end in ends] == ["period-2 attractor (cycle 0)"] and ends[0].share == 1.0
    assert ends[0].explained and "100" in str(ends[0])


def test_a_chaotic_attractor_is_reported_as_unexplained():
    network = tent(1.7)
    starts = np.random.default_rng(0).uniform(0.1, 0.9, size=(3, 1))
    ends = match_attractors(network, starts, find_fixed_points(network), steps=300)
    assert ends[0].name == "unexplained (chaotic)" and not ends[0].explained
    assert ends[0].exponent == pytest.approx(np.log(1.7) / 0.02, rel=1e-6)


def test_orbits_that_leave_are_named():
    network = LowRankMap(1.5, np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1), "relu")
    ends = match_attractors(network, np.array([[-3.0], [1.5], [0.0]]), find_fixed_points(network), steps=200)
    assert [end.name for end in ends] == ["infinity", "fixed point 0 (unstable node)"]


def test_k_step_maps_find_the_cycles_of_the_logistic_map():
    """At r = 3.2 the logistic map has one attracting 2-cycle, ((r + 1) ± √((r − 3)(r + 1)))/2r."""
    rate = 3.2
    cycles = find_cycles(lambda z: rate * z * (1 - z), 2, np.linspace(0.05, 0.95, 40)[:, None])
    assert [cycle.name for cycle in cycles] == ["period-2 attractor"]
    root = np.sqrt((rate - 3) * (rate + 1))
    expected = np.array([rate + 1 - root, rate + 1 + root]) / (2 * rate)
    np.testing.assert_allclose(np.sort(cycles[0].states[:, 0]), expected, atol=1e-10)


def test_iterated_maps_obey_the_chain_rule():
    network, z, h = random_map(15, 2, 3, "tanh"), np.random.default_rng(0).normal(size=(4, 2)), 1e-6
    three = IteratedMap(network, 3)
    np.testing.assert_allclose(three.step(z), network.simulate(z, 3)[-1])
    quotient = np.stack(
        [(three.step(z + h * e) - three.step(z - h * e)) / (2 * h) for e in np.eye(2)], axis=-1
    )
    np.testing.assert_allclose(three.jacobian(z), quotient, atol=1e-7)


def test_cycles_need_starts_and_a_length():
    with pytest.raises(InputError, match="starts"):
        find_cycles(torch.tanh, 2)
    with pytest.raises(InputError, match="max_period"):
        find_cycles(tent(2.0), 0)
