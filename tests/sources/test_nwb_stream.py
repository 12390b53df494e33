"""NWB files over HTTP: only what is needed is moved, secrets stay secret, refusals are clear."""

from __future__ import annotations

import numpy as np
import pytest
from sources.made_nwb import TRAINS, empty_file, saved, series, with_electrodes, with_trials, with_units
from sources.range_server import serving

import nwb_rnn as nr
from nwb_rnn.errors import SourceError
from nwb_rnn.sources import nwb_open, nwb_series
from nwb_rnn.sources.nwb_open import public_location, without_secrets


def test_a_streamed_file_equals_the_local_one(tmp_path):
    path = saved(with_trials(with_units(empty_file())), tmp_path)
    with serving(tmp_path) as server:
        streamed = nr.read(server.address("made.nwb"))
    local = nr.read(path)
    options = {"window": (0, 0.9), "bin_size": 0.1}
    np.testing.assert_array_equal(
        streamed.align("start_time", **options)["counts"], local.align("start_time", **options)["counts"]
    )


def test_only_what_is_needed_is_moved(tmp_path, monkeypatch):
    """Units and one second of one long signal out of 30 MB move less than a tenth of it."""
    from pynwb.ecephys import ElectricalSeries

    monkeypatch.setattr(nwb_series, "LARGE", 1_000_000)
    nwbfile = with_trials(with_units(with_electrodes(empty_file())))
    region = nwbfile.create_electrode_table_region([0, 1, 2], "all")
    data = np.arange(15_000_000, dtype=np.int16).reshape(-1, 3)
    nwbfile.add_acquisition(ElectricalSeries(name="raw", data=data, electrodes=region, rate=10_000.0))
    size = saved(nwbfile, tmp_path).stat().st_size
    with serving(tmp_path) as server:
        recording = nr.read(server.address("made.nwb"), units=[0, 1], span=(0, 1), signal="raw")
        trials = recording.align([300.0], window=(0, 1), signal="raw")
        assert server.sent < 0.1 * size
    np.testing.assert_array_equal(
        trials["signal"].values[0, :, 0], data[3_000_000:3_010_000, 0].astype(np.float32)
    )
    assert recording.spikes.of(0).tolist() == [0.1, 0.5]


def test_zarr_over_http(tmp_path):
    from hdmf_zarr import NWBZarrIO

    with NWBZarrIO(str(tmp_path / "made.zarr"), mode="w") as io:
        io.write(with_trials(with_units(empty_file())))
    with serving(tmp_path) as server:
        recording = nr.read(server.address("made.zarr"))
    assert recording.spikes.of(1).tolist() == TRAINS[1].tolist()


@pytest.mark.parametrize(("options", "message"), [
    ({"status": 403}, "status 403.*permission"),
    ({"status": 500}, "status 500"),
    ({"ranges": False}, "only whole files"),
])  # fmt: skip
def test_servers_that_refuse(tmp_path, options, message):
    saved(with_units(empty_file()), tmp_path)
    with serving(tmp_path, **options) as server, pytest.raises(SourceError, match=message):
        nr.read(server.address("made.nwb"))


def test_an_address_with_nothing_behind_it(tmp_path):
    with serving(tmp_path) as server:
        address = server.address("none.nwb")
        with pytest.raises(SourceError, match="status 404"):
            nr.read(address)
    with pytest.raises(SourceError, match="cannot reach"):
        nr.read(address)


def test_a_signature_in_an_address_is_never_shown(tmp_path):
    saved(with_trials(with_units(empty_file())), tmp_path)
    (tmp_path / "bad.nwb").write_bytes(b"nothing" * 100)
    with serving(tmp_path) as server:
        recording = nr.read(server.address("made.nwb") + "?token=SECRET")
        assert recording.provenance.location == server.address("made.nwb")
        with pytest.raises(SourceError) as caught:
            nr.read(server.address("bad.nwb") + "?token=SECRET")
        with pytest.raises(SourceError) as missing:
            nr.read(server.address("none.nwb") + "?token=SECRET")
    assert "SECRET" not in recording.align("start_time", window=(0, 0.5)).attrs["source"]
    assert "SECRET" not in str(caught.value) + str(missing.value) + repr(recording)
    assert caught.value.__cause__ is None
    assert public_location("https://me:SECRET@host/f.nwb?x=SECRET#SECRET") == "https://host/f.nwb"
    assert "SECRET" not in without_secrets("no https://host/f?sig=SECRET here")
    assert public_location("data/what?.nwb") == "data/what?.nwb"


def test_a_damaged_file_on_a_server(tmp_path):
    path = saved(with_units(empty_file()), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with serving(tmp_path) as server, pytest.raises(SourceError, match="truncated"):
        nr.read(server.address("made.nwb"))


@pytest.mark.timeout(60)
def test_a_server_that_falls_silent_is_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(nwb_open, "PATIENCE", 0.5)
    saved(with_trials(with_units(empty_file())), tmp_path)
    with serving(tmp_path) as server:
        server.stalls = 2
        recording = nr.read(server.address("made.nwb"))
        assert server.stalls == 0
    assert recording.spikes.of(1).tolist() == TRAINS[1].tolist()


def test_behaviour_of_a_streamed_file(tmp_path):
    nwbfile = with_trials(with_units(empty_file()))
    nwbfile.add_acquisition(series("speed", np.arange(30.0)))
    saved(nwbfile, tmp_path)
    with serving(tmp_path) as server:
        assert nr.read(server.address("made.nwb")).behaviour["speed"].values.shape == (30, 1)
