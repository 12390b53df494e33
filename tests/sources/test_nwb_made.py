"""Every kind of content that the reader knows, in files made for the purpose."""

from __future__ import annotations

import numpy as np
import pytest
from sources.made_nwb import (
    TRAINS,
    empty_file,
    saved,
    series,
    with_electrodes,
    with_rois,
    with_trials,
    with_units,
)

import nwb_rnn as nr
from nwb_rnn.cli_inspect import describe
from nwb_rnn.errors import InputError
from nwb_rnn.recordings.on_demand import OnDemand
from nwb_rnn.sources import nwb_series


def the_counts(recording) -> np.ndarray:
    return recording.align("start_time", window=(0, 0.9), bin_size=0.1)["counts"].values


def expected_counts() -> np.ndarray:
    return nr.read(TRAINS).align([0.0, 1.0, 2.0], window=(0, 0.9), bin_size=0.1)["counts"].values


def basic():
    return with_trials(with_units(empty_file()))


def test_a_path_as_text_and_as_path(tmp_path):
    path = saved(basic(), tmp_path)
    for source in (path, str(path)):
        np.testing.assert_array_equal(the_counts(nr.read(source)), expected_counts())


def test_a_recording_outlives_its_file(tmp_path):
    path = saved(basic(), tmp_path)
    recording = nr.read(path)
    path.unlink()
    np.testing.assert_array_equal(the_counts(recording), expected_counts())


def test_an_open_file_stays_open(tmp_path):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(saved(basic(), tmp_path), "r") as io:
        nwbfile = io.read()
        np.testing.assert_array_equal(the_counts(nr.read(nwbfile)), expected_counts())
        assert nwbfile.units["spike_times"].target.data[0] == 0.1


def test_a_file_in_memory():
    recording = nr.read(basic())
    np.testing.assert_array_equal(the_counts(recording), expected_counts())
    assert recording.provenance.identifier == "made"


def test_zarr(tmp_path):
    from hdmf_zarr import NWBZarrIO

    with NWBZarrIO(str(tmp_path / "made.nwb.zarr"), mode="w") as io:
        io.write(with_trials(with_units(empty_file(), quality=["good", "mua", "good"]), kind=["a", "b", "c"]))
    recording = nr.read(tmp_path / "made.nwb.zarr")
    np.testing.assert_array_equal(the_counts(recording), expected_counts())
    assert recording.units.columns["quality"].tolist() == ["good", "mua", "good"]
    assert recording.intervals["trials"].columns["kind"].tolist() == ["a", "b", "c"]


def test_unit_columns_regions_and_what_is_not_carried(tmp_path):
    nwbfile = with_electrodes(empty_file())
    nwbfile.add_unit_column("quality", "quality")
    nwbfile.add_unit_column("tags", "several per unit", index=True)
    nwbfile.add_unit(spike_times=TRAINS[0], electrodes=[0, 1], quality="good", tags=["a", "b"])
    nwbfile.add_unit(spike_times=TRAINS[1], electrodes=[1, 2], quality="mua", tags=[])
    recording = nr.read(saved(nwbfile, tmp_path))
    assert recording.units.columns["region"].tolist() == ["CA1", "CA1, CA3"]
    assert recording.units.columns["electrode"].tolist() == [0, 1]
    assert "columns tags" in recording.report() or "column tags" in recording.report()
    assert recording.select_units(region="ca3").units.ids.tolist() == [1]
    assert recording.select_units("quality == 'good'").units.ids.tolist() == [0]


def test_units_elsewhere_are_found_and_others_reported(tmp_path):
    from pynwb.misc import Units

    nwbfile = with_trials(empty_file())
    module = nwbfile.create_processing_module("ecephys", "sorted twice")
    for name in ("sorter_a", "sorter_b"):
        table = Units(name=name, description=name)
        for train in TRAINS:
            table.add_unit(spike_times=train)
        module.add(table)
    recording = nr.read(saved(nwbfile, tmp_path))
    np.testing.assert_array_equal(the_counts(recording), expected_counts())
    assert "unit ecephys/sorter_b: further tables of units, not read" in recording.report()


def test_intervals_of_observation_are_carried(tmp_path):
    nwbfile = empty_file()
    nwbfile.add_unit(spike_times=TRAINS[0], obs_intervals=[[0.0, 1.0], [2.0, 3.0]])
    nwbfile.add_unit(spike_times=TRAINS[1], obs_intervals=[[0.0, 3.0]])
    recording = nr.read(saved(with_trials(nwbfile), tmp_path))
    trials = recording.align("start_time", window=(0, 0.9), bin_size=0.1)
    assert trials["mask"].sum("time").values.tolist() == [[9, 9], [0, 9], [9, 9]]
    assert recording.span == (0.0, 3.0)


def test_units_and_a_span_are_read_alone(tmp_path):
    path = saved(with_trials(with_units(empty_file(), quality=["good", "mua", "good"])), tmp_path)
    recording = nr.read(path, units="quality == 'good'", span=(0.4, 1.25))
    assert recording.units.ids.tolist() == [0, 2]
    assert [recording.spikes.of(i).tolist() for i in range(2)] == [[0.5], [1.1, 1.2]]
    assert "not read" in recording.report()
    assert nr.read(path, units=[1]).spikes.times.tolist() == [0.2, 2.5]
    with pytest.raises(InputError, match="no units with ids"):
        nr.read(path, units=[17])
    with pytest.raises(InputError, match="fulfils units="):
        nr.read(path, units="quality == 'best'")


def test_a_span_is_found_by_bisection_in_long_trains(tmp_path, monkeypatch):
    from nwb_rnn.sources import nwb_tables

    monkeypatch.setattr(nwb_tables, "_BLOCK", 16)
    times = np.arange(1000) * 0.01
    path = saved(with_units(empty_file(), [times, times + 0.005]), tmp_path)
    for span in ((2.0, 3.0), (-1.0, 0.5), (9.0, 99.0), (50.0, 60.0)):
        recording = nr.read(path, span=span)
        for unit, train in enumerate((times, times + 0.005)):
            kept = train[(train >= span[0]) & (train <= span[1])]
            np.testing.assert_array_equal(recording.spikes.of(unit), kept)


def test_every_table_of_intervals(tmp_path):
    from pynwb.epoch import TimeIntervals
    from pynwb.misc import IntervalSeries

    nwbfile = basic()
    nwbfile.add_epoch(0.0, 3.0, ["all"])
    laps = TimeIntervals(name="laps", description="laps")
    laps.add_row(start_time=0.5, stop_time=1.0)
    nwbfile.create_processing_module("behavior", "b").add(laps)
    light = IntervalSeries(name="light", data=np.array([1, -1, 1, -1]), timestamps=[0.1, 0.4, 1.1, 1.4])
    nwbfile.add_stimulus(light)
    recording = nr.read(saved(nwbfile, tmp_path))
    assert set(recording.intervals) == {"trials", "epochs", "laps", "light"}
    assert recording.intervals["light"].columns["stop_time"].tolist() == [0.4, 1.4]
    assert recording.align("start_time", window=(0, 0.3), table="light", bin_size=0.1).sizes["trial"] == 2


def test_events_of_every_kind(tmp_path):
    from pynwb.behavior import BehavioralEvents
    from pynwb.event import EventsTable
    from pynwb.misc import AnnotationSeries

    nwbfile = basic()
    table = EventsTable(name="licks", description="licks")
    table.add_column("side", "which side")
    for stamp, side in ((0.3, "l"), (1.3, "r")):
        table.add_event(timestamp=stamp, side=side)
    nwbfile.add_events_table(table)
    with pytest.warns(UserWarning, match="deprecated"):
        nwbfile.add_acquisition(AnnotationSeries(name="notes", data=["start", "end"], timestamps=[0.1, 2.9]))
    with pytest.warns(UserWarning, match="deprecated"):
        events = BehavioralEvents(name="rewards")
    events.add_timeseries(series("drops", [1.0, 2.0], timestamps=[0.4, 1.4]))
    nwbfile.add_acquisition(events)
    nwbfile.add_acquisition(series("ttl", np.array([3, 5, 3], dtype=np.int8), timestamps=[0.2, 0.25, 2.0]))
    recording = nr.read(saved(nwbfile, tmp_path))
    assert set(recording.events) == {"licks", "notes", "drops", "ttl"}
    assert recording.events["licks"].columns["side"].tolist() == ["l", "r"]
    assert recording.events["notes"].columns["data"].tolist() == ["start", "end"]
    trials = recording.align("ttl", window=(-0.1, 0.1), where="data == 3", bin_size=0.1)
    assert trials["event_time"].values.tolist() == [0.2, 2.0]


def test_events_of_an_extension_are_known_by_their_fields():
    from types import SimpleNamespace

    from nwb_rnn.sources.nwb_contents import Contents

    ttls = SimpleNamespace(
        name="TTLs", timestamps=np.array([0.1, 0.2]), data=np.array([1, 0]), labels=["off", "on"]
    )
    table = Contents(events={"TTLs": ttls}).read_events([])["TTLs"]
    assert table.columns["label"].tolist() == ["on", "off"]


def test_annotated_events_give_one_table_per_label(tmp_path):
    from hdmf.common import DynamicTable

    nwbfile = basic()
    table = DynamicTable(name="annotated", description="kinds of events")
    table.add_column("label", "label")
    table.add_column("event_times", "times", index=True)
    table.add_row(label="lick", event_times=[0.1, 0.2])
    table.add_row(label="reward", event_times=[0.5])
    nwbfile.create_processing_module("behavior", "b").add(table)
    recording = nr.read(saved(nwbfile, tmp_path))
    assert recording.events["annotated/lick"].columns["timestamp"].tolist() == [0.1, 0.2]
    assert recording.align("annotated/reward", window=(-0.1, 0.1), bin_size=0.1).sizes["trial"] == 1


def test_rejected_rois_are_dropped_and_said(tmp_path):
    values = np.arange(40.0).reshape(10, 4)
    path = saved(
        with_rois(empty_file(), {"a": (values, {"accepted": [1, 0, 1, 1], "depth": [1.0, 2.0, 3.0, 4.0]})}),
        tmp_path,
    )
    recording = nr.read(path)
    assert recording.units.ids.tolist() == [0, 2, 3]
    assert recording.units.columns["depth"].tolist() == [1, 3, 4]
    assert "unit 1: ROIs of 'response_a' marked as rejected" in recording.report()
    np.testing.assert_array_equal(recording.segments()["signal"].values[0], values[:, [0, 2, 3]])
    assert nr.read(path, keep_rejected=True).units.ids.tolist() == [0, 1, 2, 3]


def test_planes_imaged_together_become_one_signal(tmp_path):
    planes = {name: (np.tile([i, i + 0.5], (10, 1)), {}) for i, name in enumerate("ab")}
    recording = nr.read(saved(with_rois(empty_file(), planes), tmp_path))
    assert set(recording.signals) == {"DfOverF", "response_a", "response_b"}
    assert recording.traces.name == "DfOverF"
    assert recording.units.ids.tolist() == ["a:0", "a:1", "b:0", "b:1"]
    assert recording.units.columns["plane"].tolist() == ["a", "a", "b", "b"]
    np.testing.assert_array_equal(recording.segments()["signal"].values[0, 0], [0, 0.5, 1, 1.5])
    alone = nr.read(tmp_path / "made.nwb", signal="response_b")
    assert alone.units.ids.tolist() == [0, 1]


def test_a_transposed_series_is_turned(tmp_path):
    """As MATLAB writes them: ROIs first. With timestamps of its own the series says which axis is time."""
    import h5py

    values = np.arange(40.0).reshape(10, 4)
    path = saved(with_rois(empty_file(), {"a": (values, {})}), tmp_path)
    with h5py.File(path, "r+") as file:
        group = file["processing/ophys/DfOverF/response_a"]
        attributes = dict(group["data"].attrs)
        del group["data"], group["starting_time"]
        group.create_dataset("data", data=values.T).attrs.update(attributes)
        stamps = group.create_dataset("timestamps", data=np.arange(10) / 5)
        stamps.attrs.update({"interval": np.int32(1), "unit": "seconds"})
    np.testing.assert_array_equal(nr.read(path).traces.values, values)


def electrical(nwbfile, samples=2000, name="LFP", **fields):
    from pynwb.ecephys import ElectricalSeries

    region = nwbfile.create_electrode_table_region([0, 1, 2], "all")
    data = np.arange(samples * 3, dtype=np.int16).reshape(samples, 3)
    nwbfile.add_acquisition(ElectricalSeries(name=name, data=data, electrodes=region, rate=1000.0, **fields))
    return data


def test_an_electrical_series_in_volts(tmp_path):
    nwbfile = with_electrodes(empty_file())
    data = electrical(nwbfile, conversion=1e-6, offset=0.5, channel_conversion=[1.0, 2.0, 3.0])
    recording = nr.read(saved(nwbfile, tmp_path))
    np.testing.assert_allclose(recording.traces.values, data * 1e-6 * np.array([1, 2, 3]) + 0.5)
    assert recording.units.columns["region"].tolist() == ["CA1", "CA1", "CA3"]
    assert recording.traces.physical_unit == "volts"


def test_a_large_series_is_read_by_stretches_and_only_when_named(tmp_path, monkeypatch):
    monkeypatch.setattr(nwb_series, "LARGE", 1000)
    nwbfile = with_trials(with_units(with_electrodes(empty_file())), start=[0.0, 1.0], length=0.5)
    data = electrical(nwbfile, conversion=1e-6)
    path = saved(nwbfile, tmp_path)
    unread = nr.read(path)
    assert not unread.signals
    assert "name it with signal='LFP'" in unread.report()
    with pytest.raises(InputError, match="no signal 'LFP'"):
        unread.align("start_time", window=(0, 0.5), signal="LFP")
    recording = nr.read(path, signal="LFP")
    assert isinstance(recording.signals["LFP"].values, OnDemand)
    trials = recording.align("start_time", window=(0, 0.5), bin_size=0.001, signal="LFP")
    stored = np.stack([data[:500], data[1000:1500]]) * 1e-6
    np.testing.assert_allclose(trials["signal"].values, stored, rtol=1e-6)


def test_a_large_series_of_a_file_in_memory(monkeypatch):
    monkeypatch.setattr(nwb_series, "LARGE", 1000)
    nwbfile = with_electrodes(empty_file())
    data = electrical(nwbfile)
    recording = nr.read(nwbfile, signal="LFP")
    trials = recording.align([0.5], window=(0, 0.1))
    np.testing.assert_allclose(trials["signal"].values[0], data[500:600])


def test_one_series_per_neuron(tmp_path):
    nwbfile, stamps = empty_file(), np.concatenate([np.arange(20), np.arange(30, 50)]) / 5.0
    for i in (10, 2, 1, 0):
        nwbfile.add_acquisition(series(f"cell_{i}", np.full(40, float(i)), timestamps=stamps))
    nwbfile.add_acquisition(series("speed", np.arange(40.0), timestamps=stamps))
    recording = nr.read(saved(nwbfile, tmp_path))
    assert recording.units.ids.tolist() == ["cell_0", "cell_1", "cell_2", "cell_10"]
    assert list(recording.behaviour) == ["speed"]
    trials = recording.segments(bin_size=0.2)
    assert trials["mask"].values[0].tolist() == [True] * 20 + [False] * 10 + [True] * 20


def test_any_series_can_be_the_signal_if_named(tmp_path):
    nwbfile = empty_file()
    nwbfile.add_acquisition(series("activity", np.arange(60.0).reshape(20, 3)))
    path = saved(nwbfile, tmp_path)
    with pytest.raises(InputError, match=r"other data: activity.*Name a series of numbers with signal="):
        nr.read(path)
    recording = nr.read(path, signal="activity")
    np.testing.assert_array_equal(recording.segments()["signal"].values[0], np.arange(60).reshape(20, 3))
    with pytest.raises(InputError, match="no signal 'calcium'"):
        nr.read(path, signal="calcium")


def test_a_signal_named_when_reading_is_preferred_to_spikes(tmp_path):
    nwbfile = with_trials(with_units(with_electrodes(empty_file())))
    electrical(nwbfile, samples=4000)
    nwbfile.add_acquisition(series("speed", np.arange(40.0)))
    path = saved(nwbfile, tmp_path)
    assert "counts" in nr.read(path).align("start_time", window=(0, 0.5))
    recording = nr.read(path, signal="LFP")
    assert recording.align("start_time", window=(0, 0.5)).attrs["signal_name"] == "LFP"
    assert "counts" in recording.align("start_time", window=(0, 0.5), signal="spikes")
    assert recording.align("start_time", window=(0, 0.5), signal="speed").sizes["unit"] == 1


def test_channels_of_a_large_series_are_chosen_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(nwb_series, "LARGE", 1000)
    nwbfile = with_electrodes(empty_file())
    data = electrical(nwbfile)
    recording = nr.read(saved(nwbfile, tmp_path), signal="LFP")
    trials = recording.align([0.5], window=(0, 0.1), units="region == 'CA3'")
    np.testing.assert_allclose(trials["signal"].values[0, :, 0], data[500:600, 2])
    assert isinstance(recording.select_units([0, 1]).traces.values, OnDemand)


def test_what_was_derived_from_a_signal_comes_after_it(tmp_path):
    """As suite2p writes them: fluorescence, neuropil and deconvolved events, each in its container."""
    from pynwb.ophys import Fluorescence

    nwbfile = with_rois(empty_file(), {"plane": (np.zeros((10, 2)), {})}, kind="Fluorescence")
    rois = nwbfile.processing["ophys"]["Fluorescence"]["response_plane"].rois.table
    for name in ("Deconvolved", "Neuropil"):
        container = Fluorescence(name=name)
        nwbfile.processing["ophys"].add(container)
        region = rois.create_roi_table_region("all", region=[0, 1])
        container.create_roi_response_series(
            name=name, data=np.ones((10, 2)), rois=region, unit="a.u.", rate=5.0
        )
    recording = nr.read(saved(nwbfile, tmp_path))
    assert recording.traces.name == "response_plane"
    assert set(recording.signals) == {"response_plane", "Deconvolved", "Neuropil"}
    assert recording.segments(signal="Deconvolved")["signal"].values.min() == 1


def test_invalid_times_are_masked(tmp_path):
    nwbfile = with_trials(with_units(empty_file()))
    nwbfile.add_invalid_time_interval(start_time=0.35, stop_time=0.6)
    nwbfile.add_invalid_time_interval(start_time=1.9, stop_time=5.0)
    recording = nr.read(saved(nwbfile, tmp_path))
    trials = recording.align("start_time", window=(0, 0.9), bin_size=0.1, table="trials")
    assert trials["trial"].values.tolist() == [0, 1]
    assert np.flatnonzero(~trials["mask"].values[0]).tolist() == [3, 4, 5]
    assert trials["counts"].values[0, 3:6].sum() == 0
    assert trials["mask"].values[1].all()


def test_behaviour_of_every_kind(tmp_path):
    from pynwb.behavior import BehavioralTimeSeries, Position, SpatialSeries

    nwbfile = basic()
    module = nwbfile.create_processing_module("behavior", "b")
    position = Position(name="Position")
    position.add_spatial_series(
        SpatialSeries(name="hand", data=np.zeros((30, 2)), rate=10.0, reference_frame="r")
    )
    speed = BehavioralTimeSeries(name="speed")
    speed.add_timeseries(series("wheel", np.arange(30), unit="counts", timestamps=np.arange(30) / 10))
    module.add(position)
    module.add(speed)
    recording = nr.read(saved(nwbfile, tmp_path))
    assert set(recording.behaviour) == {"hand", "wheel"}
    trials = recording.align(
        "start_time", window=(0, 0.9), bin_size=0.1, behaviour=["hand"], inputs=["wheel"]
    )
    assert trials["hand"].dims == ("trial", "time", "hand_component")
    np.testing.assert_array_equal(trials["inputs"].values[1, :, 0], np.arange(10, 19))


def test_names_that_occur_twice_are_told_apart_by_their_path(tmp_path):
    nwbfile = basic()
    nwbfile.add_acquisition(series("speed", np.zeros(30)))
    nwbfile.create_processing_module("behavior", "b").add(series("speed", np.ones(30)))
    assert set(nr.read(saved(nwbfile, tmp_path)).behaviour) == {"speed", "behavior/speed"}


def test_a_series_with_too_few_timestamps_is_left_out_and_said(tmp_path):
    import h5py

    nwbfile = basic()
    nwbfile.add_acquisition(series("speed", np.zeros(30), timestamps=np.arange(30.0)))
    path = saved(nwbfile, tmp_path)
    with h5py.File(path, "r+") as file:
        del file["acquisition/speed/timestamps"]
        stamps = file["acquisition/speed"].create_dataset("timestamps", data=np.arange(20.0))
        stamps.attrs.update({"interval": np.int32(1), "unit": "seconds"})
    recording = nr.read(path)
    assert "speed" not in recording.behaviour
    assert "30 samples but 20 timestamps" in recording.report()


def test_the_description_of_a_made_file(tmp_path):
    nwbfile = with_trials(
        with_units(empty_file(), [*TRAINS, []]), kind=["a", "b", "a"], go_time=[0.3, 1.3, np.nan]
    )
    text = describe(saved(nwbfile, tmp_path))
    assert "4 units, 9 spikes" in text
    assert "silent, left out when aligned: 3" in text
    assert "kind: 'a' (2), 'b' (1)" in text
    assert "go_time: 0.3 to 1.3, NaN in 1 rows, s in the session" in text
    assert "align('start_time' | 'stop_time' | 'go_time'" in text
