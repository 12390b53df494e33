"""Trials as ndx-binned-spikes' BinnedAlignedSpikes, written to a file and read back."""

import numpy as np
import pytest
from interop_cases import as_nwb, make_session

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.recordings.export import to_binned_aligned_spikes

pytest.importorskip("ndx_binned_spikes")


@pytest.fixture
def nwbfile():
    return as_nwb(make_session(0, seconds=12))


def test_written_and_read_back(nwbfile, tmp_path):
    from pynwb import NWBHDF5IO

    recording = nr.read(nwbfile)
    trials = recording.align("go_time", window=(-0.2, 0.4), bin_size=0.02, units=[2, 0, 3])
    binned = to_binned_aligned_spikes(trials, nwbfile.units, condition="side")
    nwbfile.create_processing_module("ecephys", "spikes").add(binned)
    path = tmp_path / "binned.nwb"
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)
    with NWBHDF5IO(path, "r") as io:
        read = io.read().processing["ecephys"]["BinnedAlignedSpikes"]
        counts = trials["counts"].transpose("unit", "trial", "time").values
        np.testing.assert_array_equal(read.data[:], counts)
        np.testing.assert_array_equal(read.event_timestamps[:], trials["event_time"].values)
        assert read.bin_width_in_ms == pytest.approx(20.0)
        assert read.event_to_bin_offset_in_ms == pytest.approx(-200.0)
        assert read.units_region.data[:].tolist() == trials["unit"].values.tolist()
        labels = [str(label) for label in read.condition_labels[:]]
        sides = [labels[int(i)] for i in read.condition_indices[:]]
        assert sides == trials["side"].values.tolist()


def test_trials_are_put_in_order_of_time(nwbfile):
    trials = nr.read(nwbfile).align("go_time", window=(0.0, 0.2), bin_size=0.1)
    shuffled = trials.isel(trial=np.random.default_rng(0).permutation(trials.sizes["trial"]))
    binned = to_binned_aligned_spikes(shuffled)
    expected = to_binned_aligned_spikes(trials)
    np.testing.assert_array_equal(binned.data, expected.data)
    np.testing.assert_array_equal(binned.event_timestamps, expected.event_timestamps)


def test_masked_bins_are_refused(nwbfile):
    trials = nr.read(nwbfile).align("go_time", window=(0.0, 0.2), bin_size=0.1)
    trials["mask"][0, 1] = False
    with pytest.raises(InputError, match="1 bins of the trials are masked"):
        to_binned_aligned_spikes(trials)


def test_signals_and_foreign_units_are_refused(nwbfile):
    trials = nr.read(nwbfile).align("go_time", window=(0.0, 0.2), bin_size=0.1)
    with pytest.raises(InputError, match="no 'counts'"):
        to_binned_aligned_spikes(trials.drop_vars("counts"))
    with pytest.raises(InputError, match="not in the units table"):
        to_binned_aligned_spikes(trials.assign_coords(unit=[0, 1, 2, 99]), nwbfile.units)
