"""The same spikes through every source give identical counts, equal to a count in whole numbers."""

import numpy as np
import pytest
from interop_cases import (
    CLOCK,
    as_arrays,
    as_neo,
    as_nwb,
    as_pynapple,
    as_spikeinterface,
    make_session,
)

import nwb_rnn as nr

WINDOW = {"window": (-0.2, 0.6), "bin_size": 0.02}


def counts(recording, **options):
    return recording.align("go_time", **{**WINDOW, **options})


def readings(session):
    return {
        "arrays": nr.read(as_arrays(session)),
        "nwb": nr.read(as_nwb(session)),
        "spikeinterface": nr.read(as_spikeinterface(session), intervals={"trials": session.trials}),
        "neo": nr.read(as_neo(session)),
        "neo in ms": nr.read(as_neo(session, "ms")),
        "pynapple": nr.read(as_pynapple(session)),
    }


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_whole_numbers(seed):
    session = make_session(seed)
    expected = session.counts(CLOCK // 5, 3 * CLOCK // 5, CLOCK // 50)
    for source, recording in readings(session).items():
        trials = counts(recording)
        assert bool(trials["mask"].all()), source
        np.testing.assert_array_equal(trials["counts"].values, expected, err_msg=source)
        assert trials["side"].values.tolist() == session.trials["side"].tolist(), source


def test_counts_survive_every_way_out_and_back():
    session = make_session(11)
    recording = nr.read(as_nwb(session))
    expected = counts(recording)["counts"].values
    ways = {
        "neo": nr.read(recording.to_neo()),
        "pynapple": nr.read(recording.to_pynapple()),
        "spikeinterface": nr.read(recording.to_spikeinterface(), intervals=recording.intervals),
    }
    for way, back in ways.items():
        np.testing.assert_array_equal(counts(back)["counts"].values, expected, err_msg=way)
        np.testing.assert_array_equal(back.units.ids, recording.units.ids)


@pytest.mark.parametrize(
    ("file", "event", "options"),
    [
        ("linear_track/*.nwb", "start_time", {"window": (0.0, 2.0)}),
        ("pmd_reach/*.nwb", "start_time", {"window": (0.0, 0.4)}),
    ],
)
def test_real_recordings_out_and_back(recordings_folder, file, event, options):
    recording = nr.read(next(recordings_folder.glob(file)))
    expected = recording.align(event, table="trials", bin_size=0.02, **options)
    for back in (nr.read(recording.to_neo()), nr.read(recording.to_pynapple())):
        trials = back.align(event, table="trials", bin_size=0.02, **options)
        np.testing.assert_array_equal(trials["counts"].values, expected["counts"].values)


def test_spikes_off_the_grid_move_by_half_a_sample_at_most():
    rng = np.random.default_rng(0)
    times = np.sort(rng.uniform(-1.0, 10.0, 2000))
    recording = nr.read([times])
    back = nr.read(recording.to_spikeinterface(sampling_frequency=20000.0))
    moved = np.abs(back.spikes.times - times)
    assert moved.max() <= 0.5 / 20000 + 1e-12
    assert moved.max() > 0.4 / 20000
