"""Averages over conditions count observed bins only."""

import numpy as np
import pytest
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import complete, condition_averages, values_and_mask


def made(name="counts", trials=7, bins=5, units=3, seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.random((trials, bins)) < 0.8
    mask[:, 0] = True
    return xr.Dataset(
        {
            name: (("trial", "time", "unit"), rng.poisson(2.0, (trials, bins, units))),
            "mask": (("trial", "time"), mask),
        },
        {
            "time": np.arange(bins) * 0.02,
            "unit": [5, 7, 9][:units],
            "direction": ("trial", np.arange(trials) % 2 * 90),
        },
        {"bin_size": 0.02},
    )


@pytest.mark.parametrize(("name", "scale"), [("counts", 50.0), ("signal", 1.0)])
def test_averages_equal_a_loop(name, scale):
    trials = made(name)
    found = condition_averages(trials, "direction")
    assert found.dims == ("condition", "time", "unit")
    assert found["direction"].values.tolist() == [0, 90] and found["trials"].values.tolist() == [4, 3]
    values, mask = trials[name].values, trials["mask"].values
    for c in range(2):
        for t in range(5):
            rows = [b for b in range(7) if b % 2 == c and mask[b, t]]
            expected = np.mean([values[b, t] for b in rows], axis=0) * scale if rows else np.nan
            np.testing.assert_allclose(found.values[c, t], expected)


def test_one_condition_when_none_is_named():
    trials = made()
    assert condition_averages(trials, None).sizes["condition"] == 1


def test_missing_values_are_never_observed():
    trials = made("signal").astype(float)
    trials["signal"].values[0, 0, 1] = np.nan
    trials["mask"] = trials["mask"].astype(bool)
    assert not values_and_mask(trials)[1][0, 0, 1]


def test_bins_that_lack_a_condition_are_left_out():
    rates = np.ones((2, 4, 3))
    rates[1, 2, 0] = np.nan
    assert complete(rates).shape == (2, 3, 3)
    with pytest.raises(InputError, match="no bin"):
        complete(np.full((2, 4, 3), np.nan))
