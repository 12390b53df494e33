"""Branch and bound: agreement with enumeration and search, exact arithmetic, degenerate cases."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_maps import random_map, shell_map

from nwb_rnn.dynamics import LowRankMap, find_fixed_points
from nwb_rnn.dynamics.box_kernels import band
from nwb_rnn.errors import InputError


def nearest(places, location):
    """Distance from each row of `places` to the closest row of `location`."""
    if len(location) == 0:
        return np.full(len(places), np.inf)
    return np.linalg.norm(places[:, None] - location, axis=2).min(axis=1)


def test_two_hundred_random_models_three_ways():
    """Enumeration and branch and bound agree, both are proved, both hold all that a search finds."""
    for seed in range(200):
        rank, clipped, driven = 1 + seed % 4, (seed // 4) % 2, (seed // 8) % 2
        units = {1: 40, 2: 20, 3: 10, 4: 7}[rank]
        network = random_map(units, rank, seed, ("relu", "clipped_relu")[clipped], with_input=bool(driven))
        exact = find_fixed_points(network, method="exact")
        listed = find_fixed_points(network, method="enumerate")
        assert exact.complete and listed.complete, (seed, exact.proof, listed.proof)
        assert len(exact) == len(listed), seed
        np.testing.assert_allclose(exact.location, listed.location, rtol=1e-7, atol=1e-9)
        searched = find_fixed_points(network, method="newton", n_starts=100, seed=seed, rounds=0)
        size = 1.0 + np.abs(searched.location).max(axis=1, initial=0.0)
        assert (nearest(searched.location, exact.location) < 1e-6 * size).all(), seed


@pytest.mark.parametrize(("rank", "activation"), [(2, "clipped_relu"), (3, "relu")])
def test_ten_thousand_starts_find_nothing_new(rank, activation):
    network = random_map(40, rank, 7 + rank, activation, gain=6.0)
    exact = find_fixed_points(network)
    searched = find_fixed_points(network, method="newton", n_starts=10_000, rounds=0)
    assert exact.complete
    assert (nearest(searched.location, exact.location) < 1e-6).all()


def exact_point(network, region):
    """The fixed point of one region's affine map in rational arithmetic."""
    units, rank = network.left_vectors.shape
    f = np.vectorize(Fraction, otypes=[object])
    m, v = f(network.left_vectors), f(network.right_vectors)
    h, c = f(network.unit_bias), f(network.input_current)
    matrix = [[Fraction(network.decay) * (r == s) - (r == s) for s in range(rank)] for r in range(rank)]
    right = [Fraction(0)] * rank
    for i in range(units):
        if network.activation == "relu":
            slope, level = Fraction(int(region[i] == 1)), (c[i] - h[i]) * int(region[i] == 1)
        else:
            between = region[i] == 1
            sign = 1 if h[i] > 0 else -1
            slope = Fraction(sign if between else 0)
            level = slope * c[i] + (h[i] if h[i] > 0 else 0) * int(between)
            level = h[i] if region[i] == 2 else level
        for r in range(rank):
            right[r] -= v[r, i] * level
            for s in range(rank):
                matrix[r][s] += v[r, i] * slope * m[i, s]
    for k in range(rank):
        pivot = next(row for row in range(k, rank) if matrix[row][k] != 0)
        matrix[k], matrix[pivot], right[k], right[pivot] = matrix[pivot], matrix[k], right[pivot], right[k]
        for row in range(rank):
            if row != k:
                factor = matrix[row][k] / matrix[k][k]
                matrix[row] = [a - factor * b for a, b in zip(matrix[row], matrix[k], strict=True)]
                right[row] -= factor * right[k]
    return [right[k] / matrix[k][k] for k in range(rank)]


@pytest.mark.parametrize("activation", ["relu", "clipped_relu"])
def test_proved_radii_hold_the_points_of_rational_arithmetic(activation):
    for seed in range(12):
        network = random_map(15, 2, 300 + seed, activation, gain=5.0)
        found = find_fixed_points(network, method="exact")
        for place, radius, region in zip(found.location, found.radius, found.regions, strict=True):
            assert (region >= 0).all()
            for value, exact in zip(place, exact_point(network, region), strict=True):
                assert abs(Fraction(float(value)) - exact) <= Fraction(float(radius))
                assert radius < 1e-8 * (1 + abs(place).max())


@settings(max_examples=200, deadline=None)
@given(st.floats(-5, 5), st.floats(1e-6, 8), st.floats(0.01, 6), st.booleans())
def test_the_band_holds_the_unit(low, width, height, relu):
    """clip(x, 0, d) ∈ αx + β ± δ on all of [low, high], and the band is as narrow as its theory says."""
    high, height = low + width, np.inf if relu else height
    if high <= 0 or low >= height or (low >= 0 and high <= height):
        return
    alpha, beta, delta = band(low, high, height, 0.0)
    x = np.concatenate([np.linspace(low, high, 101), [k for k in (0.0, height) if low <= k <= high]])
    assert (np.abs(np.clip(x, 0, height) - alpha * x - beta) <= delta * (1 + 1e-12)).all()
    assert 0 <= alpha <= 1
    if low < 0 and high <= height:
        assert delta <= -low * high / (2 * width) + 1e-12 * (1 + abs(low) + high)


def test_slow_manifold_is_searched_through():
    network = shell_map(128, 3)
    exact = find_fixed_points(network)
    searched = find_fixed_points(network, method="newton", n_starts=3000)
    assert exact.complete and len(exact) > 20
    assert (nearest(searched.location, exact.location) < 1e-6).all()
    assert (exact.residual < 1e-20).all()


def test_threads_and_regions_change_nothing():
    network = shell_map(64, 2)
    one, two = find_fixed_points(network), find_fixed_points(network, threads=2)
    np.testing.assert_allclose(one.location, two.location, atol=1e-10)
    low, high = np.array([-2.0, 0.0]), np.array([2.0, 2.0])
    part = find_fixed_points(network, region=(low, high))
    inside = (one.location >= low).all(axis=1) & (one.location <= high).all(axis=1)
    assert part.complete and "given region" in part.proof
    np.testing.assert_allclose(part.location, one.location[inside], atol=1e-10)
    with pytest.raises(InputError, match="region"):
        find_fixed_points(network, region=(high, low))


def test_two_points_a_millionth_apart_are_both_found():
    """z' = 2 relu(z) − 4 relu(z − w) + 4 relu(z − 3w) is z at 0, 4w/3 and 4w, each in its own region."""
    gap = 1e-6
    network = LowRankMap(
        0.0, np.ones((3, 1)), np.array([[2.0, -4.0, 4.0]]), np.array([0.0, gap, 3 * gap]), "relu"
    )
    found = find_fixed_points(network)
    places = np.sort(found.location[:, 0])
    assert len(places) == 3
    np.testing.assert_allclose(places, [0.0, 4 * gap / 3, 8 * gap], atol=1e-13)


def test_giving_up_is_said():
    found = find_fixed_points(shell_map(64, 3), max_boxes=200)
    assert not found.complete and "limit" in found.proof


def test_line_attractor_is_reported_as_degenerate():
    """z₁' = ½z₁ + ½relu(z₁): every z₁ ≥ 0 stays, so nothing is complete."""
    network = LowRankMap(0.5, np.eye(2)[:1], np.array([[0.5], [0.0]]), np.zeros(1), "relu")
    for method in ("exact", "enumerate"):
        found = find_fixed_points(network, method=method)
        assert "degenerate" in found.kind and not found.complete and not found.stable.any()
        assert (found.residual < 1e-20).all() and (found.status == "fixed").all()


def test_bounded_line_attractor_of_clipped_units():
    """z₁' = ½z₁ + ½ clip(z₁, 0, 2): every z₁ in [0, 2] stays."""
    network = LowRankMap(
        0.5, np.array([[1.0, 0.0]]), np.array([[0.5], [0.0]]), np.array([2.0]), "clipped_relu", [-2.0]
    )
    found = find_fixed_points(network)
    assert list(found.kind) == ["degenerate"] and not found.complete
    assert found.radius[0] >= 1.0 - 1e-6
    assert 0 <= found.location[0, 0] <= 2


def test_no_fixed_point():
    """z' = 0.9 z + 0.2 relu(z + 1): for z > −1 it would be −2, for z ≤ −1 zero."""
    network = LowRankMap(0.9, np.ones((1, 1)), np.array([[0.2]]), np.array([-1.0]), "relu")
    for method in ("exact", "enumerate"):
        found = find_fixed_points(network, method=method)
        assert len(found) == 0 and found.complete


def test_a_ray_at_infinity_is_not_called_complete():
    """z' = ½z + ½relu(z + 1) is z + ½ far out: no fixed point, but no bound either."""
    network = LowRankMap(0.5, np.ones((1, 1)), np.array([[0.5]]), np.array([-1.0]), "relu")
    found = find_fixed_points(network, method="exact")
    assert len(found) == 0 and not found.complete and "ray" in found.proof


def test_kink_exactly_on_a_point():
    """All kinks meet in the origin, which is fixed: one point of its own kind, the proved tip of a cone."""
    rng = np.random.default_rng(0)
    network = LowRankMap(0.9, rng.normal(size=(24, 2)), rng.normal(size=(2, 24)) / 12, np.zeros(24), "relu")
    found = find_fixed_points(network, method="exact")
    assert list(found.kind) == ["kink"] and found.complete
    np.testing.assert_array_equal(found.location, [[0.0, 0.0]])
    listed = find_fixed_points(network, method="enumerate")
    assert "kink" in listed.kind
    np.testing.assert_allclose(listed.location[0], 0.0, atol=1e-12)


def test_kink_on_a_contracting_point_is_stable():
    """z' = ½z + ¼relu(z − 1) + ½ is fixed at z = 1, the kink, with slopes ½ and ¾ on its two sides."""
    network = LowRankMap(
        0.5, np.array([[1.0], [0.0]]), np.array([[0.25, 0.5]]), np.array([1.0, 0.0]), "relu", [0.0, 1.0]
    )
    found = find_fixed_points(network)
    assert found.complete and list(found.kind) == ["kink"]
    assert found.stable[0] and found.regions[0, 0] == -1
    np.testing.assert_allclose(found.location, [[1.0]], atol=1e-12)


def test_border_collision_is_reported_not_dropped():
    """z' = 2z − 3/2 relu(z): slope 2 left of the fixed kink 0 and ½ right of it, so it only half attracts."""
    network = LowRankMap(2.0, np.ones((1, 1)), np.array([[-1.5]]), np.zeros(1), "relu")
    found = find_fixed_points(network)
    assert "kink" in found.kind
    assert np.abs(found.location[found.kind == "kink"]).max() < 1e-9


@pytest.mark.parametrize("activation", ["relu", "clipped_relu"])
def test_decay_of_one(activation):
    """a = 1: the fixed points solve V φ = 0; relu is still bounded by its cones, clipped units by nothing."""
    network = random_map(16, 2, 0, activation, decay=1.0)
    found, listed = find_fixed_points(network), find_fixed_points(network, method="enumerate")
    assert (found.residual < 1e-20).all()
    if activation == "relu" and found.complete:
        np.testing.assert_allclose(found.location, listed.location, atol=1e-8)
    if activation == "clipped_relu":
        assert not found.complete and "a = 1" in found.proof


@pytest.mark.parametrize("activation", ["relu", "clipped_relu", "identity"])
def test_decay_above_one_is_still_bounded(activation):
    network = random_map(12, 2, 3, activation, decay=1.3)
    found = find_fixed_points(network)
    assert found.complete and not found.stable.any()


def test_zero_weights():
    still = LowRankMap(0.5, np.zeros((4, 2)), np.zeros((2, 4)), np.ones(4), "relu")
    found = find_fixed_points(still)
    assert found.complete and len(found) == 1 and found.stable[0]
    everywhere = find_fixed_points(LowRankMap(1.0, np.zeros((4, 2)), np.zeros((2, 4)), np.ones(4), "relu"))
    assert list(everywhere.kind) == ["degenerate"] and not everywhere.complete
    listed = find_fixed_points(still, method="enumerate")
    assert len(listed) == 1 and listed.complete


@pytest.mark.parametrize("activation", ["relu", "clipped_relu"])
def test_duplicated_units_change_nothing(activation):
    single = random_map(14, 2, 21, activation, gain=5.0)
    double = LowRankMap(
        single.decay,
        np.tile(single.left_vectors, (2, 1)),
        np.tile(single.right_vectors, (1, 2)) / 2,
        np.tile(single.unit_bias, 2),
        activation,
        np.tile(single.input_current, 2),
    )
    for method in ("exact", "enumerate"):
        one, two = find_fixed_points(single, method=method), find_fixed_points(double, method=method)
        assert two.complete and len(one) == len(two)
        np.testing.assert_allclose(one.location, two.location, atol=1e-9)


def test_zero_height_and_constant_units():
    """h = 0 clipped units and units that nothing drives only shift the map."""
    rng = np.random.default_rng(5)
    left, bias = rng.normal(size=(10, 2)), rng.normal(size=10)
    left[3], bias[4] = 0.0, 0.0
    network = LowRankMap(0.9, left, rng.normal(size=(2, 10)) / 3, bias, "clipped_relu", rng.normal(size=10))
    exact, listed = find_fixed_points(network), find_fixed_points(network, method="enumerate")
    assert exact.complete and listed.complete
    np.testing.assert_allclose(exact.location, listed.location, atol=1e-9)


def test_linear_networks():
    network = random_map(8, 3, 2, "identity")
    found = find_fixed_points(network)
    assert found.complete and len(found) == 1 and found.residual[0] < 1e-20
    flat = LowRankMap(0.5, np.eye(2)[:1], np.array([[0.5], [0.0]]), np.zeros(1), "identity")
    assert list(find_fixed_points(flat).kind) == ["degenerate"]
    shifted = LowRankMap(0.5, np.eye(2)[:1], np.array([[0.5], [0.0]]), np.ones(1), "identity")
    nothing = find_fixed_points(shifted)
    assert len(nothing) == 0 and nothing.complete


def test_whole_regions_of_fixed_points_end_in_good_time():
    """a = 1 where all relu units are off: a full cone of fixed points, reported as one set."""
    rng = np.random.default_rng(0)
    left, right, bias = rng.normal(size=(4, 2)), rng.normal(size=(2, 4)), rng.normal(size=4) + 1
    found = find_fixed_points(LowRankMap(1.0, left, right, bias, "relu"))
    assert "degenerate" in found.kind and not found.complete
    assert (found.residual < 1e-20).all()


def test_points_far_outside_the_first_cube_are_found_through_infinity():
    """z' = 0.9 z + 0.0999 relu(z + 1) is fixed at z = 999, proved from s = 1/z."""
    network = LowRankMap(0.9, np.ones((1, 1)), np.array([[0.0999]]), np.array([-1.0]), "relu")
    found = find_fixed_points(network)
    assert found.complete and len(found) == 1
    np.testing.assert_allclose(found.location, [[999.0]], rtol=1e-9)
    assert abs(found.location[0, 0] - 999.0) <= found.radius[0] + 1e-9


@pytest.mark.parametrize("size", [1e-7, 3e5])
def test_the_units_of_the_latents_do_not_matter(size):
    """Latents in other units: M / size and V · size have the same points times size, by every method."""
    for seed in range(6):
        network = random_map(10, 3, 500 + seed, ("relu", "clipped_relu")[seed % 2], with_input=seed < 3)
        other = LowRankMap(
            network.decay,
            network.left_vectors / size,
            network.right_vectors * size,
            network.unit_bias,
            network.activation,
            network.input_current,
        )
        here = find_fixed_points(network)
        for method in ("exact", "enumerate"):
            there = find_fixed_points(other, method=method)
            assert there.complete and len(there) == len(here)
            np.testing.assert_allclose(there.location, here.location * size, rtol=1e-6, atol=1e-8 * size)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 3), st.integers(3, 11))
def test_kinks_that_all_meet_in_the_origin(seed, rank, units):
    """Clipped units without input: one kink of each passes through the origin, the other beside it."""
    network = random_map(units, rank, seed, "clipped_relu", with_input=False)
    exact, listed = find_fixed_points(network), find_fixed_points(network, method="enumerate")
    if exact.complete and listed.complete:
        assert len(exact) == len(listed)
        np.testing.assert_allclose(exact.location, listed.location, rtol=1e-6, atol=1e-8)
