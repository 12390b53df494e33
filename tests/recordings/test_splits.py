"""Splits: every trial once, shares in every condition, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings.made import small_recording

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.splits import hold_out_units, split_trials


def trials_of(kinds, units=4):
    count = len(kinds)
    recording = small_recording(
        [np.arange(0, count * 2, 0.5)] * units,
        start=np.arange(count) * 2.0,
        kind=kinds,
        side=np.arange(count) % 2,
    )
    return recording.align("start_time", window=(0, 0.1), bin_size=0.05)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=12, max_size=80), st.integers(0, 1000))
def test_every_trial_is_in_one_part_and_conditions_are_shared_out(kinds, seed):
    trials = trials_of(kinds)
    parts = split_trials(trials, (0.6, 0.2, 0.2), by="kind", seed=seed)
    together = np.concatenate([p["trial"].values for p in parts])
    assert sorted(together.tolist()) == trials["trial"].values.tolist()
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert abs(part.sizes["trial"] - share * len(kinds)) <= 1
        assert (np.diff(part["trial"].values) > 0).all()
        for kind in "abc":
            assert abs((part["kind"].values == kind).sum() - share * kinds.count(kind)) <= 2


def test_the_seed_decides():
    trials = trials_of(["a", "b"] * 30)
    one, same, other = (split_trials(trials, (0.5, 0.5), seed=s)[0]["trial"].values for s in (1, 1, 2))
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()


def test_named_parts_and_several_conditions():
    parts = split_trials(trials_of(["a", "b", "c"] * 20), {"train": 0.75, "test": 0.25}, by=["kind", "side"])
    assert list(parts) == ["train", "test"]
    assert parts["test"].sizes["trial"] == 15


def test_refusals():
    trials = trials_of(["a"] * 4)
    with pytest.raises(InputError, match="sum to 1"):
        split_trials(trials, (0.5, 0.6))
    with pytest.raises(InputError, match="without any"):
        split_trials(trials, (0.9, 0.05, 0.05))
    with pytest.raises(InputError, match="there are trial, event_time"):
        split_trials(trials, (0.5, 0.5), by="colour")
    with pytest.raises(InputError, match="between 0 and 1"):
        hold_out_units(trials, 1.0)


def test_units_are_held_out_once():
    trials = trials_of(["a"] * 4, units=10)
    seen, held = hold_out_units(trials, 0.25, seed=3)
    assert held.sizes["unit"] == 2
    assert sorted([*seen["unit"].values, *held["unit"].values]) == list(range(10))
    again = hold_out_units(trials, 0.25, seed=3)[1]
    assert again["unit"].values.tolist() == held["unit"].values.tolist()
