"""A server of the tests' own process never waits for the test that reads from it."""

import gc
from itertools import count

import h5py
import numpy as np
import pytest
from dandi_http import Store
from dandi_server import DandiServer
from dandi_world import SET, only_loopback, write_small_nwb
from loopback import no_collection
from sources import range_server

import nwb_rnn as nr
from nwb_rnn.sources import dandi_client, nwb_open

MORE_THAN_THE_COLLECTOR_WAITS_FOR = 5000  # new containers; the youngest generation is looked through at 700


@pytest.fixture
def left(tmp_path):
    """An HDF5 object for a server's thread to lose."""
    with h5py.File(tmp_path / "left.h5", "w") as file:
        file["x"] = np.arange(3)
        yield [file["x"]]


@pytest.fixture(autouse=True)
def endless_patience(monkeypatch):
    """A read that hangs hangs: it does not ask again."""
    for module in (nwb_open, dandi_client):
        monkeypatch.setattr(module, "PATIENCE", 600.0)


def losing(left: list, answer, turn: int):
    """`answer`, which in its turn leaves the HDF5 object in a cycle and makes garbage collection due."""
    turns = count()

    def answered(*arguments):
        if next(turns) == turn:
            cycle = [left.pop()]
            cycle.append(cycle)
            del cycle
            _ = [[] for _ in range(MORE_THAN_THE_COLLECTOR_WAITS_FOR)]
        return answer(*arguments)

    return answered


@pytest.mark.timeout(60)
def test_garbage_of_hdf5_in_the_thread_of_a_range_server(left, tmp_path, monkeypatch):
    write_small_nwb(tmp_path / "a.nwb")
    asked_before_h5py_reads = 1  # for the size
    answer = losing(left, range_server._Handler.send_part, asked_before_h5py_reads)
    monkeypatch.setattr(range_server._Handler, "send_part", answer)
    with range_server.serving(tmp_path) as server:
        recording = nr.read(server.address("a.nwb"))
    assert not left and len(recording.units) == 3


@pytest.mark.timeout(60)
def test_garbage_of_hdf5_in_the_thread_of_the_archive(left, tmp_path, monkeypatch):
    only_loopback(monkeypatch)
    monkeypatch.delenv("DANDI_API_KEY", raising=False)
    monkeypatch.setattr(Store, "send_bytes", losing(left, Store.send_bytes, 0))
    with DandiServer(tmp_path) as server:
        server.add_dandiset(SET)
        server.add_file(SET, "a.nwb", write_small_nwb(tmp_path / "a.nwb"))
        recording = nr.read(f"DANDI:{SET}/a.nwb", instance=server.api_url)
    assert not left and len(recording.units) == 3


def test_the_collector_is_on_again_after_the_last_server():
    with no_collection():
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(AssertionError, match="turned the collector on"), no_collection():
        gc.enable()
