"""Figures of conditions, connectivity, currents and spiking show the numbers that they are given."""

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot
from matplotlib.patches import Ellipse

from nwb_rnn import plotting
from nwb_rnn.errors import InputError
from nwb_rnn.metrics import spiking


@pytest.fixture
def ax():
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


@pytest.fixture
def trials():
    """Twelve trials of two conditions, of which the second has twice the rate."""
    rng = np.random.default_rng(0)
    side = np.array(["left", "right"] * 6)
    rate = np.where(side == "left", 0.5, 1.0)[:, None, None] * np.ones((12, 40, 3))
    coordinates = {"unit": [4, 7, 9], "time": (np.arange(40) + 0.5) * 0.01, "side": ("trial", side)}
    counts = rng.poisson(rate).astype(float)
    latent = np.stack([rate[..., 0], np.linspace(0, 1, 40) * np.ones((12, 40))], axis=-1)
    return xr.Dataset(
        {
            "counts": (("trial", "time", "unit"), counts),
            "rates": (("trial", "time", "unit"), rate),
            "mask": (("trial", "time"), np.ones((12, 40), dtype=bool)),
            "latent_mean": (("trial", "time", "latent"), latent + 0.1 * rng.standard_normal((12, 1, 2))),
        },
        coords=coordinates,
        attrs={"bin_size": 0.01, "align_to": "go"},
    )


def test_paths_are_the_means_of_conditions_with_ellipses_of_two_standard_errors(trials, ax):
    assert plotting.state_space(trials, "side", ax=ax) is ax
    left = trials["latent_mean"].values[::2]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), left.mean(0))
    ellipses = [patch for patch in ax.patches if isinstance(patch, Ellipse)]
    assert len(ellipses) == 10
    values = np.linalg.eigvalsh(np.cov(left[:, 0].T) / 6)
    assert sorted([ellipses[0].width, ellipses[0].height]) == pytest.approx(4 * np.sqrt(values))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]


def test_wrong_dimensions_are_refused(trials, ax):
    with pytest.raises(InputError, match="0 to 1"):
        plotting.state_space(trials, "side", dimensions=(0, 2), ax=ax)


def test_histograms_of_conditions_are_their_rates(trials, ax):
    plotting.psth(trials, trials, unit=7, by="side", smoothing=0.0, ax=ax)
    recorded, expected = ax.lines[2].get_ydata(), ax.lines[3].get_ydata()
    np.testing.assert_allclose(recorded, trials["counts"].values[1::2, :, 1].mean(0) / 0.01)
    np.testing.assert_allclose(expected, 100.0)
    with pytest.raises(InputError, match="no unit"):
        plotting.psth(trials, trials, unit=5, by="side", ax=ax)


def test_connectivity_is_sorted_by_region(ax):
    weights = np.arange(16.0).reshape(4, 4)
    plotting.connectivity(weights, ["b", "a", "b", "a"], ax=ax)
    order = [0, 2, 1, 3]
    np.testing.assert_array_equal(ax.images[0].get_array(), weights[np.ix_(order, order)])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["b", "a"]
    with pytest.raises(InputError, match="units, units"):
        plotting.connectivity(np.ones((3, 2)), ax=ax)


def test_currents_into_a_region(ax):
    size = np.arange(24.0).reshape(2, 2, 2, 3)
    currents = xr.Dataset(
        {
            "current": (("target", "source", "trial", "time"), size),
            "share": (("target", "source"), [[0.75, 0.25], [0.5, 0.5]]),
        },
        coords={"target": ["A", "B"], "source": ["A", "B"], "time": [0.0, 0.1, 0.2]},
    )
    plotting.region_currents(currents, "A", ax=ax)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), size[0, 1].mean(0))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["from A, 75%", "from B, 25%"]
    with pytest.raises(InputError, match="A, B"):
        plotting.region_currents(currents, "C", ax=ax)


@pytest.mark.parametrize("statistic", ["interval_variability", "correlations", "autocorrelation"])
def test_statistics_of_the_same_trials_lie_on_the_line(trials, ax, statistic):
    plotting.spike_statistics(trials, trials, statistic, ax=ax)
    if statistic == "autocorrelation":
        lags, values = spiking.population_autocorrelation(trials)
        for line in ax.lines[:2]:
            np.testing.assert_allclose(line.get_xydata(), np.column_stack([1e3 * lags, values]))
        return
    points = ax.collections[0].get_offsets()
    assert len(points) == 3
    np.testing.assert_allclose(points[:, 0], points[:, 1])
    with pytest.raises(InputError, match="choose from"):
        plotting.spike_statistics(trials, trials, "burstiness", ax=ax)
