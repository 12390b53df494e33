"""Signals in bins: means, lines between samples, gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings.made import trace

from nwb_rnn.recordings import Recording, Traces
from nwb_rnn.recordings.grid import Grid
from nwb_rnn.recordings.on_demand import OnDemand
from nwb_rnn.recordings.resampling import resample
from nwb_rnn.recordings.warping import make_warp


def grid(events, begin=0.0, bins=10, size=0.1) -> Grid:
    events = np.asarray(events, dtype=float)
    return Grid(events, begin, np.broadcast_to(bins, events.shape).copy(), size)


def test_one_sample_per_bin_is_kept_as_it_is():
    signal = trace(np.random.default_rng(0).normal(size=(100, 3)), rate=10)
    np.testing.assert_array_equal(resample(signal, grid([2.0]))[0], signal.values[20:30].astype(np.float32))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.1, 0.25]), st.integers(1, 3))
def test_bins_hold_the_mean_of_their_samples(seed, size, channels):
    """Against a loop over all samples, at irregular times on a grid of milliseconds."""
    rng = np.random.default_rng(seed)
    ticks = np.sort(rng.choice(3000, 400, replace=False))
    signal = Traces("x", rng.normal(size=(400, channels)), ticks / 1000, np.arange(channels))
    cells = grid([0.5, 1.2], begin=-0.3, bins=8, size=size)
    values = resample(signal, cells)
    for i, event in enumerate(cells.events):
        number = (ticks - round((event - 0.3) * 1000)) // round(size * 1000)
        for k in range(8):
            inside = signal.values[number == k]
            if len(inside) >= 1 + size / signal.period:
                np.testing.assert_allclose(values[i, k], inside.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_between_samples_a_straight_line():
    signal = trace([0.0, 10.0, 20.0, 30.0], rate=1.0)
    values = resample(signal, grid([0.0], bins=30, size=0.1))[0, :, 0]
    filled = np.delete(np.arange(30), [0, 10, 20])
    np.testing.assert_allclose(values[filled], (filled + 0.5), rtol=1e-6)
    np.testing.assert_array_equal(values[[0, 10, 20]], [0, 10, 20])


def test_across_a_gap_nothing_is_made_up():
    stamps = np.concatenate([np.arange(10), np.arange(20, 30)]) / 10
    signal = Traces("x", np.arange(20.0)[:, None], stamps, np.arange(1))
    values = resample(signal, grid([0.0], bins=30))[0, :, 0]
    np.testing.assert_array_equal(np.isnan(values), (np.arange(30) >= 10) & (np.arange(30) < 20))


def test_a_bin_that_a_gap_leaves_less_than_half_full_is_missing():
    stamps = np.concatenate([np.arange(0, 104), np.arange(147, 200)]) / 1000
    signal = Traces("x", np.ones((len(stamps), 1)), stamps, np.arange(1))
    values = resample(signal, grid([0.0], bins=20, size=0.01))[0, :, 0]
    assert np.flatnonzero(np.isnan(values)).tolist() == [10, 11, 12, 13, 14]


def test_missing_samples_of_one_channel_are_missing_there_alone():
    values = np.ones((30, 2))
    values[10:13, 1] = np.nan
    recording = Recording.build(signals={"x": trace(values)})
    trials = recording.segments(bin_size=0.1)
    assert trials["mask"].dims == ("trial", "time", "unit")
    assert trials["mask"].sum("time").values.tolist() == [[30, 27]]
    assert not np.isnan(trials["signal"]).any()


def test_beyond_the_ends_is_missing():
    values = resample(trace(np.arange(10.0)), grid([-0.5, 0.8]))
    assert np.isnan(values[0, :5]).all()
    assert np.isnan(values[1, 2:]).all()


def test_only_stretches_in_trials_are_read():
    asked = []

    def read(first, last):
        asked.append((first, last))
        return np.arange(first, last, dtype=float)[:, None]

    signal = Traces("x", OnDemand((10_000, 1), read), np.arange(10_000) / 100, np.arange(1))
    values = resample(signal, grid([10.0, 50.0], bins=100, size=0.01))
    np.testing.assert_array_equal(values[1, :, 0], np.arange(5000, 5100))
    assert len(asked) == 2
    assert all(last - first < 120 for first, last in asked)


def test_many_trials_are_filled_in_blocks(monkeypatch):
    from nwb_rnn.recordings import resampling

    signal = trace(np.random.default_rng(0).normal(size=(500, 2)), rate=10)
    cells = grid(np.arange(0, 40, 0.7))
    whole = resample(signal, cells)
    monkeypatch.setattr(resampling, "_VALUES_AT_ONCE", 40)
    np.testing.assert_array_equal(resample(signal, cells), whole)


def test_on_a_warped_clock():
    """A signal that is a straight line of each trial's own progress is one line for all."""
    events, ends = np.array([1.0, 4.0]), np.array([2.0, 6.0])
    warp = make_warp(events, np.column_stack([events, ends]), ["a", "b"])
    stamps = np.arange(0, 8, 0.001)
    progress = np.where(stamps < 3, stamps - 1, (stamps - 4) / 2)
    signal = Traces("x", progress[:, None], stamps, np.arange(1))
    cells = Grid(events, 0.0, np.array([15, 15]), 0.1, warp)
    values = resample(signal, cells)[:, :, 0]
    np.testing.assert_allclose(values[0], values[1], atol=2e-3)
    np.testing.assert_allclose(values[0], cells.centres / 1.5, atol=2e-3)


@pytest.mark.parametrize("samples", [0, 1])
def test_signals_of_no_length(samples):
    values = resample(Traces("x", np.ones((samples, 1)), np.zeros(samples), np.arange(1)), grid([0.0]))
    assert np.isfinite(values).sum() == samples


def test_period_of_a_regular_signal_is_exact():
    assert trace(np.zeros(9640), rate=160).period == 1 / 160
    assert trace(np.zeros(100_000), rate=30_000, start=3600).period == pytest.approx(1 / 30_000, rel=1e-10)
