"""Plain arrays and xarray objects."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import xarray

import nwb_rnn as nr
from nwb_rnn.errors import InputError

TRAINS = [np.array([0.1, 0.5, 1.5]), np.array([0.2]), np.array([1.1, 1.2])]
TRIALS = {"start_time": [0.0, 1.0], "stop_time": [1.0, 2.0], "kind": ["a", "b"]}


def counts(recording):
    return recording.align("start_time", window=(0, 1), bin_size=0.1)["counts"].values


def test_the_ways_to_give_spikes_agree():
    flat = np.concatenate(TRAINS)
    given = [
        {"spikes": TRAINS},
        {"spike_times": flat, "spike_offsets": [0, 3, 4, 6]},
        {"spike_times": flat, "spike_units": [0, 0, 0, 1, 2, 2]},
        {"spike_times": flat[::-1], "spike_units": [2, 2, 1, 0, 0, 0], "unit_ids": [0, 1, 2]},
    ]
    tables = [counts(nr.read({**g, "trials": TRIALS})) for g in given]
    assert tables[0].sum() == 6
    for other in tables[1:]:
        np.testing.assert_array_equal(other, tables[0])


def test_a_list_of_trains():
    recording = nr.read(TRAINS)
    assert recording.units.ids.tolist() == [0, 1, 2]
    assert recording.align([0.0, 1.0], window=(0, 1), bin_size=0.1)["counts"].sum() == 6


def test_unit_ids_and_columns():
    units = {"id": [7, 8, 9], "depth": [1.0, 2.0, 3.0]}
    recording = nr.read({"spikes": TRAINS, "units": units, "trials": pandas.DataFrame(TRIALS)})
    assert recording.units.ids.tolist() == [7, 8, 9]
    assert recording.align("start_time", window=(0, 1), units="depth > 1.5")["unit"].values.tolist() == [8, 9]


def test_everything_at_once():
    recording = nr.read(
        {
            "spikes": TRAINS,
            "trials": TRIALS,
            "intervals": {"light": {"start_time": [0.2], "stop_time": [0.4]}},
            "events": {"lick": [0.3, 1.4], "tone": {"timestamp": [0.1], "pitch": [440.0]}},
            "behaviour": {"speed": (np.arange(20.0), np.arange(20) / 10)},
            "signals": {"lfp": {"values": np.zeros((200, 2)), "rate": 100.0, "start": 0.0, "unit": "volts"}},
            "observed": [[0.0, 2.0]],
            "description": {"lab": "ours"},
        },
        location="memory",
    )
    assert recording.traces.physical_unit == "volts"
    assert set(recording.intervals) == {"trials", "light"}
    assert set(recording.events) == {"lick", "tone"}
    assert recording.span == (0.0, 2.0)
    assert recording.provenance.location == "memory"
    trials = recording.align(
        "start_time", window=(0, 1), bin_size=0.1, inputs=["speed", "light"], behaviour=True
    )
    assert trials["inputs"].shape == (2, 10, 2)


def test_a_plain_signal():
    recording = nr.read(np.arange(20.0).reshape(10, 2), rate=5.0, start=1.0, name="lfp")
    assert recording.traces.timestamps[0] == 1.0
    np.testing.assert_array_equal(recording.segments()["signal"].values[0], np.arange(20).reshape(10, 2))
    again = nr.read(np.arange(10.0), timestamps=np.arange(10) / 5)
    assert again.segments().sizes["time"] == 10


def test_xarray():
    array = xarray.DataArray(
        np.arange(20.0).reshape(2, 10),
        dims=("cell", "time"),
        coords={"cell": ["a", "b"], "time": np.arange(10) / 5, "area": ("cell", ["V1", "V2"])},
        attrs={"units": "dF/F"},
    )
    for source in (array, xarray.Dataset({"calcium": array, "session": 3})):
        trials = nr.read(source).segments()
        assert trials["unit"].values.tolist() == ["a", "b"]
        assert trials["area"].values.tolist() == ["V1", "V2"]
        np.testing.assert_array_equal(trials["signal"].values[0], array.values.T)
        assert trials.attrs["physical_unit"] == "dF/F"


def test_a_recording_is_passed_on():
    recording = nr.read(TRAINS)
    assert nr.read(recording) is recording


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ({"spike": TRAINS}, {}, "unknown fields"),
        ({"spike_times": [0.1]}, {}, "spike_offsets"),
        ({"spike_times": [0.1], "spike_units": [1, 2]}, {}, "one length"),
        ({"spike_times": [0.1], "spike_units": [5], "unit_ids": [1]}, {}, "not in unit_ids"),
        ({"trials": TRIALS}, {}, "needs `spikes` or a signal"),
        ({"spikes": TRAINS, "trials": {"start_time": [0.0]}}, {}, "stop_time"),
        ({"spikes": TRAINS, "trials": [1, 2]}, {}, "dict of columns"),
        ({"signals": {"x": 3}}, {}, "must be a DataArray"),
        ({"signals": {"x": {"values": np.zeros((2, 2, 2)), "rate": 1.0}}}, {}, "samples, channels"),
        ({"signals": {"x": (np.zeros(5), np.zeros(4))}}, {}, "4 timestamps"),
        (np.zeros(10), {}, "positive rate"),
        (np.zeros((5, 2, 2)), {"rate": 1.0}, "samples, channels"),
        (np.array(["a", "b"]), {"rate": 1.0}, "must hold numbers"),
        (xarray.DataArray(np.zeros((3, 2)), dims=("a", "b")), {}, "dimension 'time'"),
        (xarray.Dataset({"x": ("a", [1, 2])}), {}, "no variable"),
    ],
)
def test_refusals(source, options, message):
    with pytest.raises(InputError, match=message):
        nr.read(source, **options)
