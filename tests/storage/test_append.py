"""Results added to the source itself, or to a whole copy of it."""

import os
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.storage import load_latents


def content(path):
    return path.read_bytes()


def test_appending_keeps_everything_that_was_there(session_path, fitted, helpers):
    with h5py.File(session_path) as before:
        names = set()
        before.visit(names.add)
        object_id = before.attrs["object_id"]
    recording = nr.read(session_path)
    path = nr.write(session_path, fitted.model, latents=fitted.latents, source=recording, mode="append")
    assert path == session_path
    with h5py.File(session_path) as after:
        found = set()
        after.visit(found.add)
        assert names <= found
        assert after.attrs["object_id"] == object_id
        assert after["acquisition/raw/data"].shape == (5000, 4)
    assert helpers.same_arrays(nr.load(path).to_arrays(), fitted.model.to_arrays())
    assert load_latents(path)["direction"].values.tolist() == fitted.latents["direction"].values.tolist()
    assert list(session_path.parent.iterdir()) == [session_path]


def test_appending_to_another_path_leaves_the_source_alone(tmp_path, session_path, fitted):
    before = content(session_path)
    path = nr.write(tmp_path / "whole.nwb", fitted.model, source=session_path, mode="append")
    assert content(session_path) == before
    with h5py.File(path) as file:
        assert "acquisition/raw" in file and "processing/ecephys/low_rank_rnn" in file
    with pytest.raises(StorageError, match="overwrite=True"):
        nr.write(path, fitted.model, source=session_path, mode="append")
    nr.write(path, fitted.model, source=session_path, mode="append", overwrite=True)


def test_without_a_source_results_go_into_the_file_that_is_there(session_path, fitted):
    nr.write(session_path, fitted.model)
    with h5py.File(session_path) as file:
        assert "acquisition/raw" in file
    assert nr.load(session_path).unit_ids == fitted.model.unit_ids
    nr.write(session_path, fitted.model, overwrite=True, name="second")
    with h5py.File(session_path) as file:
        assert "acquisition/raw" in file


def test_appending_is_seen_through_links_and_leaves_the_link(tmp_path, session_path, fitted):
    link = tmp_path / "link.nwb"
    link.symlink_to(session_path)
    nr.write(link, fitted.model, mode="append")
    assert link.is_symlink()
    assert nr.load(session_path).unit_ids == fitted.model.unit_ids


def test_an_appended_file_is_valid(session_path, fitted):
    import pynwb

    nr.write(
        session_path, fitted.model, latents=fitted.latents, fixed_points=fitted.fixed_points, mode="append"
    )
    assert pynwb.validate(path=str(session_path)) == []


def test_a_read_only_source_is_refused(session_path, fitted):
    before = content(session_path)
    session_path.chmod(0o444)
    with pytest.raises(StorageError, match=r"read-only.*mode='derivative'"):
        nr.write(session_path, fitted.model, mode="append")
    assert content(session_path) == before


@pytest.mark.parametrize("mode", ["r", "a"])
def test_a_source_held_open_here_is_refused(session_path, fitted, mode):
    before = content(session_path)
    with h5py.File(session_path, mode), pytest.raises(StorageError, match="held open"):
        nr.write(session_path, fitted.model, mode="append")
    if mode == "r":
        assert content(session_path) == before
    assert list(session_path.parent.iterdir()) == [session_path]
    nr.write(session_path, fitted.model, mode="append")


def test_a_source_held_open_by_another_program_is_refused(session_path, fitted):
    script = f"""
        import h5py, sys
        with h5py.File({str(session_path)!r}, "r"):
            print("open", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StorageError, match="held open"):
            nr.write(session_path, fitted.model, mode="append")
        other.communicate("")
    nr.write(session_path, fitted.model, mode="append")


def test_two_programs_cannot_append_at_once(session_path, fitted):
    from nwb_rnn.storage.atomic import locked

    with locked(session_path), pytest.raises(StorageError, match="held open"):
        nr.write(session_path, fitted.model, mode="append")


def test_a_failure_half_way_leaves_the_source_as_it_was(session_path, fitted, monkeypatch):
    from nwb_rnn.storage import writing

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_check", fail)
    before = content(session_path)
    with pytest.raises(KeyboardInterrupt):
        nr.write(session_path, fitted.model, mode="append")
    assert content(session_path) == before
    assert list(session_path.parent.iterdir()) == [session_path]


def test_a_model_that_does_not_come_back_bit_for_bit_is_not_kept(session_path, fitted, monkeypatch):
    from nwb_rnn.storage import reading

    honest = reading.read_model

    def flipped(path, name):
        stored = honest(path, name)
        stored.arrays["left_vectors"] = np.nextafter(stored.arrays["left_vectors"], np.float32(9))
        return stored

    monkeypatch.setattr(reading, "read_model", flipped)
    before = content(session_path)
    with pytest.raises(StorageError, match="left_vectors did not come back"):
        nr.write(session_path, fitted.model, mode="append")
    assert content(session_path) == before


def test_what_cannot_be_appended_to_is_refused(tmp_path, session_path, fitted):
    text = tmp_path / "text.nwb"
    text.write_text("no HDF5")
    with pytest.raises(StorageError, match="no HDF5 file"):
        nr.write(text, fitted.model, mode="append")
    assert text.read_text() == "no HDF5"
    with pytest.raises(StorageError, match="on this machine"):
        nr.write(tmp_path / "a.nwb", fitted.model, source="https://127.0.0.1/x.nwb", mode="append")
    with pytest.raises(InputError, match="metadata only to a derivative"):
        nr.write(session_path, fitted.model, mode="append", lab="ours")


def test_permissions_of_the_source_are_kept(session_path, fitted):
    session_path.chmod(0o640)
    nr.write(session_path, fitted.model, mode="append")
    assert os.stat(session_path).st_mode & 0o777 == 0o640
