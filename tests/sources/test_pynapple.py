"""pynapple objects, alone and together."""

import numpy as np
import pytest
from interop_cases import as_pynapple, make_session

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.recordings.recording import Recording, Table, Traces

nap = pytest.importorskip("pynapple")


def group(**metadata):
    support = nap.IntervalSet(0.0, 10.0)
    trains = {3: nap.Ts([1.0, 2.0], time_support=support), 8: nap.Ts([4.0], time_support=support)}
    return nap.TsGroup(trains, time_support=support, metadata=metadata or None)


def test_group_alone():
    recording = nr.read(group(area=["M1", "V1"], depth=[1.0, 2.0]))
    assert recording.units.ids.tolist() == [3, 8]
    assert recording.units.columns["area"].tolist() == ["M1", "V1"]
    assert "rate" not in recording.units.columns
    assert recording.spikes.of(0).tolist() == [1.0, 2.0]
    assert recording.observed.of(1).tolist() == [[0.0, 10.0]]
    assert recording.provenance.kind == "pynapple"


def test_time_support_made_from_the_spikes_says_nothing():
    made_up = nap.TsGroup({0: nap.Ts([1.0, 2.0]), 1: nap.Ts([1.5, 4.0])})
    observed = nr.read(made_up).observed
    assert observed is None


def test_time_support_with_a_gap_is_kept():
    support = nap.IntervalSet([0.0, 5.0], [2.0, 9.0])
    observed = nr.read(nap.TsGroup({0: nap.Ts([1.0, 6.0])}, time_support=support)).observed
    assert observed.of(0).tolist() == [[0.0, 2.0], [5.0, 9.0]]


def test_dict_of_everything():
    t = np.arange(100) / 10
    source = {
        "units": group(),
        "trials": nap.IntervalSet([1.0, 3.0], [2.0, 4.0], metadata={"side": np.array(["l", "r"])}),
        "tone": nap.Ts([0.5, 6.5]),
        "position": nap.TsdFrame(t=t, d=np.zeros((100, 2)), columns=["x", "y"]),
        "speed": nap.Tsd(t=t, d=np.ones(100)),
        "video": nap.TsdTensor(t=t, d=np.ones((100, 2, 3))),
    }
    recording = nr.read(source)
    assert recording.intervals["trials"].columns["side"].tolist() == ["l", "r"]
    assert recording.events["tone"].columns["timestamp"].tolist() == [0.5, 6.5]
    assert set(recording.behaviour) == {"position", "speed", "video"} and not recording.signals
    assert recording.behaviour["position"].channels.tolist() == ["x", "y"]
    assert recording.behaviour["video"].values.shape == (100, 6)
    assert set(nr.read(source, signals=["speed"]).signals) == {"speed"}
    with pytest.raises(InputError, match="not among"):
        nr.read(source, signals=["sped"])


def test_list_is_named_after_kinds():
    trials = nap.IntervalSet([1.0, 3.0], [2.0, 4.0])
    recording = nr.read([group(), trials, nap.Ts([1.0, 1.5]), nap.Ts([2.0, 2.5])])
    assert list(recording.intervals) == ["trials"] and list(recording.events) == ["events", "events_1"]


def test_signal_alone():
    frame = nap.TsdFrame(t=np.arange(5.0), d=np.arange(10.0).reshape(5, 2), metadata={"area": ["a", "b"]})
    recording = nr.read(frame)
    assert recording.spikes is None and recording.traces.columns["area"].tolist() == ["a", "b"]
    np.testing.assert_array_equal(recording.traces.values, frame.values)


def test_refusals():
    with pytest.raises(InputError, match="several TsGroups"):
        nr.read({"a": group(), "b": group()})
    assert len(nr.read({"a": group(), "b": group()}, units="b").units) == 2
    with pytest.raises(InputError, match="not a TsGroup"):
        nr.read({"a": group()}, units="b")
    with pytest.raises(InputError, match="expected pynapple objects"):
        nr.read({"a": group(), "trials": [1, 2]})
    with pytest.raises(InputError, match="needs `spikes` or a signal"):
        nr.read(nap.IntervalSet([1.0], [2.0]))


def recording_with(trials: dict, **options):
    table = Table("trials", np.arange(len(trials["start_time"])), trials)
    spikes = [np.array([1.0, 2.0]), np.array([-1.0, 30.0])]
    return Recording.build(spikes=spikes, intervals={"trials": table}, span=(0.0, 20.0), **options)


def test_out_and_back():
    trials = {
        "start_time": np.array([1.0, 3.0]),
        "stop_time": np.array([2.0, 4.0]),
        "side": np.array(["l", "r"]),
        "start": np.array([1, 2]),
    }
    position = Traces(
        "position", np.ones((4, 2)), np.arange(4.0), np.array(["x", "y"]), columns={"x": np.zeros(2)}
    )
    recording = recording_with(
        trials,
        units=Table("units", np.array(["b", "a"]), {"rate": np.ones(2), "a column": np.arange(2)}),
        behaviour={"position": position},
        events={"trials": Table("trials", np.arange(2), {"timestamp": np.array([3.0, 1.0])})},
    )
    objects = recording.to_pynapple()
    assert list(objects) == ["units", "position", "trials", "trials_2"]
    assert float(objects["units"].time_support.start[0]) == -1.0
    back = nr.read(objects)
    assert back.units.ids.tolist() == ["b", "a"]
    assert back.units.columns["a column"].tolist() == [0, 1]
    np.testing.assert_array_equal(back.spikes.times, recording.spikes.times)
    assert back.intervals["trials"].columns["side"].tolist() == ["l", "r"]
    assert back.intervals["trials"].columns["start"].tolist() == [1, 2]
    assert back.events["trials_2"].columns["timestamp"].tolist() == [1.0, 3.0]
    assert back.behaviour["position"].channels.tolist() == ["x", "y"]


def test_unfinished_rows_are_left_out():
    recording = recording_with(
        {"start_time": np.array([5.0, 1.0, 9.0]), "stop_time": np.array([6.0, 2.0, np.nan])}
    )
    trials = recording.to_pynapple()["trials"]
    assert trials.start.tolist() == [1.0, 5.0]
    assert trials.metadata["id"].tolist() == [1, 0]


def test_rows_that_touch_keep_their_columns():
    recording = recording_with(
        {"start_time": np.array([1.0, 2.0]), "stop_time": np.array([2.0, 3.0]), "side": np.array(["l", "r"])}
    )
    trials = recording.to_pynapple()["trials"]
    np.testing.assert_allclose(trials.end, [2.0, 3.0], atol=1.1e-6)
    assert trials.metadata["side"].tolist() == ["l", "r"]


def test_rows_that_overlap_become_their_starts():
    recording = recording_with({"start_time": np.array([1.0, 1.5]), "stop_time": np.array([2.0, 3.0])})
    trials = recording.to_pynapple()["trials"]
    assert isinstance(trials, nap.Ts) and trials.times().tolist() == [1.0, 1.5]


def test_pynapple_counts_what_we_count():
    """Spikes between the starts and ends that we hand out, against our bins."""
    recording = nr.read(as_pynapple(make_session(4)))
    ours = recording.align("start_time", window=(0.0, 1.0), bin_size=0.02)["counts"].sum("time").values
    objects = recording.to_pynapple()
    trials = objects["trials"]
    trains = [objects["units"][key].times() for key in objects["units"]]
    laps = zip(trials.start, trials.end, strict=True)
    theirs = np.array([[np.sum((t >= a) & (t < b)) for t in trains] for a, b in laps])
    np.testing.assert_array_equal(ours, theirs)
