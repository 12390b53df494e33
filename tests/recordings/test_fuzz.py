"""Made-up sessions of every crooked sort, aligned, against a loop over whole milliseconds.

Nothing here is rounded: all times are whole numbers of milliseconds, so the expected counts and masks
are exact and a single wrong one fails.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nwb_rnn.errors import InputError
from nwb_rnn.recordings import Recording, Table

BIN = 20
ms = st.integers(-500, 4000)
spans = st.lists(st.tuples(st.integers(-500, 4000), st.integers(1, 2500)), min_size=1, max_size=3)


@st.composite
def sessions(draw):
    """Whole milliseconds: spikes, trials, intervals of observation, and what to ask for."""
    units = draw(st.integers(1, 3))
    trials = draw(st.integers(1, 5))
    return {
        "spikes": [draw(st.lists(ms, max_size=25)) for _ in range(units)],
        "start": [draw(ms) for _ in range(trials)],
        "length": [draw(st.integers(0, 900)) for _ in range(trials)],
        "event": [draw(st.one_of(ms, st.none())) for _ in range(trials)],
        "observed": draw(st.one_of(st.none(), st.lists(spans, min_size=units, max_size=units))),
        "window": (draw(st.integers(-300, 300)), draw(st.integers(0, 700))),
        "until": draw(st.booleans()),
    }


def built(case) -> Recording:
    event = np.array([np.nan if e is None else e / 1000 for e in case["event"]])
    start = np.array(case["start"]) / 1000
    columns = {"start_time": start, "stop_time": start + np.array(case["length"]) / 1000, "go_time": event}
    observed = case["observed"]
    if observed is not None:
        observed = [[(a / 1000, (a + b) / 1000) for a, b in intervals] for intervals in observed]
    return Recording.build(
        spikes=[np.array(train, dtype=float) / 1000 for train in case["spikes"]],
        intervals={"trials": Table("trials", np.arange(len(start)), columns)},
        observed=observed,
    )


def seen(case, unit, begin, end) -> bool:
    """Whether every millisecond of a bin lies in the intervals of observation of a unit."""
    if case["observed"] is None:
        return True
    return all(any(a <= t and t + 1 <= a + b for a, b in case["observed"][unit]) for t in range(begin, end))


def expected(case, trial, unit, bins):
    """Counts and mask of one trial and unit, by looking at every millisecond."""
    first = case["event"][trial] + case["window"][0]
    counts, mask = np.zeros(bins), np.zeros(bins, dtype=bool)
    for k in range(own_bins(case, trial)):
        begin = first + k * BIN
        if seen(case, unit, begin, begin + BIN):
            mask[k] = True
            counts[k] = sum(begin <= t < begin + BIN for t in case["spikes"][unit])
    return counts, mask


def own_bins(case, trial) -> int:
    begin, end = case["window"]
    if not case["until"]:
        return max(0, end - begin) // BIN
    stop = case["start"][trial] + case["length"][trial] + end
    return max(0, stop - case["event"][trial] - begin) // BIN


@settings(max_examples=300, deadline=None)
@given(sessions())
def test_a_clear_error_or_the_right_numbers(case):
    recording = built(case)
    begin, end = (v / 1000 for v in case["window"])
    options = {"until": "stop_time"} if case["until"] else {"past_stop": True}
    with suppress(InputError):
        trials = recording.align(
            "go_time", window=(begin, end), bin_size=BIN / 1000, time_reference="session", **options
        )
        mask = trials["mask"].values
        for i, trial in enumerate(trials["trial"].values):
            for d, unit in enumerate(trials["unit"].values):
                counts, observed = expected(case, trial, unit, trials.sizes["time"])
                np.testing.assert_array_equal(trials["counts"].values[i, :, d], counts)
                np.testing.assert_array_equal(mask[i] if mask.ndim == 2 else mask[i, :, d], observed)


@settings(max_examples=150, deadline=None)
@given(sessions())
def test_trials_are_only_left_out_for_a_reason(case):
    """Every row is either in the result, or named in the report."""
    import json

    recording = built(case)
    with suppress(InputError):
        trials = recording.align("go_time", window=(-0.1, 0.1), time_reference="session", past_stop=True)
        lost = [
            i for note in json.loads(trials.attrs["dropped"]) if note["what"] == "trial" for i in note["ids"]
        ]
        assert sorted([*trials["trial"].values.tolist(), *lost]) == list(range(len(case["start"])))
        silent = [
            i for note in json.loads(trials.attrs["dropped"]) if note["what"] == "unit" for i in note["ids"]
        ]
        assert sorted([*trials["unit"].values.tolist(), *silent]) == list(range(len(case["spikes"])))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64), max_size=10),
        min_size=1,
        max_size=3,
    ),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=4),
)
def test_any_floats_at_all(spikes, starts):
    """Times that no clock has ever shown: an error of our own, or counts that are sound."""
    table = {"start_time": np.array(starts), "stop_time": np.array(starts) + 1.0}
    with suppress(InputError):
        recording = Recording.build(
            spikes=[np.array(s, dtype=float) for s in spikes],
            intervals={"trials": Table("trials", np.arange(len(starts)), table)},
        )
        trials = recording.align("start_time", window=(0, 0.5), bin_size=0.1)
        assert np.isfinite(trials["counts"].values).all()
        assert trials["counts"].values.sum() <= sum(map(len, spikes)) * len(starts)
