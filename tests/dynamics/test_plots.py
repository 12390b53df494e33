"""Every picture draws on the axes it is given and shows what it says."""

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.contour import ContourSet
from random_maps import random_map

from nwb_rnn.dynamics import find_fixed_points
from nwb_rnn.dynamics.continuation import follow_branch
from nwb_rnn.errors import InputError
from nwb_rnn.plotting import flow_field
from nwb_rnn.plotting.fixed_points import plot_branch, plot_eigenvalues, plot_fixed_points


@pytest.fixture
def ax():
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_points_are_drawn_where_they_are(ax, rank):
    points = find_fixed_points(random_map(20, rank, 10, "clipped_relu"))
    assert plot_fixed_points(points, ax) is ax
    drawn = np.concatenate([collection.get_offsets() for collection in ax.collections])
    assert len(drawn) == len(points)
    assert set(np.round(drawn[:, 0], 9)) == set(np.round(points.location[:, 0], 9))


def test_nullclines_cross_at_the_fixed_points(ax):
    network = random_map(20, 2, 10, "clipped_relu")
    points = find_fixed_points(network)
    flow_field(network, points=points, ax=ax, nullclines=True)
    low, high = ax.get_xlim()
    assert low < points.location[:, 0].min() and high > points.location[:, 0].max()
    curves = [c for c in ax.collections if isinstance(c, ContourSet)]
    assert len(curves) == 2
    cell = max(np.ptp(ax.get_xlim()), np.ptp(ax.get_ylim())) / 39
    for curve in curves:
        along = np.concatenate([path.vertices for path in curve.get_paths()])
        gap = np.linalg.norm(along[None] - points.location[:, None], axis=-1).min(axis=1)
        assert gap.max() < cell


def test_flow_at_higher_rank_is_a_slice_through_the_mean_of_the_points(ax, monkeypatch):
    network = random_map(20, 3, 10, "tanh", gain=2.0)
    points = find_fixed_points(network)
    assert abs(points[:1].location[0, 1]) > 0.1
    asked = []
    step = type(network).step
    monkeypatch.setattr(type(network), "step", lambda self, z: asked.append(z) or step(self, z))
    assert flow_field(network, points=points[:1], plane=(0, 2), ax=ax) is ax
    np.testing.assert_array_equal(np.unique(asked[-1][:, 1]), points.location[0, 1])


def test_flow_of_a_users_step_function(ax):
    def step(z):
        return torch.tanh(1.5 * z.flip(-1))

    points = find_fixed_points(step, starts=np.random.default_rng(0).standard_normal((64, 2)))
    assert flow_field(step, points=points, ax=ax) is ax
    with pytest.raises(InputError, match="how many latents"):
        flow_field(step, ax=ax)


def test_eigenvalues_and_branches(ax):
    network = random_map(20, 2, 10, "tanh", gain=2.0)
    points = find_fixed_points(network)
    assert plot_eigenvalues(points, ax) is ax
    branch = follow_branch(
        lambda p: network.with_current(network.input_current + p), points.location[0], 0.0, (-0.5, 0.5)
    )
    assert plot_branch(branch, ax) is ax


def test_what_cannot_be_drawn_is_refused(ax):
    with pytest.raises(InputError, match="nullclines"):
        flow_field(random_map(10, 3, 0), ax=ax, nullclines=True)
    with pytest.raises(InputError, match="latents"):
        plot_fixed_points(find_fixed_points(random_map(10, 2, 3)), ax, latents=(0, 5))
