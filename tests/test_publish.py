"""`nwb-rnn publish` against an archive on loopback, through the real dandi client."""

import logging
import traceback

import numpy as np
import pytest
from dandi_server import DandiServer
from dandi_world import SET, TOKEN, only_loopback, write_small_nwb
from simulated_world import run

import nwb_rnn as nr
from nwb_rnn.errors import InputError, SourceError, StorageError
from nwb_rnn.storage import derivative_name
from nwb_rnn.storage.publishing import prepare, publish

SOURCE = "sub-X/sub-X_ses-1_ecephys.nwb"
TARGET = "sub-X/sub-X_ses-1_desc-rnn_ecephys.nwb"
OWN = "000777"


@pytest.fixture
def archive(tmp_path, monkeypatch, caplog):
    """One dandiset to read from, and one of our own to write to."""
    only_loopback(monkeypatch)
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("NWB_RNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DANDI_CACHE", "ignore")
    monkeypatch.setenv("DANDI_API_KEY", TOKEN)
    monkeypatch.setenv("DANDI_NO_ET", "1")
    with DandiServer(tmp_path / "store") as server:
        server.folder.mkdir()
        monkeypatch.setenv("DANDI_INSTANCE", server.api_url)
        server.tokens.add(TOKEN)
        server.add_dandiset(SET)
        server.add_dandiset(OWN, "Our \x1b[31mfits")
        server.add_file(SET, SOURCE, write_small_nwb(tmp_path / "source.nwb", seed=1))
        yield server


@pytest.fixture
def key(monkeypatch, archive):
    """The variable from which the client takes the token of an archive that it knows by address alone."""
    from dandi.dandiapi import DandiAPIClient

    with DandiAPIClient(api_url=archive.api_url) as client:
        name = client.api_key_env_var
    monkeypatch.setenv(name, TOKEN)
    return name


def known_model(recording):
    units = len(recording.units)
    return nr.LowRankRNN.from_arrays(
        left_vectors=np.eye(4, 2, dtype=np.float32),
        right_vectors=np.eye(2, 4, dtype=np.float32),
        readout_weights=np.ones((units, 2), np.float32),
        bin_size=np.array(0.02),
        unit_ids=recording.units.ids.tolist(),
    )


@pytest.fixture
def fit(archive, tmp_path):
    """A file with a model of a recording that was streamed from the archive, under a name of its own."""
    recording = nr.read(f"DANDI:{SET}/{SOURCE}", token=None)
    return nr.write(tmp_path / "out.nwb", known_model(recording), source=recording)


def draft(archive):
    return {asset.path: asset for asset in archive.dandisets[OWN].versions["draft"].values()}


def uploads(archive):
    return [r for r in archive.requests if r.method in ("POST", "PUT")]


@pytest.mark.usefixtures("key")
def test_yes_sends_the_file_under_the_name_of_dandi_with_its_origin_and_software(archive, fit, tmp_path):
    before = fit.read_bytes()
    output = run("publish", fit, "--dandiset", OWN, "--yes")
    assert f"DANDI:{OWN}/draft/{TARGET}" in output
    asset = draft(archive)[TARGET]
    assert archive.blobs[asset.blob].read_bytes() == before == fit.read_bytes()
    (resource,) = asset.metadata["relatedResource"]
    assert resource["relation"] == "dcite:IsDerivedFrom"
    assert resource["identifier"] == f"DANDI:{SET}/draft/{SOURCE}"
    assert resource["url"] == f"https://dandiarchive.org/dandiset/{SET}/draft/files?location=sub-X"
    fitted = next(a for a in asset.metadata["wasGeneratedBy"] if a["name"].startswith("Fit"))
    versions = {s["name"]: s["version"] for s in fitted["wasAssociatedWith"]}
    assert versions["nwb_rnn"] == nr.__version__
    assert {"pynwb", "hdmf"} <= set(versions)
    assert asset.metadata["wasAttributedTo"][0]["identifier"] == "X"
    read = nr.read(f"DANDI:{OWN}/{TARGET}", version="draft", download=True, cache=tmp_path / "again")
    assert len(read.units) == 3


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(("arguments", "answer"), [((), "n\n"), ((), ""), (("--dry-run",), "y\n")])
def test_nothing_is_sent_without_a_yes(archive, fit, arguments, answer):
    from click.testing import CliRunner

    from nwb_rnn.cli import main

    result = CliRunner().invoke(main, ["publish", str(fit), "--dandiset", OWN, *arguments], input=answer)
    assert result.exit_code == (0 if arguments else 1), result.output
    assert "Nothing was sent." in result.output
    assert uploads(archive) == [] and draft(archive) == {}


@pytest.mark.usefixtures("key")
def test_a_yes_at_the_prompt_sends(archive, fit):
    from click.testing import CliRunner

    from nwb_rnn.cli import main

    result = CliRunner().invoke(main, ["publish", str(fit), "--dandiset", f"DANDI:{OWN}"], input="y\n")
    assert result.exit_code == 0, result.output
    assert set(draft(archive)) == {TARGET}


@pytest.mark.usefixtures("key")
def test_what_would_be_sent_is_shown(archive, fit):
    text = run("publish", fit, "--dandiset", OWN, "--dry-run")
    assert f"as        {TARGET} (a new file)" in text
    assert f"derived   from DANDI:{SET}/draft/{SOURCE}" in text
    assert f"nwb_rnn {nr.__version__}" in text
    assert "open to everyone" in text
    assert "X, Mus musculus" in text
    assert "\x1b" not in text and "Our \\x1b[31mfits" in text
    assert TOKEN not in text


@pytest.mark.usefixtures("key")
def test_what_dandi_refuses_is_not_sent(archive, tmp_path):
    recording = nr.read(f"DANDI:{SET}/{SOURCE}")
    bare = tmp_path / "bare.nwb"
    recording = nr.read({"spikes": [np.array([0.5, 1.5])], "span": (0.0, 2.0)})
    start = "2024-01-01T00:00:00+00:00"
    nr.write(bare, known_model(recording), source=recording, session_start_time=start, dandi=False)
    with pytest.raises(StorageError, match="nothing was sent") as caught:
        publish(bare, OWN, agree=lambda text: True)
    assert "check_subject" in str(caught.value)
    assert uploads(archive) == []


def test_files_without_a_model_and_places_that_are_no_draft_are_refused(archive, fit, tmp_path):
    with pytest.raises(StorageError, match="no fitted model"):
        prepare(write_small_nwb(tmp_path / "plain.nwb"))
    with pytest.raises(SourceError, match="no file"):
        prepare(tmp_path / "none.nwb")
    for wrong in ("77", f"DANDI:{OWN}/0.240101.0000", f"DANDI:{OWN}/sub-X/a.nwb", "ours"):
        with pytest.raises(InputError):
            publish(fit, wrong, agree=lambda text: True)
    assert uploads(archive) == []


def test_without_a_token_the_variable_is_named(archive, fit, key, monkeypatch):
    monkeypatch.delenv(key)
    with pytest.raises(InputError, match=key):
        publish(fit, OWN, agree=lambda text: True)
    assert uploads(archive) == []


@pytest.mark.usefixtures("key")
def test_own_names_that_dandi_takes_are_kept(archive, fit, tmp_path):
    own = tmp_path / "sub-X_desc-rank3_ecephys.nwb"
    own.write_bytes(fit.read_bytes())
    assert prepare(own).path == "sub-X/sub-X_desc-rank3_ecephys.nwb"
    assert prepare(fit).path == TARGET
    assert prepare(fit, path="sub-X/sub-X_desc-b_ecephys.nwb").path == "sub-X/sub-X_desc-b_ecephys.nwb"
    with pytest.raises(StorageError, match="NON_DANDI"):
        prepare(fit, path="../out.nwb")
    assert derivative_name(nr.read(fit), tmp_path).name == TARGET.split("/")[1]


@pytest.mark.usefixtures("key")
def test_the_same_file_again_sends_nothing_and_another_needs_replace(archive, fit, tmp_path):
    agreed = dict(agree=lambda text: True)
    publish(fit, OWN, **agreed)
    archive.reset_counters()
    assert publish(fit, OWN, **agreed) == f"DANDI:{OWN}/draft/{TARGET}"
    assert uploads(archive) == []
    recording = nr.read(f"DANDI:{SET}/{SOURCE}")
    other = nr.write(tmp_path / "other.nwb", known_model(recording), source=recording)
    with pytest.raises(StorageError, match="--replace"):
        publish(other, OWN, **agreed)
    assert uploads(archive) == []
    publish(other, OWN, replace=True, **agreed)
    (asset,) = draft(archive).values()
    assert archive.blobs[asset.blob].read_bytes() == other.read_bytes()


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("fault", ["refuse_parts", "spoil_parts", "refuse_assets"])
def test_a_failed_upload_leaves_file_and_draft_and_can_be_repeated(archive, fit, fault, caplog, capsys):
    before = fit.read_bytes()
    setattr(archive.faults, fault, 1)
    with pytest.raises(StorageError, match="run the same command again") as caught:
        publish(fit, OWN, agree=lambda text: True)
    assert fit.read_bytes() == before and draft(archive) == {}
    archive.faults.spoil_parts = False
    archive.reset_counters()
    percent = []
    publish(fit, OWN, agree=lambda text: True, progress=percent.append)
    assert archive.blobs[draft(archive)[TARGET].blob].read_bytes() == before == fit.read_bytes()
    if fault == "refuse_assets":  # the archive had all bytes already
        assert archive.bytes_received == 0
    else:
        assert archive.bytes_received == len(before) and percent[-1] == 100
    seen = capsys.readouterr()
    assert TOKEN not in caplog.text + seen.out + seen.err + str(caught.value)
    assert all(TOKEN not in r.authorization + r.path for r in archive.store_requests())


@pytest.mark.parametrize("kind", ["reader", "unknown"])
def test_a_token_that_may_not_write_is_not_repeated(archive, fit, key, monkeypatch, kind):
    token = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv(key, token)
    if kind == "reader":
        archive.readers.add(token)
    with pytest.raises((StorageError, SourceError)) as caught:
        publish(fit, OWN, agree=lambda text: True)
    error = caught.value
    while error is not None:
        assert token not in "".join(traceback.format_exception(error)) + repr(vars(error))
        error = error.__cause__ or error.__context__
    assert draft(archive) == {}
