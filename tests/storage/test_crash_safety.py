"""Nothing is ever lost: full disks, killed programs, races for a name."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import nwb_rnn as nr
from nwb_rnn.errors import StorageError
from nwb_rnn.storage import load_latents
from nwb_rnn.storage.atomic import check_writable, locked, replacing

KILLS = 3
# Storage needs no torch, so a stand-in that holds what was read starts ten times faster than an estimator.
WRITER = """
    import resource, secrets, sys
    from types import SimpleNamespace
    from nwb_rnn.errors import StorageError
    from nwb_rnn.storage import load_latents, write
    from nwb_rnn.storage.reading import read_model
    source, path, mode, limit = sys.argv[1:5]
    class LowRankRNN(SimpleNamespace):
        def to_arrays(self):
            return self.arrays
    model, latents = LowRankRNN(**vars(read_model(source, "seed"))), load_latents(source, "seed")
    assert "torch" not in sys.modules
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    print("ready", flush=True)
    while True:
        how = {"name": f"run_{secrets.token_hex(4)}"} if mode == "append" else {"overwrite": True}
        try:
            write(path, model, latents=latents, source=source, mode=mode, **how)
        except StorageError as error:
            print(error, flush=True)
            if int(limit):
                break
"""


def start_writer(source, path, mode, limit=0):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(source), str(path), mode, str(limit)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "ready\n", writer.stderr.read()
    return writer


@pytest.fixture
def seeded(session_path, fitted):
    """A session that already holds a model and latents, for writers in other processes."""
    return nr.write(session_path, fitted.model, latents=fitted.latents, mode="append", name="seed")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["append", "derivative"])
def test_a_killed_write_leaves_source_and_earlier_output_whole(tmp_path, seeded, fitted, helpers, mode):
    """kill -9 at random moments; each time the file is readable and holds all it held before."""
    path = seeded if mode == "append" else nr.write(tmp_path / "out.nwb", fitted.model, source=seeded)
    moments = random.Random(5)
    for _ in range(KILLS):
        writer = start_writer(seeded, path, mode)
        time.sleep(moments.uniform(0.0, 0.8))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert helpers.same_arrays(nr.load(seeded, name="seed").to_arrays(), fitted.model.to_arrays())
        assert load_latents(seeded, name="seed").sizes == fitted.latents.sizes
        with locked(path):
            pass
        if mode == "derivative":
            assert nr.load(path).unit_ids == fitted.model.unit_ids
    import pynwb

    assert pynwb.validate(path=str(path)) == []


@pytest.mark.parametrize("mode", ["append", "derivative"])
def test_a_limit_on_the_size_of_files_is_a_storage_error(tmp_path, seeded, mode):
    source, out = seeded.read_bytes(), tmp_path / "out.nwb"
    out.write_bytes(b"precious")
    path = seeded if mode == "append" else out
    writer = start_writer(seeded, path, mode, limit=150_000)
    said, errors = writer.communicate(timeout=120)
    assert "the disk is full" in said and "was not written" in said, said + errors
    assert writer.returncode == 0
    assert seeded.read_bytes() == source
    assert out.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    assert list(seeded.parent.iterdir()) == [seeded]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB; only where mounting is allowed."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("mode", ["append", "derivative"])
def test_a_full_disk_leaves_the_old_file_and_no_rubbish(small_disk, seeded, fitted, mode):
    old = small_disk / "out.nwb"
    old.write_bytes(b"precious")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(750_000))
    with pytest.raises(StorageError, match="the disk is full"):
        nr.write(old, fitted.model, latents=fitted.latents, source=seeded, mode=mode, overwrite=True)
    assert old.read_bytes() == b"precious"
    assert sorted(p.name for p in small_disk.iterdir()) == ["filler", "out.nwb"]


def test_a_file_that_comes_to_exist_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "a"

    def write_late():
        with replacing(path, overwrite=False) as temporary:
            temporary.write_bytes(b"mine")
            path.write_bytes(b"theirs")

    with pytest.raises(StorageError, match="exists already"):
        write_late()
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a", overwrite=False) as temporary:
            temporary.write_bytes(b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_what_a_killed_process_left_long_ago_is_removed_and_what_is_in_use_is_not(tmp_path):
    old, used, young = (tmp_path / f".a.{name}.partial" for name in ("old", "used", "young"))
    for left in (old, used, young):
        left.write_bytes(b"x")
    for left in (old, used):
        os.utime(left, (time.time() - 3600,) * 2)
    with locked(used), replacing(tmp_path / "a", overwrite=False) as temporary:
        temporary.write_bytes(b"x")
    assert not old.exists() and used.exists() and young.exists()


def test_missing_folders_and_folders_in_place_of_files_are_refused(tmp_path):
    with pytest.raises(StorageError, match="no folder"), replacing(tmp_path / "no" / "a", False):
        pass
    with pytest.raises(StorageError, match="is a folder"), replacing(tmp_path, True):
        pass


def test_programming_errors_stay_what_they_are(tmp_path):
    with pytest.raises(KeyError), replacing(tmp_path / "a", overwrite=False):
        raise KeyError("bug")
    assert list(tmp_path.iterdir()) == []


def test_only_writable_files_pass(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"x")
    check_writable(file)
    file.chmod(0o444)
    with pytest.raises(StorageError, match="read-only"):
        check_writable(file)
