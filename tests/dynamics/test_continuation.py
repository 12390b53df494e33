"""Branches with folds, flips and Neimark–Sacker points at parameters known in closed form."""

from dataclasses import replace

import numpy as np
import pytest
from random_maps import random_map

from nwb_rnn.dynamics import LowRankMap, find_fixed_points
from nwb_rnn.dynamics.continuation import follow_branch
from nwb_rnn.errors import InputError


def one_unit(gain, current=0.0, decay=0.9):
    return LowRankMap(
        decay, np.ones((1, 1)), np.array([[(1 - decay) * gain]]), np.zeros(1), "tanh", np.array([current])
    )


def test_both_folds_of_a_bistable_unit():
    """z = 2 tanh(z + c) folds where 2 (1 − tanh²) = 1, that is c = ±(artanh √½ − √2)."""
    start = find_fixed_points(one_unit(2.0, -1.5)).location[0]
    branch = follow_branch(lambda c: one_unit(2.0, c), start, -1.5, (-2.0, 2.0))
    fold = np.sqrt(2) - np.arctanh(np.sqrt(0.5))
    assert [b.kind for b in branch.bifurcations] == ["fold", "fold"]
    np.testing.assert_allclose([b.parameter for b in branch.bifurcations], [fold, -fold], atol=1e-9)
    assert branch.stable[0] and branch.stable[-1] and not branch.stable.all()
    middle = np.abs(branch.location[:, 0]) < 1.0
    assert not branch.stable[middle].any()
    assert "left the bounds" in branch.ended and "fold" in str(branch)


@pytest.mark.parametrize(
    ("matrix", "kind"),
    [
        ([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]], "Neimark-Sacker"),
        ([[-1.0, 0.0], [0.0, 0.2]], "flip"),
        ([[1.0, 0.0], [0.0, 0.2]], "branch point"),
    ],
)
def test_the_origin_of_a_tanh_map_loses_stability_at_gain_one(matrix, kind):
    family = lambda gain: LowRankMap(0.0, np.eye(2), gain * np.array(matrix), np.zeros(2), "tanh")  # noqa: E731
    branch = follow_branch(family, np.zeros(2), 0.5, (0.4, 1.5))
    (special,) = branch.bifurcations
    assert special.kind == kind
    assert special.parameter == pytest.approx(1.0, abs=1e-8)
    assert abs(special.eigenvalue) == pytest.approx(1.0, abs=1e-8)


def test_branches_hold_fixed_points_all_along():
    network = random_map(20, 3, 6, "tanh", gain=2.0)

    def family(gain):
        return replace(network, right_vectors=gain * network.right_vectors)

    start = find_fixed_points(family(0.2)).location[0]
    branch = follow_branch(family, start, 0.2, (0.0, 2.0))
    for parameter, z in zip(branch.parameter, branch.location, strict=True):
        assert family(parameter).residual(z) < 1e-20


def test_a_kinked_branch_reports_its_border_collision():
    """z' = ½z − 9/5 relu(z) + p: slope ½ for p < 0 and −1.3 for p > 0, with a jump at the kink."""
    left, right = np.array([[1.0], [0.0], [0.0]]), np.array([[-1.8, 1.0, -1.0]])

    def family(p):
        return LowRankMap(0.5, left, right, np.zeros(3), "relu", [0.0, p + 5.0, 5.0])

    branch = follow_branch(family, np.array([-2.0]), -1.0, (-2.0, 2.0))
    (special,) = branch.bifurcations
    assert special.kind == "border collision" and special.parameter == pytest.approx(0.0, abs=1e-9)
    before, after = branch.parameter < 0, branch.parameter > 0
    np.testing.assert_allclose(branch.location[before, 0], 2 * branch.parameter[before], atol=1e-9)
    np.testing.assert_allclose(branch.location[after, 0], branch.parameter[after] / 2.3, atol=1e-9)


def test_continuation_needs_a_point_to_start_from():
    with pytest.raises(InputError, match="bounds"):
        follow_branch(one_unit, np.zeros(1), 5.0, (0.0, 1.0))
    with pytest.raises(InputError, match="No fixed point"):
        follow_branch(one_unit, np.array([np.nan]), 0.5, (0.0, 1.0))
