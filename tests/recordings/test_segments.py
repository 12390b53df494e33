"""Continuous recordings cut into equal trials."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings.made import trace

from nwb_rnn.errors import InputError
from nwb_rnn.recordings import Recording


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 9.99), min_size=1, max_size=50), st.sampled_from([0.1, 0.3, 0.7, 1.0, None]))
def test_every_spike_is_in_one_segment(times, length):
    recording = Recording.build(spikes=[times], span=(0.0, 10.0))
    trials = recording.segments(length=length, bin_size=0.1)
    end = trials.sizes["trial"] * trials.sizes["time"] * 0.1
    inside = [t for t in times if t < end - 1e-7]
    assert trials["counts"].sum() >= len(inside)
    assert trials["counts"].sum() <= len([t for t in times if t < end])


def test_segments_laid_end_to_end_are_the_long_trial():
    rng = np.random.default_rng(0)
    recording = Recording.build(spikes=[rng.uniform(0, 60, 500), rng.uniform(0, 60, 90)], span=(0.0, 60.0))
    whole = recording.segments()
    parts = recording.segments(length=1.5)
    assert whole.sizes["trial"] == 1
    np.testing.assert_array_equal(
        parts["counts"].values.reshape(-1, 2), whole["counts"].values[0, : parts.sizes["trial"] * 75]
    )
    np.testing.assert_allclose(parts["event_time"], np.arange(40) * 1.5)


def test_the_rest_is_dropped_and_said():
    trials = Recording.build(signals={"x": trace(np.arange(47.0))}).segments(length=1.0)
    assert trials.sizes["trial"] == 4
    assert json.loads(trials.attrs["dropped"])[0]["reason"] == "the last 0.7 s do not fill a segment"


def test_a_part_of_the_recording():
    trials = Recording.build(signals={"x": trace(np.arange(50.0))}).segments(length=1.0, start=1.0, stop=3.0)
    np.testing.assert_array_equal(trials["signal"].values[:, :, 0], np.arange(10, 30).reshape(2, 10))


def test_behaviour_and_inputs_go_along():
    recording = Recording.build(
        spikes=[np.arange(0, 5, 0.1)], behaviour={"speed": trace(np.arange(50.0))}, span=(0, 5)
    )
    trials = recording.segments(length=1.0, bin_size=0.1, behaviour=True, inputs=["speed"])
    np.testing.assert_allclose(trials["speed"].values[2], np.arange(20, 30))
    np.testing.assert_allclose(trials["inputs"].values[:, :, 0], trials["speed"].values)


@pytest.mark.parametrize(
    "options",
    [{"length": 100.0}, {"length": 0.01}, {"bin_size": -1.0}, {"start": 5.0, "stop": 1.0}, {"start": np.nan}],
)
def test_impossible_segments(options):
    with pytest.raises(InputError):
        Recording.build(spikes=[[0.1, 5.0]], span=(0, 6)).segments(**options)


def test_a_signal_of_one_sample_has_no_segments():
    with pytest.raises(InputError, match=r"bin_size must be a positive|fewer than two samples"):
        Recording.build(signals={"x": trace([1.0])}).segments()
