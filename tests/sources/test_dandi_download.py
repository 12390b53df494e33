"""Copies of DANDI assets on disk: resumed, checked, and never outside their folder."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from dandi_server import DandiServer
from dandi_world import SET, only_loopback, write_small_nwb
from hypothesis import given
from hypothesis import strategies as st

import nwb_rnn as nr
from nwb_rnn.errors import InputError, SourceError
from nwb_rnn.sources import dandi_cache, dandi_client, nwb_open
from nwb_rnn.sources.dandi_cache import cached_path
from nwb_rnn.sources.dandi_client import readable_size

PATH = "sub-X/sub-X_ses-1_ecephys.nwb"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_small_nwb(tmp_path_factory.mktemp("files") / "one.nwb", seed=1, raw_samples=20_000)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def archive(file, cache, tmp_path, monkeypatch):
    only_loopback(monkeypatch)
    monkeypatch.setenv("NWB_RNN_CACHE", str(cache))
    monkeypatch.delenv("DANDI_API_KEY", raising=False)
    monkeypatch.setattr(dandi_cache, "PAUSE", 0.0)
    monkeypatch.setattr(dandi_cache, "CHUNK", 10_000)
    with DandiServer(tmp_path) as server:
        server.add_dandiset(SET)
        server.asset = server.add_file(SET, PATH, file)
        yield server


def read(archive, **options):
    return nr.read(f"DANDI:{SET}/{PATH}", instance=archive.api_url, **options)


def kept(cache, ending=".nwb"):
    return [path for path in cache.rglob("*") if path.name.endswith(ending)]


def test_download_is_the_file_and_is_used_again(archive, file, cache, capsys):
    recording = read(archive, download=True)
    (copy,) = kept(cache)
    assert copy.read_bytes() == file.read_bytes()
    assert archive.bytes_sent == file.stat().st_size
    assert f"{PATH}: {readable_size(file.stat().st_size)}, to {copy}" in capsys.readouterr().err
    archive.reset_counters()
    again = read(archive)
    assert archive.bytes_sent == 0
    assert again.provenance.location == f"DANDI:{SET}/draft/{PATH}"
    np.testing.assert_array_equal(again.spikes.times, recording.spikes.times)


def test_a_copy_cannot_be_written_into(archive, cache):
    read(archive, download=True, progress=False)
    (copy,) = kept(cache)
    assert copy.stat().st_mode & 0o222 == 0


def test_streaming_leaves_nothing_behind(archive, cache):
    read(archive)
    assert not cache.exists()


def test_broken_connection_is_taken_up_where_it_broke(archive, file, cache):
    archive.faults.cut_after, archive.faults.cuts = 300_000, 2
    read(archive, download=True)
    (copy,) = kept(cache)
    assert copy.read_bytes() == file.read_bytes()
    starts = [int(r.range.removeprefix("bytes=").rstrip("-")) for r in archive.store_requests() if r.range]
    assert len(starts) == 2 and 0 < starts[0] < starts[1]
    assert archive.bytes_sent < file.stat().st_size + 3 * dandi_cache.CHUNK


@pytest.mark.timeout(60)
def test_a_store_that_falls_silent_is_asked_again(archive, file, monkeypatch):
    monkeypatch.setattr(nwb_open, "PATIENCE", 0.5)
    archive.faults.cut_after, archive.faults.cuts, archive.faults.stall = 30_000, 1, True
    recording = read(archive)
    assert archive.faults.cuts == 0
    np.testing.assert_array_equal(recording.spikes.times, nr.read(file).spikes.times)


@pytest.mark.timeout(60)
def test_an_archive_that_falls_silent_is_not_waited_for(archive, monkeypatch):
    monkeypatch.setattr(dandi_client, "PATIENCE", 0.5)
    archive.faults.silent_archive = True
    with pytest.raises(SourceError, match="ReadTimeout"):
        read(archive)


def test_interrupted_and_resumed(archive, file, cache, monkeypatch):
    archive.faults.cut_after, archive.faults.cuts = 300_000, 1

    def interrupted(seconds):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(dandi_cache, "_unless_final", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read(archive, download=True)
    (part,) = kept(cache, ".part")
    had = part.stat().st_size
    assert 0 < had < file.stat().st_size
    archive.reset_counters()
    read(archive, download=True)
    assert archive.bytes_sent == file.stat().st_size - had
    assert not kept(cache, ".part")
    assert kept(cache)[0].read_bytes() == file.read_bytes()


def test_connection_that_never_works_keeps_the_part(archive, cache):
    archive.faults.cut_after, archive.faults.cuts = 0, 100
    with pytest.raises(SourceError, match=r"broke off 5 times in a row.*the part is kept"):
        read(archive, download=True)
    assert archive.faults.cuts == 95
    assert kept(cache, ".part")


@pytest.mark.parametrize("resumed", [False, True])
def test_wrong_checksum_is_refused_and_removed(archive, file, cache, resumed):
    archive.faults.flip_byte_at = 5_000
    if resumed:
        archive.faults.cut_after, archive.faults.cuts = 300_000, 1
    with pytest.raises(SourceError, match="not what the archive has: its dandi:dandi-etag is"):
        read(archive, download=True)
    assert not kept(cache) and not kept(cache, ".part")
    archive.faults.flip_byte_at = None
    assert len(read(archive, download=True).units) == 3


def test_second_checksum_is_checked_too(archive, cache):
    from dandi_server import dandi_etag

    etag = dandi_etag(archive.blobs[archive.asset.blob])
    archive.asset.metadata["digest"] = {"dandi:dandi-etag": etag, "dandi:sha2-256": "0" * 64}
    with pytest.raises(SourceError, match="sha2-256"):
        read(archive, download=True)
    assert not kept(cache)


def test_without_a_checksum_no_copy(archive, cache):
    archive.asset.metadata["digest"] = {}
    with pytest.raises(SourceError, match="no checksum"):
        read(archive, download=True)
    assert len(read(archive).units) == 3


def test_server_that_ignores_ranges_starts_anew(archive, file, cache):
    archive.faults.cut_after, archive.faults.cuts, archive.faults.ignore_range = 300_000, 1, True
    read(archive, download=True)
    assert kept(cache)[0].read_bytes() == file.read_bytes()


def test_more_bytes_than_announced_are_refused(archive, file, cache):
    rows = archive.asset_row
    archive.asset_row = lambda asset: {**rows(asset), "size": 500_000}
    with pytest.raises(SourceError, match="more bytes"):
        read(archive, download=True)
    assert not kept(cache) and not kept(cache, ".part")


def test_refused_download_is_not_tried_again(archive, cache):
    archive.faults.status = 404
    with pytest.raises(SourceError, match="404"):
        read(archive, download=True)
    assert len(archive.store_requests()) == 1


def test_no_room(archive, cache, monkeypatch):
    monkeypatch.setattr(dandi_cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SourceError, match=r"1\.0 kB are free"):
        read(archive, download=True)


def test_another_process_is_downloading(archive, cache):
    client = SimpleNamespace(api_url=archive.api_url)
    asset = SimpleNamespace(identifier=archive.asset.identifier, path=PATH, client=client)
    lock = cached_path(asset, cache).with_name("sub-X_ses-1_ecephys.nwb.lock")
    lock.parent.mkdir(parents=True)
    code = (
        "import sys, fasteners as f; k = f.InterProcessLock(sys.argv[1]); k.acquire(); print('held'); input()"
    )
    process = subprocess.Popen(
        [sys.executable, "-uc", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline().strip() == b"held"
        with pytest.raises(SourceError, match="another process"):
            read(archive, download=True)
        process.stdin.write(b"\n")
        process.stdin.close()
    assert len(read(archive, download=True).units) == 3


@pytest.mark.parametrize(("answer", "copies"), [("y", 1), ("n", 0), ("", 0)])
def test_ask_on_a_terminal(archive, cache, monkeypatch, answer, copies):
    asked = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or answer)
    assert len(read(archive, download="ask").units) == 3
    assert "kB" in asked[0] and len(kept(cache)) == copies


def test_ask_where_nobody_answers_streams(archive, cache):
    assert len(read(archive, download="ask").units) == 3
    assert not kept(cache)


def test_download_choice_is_checked():
    with pytest.raises(InputError, match="download='yes'"):
        nr.read(f"DANDI:{SET}", download="yes")


HOSTILE = [
    "../../evil.nwb",
    "/etc/passwd",
    "a/..",
    "..",
    ".",
    "",
    "a\x00b.nwb",
    "a\nb.nwb",
    "~/x.nwb",
    "CON:x.nwb",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_hostile_path_on_the_archive(archive, file, cache, tmp_path, path):
    archive.asset.path = path
    before = {p for p in tmp_path.rglob("*")}
    nr.read(f"{archive.api_url}/assets/{archive.asset.identifier}/", instance=archive.api_url, download=True)
    made = {p for p in tmp_path.rglob("*")} - before
    assert all(p == cache or p.is_relative_to(cache) for p in made)


@given(path=st.text(max_size=300))
def test_any_path_stays_in_the_cache(path):
    """Property: whatever an archive sends as a path, the copy is three levels below the folder."""
    client = SimpleNamespace(api_url="https://api.example/api")
    asset = SimpleNamespace(identifier="0f57f0b0-f021-42bb-8eaa-56cd482e2a29", path=path, client=client)
    folder = dandi_cache.Path("/nowhere/cache")
    place = cached_path(asset, folder)
    assert place.parent.parent.parent == folder
    assert os.path.normpath(place) == str(place)
    assert place.name.isprintable() and not place.name.startswith(".") and len(place.name) < 200


@pytest.mark.parametrize("identifier", ["../../x", "", "0f57f0b0", "0f57f0b0-f021-42bb-8eaa-56cd482e2a29/.."])
def test_hostile_asset_id(identifier, tmp_path):
    client = SimpleNamespace(api_url="https://api.example/api")
    with pytest.raises(SourceError, match="asset id"):
        cached_path(SimpleNamespace(identifier=identifier, path="a.nwb", client=client), tmp_path)
