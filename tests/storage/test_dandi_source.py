"""Derivatives of recordings that were streamed from a DANDI archive, here a server on loopback."""

import numpy as np
import pytest
from dandi_server import DandiServer
from dandi_world import SET, only_loopback, write_small_nwb

import nwb_rnn as nr
from nwb_rnn.errors import SourceError, StorageError

PATH = "sub-X/sub-X_ses-1_ecephys.nwb"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    only_loopback(monkeypatch)
    monkeypatch.setenv("NWB_RNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DANDI_API_KEY", raising=False)
    with DandiServer(tmp_path) as server:
        server.add_dandiset(SET)
        server.add_file(SET, PATH, write_small_nwb(tmp_path / "one.nwb", seed=1))
        monkeypatch.setenv("DANDI_INSTANCE", server.api_url)
        yield server


def test_a_streamed_recording_gives_a_derivative_that_names_the_asset(archive, tmp_path, fitted):
    from pynwb import NWBHDF5IO

    recording = nr.read(f"DANDI:{SET}/{PATH}")
    path = nr.write(tmp_path / "a.nwb", fitted.model, source=recording)
    np.testing.assert_array_equal(nr.read(path).spikes.times, recording.spikes.times)
    with NWBHDF5IO(str(path), "r") as io:
        model = io.read().processing["ecephys"]["low_rank_rnn"]
        assert model.source_location == f"DANDI:{SET}/draft/{PATH}"
        assert model.source_identifier == "small-1"
    with pytest.raises(StorageError, match="on this machine"):
        nr.write(tmp_path / "b.nwb", fitted.model, source=recording, mode="append")


def test_another_file_under_the_same_address_is_refused(tmp_path, fitted, helpers):
    source = helpers.make_session(tmp_path / "a.nwb")
    recording = nr.read(source)
    helpers.make_session(source)
    with pytest.raises(SourceError, match="is not the file that the recording was read from"):
        nr.write(tmp_path / "b.nwb", fitted.model, source=recording)
    assert not (tmp_path / "b.nwb").exists()
    before = source.read_bytes()
    with pytest.raises(SourceError, match="is not the file that the recording was read from"):
        nr.write(source, fitted.model, source=recording, mode="append")
    assert source.read_bytes() == before
