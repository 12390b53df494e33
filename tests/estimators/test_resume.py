"""Interruption: Ctrl-C and kill -9 at random moments; resuming ends at the same parameters, bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import killed_fit
import small

from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def uninterrupted():
    return killed_fit.fit(None)


def start(checkpoint: Path, result: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(HERE / "killed_fit.py"), str(checkpoint), str(result)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.DEVNULL,
    )


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Until the process has written a checkpoint; that of an earlier process does not count."""
    deadline, before = time.monotonic() + 300, written(path)
    while written(path) == before and process.poll() is None:
        assert time.monotonic() < deadline, "no checkpoint after five minutes"
        time.sleep(0.005)


def written(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_fit_resumes_to_the_same_parameters(tmp_path, uninterrupted, how):
    checkpoint, result = tmp_path / "fit.npz", tmp_path / "result.npz"
    delays = np.random.default_rng(int(how)).uniform(0, 0.4, 2)
    kills = 0
    for delay in delays:
        process = start(checkpoint, result)
        wait_for(checkpoint, process)
        time.sleep(delay)
        process.send_signal(how)
        process.wait()
        kills += process.returncode != 0
        if checkpoint.exists():
            with np.load(checkpoint, allow_pickle=False) as file:
                assert "facts" in file.files, "a checkpoint is whole at every moment"
    assert kills, "the fit was over before the first kill: make it longer"
    if not result.exists():
        assert start(checkpoint, result).wait() == 0
    with np.load(result) as resumed:
        for name, array in uninterrupted.items():
            np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    assert not list(tmp_path.glob("*.part")) or how == signal.SIGKILL


def test_a_checkpoint_goes_on_only_with_the_same_data_and_options(tmp_path):
    data, path = small.counts(), tmp_path / "fit.npz"
    LowRankRNN(rank=2, units=16).fit(data, checkpoint=path, **small.QUICK)
    done = LowRankRNN(rank=2, units=16).fit(data, checkpoint=path, **small.QUICK)
    assert len(done.history) == 3, "a finished fit is read back, not run again"
    other = data.assign(counts=data.counts + 1)
    for model, trials in ((LowRankRNN(rank=2, units=16), other), (LowRankRNN(rank=1, units=16), data)):
        with pytest.raises(InputError, match="other data, another model"):
            model.fit(trials, checkpoint=path, **small.QUICK)


def test_a_broken_checkpoint_is_named(tmp_path):
    path = tmp_path / "fit.npz"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(StorageError, match="not a readable checkpoint"):
        LowRankRNN(rank=2, units=16).fit(small.counts(), checkpoint=path, **small.QUICK)


def test_a_folder_that_cannot_be_written_gets_a_clear_error(tmp_path):
    with pytest.raises(StorageError, match="cannot write the checkpoint"):
        LowRankRNN(rank=2, units=16).fit(
            small.counts(), checkpoint=tmp_path / "missing" / "fit.npz", **small.QUICK
        )
