"""Alignment: which trials, which window, which clock, which mask; and what is said about it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from recordings.made import small_recording, trace, trials_table

from nwb_rnn.errors import InputError
from nwb_rnn.recordings import Recording, Spikes, Table

TRAIN = [np.array([0.05, 0.15, 0.95, 2.05, 2.5, 4.31, 4.99]), np.array([0.5, 2.05, 2.06])]


def dropped(trials) -> list[dict]:
    return json.loads(trials.attrs["dropped"])


def test_counts_in_a_window():
    trials = small_recording(TRAIN).align("start_time", window=(0, 1), bin_size=0.1)
    assert trials["counts"].dims == ("trial", "time", "unit")
    assert trials["counts"].dtype == np.float32
    expected = np.zeros((3, 10, 2))
    expected[0, [0, 1, 9], 0] = expected[0, 5, 1] = 1
    expected[1, [0, 5], 0] = 1
    expected[1, 0, 1] = 2
    expected[2, [3, 9], 0] = 1
    np.testing.assert_array_equal(trials["counts"], expected)
    np.testing.assert_allclose(trials["time"], np.arange(10) * 0.1 + 0.05)
    assert trials["mask"].dims == ("trial", "time")
    assert trials["mask"].all()


def test_attributes_are_plain_and_complete():
    trials = small_recording(TRAIN).align("start_time", window=(-0.2, 0.5), bin_size=0.1)
    assert trials.attrs["bin_size"] == 0.1
    assert trials.attrs["align_to"] == "start_time"
    assert trials.attrs["window"] == [-0.2, 0.5]
    assert json.loads(trials.attrs["source"])["kind"] == "arrays"
    assert all(isinstance(v, str | float | int | list) for v in trials.attrs.values())


def test_trials_survive_netcdf(tmp_path):
    import xarray

    recording = small_recording(TRAIN, kind=["a", "b", "a"], good=[True, False, True])
    trials = recording.align("start_time", window=(0, 1), inputs=["kind"])
    trials.to_netcdf(tmp_path / "trials.nc", engine="h5netcdf")
    with xarray.open_dataset(tmp_path / "trials.nc", engine="h5netcdf") as again:
        np.testing.assert_array_equal(again["counts"], trials["counts"])
        assert again["kind"].values.tolist() == ["a", "b", "a"]


def test_columns_become_coordinates_and_clashes_are_prefixed():
    units = Table("units", np.array([7, 9]), {"depth": np.array([1.0, 2.0]), "kind": np.array(["x", "y"])})
    recording = small_recording(TRAIN, units=units, kind=["a", "b", "c"], time=[1, 2, 3])
    trials = recording.align("start_time", window=(0, 1))
    assert trials["unit"].values.tolist() == [7, 9]
    assert trials["depth"].dims == ("unit",)
    assert trials["trial_kind"].values.tolist() == ["a", "b", "c"]
    assert trials["unit_kind"].values.tolist() == ["x", "y"]
    assert trials["trial_time"].values.tolist() == [1, 2, 3]


def test_unequal_lengths_are_masked_not_padded_silently():
    recording = small_recording(TRAIN, length=np.array([0.3, 1.0, 0.55]))
    trials = recording.align("start_time", until="stop_time", bin_size=0.1)
    assert trials["mask"].sum("time").values.tolist() == [3, 10, 5]
    assert trials["counts"].values[0, 3:].sum() == 0
    assert trials["counts"].values[0].sum() == 2
    assert trials.attrs["window"] == pytest.approx([0, 1.0])
    assert trials.attrs["until"] == "stop_time"


def test_until_with_offsets_on_both_sides():
    trials = small_recording(TRAIN).align("start_time", until="stop_time", window=(-0.1, 0.2), bin_size=0.1)
    assert trials.sizes["time"] == 13
    assert trials["time"].values[0] == pytest.approx(-0.05)


def test_an_event_without_a_time_drops_its_trial_and_says_so():
    trials = small_recording(TRAIN, go_time=[0.5, np.nan, 4.5]).align("go_time", window=(-0.1, 0.1))
    assert trials["trial"].values.tolist() == [0, 2]
    assert dropped(trials) == [
        {"what": "trial", "count": 1, "ids": [1], "reason": "the event 'go_time' is NaN"}
    ]


def test_an_event_that_is_always_nan_is_refused_with_alternatives():
    recording = small_recording(TRAIN, go_time=[np.nan] * 3)
    with pytest.raises(InputError, match=r"'go_time' is NaN in all 3 rows.*start_time"):
        recording.align("go_time", window=(0, 1))


def test_relative_times_are_detected_and_said():
    recording = small_recording(TRAIN, go_time=[0.5, 0.4, 0.3])
    trials = recording.align("go_time", window=(-0.1, 0.1))
    np.testing.assert_allclose(trials["event_time"], [0.5, 2.4, 4.3])
    assert trials.attrs["time_reference"] == "start (detected)"
    given = recording.align("go_time", window=(-0.1, 0.1), time_reference="start")
    assert given.attrs["time_reference"] == "start (given)"
    other = recording.align("go_time", window=(-0.1, 0.1), time_reference="session")
    np.testing.assert_allclose(other["event_time"], [0.5, 0.4, 0.3])


def test_absolute_times_are_detected_even_outside_their_trial():
    recording = small_recording(TRAIN, before_time=[-0.3, 1.8, 3.9], after_time=[1.3, 3.2, 5.5])
    for name in ("before_time", "after_time"):
        trials = recording.align(name, window=(0, 0.1))
        assert trials.attrs["time_reference"] == "session (detected)"


def test_relative_times_are_detected_without_stop_times():
    recording = small_recording(TRAIN, length=np.nan, go_time=[0.5, 0.4, 0.3])
    assert recording.align("go_time", window=(0, 0.1)).attrs["time_reference"] == "start (detected)"


def test_a_clock_that_cannot_be_told_is_asked_for():
    start = np.arange(10) * 10.0 + 100
    go = np.where(np.arange(10) % 2, start + 1, 1.0)
    recording = small_recording([np.arange(300.0)], start=start, go_time=go)
    with pytest.raises(InputError, match="time_reference='session' or time_reference='start'"):
        recording.align("go_time", window=(0, 0.1))


def test_conditions_choose_trials_and_are_reported():
    recording = small_recording(TRAIN, kind=["a", "b", "a"])
    trials = recording.align("start_time", window=(0, 1), where="kind == 'a'")
    assert trials["trial"].values.tolist() == [0, 2]
    assert dropped(trials)[0]["reason"] == "not chosen by where=\"kind == 'a'\""
    with pytest.raises(InputError, match="no row of table 'trials' fulfils"):
        recording.align("start_time", window=(0, 1), where="kind == 'z'")


def test_given_times_and_tables_of_events():
    lick = Table(
        "lick", np.arange(3), {"timestamp": np.array([1.0, np.nan, 3.0]), "side": np.array(list("lrl"))}
    )
    recording = Recording.build(spikes=TRAIN, events={"lick": lick})
    trials = recording.align("lick", window=(-0.5, 0.5), bin_size=0.1)
    assert trials["event_time"].values.tolist() == [1.0, 3.0]
    assert trials["side"].values.tolist() == ["l", "l"]
    again = recording.align([1.0, 3.0], window=(-0.5, 0.5), bin_size=0.1)
    np.testing.assert_array_equal(again["counts"], trials["counts"])


def test_observation_masks_bins_for_all_units_or_for_each():
    same = small_recording(TRAIN, observed=[[[0, 0.5], [2, 3], [4, 5]]] * 2)
    trials = same.align("start_time", window=(0, 1), bin_size=0.1)
    assert trials["mask"].dims == ("trial", "time")
    assert trials["mask"].sum("time").values.tolist() == [5, 10, 10]
    assert trials["counts"].values[0, :, 0].sum() == 2
    each = small_recording(TRAIN, observed=[[[0, 10]], [[0, 2.5]]])
    trials = each.align("start_time", window=(0, 1), bin_size=0.1)
    assert trials["mask"].dims == ("trial", "time", "unit")
    assert trials["mask"].sum("time").values.tolist() == [[10, 10], [10, 5], [10, 0]]


def test_touching_and_overlapping_observation_is_one():
    recording = small_recording(TRAIN, observed=[[[0, 0.33], [0.33, 0.7], [0.6, 6.0]]] * 2)
    assert recording.align("start_time", window=(0, 1), bin_size=0.1)["mask"].all()


def test_trials_outside_the_recording_are_dropped_and_said():
    trains = [np.linspace(0, 10, 500)]
    trials = small_recording(trains, start=[1.0, 5.0, 40.0]).align("start_time", window=(0, 1))
    assert trials["trial"].values.tolist() == [0, 1]
    assert "outside the recording" in dropped(trials)[0]["reason"]
    with pytest.raises(InputError, match="outside the recording"):
        small_recording(trains, start=[50.0, 60.0]).align("start_time", window=(0, 1))


def test_a_given_span_masks_what_lies_beyond():
    trials = small_recording(TRAIN, span=(0.0, 4.5)).align("start_time", window=(0, 1), bin_size=0.1)
    assert trials["mask"].sum("time").values.tolist() == [10, 10, 5]


def test_silent_units_are_dropped_and_said():
    trials = small_recording([TRAIN[0], [], TRAIN[1]]).align("start_time", window=(0, 1))
    assert trials["unit"].values.tolist() == [0, 2]
    assert dropped(trials) == [
        {"what": "unit", "count": 1, "ids": [1], "reason": "silent: no spike in the recording"}
    ]
    with pytest.raises(InputError, match="none of the 2 units has a single spike"):
        small_recording([[], []]).align("start_time", window=(0, 1))


def test_units_by_condition_id_or_boolean():
    units = Table("units", np.array([7, 9]), {"quality": np.array(["good", "mua"])})
    recording = small_recording(TRAIN, units=units)
    for choice in ("quality == 'good'", [7], np.array([True, False])):
        trials = recording.align("start_time", window=(0, 1), units=choice)
        assert trials["unit"].values.tolist() == [7]
        assert dropped(trials)[0]["ids"] == [9]


def test_bins_by_number():
    trials = small_recording(TRAIN).align("start_time", window=(-0.25, 0.45), bins=35)
    assert trials.sizes["time"] == 35
    assert trials.attrs["bin_size"] == pytest.approx(0.02)


def test_a_window_is_cut_to_whole_bins_and_that_is_said():
    trials = small_recording(TRAIN).align("start_time", window=(0, 0.95), bin_size=0.1)
    assert trials.sizes["time"] == 9
    assert trials.attrs["window"] == pytest.approx([0, 0.9])
    assert "to hold whole bins" in dropped(trials)[0]["reason"]


def test_what_follows_a_trial():
    recording = small_recording(TRAIN, length=np.array([1.0, 1.0, 0.5]))
    kept = recording.align("start_time", window=(0, 1), bin_size=0.1)
    assert kept["mask"].all()
    cut = recording.align("start_time", window=(0, 1), bin_size=0.1, past_stop=False)
    assert cut["mask"].sum("time").values.tolist() == [10, 10, 5]
    with pytest.raises(InputError, match=r"longer than every trial.*past_stop=True"):
        recording.align("start_time", window=(0, 1.5))
    assert recording.align("start_time", window=(0, 1.5), past_stop=True)["mask"].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give window="),
        ({"window": (0.5, 0.5)}, "must end after it begins"),
        ({"window": (0, np.inf)}, "finite"),
        ({"window": 3}, "two numbers"),
        ({"window": (0, 1), "bin_size": 0}, "positive number of seconds"),
        ({"window": (0, 1), "bin_size": "fine"}, "number of seconds"),
        ({"window": (0, 1), "bin_size": 2}, "shorter than one bin"),
        ({"window": (0, 1), "bins": 0}, "whole number"),
        ({"window": (0, 1), "table": "laps"}, "no table 'laps'; this recording has 'trials'"),
        ({"window": (0, 1), "time_reference": "trial"}, "one of auto, session, start"),
        ({"window": (0, 1), "signal": "lfp"}, "no signal 'lfp'"),
        ({"window": (0, 1), "units": [99]}, "no units with ids"),
        ({"until": "end"}, "no column 'end'"),
        ({"until": "stop_time", "window": (5, 0)}, "no trial is as long as one bin"),
        ({"until": "stop_time", "bins": 5}, "give bin_size"),
        ({"window": (0, 1), "inputs": ["light"]}, "no input 'light'; choose from start_time"),
        ({"window": (0, 1), "behaviour": ["speed"]}, "no behaviour 'speed'"),
        ({"window": (0, 1), "warp": ["end_time"]}, "cannot warp to 'end_time'"),
    ],
)
def test_refusals_name_what_is_there(options, message):
    with pytest.raises(InputError, match=message):
        small_recording(TRAIN).align("start_time", **options)


@pytest.mark.parametrize(
    ("event", "message"),
    [("go", "no event 'go'; this recording has 'trials' with columns start_time"), ("kind", "text")],
)
def test_events_that_cannot_be(event, message):
    with pytest.raises(InputError, match=message):
        small_recording(TRAIN, kind=list("abc")).align(event, window=(0, 1))


def test_a_recording_without_tables_says_what_to_do():
    with pytest.raises(InputError, match="no table of intervals or events"):
        Recording.build(spikes=TRAIN).align("start_time", window=(0, 1))


def test_a_column_of_several_tables_needs_a_choice():
    tables = {name: trials_table([0, 2]) for name in ("encoding", "recognition")}
    recording = Recording.build(spikes=TRAIN, intervals=tables)
    with pytest.raises(InputError, match="several tables"):
        recording.align("start_time", window=(0, 1))
    assert recording.align("start_time", window=(0, 1), table="encoding").sizes["trial"] == 2


def test_trials_that_would_not_fit_into_memory_are_refused_by_name():
    recording = small_recording(TRAIN, start=[0, 2, 4], length=np.array([1, 1, 1e13]))
    with pytest.raises(InputError, match=r"GB.*longest trial \(2\).*where='stop_time - start_time <"):
        recording.align("start_time", until="stop_time")


def test_trials_in_gaps_of_observation():
    recording = small_recording(TRAIN, observed=[[[2, 3], [4, 5]]] * 2)
    trials = recording.align("start_time", window=(0, 1), bin_size=0.1)
    assert trials["trial"].values.tolist() == [1, 2]
    nowhere = small_recording(TRAIN, observed=[[[0, 0.05], [4.95, 5]]] * 2)
    with pytest.raises(InputError, match="no bin of any"):
        nowhere.align("start_time", window=(0.1, 0.9), bin_size=0.1)


def test_inputs_of_every_kind():
    events = {"tone": Table("tone", np.arange(2), {"timestamp": np.array([0.25, 2.26])})}
    light = Table("light", np.arange(1), {"start_time": np.array([0.15]), "stop_time": np.array([0.4])})
    recording = Recording.build(
        spikes=TRAIN,
        intervals={
            "trials": trials_table([0, 2], side=["l", "r"], contrast=[0.5, 1.0], go_time=[0.5, 2.7]),
            "light": light,
        },
        events=events,
        behaviour={"speed": trace(np.arange(100), rate=10)},
    )
    names = ["side", "contrast", "go_time", "tone", "light", "speed"]
    trials = recording.align("start_time", window=(0, 1), bin_size=0.1, inputs=names)
    found = trials["input"].values.tolist()
    assert found == ["side=l", "side=r", "contrast", "go_time", "tone", "light", "speed"]
    values = {name: trials["inputs"].values[:, :, i] for i, name in enumerate(found)}
    np.testing.assert_array_equal(values["side=l"][:, 0], [1, 0])
    np.testing.assert_array_equal(values["contrast"][:, 3], [0.5, 1.0])
    assert [np.flatnonzero(row).tolist() for row in values["go_time"]] == [[5], [7]]
    assert [np.flatnonzero(row).tolist() for row in values["tone"]] == [[2], [2]]
    np.testing.assert_allclose(values["light"][0, :5], [0, 0.5, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(values["speed"][1], 20 + np.arange(10))


def test_a_missing_input_masks_its_bins():
    recording = small_recording(TRAIN, contrast=[0.5, np.nan, 1.0])
    trials = recording.align("start_time", window=(0, 1), inputs=["contrast"])
    assert trials["mask"].any("time").values.tolist() == [True, False, True]
    assert trials["counts"].values[1].sum() == 0
    assert not np.isnan(trials["inputs"]).any()
    assert dropped(trials)[0]["ids"] == [1]


def test_behaviour_goes_along():
    recording = small_recording(
        TRAIN, behaviour={"a/pos": trace(np.column_stack([np.arange(60), -np.arange(60)]))}
    )
    trials = recording.align("start_time", window=(0, 1), bin_size=0.1, behaviour=True)
    assert trials["a_pos"].dims == ("trial", "time", "a_pos_component")
    np.testing.assert_allclose(trials["a_pos"].values[1, :, 0], 20 + np.arange(10))


def test_warping_brings_events_together():
    """A spike a third of the way between two events stays a third of the way, in every trial."""
    cue, go = np.array([0.2, 2.1, 4.3]), np.array([0.5, 2.7, 4.9])
    spikes = [np.concatenate([cue + (go - cue) / 3, go + 0.105])]
    recording = small_recording([np.sort(spikes[0])], length=2.0, cue_time=cue, go_time=go)
    trials = recording.align("cue_time", window=(0, 1), bin_size=0.01, warp=["cue_time", "go_time"])
    median = np.median(go - cue)
    bins = [np.flatnonzero(row).tolist() for row in trials["counts"].values[:, :, 0]]
    assert bins == [[int(median / 3 / 0.01 + 1e-6), int((median + 0.105) / 0.01 + 1e-6)]] * 3
    assert trials.attrs["warp"] == "cue_time, go_time"


def test_warping_refuses_events_out_of_order_and_drops_missing_ones():
    recording = small_recording(TRAIN, length=1.5, cue_time=[0.2, 2.2, 4.2], go_time=[0.5, 2.1, 4.9])
    with pytest.raises(InputError, match="1 of 3 trials differ"):
        recording.align("cue_time", window=(0, 0.5), warp=["cue_time", "go_time"])
    recording = small_recording(TRAIN, length=1.5, cue_time=[0.2, 2.2, 4.2], go_time=[0.5, np.nan, 4.9])
    trials = recording.align("cue_time", window=(0, 0.5), warp=["cue_time", "go_time"])
    assert trials["trial"].values.tolist() == [0, 2]


def test_a_signal_beside_spikes():
    recording = Recording.build(
        spikes=TRAIN, signals={"lfp": trace(np.arange(60.0))}, intervals={"trials": trials_table([0, 2])}
    )
    assert "counts" in recording.align("start_time", window=(0, 1))
    trials = recording.align("start_time", window=(0, 1), signal="lfp")
    assert trials.attrs["bin_size"] == pytest.approx(0.1)
    np.testing.assert_allclose(trials["signal"].values[1, :, 0], 20 + np.arange(10))


def test_one_trial_and_one_spike():
    trials = small_recording([[0.5]], start=[0.0]).align("start_time", window=(0, 1))
    assert trials["counts"].sum() == 1


def test_order_of_trials_in_a_file_does_not_matter():
    recording = small_recording(TRAIN)
    table = recording.intervals["trials"]
    turned = Recording.build(spikes=TRAIN, intervals={"trials": table.take(np.array([2, 0, 1]))})
    one, other = (r.align("start_time", window=(0, 1)).sortby("trial") for r in (recording, turned))
    np.testing.assert_array_equal(one["counts"], other["counts"])


def test_building_refuses_parts_that_do_not_fit():
    with pytest.raises(InputError, match="needs `spikes` or a signal"):
        Recording.build()
    with pytest.raises(InputError, match="must rise from 0"):
        Recording.build(spikes=Spikes(np.arange(3.0), np.array([0, 2, 5])))
    with pytest.raises(InputError, match="2 rows, but there are 1"):
        Recording.build(spikes=[[1.0]], units=Table("units", np.arange(2)))
    with pytest.raises(InputError, match="no column 'start_time'"):
        Recording.build(
            spikes=[[1.0]], intervals={"trials": Table("trials", np.arange(1), {"stop_time": np.ones(1)})}
        )
    with pytest.raises(InputError, match="no column 'timestamp'"):
        Recording.build(spikes=[[1.0]], events={"lick": Table("lick", np.arange(1))})
    with pytest.raises(InputError, match="must be numbers in seconds"):
        Recording.build(spikes=[["a", "b"]])
    with pytest.raises(InputError, match="intervals of observation"):
        Recording.build(spikes=[[1.0]], observed=[[[0, 1]], [[0, 1]]])
    with pytest.raises(InputError, match="stop > start"):
        Recording.build(spikes=[[1.0]], span=(2, 1))


def test_building_mends_and_reports():
    table = Table("trials", np.array([3, 3]), {"start_time": np.zeros(2), "stop_time": np.ones(2)})
    recording = Recording.build(
        spikes=[[0.3, np.nan, 0.1, np.inf]],
        intervals={"trials": table},
        units=Table("units", np.array(["a"])),
    )
    assert recording.spikes.times.tolist() == [0.1, 0.3]
    assert recording.intervals["trials"].ids.tolist() == [0, 1]
    assert "2 spike times are NaN or infinite" in recording.report()
    assert "occur more than once" in recording.report()
    assert "1 units, 2 spikes" in repr(recording)
