"""Sortings and sorting analyzers of spikeinterface."""

import numpy as np
import pytest
from interop_cases import CLOCK, as_arrays, as_spikeinterface, make_session

import nwb_rnn as nr
from nwb_rnn.errors import InputError


def test_times_ids_and_properties():
    session = make_session(0)
    sorting = as_spikeinterface(session).rename_units(["u7", "u2", "u9", "u4"])
    sorting.set_property("quality", np.array(["good", "mua", "good", "noise"]))
    sorting.set_property("depth", np.array([10.0, 20.0, 30.0, 40.0]))
    sorting.set_property("waveform", np.zeros((4, 3)))
    recording = nr.read(sorting)
    assert recording.units.ids.tolist() == ["u7", "u2", "u9", "u4"]
    assert recording.units.columns["quality"].tolist() == ["good", "mua", "good", "noise"]
    assert recording.units.columns["depth"].tolist() == [10.0, 20.0, 30.0, 40.0]
    assert "waveform" not in recording.units.columns
    for i, times in enumerate(session.times):
        np.testing.assert_array_equal(recording.spikes.of(i), times)
    assert recording.provenance.kind == "spikeinterface"


def test_start_time_of_the_recording_counts():
    from spikeinterface.core import NumpyRecording

    session = make_session(1, seconds=10)
    sorting = as_spikeinterface(session)
    raw = NumpyRecording([np.zeros((session.length, 1), np.float32)], CLOCK, t_starts=[100.0])
    sorting.register_recording(raw)
    recording = nr.read(sorting)
    np.testing.assert_allclose(recording.spikes.of(0), session.times[0] + 100.0, rtol=0, atol=1e-9)
    assert recording.span == pytest.approx((100.0, 100.0 + session.length / CLOCK), abs=2 / CLOCK)


def test_shifted_sorting():
    sorting = as_spikeinterface(make_session(1, seconds=10))
    sorting.shift_times(5.0)
    assert nr.read(sorting).spikes.times.min() == pytest.approx(5.0)


def test_several_segments_need_a_choice():
    from spikeinterface.core import NumpySorting

    first = {"a": np.array([1, 2, 3]), "b": np.array([5])}
    second = {"a": np.array([10, 20]), "b": np.array([30, 40, 50])}
    sorting = NumpySorting.from_unit_dict([first, second], 10.0)
    with pytest.raises(InputError, match="2 segments"):
        nr.read(sorting)
    with pytest.raises(InputError, match="counted from 0"):
        nr.read(sorting, segment=2)
    np.testing.assert_allclose(nr.read(sorting, segment=1).spikes.of(1), [3.0, 4.0, 5.0])


def test_events_and_tables_beside_a_sorting():
    session = make_session(2)
    recording = nr.read(
        as_spikeinterface(session), intervals={"trials": session.trials}, events={"tone": [1.0, 2.0]}
    )
    assert recording.events["tone"].columns["timestamp"].tolist() == [1.0, 2.0]
    assert len(recording.intervals["trials"]) == len(session.starts)


def test_analyzer_gives_metrics_locations_and_peaks():
    from spikeinterface.core import create_sorting_analyzer, generate_ground_truth_recording

    raw, sorting = generate_ground_truth_recording(durations=[5.0], num_channels=4, num_units=3, seed=0)
    analyzer = create_sorting_analyzer(sorting, raw, format="memory", sparse=False)
    steps = ["random_spikes", "waveforms", "templates", "noise_levels"]
    analyzer.compute(steps, n_jobs=1, progress_bar=False)
    analyzer.compute("unit_locations", method="center_of_mass")
    analyzer.compute("quality_metrics", metric_names=["firing_rate", "snr"])
    recording = nr.read(analyzer)
    columns = recording.units.columns
    fired = recording.spikes.counts() / 5.0
    np.testing.assert_allclose(columns["firing_rate"], fired)
    assert {"snr", "x", "y", "peak_channel", "peak_amplitude"} <= set(columns)
    averages = analyzer.get_extension("templates").get_data()
    np.testing.assert_allclose(np.abs(columns["peak_amplitude"]), np.abs(averages).max(axis=(1, 2)))
    assert recording.span == (0.0, 5.0)


def test_analyzer_without_extensions():
    from spikeinterface.core import create_sorting_analyzer, generate_ground_truth_recording

    raw, sorting = generate_ground_truth_recording(durations=[2.0], num_channels=4, num_units=3, seed=0)
    analyzer = create_sorting_analyzer(sorting, raw, format="memory", sparse=False)
    assert len(nr.read(analyzer).units) == 3


def test_a_raw_recording_is_refused():
    from spikeinterface.core import NumpyRecording

    with pytest.raises(InputError, match="no sorted spikes"):
        nr.read(NumpyRecording([np.zeros((10, 1))], CLOCK))


def test_out_keeps_ids_columns_and_negative_times():
    given = {"spikes": [np.array([-0.5, 0.1]), np.array([0.2])], "unit_ids": np.array([12, 5])}
    recording = nr.read({**given, "units": {"area": np.array(["M1", "PMd"])}})
    sorting = recording.to_spikeinterface(sampling_frequency=1000.0)
    assert list(sorting.unit_ids) == [12, 5]
    assert sorting.get_property("area").tolist() == ["M1", "PMd"]
    times = sorting.get_unit_spike_train_in_seconds(12, segment_index=0)
    np.testing.assert_allclose(times, [-0.5, 0.1], atol=1e-12)


def test_out_needs_spikes_and_a_frequency():
    with pytest.raises(InputError, match="no spikes"):
        nr.read(np.zeros((10, 2)), rate=10.0).to_spikeinterface()
    for frequency in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="positive"):
            nr.read(as_arrays(make_session(0, seconds=10))).to_spikeinterface(sampling_frequency=frequency)
