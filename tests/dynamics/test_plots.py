"""Every picture draws on the axes it is given and shows what it says."""

import numpy as np
import pytest
from matplotlib import pyplot
from random_maps import random_map

from nwb_rnn.dynamics import find_fixed_points
from nwb_rnn.dynamics.continuation import follow_branch
from nwb_rnn.errors import InputError
from nwb_rnn.plotting.fixed_points import plot_branch, plot_eigenvalues, plot_fixed_points, plot_flow


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


def test_flow_at_rank_two_has_nullclines_through_the_points(ax):
    network = random_map(20, 2, 10, "clipped_relu")
    points = find_fixed_points(network)
    plot_flow(network, points, ax)
    low, high = ax.get_xlim()
    assert low < points.location[:, 0].min() and high > points.location[:, 0].max()
    assert plot_flow(network, None, ax, limits=((-1, 1), (-1, 1))) is ax


def test_flow_at_higher_rank_is_a_slice(ax):
    network = random_map(20, 3, 10, "tanh")
    assert plot_flow(network, find_fixed_points(network), ax, latents=(0, 2)) is ax


def test_eigenvalues_and_branches(ax):
    network = random_map(20, 2, 10, "tanh", gain=2.0)
    points = find_fixed_points(network)
    assert plot_eigenvalues(points, ax) is ax
    branch = follow_branch(
        lambda p: network.with_current(network.input_current + p), points.location[0], 0.0, (-0.5, 0.5)
    )
    assert plot_branch(branch, ax) is ax


def test_what_cannot_be_drawn_is_refused(ax):
    network = random_map(10, 1, 0)
    with pytest.raises(InputError, match="two latents"):
        plot_flow(network, find_fixed_points(network), ax)
    with pytest.raises(InputError, match="limits"):
        plot_flow(random_map(10, 2, 0), None, ax)
    with pytest.raises(InputError, match="latents"):
        plot_fixed_points(find_fixed_points(random_map(10, 2, 3)), ax, latents=(0, 5))
