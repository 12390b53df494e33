"""Finding, listing and reading on a DANDI archive, with the real client and a server on loopback."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dandi_server import DandiServer
from dandi_world import SET, only_loopback, write_small_nwb

import nwb_rnn as nr
from nwb_rnn.errors import InputError, SourceError
from nwb_rnn.sources.dandi_client import list_assets

ONE, TWO = "sub-X/sub-X_ses-1_ecephys.nwb", "sub-Y/sub-Y_ses-1_ecephys.nwb"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    notes = folder / "notes.txt"
    notes.write_text("not NWB")
    return {
        "one": write_small_nwb(folder / "one.nwb", seed=1),
        "two": write_small_nwb(folder / "two.nwb", seed=2, units=5),
        "large": write_small_nwb(folder / "large.nwb", seed=3, raw_samples=1_000_000),
        "notes": notes,
    }


@pytest.fixture
def archive(files, tmp_path, monkeypatch):
    only_loopback(monkeypatch)
    monkeypatch.setenv("NWB_RNN_CACHE", str(tmp_path / "cache"))
    for name in ("DANDI_API_KEY", "DANDI_INSTANCE"):
        monkeypatch.delenv(name, raising=False)
    with DandiServer(tmp_path) as server:
        server.add_dandiset(SET, "Two mice")
        server.add_file(SET, ONE, files["one"])
        server.add_file(SET, TWO, files["two"])
        server.add_file(SET, "README.txt", files["notes"])
        yield server


def read(archive, address, **options):
    return nr.read(address, instance=archive.api_url, **options)


def test_read_by_path_is_the_file_itself(archive, files):
    recording = read(archive, f"DANDI:{SET}/{ONE}")
    local = nr.read(files["one"])
    np.testing.assert_array_equal(recording.spikes.times, local.spikes.times)
    np.testing.assert_array_equal(recording.spikes.offsets, local.spikes.offsets)
    assert list(recording.intervals) == list(local.intervals)


def test_provenance_names_version_and_asset(archive):
    asset = next(a for a in archive.dandisets[SET].versions["draft"].values() if a.path == ONE)
    provenance = read(archive, f"DANDI:{SET}/{ONE}").provenance
    assert provenance.kind == "dandi"
    assert provenance.location == f"DANDI:{SET}/draft/{ONE}"
    assert provenance.asset_id == asset.identifier
    assert provenance.identifier == "small-1"


def test_glob_with_one_match(archive):
    assert len(read(archive, f"DANDI:{SET}/sub-Y/*.nwb").units) == 5


def test_glob_with_several_matches_lists_them(archive):
    with pytest.raises(InputError, match=r"matches 2 NWB files") as caught:
        read(archive, f"DANDI:{SET}/**/*.nwb")
    assert ONE in str(caught.value) and TWO in str(caught.value) and "README" not in str(caught.value)


@pytest.mark.parametrize("choice", [1, -1, "sub-Y", TWO])
def test_choice_among_matches(archive, choice):
    assert len(read(archive, f"DANDI:{SET}/**/*.nwb", asset=choice).units) == 5


@pytest.mark.parametrize("choice", [2, "sub-", "sub-Z"])
def test_choice_that_settles_nothing(archive, choice):
    with pytest.raises(InputError, match="asset="):
        read(archive, f"DANDI:{SET}", asset=choice)


def test_missing_path_says_what_there_is(archive):
    with pytest.raises(SourceError, match="matches no NWB file") as caught:
        read(archive, f"DANDI:{SET}/sub-Z/none.nwb")
    assert ONE in str(caught.value)


def test_prefix_of_a_path_is_not_the_path(archive, files):
    archive.add_file(SET, ONE + ".bak", files["two"])
    assert len(read(archive, f"DANDI:{SET}/{ONE}").units) == 3


def test_missing_dandiset_and_version(archive):
    with pytest.raises(SourceError, match="no dandiset 999999"):
        read(archive, "DANDI:999999/a.nwb")
    with pytest.raises(SourceError, match=r"with version 0\.1\.2"):
        read(archive, f"DANDI:{SET}/0.1.2/{ONE}")


def test_published_version_is_the_default_and_draft_can_be_asked_for(archive, files):
    archive.publish(SET, "0.240101.1200")
    archive.add_file(SET, "sub-Z/sub-Z.nwb", files["one"])
    assert read(archive, f"DANDI:{SET}/{ONE}").provenance.location.startswith(f"DANDI:{SET}/0.240101.1200/")
    with pytest.raises(SourceError):
        read(archive, f"DANDI:{SET}/sub-Z/sub-Z.nwb")
    for address, version in ((f"DANDI:{SET}/draft/sub-Z/sub-Z.nwb", None), (f"DANDI:{SET}/sub-Z/*", "draft")):
        assert len(read(archive, address, version=version).units) == 3


def test_web_addresses_of_an_asset(archive):
    asset = next(a for a in archive.dandisets[SET].versions["draft"].values() if a.path == TWO)
    for address in (
        f"{archive.api_url}/assets/{asset.identifier}/download/",
        f"{archive.api_url}/assets/{asset.identifier}/",
        f"{archive.api_url}/dandisets/{SET}/versions/draft/assets/{asset.identifier}/download/",
        f"{archive.api_url}/dandisets/{SET}/versions/draft/assets/?path={TWO}",
    ):
        recording = nr.read(address)
        assert len(recording.units) == 5
        assert recording.provenance.asset_id == asset.identifier


def test_unknown_instance_names_the_known():
    with pytest.raises(InputError, match="dandi-sandbox"):
        nr.read(f"DANDI:{SET}", instance="no-such-archive")


def test_unreachable_instance(archive):
    with pytest.raises(SourceError, match="cannot reach the DANDI archive"):
        nr.read(f"DANDI:{SET}", instance="http://127.0.0.1:9/api")


def test_known_instance_by_name(archive, monkeypatch):
    from dandi.consts import DandiInstance, known_instances

    monkeypatch.setitem(
        known_instances, "dandi-sandbox", DandiInstance("dandi-sandbox", None, archive.api_url)
    )
    assert len(nr.read(f"DANDI:{SET}/{TWO}", instance="sandbox").units) == 5
    assert len(nr.read(f"DANDI-SANDBOX:{SET}/{TWO}").units) == 5


def test_streaming_moves_a_small_part(archive, files, monkeypatch):
    monkeypatch.setattr("nwb_rnn.sources.nwb_series.LARGE", 1 << 20)
    archive.add_file(SET, "sub-L/large.nwb", files["large"])
    archive.reset_counters()
    recording = read(archive, f"DANDI:{SET}/sub-L/large.nwb")
    size = files["large"].stat().st_size
    assert len(recording.units) == 3
    assert size > 32e6
    assert 0 < archive.bytes_sent < 0.05 * size
    assert all(request.range for request in archive.store_requests())


def test_streamed_signal_is_read_on_demand(archive, files, monkeypatch):
    monkeypatch.setattr("nwb_rnn.sources.nwb_series.LARGE", 1 << 20)
    archive.add_file(SET, "sub-L/large.nwb", files["large"])
    recording = read(archive, f"DANDI:{SET}/sub-L/large.nwb", signal="raw")
    local = nr.read(files["large"], signal="raw")
    archive.reset_counters()
    stretch = np.asarray(recording.traces.values[500_000:500_100])
    np.testing.assert_array_equal(stretch, np.asarray(local.traces.values[500_000:500_100]))
    assert 0 < archive.bytes_sent < 0.05 * files["large"].stat().st_size


def test_no_other_host_is_asked_and_nothing_is_written(archive, monkeypatch, tmp_path):
    import socket

    asked = []
    look_up = socket.getaddrinfo

    def recorded(host, *rest, **options):
        asked.append(host)
        return look_up(host, *rest, **options)

    monkeypatch.delenv("DANDI_NO_ET", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(socket, "getaddrinfo", recorded)
    before = set(tmp_path.rglob("*"))
    read(archive, f"DANDI:{SET}/{ONE}")
    assert set(asked) == {"127.0.0.1"}
    assert set(tmp_path.rglob("*")) == before


def test_an_archive_that_cannot_be_reached_is_one_sentence():
    """And nothing of the client's own, which logs too."""
    code = "import nwb_rnn; nwb_rnn.read('DANDI:000140/a.nwb', instance='http://127.0.0.1:9/api')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.startswith("Traceback") and "Request to" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("nwb_rnn.errors.SourceError: cannot reach the DANDI archive")


def test_listing_goes_over_all_pages(archive, files):
    archive.page_size = 2
    for i in range(7):
        archive.add_file(SET, f"sub-N/sub-N_ses-{i}.nwb", files["one"])
    listing = list_assets(f"DANDI:{SET}", instance=archive.api_url)
    assert [a.path for a in listing.assets] == sorted(a.path for a in listing.assets)
    assert len(listing.assets) == 10
    assert listing.name == "Two mice" and listing.version == "draft" and listing.versions == ("draft",)
    assert listing.size == sum(a.size for a in listing.assets)
    only = list_assets(f"DANDI:{SET}/sub-N/*-3.nwb", instance=archive.api_url)
    assert [a.path for a in only.assets] == ["sub-N/sub-N_ses-3.nwb"]


def test_file_that_is_not_nwb(archive, files):
    archive.add_file(SET, "sub-Q/broken.nwb", files["notes"])
    with pytest.raises(SourceError):
        read(archive, f"DANDI:{SET}/sub-Q/broken.nwb")


def test_real_recordings_over_the_archive(archive, recordings_folder):
    """The same spikes, whether a real recording is read from disk or from an archive."""
    for number, file in enumerate(sorted(Path(recordings_folder).rglob("*reach/*.nwb"))):
        archive.add_file(SET, f"real/{number}.nwb", file)
        over = read(archive, f"DANDI:{SET}/real/{number}.nwb")
        np.testing.assert_array_equal(over.spikes.times, nr.read(file).spikes.times)
