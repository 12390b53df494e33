"""Trials laid out in session time: order, overlaps, masks."""

import numpy as np
import xarray

from nwb_rnn.storage.result_form import session_series
from nwb_rnn.storage.session_time import in_session_time


def latents(event_time, bins=4, mask=None, **attributes):
    count = len(event_time)
    mean = np.arange(count * bins, dtype=np.float32).reshape(count, bins, 1)
    return xarray.Dataset(
        {
            "latent_mean": (("trial", "time", "latent"), mean),
            "mask": (("trial", "time"), np.ones((count, bins), bool) if mask is None else mask),
        },
        {
            "trial": 10 + np.arange(count),
            "time": 0.1 * (np.arange(bins) + 0.5),
            "event_time": ("trial", np.array(event_time, dtype=float)),
        },
        {"bin_size": 0.1, **attributes},
    )


def test_trials_that_follow_each_other_are_all_kept():
    stamps, values, dropped = in_session_time(latents([0.0, 0.4, 2.0]))
    np.testing.assert_allclose(stamps[:8], 0.05 + 0.1 * np.arange(8))
    assert values[:, 0].tolist() == list(range(12))
    assert dropped == []


def test_trials_out_of_order_are_put_in_order():
    stamps, values, _ = in_session_time(latents([5.0, 1.0]))
    assert np.all(np.diff(stamps) > 0)
    assert values[:, 0].tolist() == [4, 5, 6, 7, 0, 1, 2, 3]


def test_of_overlapping_trials_the_first_is_kept_and_it_is_said():
    stamps, values, dropped = in_session_time(latents([0.0, 0.2, 0.3]))
    assert values[:, 0].tolist() == [0, 1, 2, 3, 6, 7, 11]
    np.testing.assert_allclose(stamps, 0.05 + 0.1 * np.arange(7))
    assert dropped[0].ids == (11, 12) and "5 bins overlap" in dropped[0].reason


def test_bins_outside_a_trial_and_nan_are_left_out():
    mask = np.array([[True, True, False, False], [False, True, True, True]])
    data = latents([0.0, 1.0], mask=mask)
    data["latent_mean"][1, 3] = np.nan
    assert in_session_time(data)[1][:, 0].tolist() == [0, 1, 5, 6]


def test_warped_time_and_unknown_times_make_no_series():
    series, notes = session_series(latents([0.0], warp="go"), "name")
    assert series is None and "warped" in notes[0].reason
    series, notes = session_series(latents([0.0]).drop_vars("event_time"), "name")
    assert series is None and "no event_time" in notes[0].reason
    series, notes = session_series(latents([0.0], mask=np.zeros((1, 4), bool)), "name")
    assert series is None and "inside a trial" in notes[0].reason
