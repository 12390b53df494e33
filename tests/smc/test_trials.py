"""Trials as tensors: cut, hide, and find which units were seen."""

import numpy as np
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from nwb_rnn.smc.trials import from_dataset


def trials(lengths, bins, units=3) -> xr.Dataset:
    counts = np.arange(len(lengths) * bins * units, dtype=float).reshape(len(lengths), bins, units)
    mask = np.arange(bins) < np.asarray(lengths)[:, None]
    return xr.Dataset({"counts": (("trial", "time", "unit"), counts), "mask": (("trial", "time"), mask)})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(2, 30))
def test_windows_cover_each_trial_but_for_a_short_rest(lengths, width):
    data = from_dataset(trials(lengths, 30))
    cut = data.windows(width)
    assert cut.observed.shape[1] == width
    seen = set(cut.observed[cut.mask.expand_as(cut.observed) > 0].tolist())
    for trial, length in enumerate(lengths):
        values = set(data.observed[trial, :length].ravel().tolist())
        missed = len(values - seen) / 3
        assert missed <= width // 4


def test_a_crop_is_the_window_it_was_asked_for():
    data = from_dataset(trials([10, 6], 10))
    cut = data.crop(torch.tensor([1, 0]), torch.tensor([2, 5]), 4)
    torch.testing.assert_close(cut.observed[0], data.observed[1, 2:6])
    torch.testing.assert_close(cut.observed[1], data.observed[0, 5:9])
    assert cut.lengths.tolist() == [4, 4]


def test_hidden_units_leave_nothing_behind():
    data = from_dataset(trials([4, 4], 4)).hide_units(torch.tensor([False, True, False]))
    assert (data.observed[..., 1] == 0).all() and (data.mask[..., 1] == 0).all()
    assert data.patterns.tolist() == [[1.0, 0.0, 1.0]]
