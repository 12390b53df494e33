"""FixedPoints: kinds, time constants, frequencies, tables and round trips, against closed forms."""

import numpy as np
import pytest
from random_maps import random_map

from nwb_rnn.dynamics import FixedPoints, LowRankMap, find_fixed_points
from nwb_rnn.dynamics.fixed_points import characterise, kind_from, time_constants
from nwb_rnn.errors import InputError


@pytest.fixture
def points() -> FixedPoints:
    return find_fixed_points(random_map(24, 2, 13, "clipped_relu"), method="exact")


@pytest.mark.parametrize(
    ("eigenvalues", "kind"),
    [
        ([0.9, 0.1], "stable node"),
        ([0.9j, -0.9j], "stable focus"),
        ([1.1, 0.2], "saddle"),
        ([1.1j, -1.1j, 0.3], "saddle focus"),
        ([1.1, -1.2], "unstable node"),
        ([1 + 1j, 1 - 1j], "unstable focus"),
        ([1.0, 0.2], "degenerate"),
        ([-1.0, 0.2], "centre"),
        ([np.exp(0.3j), np.exp(-0.3j)], "centre"),
    ],
)
def test_kind_follows_the_eigenvalues(eigenvalues, kind):
    assert kind_from(np.array(eigenvalues, dtype=complex)) == kind


def test_a_known_rotation_has_its_frequency_and_time_constant():
    angle, size, bin_size = 2 * np.pi * 5.0 * 0.01, np.exp(-0.01 / 0.2), 0.01
    matrix = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = characterise(np.zeros((1, 2)), matrix[None], residual=np.zeros(1), bin_size=bin_size)
    np.testing.assert_allclose(found.frequencies, [[5.0, 5.0]], rtol=1e-12)
    np.testing.assert_allclose(found.time_constants, [[0.2, 0.2]], rtol=1e-12)
    assert found.kind[0] == "stable focus" and found.stable[0]


def test_time_constants_at_their_limits():
    values = time_constants(np.array([0.0, 1.0, np.exp(-1.0), np.exp(1.0)], dtype=complex), 0.5)
    np.testing.assert_allclose(values, [0.0, np.inf, 0.5, -0.5])


def test_unstable_vectors_belong_to_the_unstable_eigenvalues(points):
    for p in range(len(points)):
        vectors = points.unstable_vectors(p)
        assert vectors.shape[1] == (np.abs(points.eigenvalues[p]) > 1).sum() == points.unstable_directions[p]
        for value, vector in zip(points.eigenvalues[p], vectors.T, strict=False):
            np.testing.assert_allclose(points.jacobian[p] @ vector, value * vector, atol=1e-10)


def test_prints_as_a_table_that_says_what_is_proved(points):
    text = str(points)
    assert f"{len(points)} fixed point" in text and "complete" in text and "branch and bound" in text
    assert all(kind in text for kind in points.kind)


def test_dictionary_round_trip_is_exact(points):
    values = points.describe(np.array([0.5])).to_dict()
    assert not any(np.iscomplexobj(value) or value is None for value in values.values())
    again = FixedPoints.from_dict(values)
    for name, value in points.describe(np.array([0.5])).to_dict().items():
        np.testing.assert_array_equal(again.to_dict()[name], value)


def test_the_essentials_suffice_to_make_points_again(points):
    keep = ("location", "residual", "jacobian")
    again = FixedPoints.from_dict({name: getattr(points, name) for name in keep})
    np.testing.assert_array_equal(again.eigenvalues, points.eigenvalues)
    with pytest.raises(InputError, match="jacobian"):
        FixedPoints.from_dict({"location": points.location, "residual": points.residual})


def test_xarray_and_pandas_views_hold_the_same_numbers(points):
    dataset, frame = points.to_xarray(), points.to_pandas()
    np.testing.assert_array_equal(dataset["location"], points.location)
    assert dataset["regions"].dims == ("point", "unit") and dataset.attrs["method"] == "exact"
    np.testing.assert_array_equal(frame[["z1", "z2"]], points.location)
    assert list(frame["kind"]) == list(points.kind)


def test_a_selection_is_not_called_complete(points):
    assert points.complete and len(points) == 3
    some = points[points.stable]
    assert len(some) == points.stable.sum() and not some.complete
    assert points[0].location.shape == (1, 2) and points[:].complete


def test_empty_results_print_and_convert():
    nothing = characterise(np.zeros((0, 3)), np.zeros((0, 3, 3)), residual=np.zeros(0))
    assert "0 fixed points" in str(nothing)
    assert len(nothing.to_pandas()) == 0 and len(FixedPoints.from_dict(nothing.to_dict())) == 0


def test_map_rejects_what_it_cannot_use():
    good = {"left_vectors": np.ones((4, 2)), "right_vectors": np.ones((2, 4)), "unit_bias": np.ones(4)}
    with pytest.raises(InputError, match="right_vectors"):
        LowRankMap(0.9, **(good | {"right_vectors": np.ones((4, 2))}))
    with pytest.raises(InputError, match="activation"):
        LowRankMap(0.9, **good, activation="gelu")
    with pytest.raises(InputError, match="finite"):
        LowRankMap(np.nan, **good)
    with pytest.raises(InputError, match="units, rank"):
        LowRankMap(0.9, **(good | {"left_vectors": np.ones(4)}))


@pytest.mark.parametrize("activation", ["relu", "clipped_relu", "tanh", "softplus", "identity"])
def test_jacobians_match_difference_quotients(activation):
    network = random_map(20, 3, 5, activation)
    z, h = np.random.default_rng(1).normal(size=(7, 3)), 1e-6
    quotient = np.stack(
        [(network.step(z + h * e) - network.step(z - h * e)) / (2 * h) for e in np.eye(3)], axis=-1
    )
    np.testing.assert_allclose(network.jacobian(z), quotient, atol=1e-8)
    weights = np.random.default_rng(2).normal(size=(20, 2))
    by_input = np.stack(
        [
            (
                network.with_current(network.input_current + h * weights @ e).step(z)
                - network.with_current(network.input_current - h * weights @ e).step(z)
            )
            / (2 * h)
            for e in np.eye(2)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(network.input_jacobian(z, weights), by_input, atol=1e-8)


def test_unknown_methods_and_unsuitable_maps_say_what_to_do():
    with pytest.raises(InputError, match="exact, enumerate"):
        find_fixed_points(random_map(4, 1, 0), method="magic")
    with pytest.raises(InputError, match="newton"):
        find_fixed_points(random_map(4, 1, 0, "tanh"), method="exact")
    with pytest.raises(InputError, match="newton"):
        find_fixed_points(lambda z: z, method="enumerate")
