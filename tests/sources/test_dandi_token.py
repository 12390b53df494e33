"""Embargoed sets: the token opens them, goes only to its archive, and is written nowhere."""

import logging
import pickle
import traceback
from dataclasses import asdict

import pytest
from dandi_server import DandiServer
from dandi_world import SET, TOKEN, only_loopback, write_small_nwb

import nwb_rnn as nr
from nwb_rnn.errors import InputError, NwbRnnError, SourceError
from nwb_rnn.sources import dandi_cache, dandi_stream
from nwb_rnn.sources.dandi_client import list_assets, without_secrets

PATH = "sub-X/sub-X_ses-1_ecephys.nwb"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_small_nwb(tmp_path_factory.mktemp("files") / "one.nwb", seed=1, raw_samples=20_000)


@pytest.fixture
def archive(file, tmp_path, monkeypatch, caplog):
    from dandi.consts import DandiInstance, known_instances

    only_loopback(monkeypatch)
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("NWB_RNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DANDI_API_KEY", raising=False)
    monkeypatch.setattr(dandi_cache, "PAUSE", 0.0)
    with DandiServer(tmp_path) as server:
        monkeypatch.setitem(known_instances, "dandi", DandiInstance("dandi", None, server.api_url))
        server.tokens.add(TOKEN)
        server.add_dandiset(SET, embargoed=True)
        server.add_file(SET, PATH, file)
        yield server


@pytest.fixture
def nowhere(archive, tmp_path, caplog, capsys):
    """Fails the test if the token is in the log, in what was printed, in a file, or was sent to the store."""
    yield
    seen = capsys.readouterr()
    assert TOKEN not in caplog.text + seen.out + seen.err
    assert all(TOKEN.encode() not in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert all(TOKEN not in r.authorization + r.path for r in archive.store_requests())


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_token_opens_an_embargoed_set(archive, monkeypatch, way, download):
    if way == "environment":
        monkeypatch.setenv("DANDI_API_KEY", TOKEN)
    options = {"token": f" {TOKEN}\n"} if way == "argument" else {}
    recording = nr.read(f"DANDI:{SET}/{PATH}", download=download, **options)
    assert len(recording.units) == 3
    assert TOKEN not in repr(recording) + repr(asdict(recording.provenance))
    assert "Signature" not in repr(asdict(recording.provenance))
    assert list_assets(f"DANDI:{SET}", token=TOKEN).embargo == "EMBARGOED"


@pytest.mark.usefixtures("nowhere")
def test_without_a_token_the_error_says_how_to_give_one(archive):
    with pytest.raises(SourceError, match="DANDI_API_KEY"):
        nr.read(f"DANDI:{SET}/{PATH}")


@pytest.mark.usefixtures("nowhere")
def test_wrong_token_is_not_repeated(archive):
    wrong = "0123456789abcdef0123456789abcdef"
    with pytest.raises(SourceError, match="refused the token") as caught:
        nr.read(f"DANDI:{SET}/{PATH}", token=wrong)
    assert wrong not in everything(caught.value)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("token", [f"{TOKEN}\nHost: x", f"{TOKEN} {TOKEN}", f"{TOKEN}\u2013", f"\x00{TOKEN}"])
def test_malformed_token_is_not_sent_and_not_repeated(archive, token):
    with pytest.raises(InputError, match="characters that no token has") as caught:
        nr.read(f"DANDI:{SET}/{PATH}", token=token)
    assert TOKEN not in everything(caught.value)
    assert not any(r.authorization for r in archive.requests)


@pytest.mark.usefixtures("nowhere")
def test_token_of_the_main_archive_is_not_offered_to_another(archive, monkeypatch):
    monkeypatch.setenv("DANDI_API_KEY", TOKEN)
    with pytest.raises(SourceError):
        nr.read(f"DANDI:{SET}/{PATH}", instance=archive.api_url.replace("127.0.0.1", "localhost"))
    assert not any(r.authorization for r in archive.requests)


def test_token_is_not_sent_in_the_clear(monkeypatch):
    from types import SimpleNamespace

    from nwb_rnn.sources.dandi_client import _valid_token

    with pytest.raises(InputError, match="not encrypted") as caught:
        _valid_token(TOKEN, SimpleNamespace(api_url="http://archive.example/api"))
    assert TOKEN not in str(caught.value)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("download", [True, False])
def test_refusal_by_the_store_shows_neither_token_nor_signature(archive, status, download):
    archive.faults.status = status
    with pytest.raises(NwbRnnError) as caught:
        nr.read(f"DANDI:{SET}/{PATH}", token=TOKEN, download=download)
    shown = everything(caught.value)
    assert TOKEN not in shown and not any(signature in shown for signature in archive.signatures)


def test_expired_signature_is_renewed(archive, monkeypatch):
    """A signal read on demand long after the recording was read gets a new address."""
    monkeypatch.setattr("nwb_rnn.sources.nwb_series.LARGE", 1000)
    recording = nr.read(f"DANDI:{SET}/{PATH}", token=TOKEN, signal="raw")
    archive.signatures.clear()
    clock = dandi_stream.time.monotonic
    monkeypatch.setattr(dandi_stream.time, "monotonic", lambda: clock() + 10_000)
    archive.signature_lifetime = 20_000  # the server reads the same clock
    assert recording.traces.values[100:110].shape == (10, 16)
    assert len(archive.signatures) == 1


def test_signature_lifetimes():
    assert dandi_stream._lifetime("https://store.example/blobs/x") == float("inf")
    assert dandi_stream._lifetime("https://store.example/x?X-Amz-Expires=300&X-Amz-Signature=a") == 150
    assert dandi_stream._lifetime("https://store.example/x?X-Amz-Expires=90000&X-Amz-Signature=a") == 1800
    assert dandi_stream._lifetime("https://store.example/x?Signature=a") == 600


def test_secrets_are_cut_out_of_text():
    text = f"GET https://s.example/x?X-Amz-Signature=abc&a=1: Authorization: token {TOKEN}, Bearer abcdefghi"
    cleaned = without_secrets(text)
    assert TOKEN not in cleaned and "abc" not in cleaned
    assert without_secrets("is this a token? yes") == "is this a token? yes"


def everything(error: BaseException) -> str:
    """All that a log, a debugger or a crash report would show of an error, with its causes."""
    chain, seen = [], error
    while seen is not None:
        chain.append("".join(traceback.format_exception(seen)) + repr(seen.args) + repr(vars(seen)))
        seen = seen.__cause__ or seen.__context__
    return "\n".join(chain)


def test_errors_can_be_pickled(archive):
    with pytest.raises(SourceError) as caught:
        nr.read(f"DANDI:{SET}/{PATH}")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
