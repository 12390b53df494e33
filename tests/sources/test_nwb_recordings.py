"""Every real recording, read and aligned, against numbers counted with h5py and numpy alone."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.cli_inspect import describe
from nwb_rnn.errors import InputError

FILES = {
    "linear_track": "linear_track/sub-rat01_ses-lineartrack_behavior+ecephys.nwb",
    "pmd_reach": "pmd_reach/sub-monkey_ses-ex1_ecephys.nwb",
    "alm": "alm/sub-anm00239123_ses-20170627T093549_ecephys+ogen.nwb",
    "alm_relative": "alm/sub-anm369963_ses-20170228.nwb",
    "human_mtl": "human_mtl/sub-4_ses-4_ecephys+image.nwb",
    "zebrafish": "zebrafish/sub-zf_ses-20151104f1_ophys.nwb",
    "celegans": "celegans/AML175_moving.BrainScanner20180223_141721.nwb",
    "eeg": "eeg/sub-S001_ses-R01_ecephys.nwb",
}


@cache
def recording_of(path: Path):
    return nr.read(path)


@pytest.fixture
def path_of(recordings_folder):
    def find(name: str) -> Path:
        path = recordings_folder / FILES[name]
        if not path.exists():
            pytest.skip(f"{FILES[name]} is not in the folder of recordings")
        return path

    return find


def column(path: Path, name: str) -> np.ndarray:
    with h5py.File(path) as file:
        return file[name][:]


def trains(path: Path) -> list[np.ndarray]:
    ends = column(path, "units/spike_times_index").astype(int)
    return np.split(column(path, "units/spike_times"), ends[:-1])


def counted(path: Path, starts: np.ndarray, bins: np.ndarray | int, bin_size: float) -> np.ndarray:
    """Spikes per bin by comparing every spike, in any order, with every edge."""
    bins = np.broadcast_to(bins, starts.shape)
    result = np.zeros((len(starts), bins.max(), len(trains(path))))
    for d, train in enumerate(trains(path)):
        for i, start in enumerate(starts):
            edges = start + (np.arange(bins[i] + 1) - 1e-6) * bin_size
            number = np.searchsorted(edges, train, side="right") - 1
            inside = number[(number >= 0) & (number < bins[i])]
            result[i, : bins[i], d] = np.bincount(inside, minlength=bins[i])
    return result


@pytest.mark.parametrize("name", FILES)
def test_inspect_describes(path_of, name):
    text = describe(path_of(name))
    assert "what could be aligned" in text
    assert "left out" in text


def test_linear_track_laps_of_unequal_length(path_of):
    path = path_of("linear_track")
    trials = recording_of(path).align("start_time", until="stop_time", bin_size=0.01)
    start, stop = column(path, "intervals/trials/start_time"), column(path, "intervals/trials/stop_time")
    bins = np.floor((stop - start) / 0.01 + 1e-6).astype(int)
    np.testing.assert_array_equal(trials["mask"].sum("time"), bins)
    np.testing.assert_array_equal(trials["counts"], counted(path, start, bins, 0.01))
    assert trials["direction"].values.tolist()[:2] == ["leftward", "rightward"]


def test_linear_track_position_in_bins(path_of):
    path = path_of("linear_track")
    trials = recording_of(path).align("midpoint_time", window=(-1, 1), bin_size=0.2, behaviour=True)
    stamps = column(path, "processing/behavior/Position/head_position/timestamps")
    position = column(path, "processing/behavior/Position/head_position/data")
    for i, event in enumerate(column(path, "intervals/trials/midpoint_time")):
        number = np.floor((stamps - event + 1) / 0.2 + 1e-6).astype(int)
        expected = [position[number == k].mean(axis=0) for k in range(10)]
        np.testing.assert_allclose(trials["head_position"].values[i], expected, rtol=1e-4)


def test_linear_track_in_segments_holds_every_spike(path_of):
    path = path_of("linear_track")
    trials = recording_of(path).segments(length=10, bin_size=0.01)
    flat = np.concatenate(trains(path))
    assert trials["counts"].sum() == ((flat >= 4397) & (flat < 4397 + 1960 - 1e-8)).sum()
    whole = recording_of(path).segments(bin_size=0.01)
    assert whole.sizes["trial"] == 1
    assert whole["counts"].sum() == ((flat >= 4397) & (flat < 6366 - 1e-8)).sum()


def test_pmd_reach_conditions_and_observation(path_of):
    path = path_of("pmd_reach")
    trials = recording_of(path).align("start_time", window=(0, 0.4))
    start = column(path, "intervals/trials/start_time")
    np.testing.assert_array_equal(trials["counts"], counted(path, start, 20, 0.02))
    assert trials["counts"].sum() == len(column(path, "units/spike_times"))
    assert trials["mask"].all()
    kinds, number = np.unique(trials["condition"], return_counts=True)
    assert kinds.tolist() == [f"reach{i}" for i in range(1, 8)]
    assert number.tolist() == [30] * 7


def test_pmd_reach_outside_observation_is_masked(path_of):
    recording = recording_of(path_of("pmd_reach"))
    trials = recording.align("start_time", window=(-0.1, 0.4), past_stop=True)
    assert trials["mask"].dims == ("trial", "time")
    np.testing.assert_array_equal(trials["mask"].values, np.tile(np.arange(25) >= 5, (210, 1)))
    with pytest.raises(InputError, match=r"longer than every trial.*0\.4 s"):
        recording.align("start_time", window=(0, 2))


def test_alm_missing_events_text_and_conditions(path_of):
    path = path_of("alm")
    trials = recording_of(path).align("cue_start_time", window=(-1, 1), where="is_good == 1")
    cue, good = column(path, "intervals/trials/cue_start_time"), column(path, "intervals/trials/is_good")
    kept = np.isfinite(cue) & (good == 1)
    np.testing.assert_array_equal(trials["trial"], column(path, "intervals/trials/id")[kept])
    np.testing.assert_array_equal(trials["counts"], counted(path, cue[kept] - 1, 100, 0.02))
    assert trials.attrs["time_reference"] == "session (detected)"
    every = recording_of(path).align("cue_start_time", window=(-1, 1))
    lost = json.loads(every.attrs["dropped"])[-1]
    assert (lost["count"], lost["reason"]) == (70, "the event 'cue_start_time' is NaN")
    assert set(every["photo_stim_period"].values) == {"N/A", "delay"}


def test_alm_one_trial_of_twenty_minutes(path_of):
    path = path_of("alm")
    where = "stop_time - start_time < 15 and type != 'non-performing'"
    trials = recording_of(path).align("start_time", until="stop_time", where=where)
    start, stop = column(path, "intervals/trials/start_time"), column(path, "intervals/trials/stop_time")
    kept = (stop - start < 15) & (column(path, "intervals/trials/type") != b"non-performing")
    bins = np.floor((stop - start)[kept] / 0.02 + 1e-6).astype(int)
    np.testing.assert_array_equal(trials["counts"], counted(path, start[kept], bins, 0.02))


def test_alm_times_that_count_from_each_trial(path_of):
    path = path_of("alm_relative")
    trials = recording_of(path).align("cue_start_time", window=(-1, 1))
    start, cue = column(path, "intervals/trials/start_time"), column(path, "intervals/trials/cue_start_time")
    np.testing.assert_allclose(trials["event_time"], start + cue)
    np.testing.assert_array_equal(trials["counts"], counted(path, start + cue - 1, 100, 0.02))
    assert trials.attrs["time_reference"] == "start (detected)"
    assert (np.diff(trains(path)[0]) < 0).any()
    assert "not in order" in recording_of(path).report()
    assert trials["cell_type"].values.tolist() == ["PTlower"]
    with pytest.raises(InputError, match=r"'stop_time' is NaN in every trial.*window"):
        recording_of(path).align("start_time", until="stop_time")


def test_alm_licks_are_events(path_of):
    path = path_of("alm_relative")
    trials = recording_of(path).align("lick_left_times", window=(-0.2, 0.2), bin_size=0.05)
    stamps = column(path, "acquisition/lick_times/lick_left_times/timestamps")
    np.testing.assert_array_equal(trials["counts"], counted(path, stamps - 0.2, 8, 0.05))


@pytest.mark.parametrize(
    ("table", "event"),
    [
        ("encoding_table", "boundary1_time"),
        ("encoding_table", "start_time"),
        ("recognition_table", "fixcross_time"),
        ("timediscrimination_table", "stop_time"),
    ],
)
def test_human_mtl_tables_of_other_names(path_of, table, event):
    path = path_of("human_mtl")
    trials = recording_of(path).align(event, window=(-0.5, 0.5), table=table)
    times = column(path, f"intervals/{table}/{event}")
    np.testing.assert_array_equal(trials["counts"], counted(path, times - 0.5, 50, 0.02))
    assert trials["region"].values.tolist().count("amygdala_right") == 10


def test_human_mtl_texts_are_decoded_and_tables_named(path_of):
    recording = recording_of(path_of("human_mtl"))
    assert recording.intervals["encoding_table"].columns["Clip_name"][0] == "NB_24.mp4"
    with pytest.raises(InputError, match="several tables"):
        recording.align("start_time", window=(0, 1))
    with pytest.raises(
        InputError, match=r"no event 'go_cue'.*'encoding_table' with columns.*events 'events'"
    ):
        recording.align("go_cue", window=(0, 1))


def test_zebrafish_calcium_with_its_rois(path_of):
    path = path_of("zebrafish")
    trials = recording_of(path).segments()
    stored = column(path, "processing/ophys/DfOverF/RoiResponseSeries/data").astype(np.float32)
    np.testing.assert_array_equal(trials["signal"].values[0], stored)
    assembly = column(path, "processing/ophys/ImageSegmentation/PlaneSegmentation/assembly")
    np.testing.assert_array_equal(trials["assembly"], assembly)
    cut = recording_of(path).align([100.0, 500.0], window=(-5, 20))
    first = np.ceil((100.0 - 5) * 2.2 - 1e-6).astype(int)
    np.testing.assert_array_equal(cut["signal"].values[0, 1], stored[first + 1])


def test_celegans_one_series_per_neuron_with_gaps(path_of):
    path = path_of("celegans")
    recording = recording_of(path)
    assert recording.traces.channels.tolist() == [f"Activity_{i:04d}" for i in range(62)]
    stamps = column(path, "acquisition/Activity_0000/timestamps")
    trials = recording.segments(bin_size=0.5)
    number = np.floor((stamps - stamps[0]) / 0.5 + 1e-6).astype(int)
    held = np.bincount(number, minlength=trials.sizes["time"])[: trials.sizes["time"]]
    stored = np.column_stack([column(path, f"acquisition/Activity_{i:04d}/data") for i in range(62)])
    mask = trials["mask"].values[0]
    assert not mask[held == 0].any()
    assert mask[held >= 2].all()
    assert 0 < (~mask).sum() < 0.2 * len(mask)
    for k in np.flatnonzero(mask)[::37]:
        np.testing.assert_allclose(trials["signal"].values[0, k], stored[number == k].mean(axis=0), rtol=1e-5)


def test_eeg_samples_are_bins_and_channels_keep_their_labels(path_of):
    path = path_of("eeg")
    trials = recording_of(path).segments()
    np.testing.assert_array_equal(
        trials["signal"].values[0], column(path, "acquisition/EEG/data").astype(np.float32)
    )
    assert trials.attrs["bin_size"] == 1 / 160
    assert trials.attrs["physical_unit"] == "volts"
    assert trials["label"].values[:2].tolist() == ["Fc5", "Fc3"]
    with pytest.raises(InputError, match=r"no signal 'LFP'; this recording has 'EEG'"):
        recording_of(path).segments(signal="LFP")


@pytest.mark.parametrize("name", FILES)
def test_provenance_names_the_file(path_of, name):
    path = path_of(name)
    origin = recording_of(path).provenance
    with h5py.File(path) as file:
        assert origin.identifier == file["identifier"][()].decode()
        assert origin.object_id == file.attrs["object_id"]
    assert origin.location == str(path)
    assert origin.tables
