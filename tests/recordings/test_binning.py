"""Counting of spikes: one bin for each, none lost, whatever the rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwb_rnn.errors import InputError
from nwb_rnn.recordings import Recording, Spikes, Table
from nwb_rnn.recordings.binning import EDGE, bin_number, count_spikes, count_warped

TICK = 1e-4


def flat(trains) -> Spikes:
    trains = [np.sort(np.asarray(t, dtype=float)) for t in trains]
    return Spikes(np.concatenate([*trains, []]), np.concatenate([[0], np.cumsum([len(t) for t in trains])]))


def by_hand(train, start, bins, bin_size):
    """Counts by whole ticks of a tenth of a millisecond, so without any rounding."""
    counts = np.zeros(bins)
    first, size = round(start / TICK), round(bin_size / TICK)
    for time in train:
        k = (round(time / TICK) - first) // size
        if 0 <= k < bins:
            counts[k] += 1
    return counts


ticks = st.integers(-20_000, 60_000)
trains = st.lists(st.lists(ticks, max_size=30), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    trains, st.lists(ticks, min_size=1, max_size=5), st.integers(1, 30), st.sampled_from([10, 33, 100, 200])
)
def test_counts_equal_those_of_whole_ticks(spike_ticks, start_ticks, bins, bin_ticks):
    size = bin_ticks * TICK
    spikes = flat([np.array(t) * TICK for t in spike_ticks])
    starts = np.array(start_ticks) * TICK
    counts = count_spikes(spikes, np.arange(len(spike_ticks)), starts, np.full(len(starts), bins), size)
    for i, start in enumerate(starts):
        for d in range(len(spike_ticks)):
            np.testing.assert_array_equal(counts[i, :, d], by_hand(spikes.of(d), start, bins, size))


@settings(max_examples=100, deadline=None)
@given(trains, st.floats(-1e5, 1e5), st.integers(1, 20))
def test_shift_of_all_times_changes_nothing(spike_ticks, shift, bins):
    trains_ = [np.array(t) * TICK for t in spike_ticks]
    starts = np.array([0.0, 0.37, 1.0])
    units, number = np.arange(len(trains_)), np.full(3, bins)
    here = count_spikes(flat(trains_), units, starts, number, 0.02)
    there = count_spikes(flat([t + shift for t in trains_]), units, starts + shift, number, 0.02)
    np.testing.assert_array_equal(here, there)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(0, 10, exclude_max=True), max_size=60), st.sampled_from([0.001, 0.01, 0.02, 0.1, 0.3])
)
def test_a_tiling_of_windows_conserves_every_spike(times, bin_size):
    """Windows end to end hold each spike once: no bin shares an edge, none leaves one out."""
    bins = 7
    starts = np.arange(int(np.ceil(10 / (bins * bin_size))) + 1) * (bins * bin_size)
    inside = [t for t in times if abs((t / bin_size + EDGE) % 1.0) > 1e-9]
    counts = count_spikes(flat([inside]), np.array([0]), starts, np.full(len(starts), bins), bin_size)
    assert counts.sum() == len(inside)


@settings(max_examples=60, deadline=None)
@given(trains, st.lists(ticks, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_order_of_units_and_trials_does_not_matter(spike_ticks, start_ticks, random):
    trains_, starts = [np.array(t) * TICK for t in spike_ticks], np.array(start_ticks) * TICK
    units, rows = list(range(len(trains_))), list(range(len(starts)))
    random.shuffle(units)
    random.shuffle(rows)
    number = np.full(len(starts), 9)
    counts = count_spikes(flat(trains_), np.arange(len(trains_)), starts, number, 0.02)
    shuffled = count_spikes(
        flat([trains_[u] for u in units]), np.arange(len(units)), starts[rows], number, 0.02
    )
    np.testing.assert_array_equal(counts[rows][:, :, units], shuffled)


@pytest.mark.parametrize("event", [0.1 + 0.2, 0.3, 1234.1 + 0.2, 86400.7 - 0.4])
@pytest.mark.parametrize("bin_size", [0.1, 0.02, 0.001])
def test_decimal_edges_neither_lose_nor_double_spikes(event, bin_size):
    """Spikes at every edge, computed another way than the bins: each falls into the bin it begins."""
    edges = np.array([round(event, 1) + round(k * bin_size, 6) for k in range(50)])
    counts = count_spikes(flat([edges]), np.array([0]), np.array([event]), np.array([50]), bin_size)
    np.testing.assert_array_equal(counts[0, :, 0], np.ones(50))


def test_the_tolerance_is_a_millionth_of_a_bin():
    seconds = np.array([1 - 2e-6, 1 - 0.5e-6, 1.0, 2 - 2e-6])
    np.testing.assert_array_equal(bin_number(seconds * 0.02, 0.02), [0, 1, 1, 1])


def test_times_counted_from_1970_keep_their_bins():
    """Float64 places them to 0.2 microseconds, which is more than a millionth of a bin."""
    start = 1_700_000_000.1
    edges = start + np.arange(200) * 0.02
    counts = count_spikes(flat([edges]), np.array([0]), np.array([start]), np.array([200]), 0.02)
    np.testing.assert_array_equal(counts[0, :, 0], np.ones(200))
    with pytest.raises(InputError, match="too coarse in float64"):
        count_spikes(flat([[1e16]]), np.array([0]), np.array([1e16]), np.array([10]), 0.02)


def test_an_edge_belongs_to_one_of_two_touching_trials():
    counts = count_spikes(flat([[1.0]]), np.array([0]), np.array([0.0, 1.0]), np.array([10, 10]), 0.1)
    assert counts.sum() == 1
    assert counts[1, 0, 0] == 1


def test_overlapping_windows_each_count_their_spikes():
    counts = count_spikes(flat([[0.55]]), np.array([0]), np.array([0.0, 0.5]), np.array([10, 10]), 0.1)
    assert counts[0, 5, 0] == 1
    assert counts[1, 0, 0] == 1


def test_shorter_trials_hold_nothing_past_their_end():
    spikes = flat([np.arange(0, 2, 0.1)])
    counts = count_spikes(spikes, np.array([0]), np.array([0.0, 1.0]), np.array([3, 5]), 0.1)
    assert counts.shape == (2, 5, 1)
    np.testing.assert_array_equal(counts[0, :, 0], [1, 1, 1, 0, 0])


def test_many_cells_are_counted_in_blocks(monkeypatch):
    import nwb_rnn.recordings.binning as binning

    rng = np.random.default_rng(0)
    spikes = flat([rng.uniform(0, 10, 50) for _ in range(7)])
    arguments = (spikes, np.arange(7), np.arange(9.0), np.full(9, 10), 0.1)
    whole = count_spikes(*arguments)
    monkeypatch.setattr(binning, "_COUNTS_AT_ONCE", 100)
    np.testing.assert_array_equal(count_spikes(*arguments), whole)


def test_an_identical_clock_counts_the_same():
    rng = np.random.default_rng(1)
    spikes, events = flat([rng.uniform(0, 10, 400)]), np.arange(1, 9.0)
    bins = np.full(8, 10)
    plain = count_spikes(spikes, np.array([0]), events - 0.5, bins, 0.1)
    reach = np.column_stack([events - 0.5, events + 0.5])
    warped = count_warped(
        spikes, np.array([0]), events, reach, -0.5, bins, 0.1, lambda seconds, trial: seconds
    )
    np.testing.assert_array_equal(plain, warped)


def test_one_of_a_hundred_thousand_trials():
    """Many trials are no reason for a loop: this takes well under a second."""
    times = np.arange(100_000) * 0.5
    table = Table("trials", np.arange(100_000), {"start_time": times, "stop_time": times + 0.5})
    recording = Recording.build(spikes=[times + 0.25, times[::2] + 0.1], intervals={"trials": table})
    trials = recording.align("start_time", window=(0, 0.5), bin_size=0.1)
    assert trials.sizes["trial"] == 100_000
    assert trials["counts"].sum() == 150_000
