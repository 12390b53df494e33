"""The listing of a dandiset, and an upload to the server that other tests build on."""

import pytest
from dandi_server import DandiServer
from dandi_world import SET, TOKEN, only_loopback, write_small_nwb

import nwb_rnn as nr
from nwb_rnn.cli_dandi import dandiset_text, is_dandiset
from nwb_rnn.errors import InputError


@pytest.fixture
def archive(tmp_path, monkeypatch):
    only_loopback(monkeypatch)
    monkeypatch.setenv("DANDI_CACHE", "ignore")
    monkeypatch.setenv("DANDI_NO_ET", "1")
    monkeypatch.delenv("DANDI_API_KEY", raising=False)
    with DandiServer(tmp_path / "store") as server:
        server.folder.mkdir()
        server.tokens.add(TOKEN)
        server.add_dandiset(SET, "Two \x1b[31mmice")
        yield server


def test_listing(archive, tmp_path):
    file = write_small_nwb(tmp_path / "a.nwb")
    for i in range(4):
        archive.add_file(SET, f"sub-{i}/sub-{i}\x07.nwb", file)
    archive.publish(SET, "0.240101.1200")
    text = dandiset_text(f"DANDI:{SET}", instance=archive.api_url, shown=3)
    lines = text.splitlines()
    assert lines[0] == f"DANDI:{SET}/0.240101.1200  Two \\x1b[31mmice"
    assert lines[1] == "versions: draft, 0.240101.1200  access: open"
    assert lines[2].startswith("4 files, ")
    assert lines[3].endswith("kB  sub-0/sub-0\\x07.nwb")
    assert lines[6].startswith("  … and 1 more")
    assert dandiset_text(f"DANDI:{SET}/sub-2/*", instance=archive.api_url).count(".nwb") == 1


def test_empty_set(archive):
    assert "0 files, 0 B" in dandiset_text(f"DANDI:{SET}", instance=archive.api_url)


def test_an_asset_is_no_set(archive):
    assert is_dandiset(f"DANDI:{SET}") and is_dandiset(f"DANDI:{SET}/*.nwb")
    assert not is_dandiset(f"DANDI:{SET}/a.nwb")
    with pytest.raises(InputError, match="name a dandiset"):
        dandiset_text(f"{archive.api_url}/assets/0f57f0b0-f021-42bb-8eaa-56cd482e2a29/")


def test_upload_with_the_real_client_can_be_read_back(archive, tmp_path):
    from dandi.dandiapi import DandiAPIClient
    from dandi.files import dandi_file

    folder = tmp_path / "set"
    file = write_small_nwb(folder / "sub-X" / "sub-X.nwb", units=4)
    with DandiAPIClient(api_url=archive.api_url, token=TOKEN) as client:
        dandiset = client.get_dandiset(SET, "draft")
        metadata = {"path": "sub-X/sub-X.nwb", "encodingFormat": "application/x-nwb"}
        states = list(dandi_file(file, dandiset_path=folder).iter_upload(dandiset, metadata))
    assert states[-1]["status"] == "done"
    address = f"DANDI:{SET}/sub-X/sub-X.nwb"
    recording = nr.read(address, instance=archive.api_url, download=True, cache=tmp_path / "cache")
    assert len(recording.units) == 4
