"""Loops from the disk cache are those of today's source files, the files that they call into included."""

import importlib
import sys

import pytest

from nwb_rnn import numba_cache

_CALLED = "from numba import njit\n\n@njit\ndef number():\n    return {}\n"
_CALLER = "import called\n\ndef loop():\n    return called.number()\n"


@pytest.fixture
def value_of_loop(tmp_path, monkeypatch):
    """What `loop` of one file returns after `number` of another was written, for a given revision of both."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "caller.py").write_text(_CALLER)

    def value(number: int, revision: int) -> int:
        (tmp_path / "called.py").write_text(_CALLED.format(number))
        for name in ("called", "caller"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        monkeypatch.setattr(numba_cache, "revision", lambda pattern: revision)
        caller = importlib.import_module("caller")
        return numba_cache.compiled(caller.loop, "unused", cache=True)()

    yield value
    for name in ("called", "caller"):
        sys.modules.pop(name, None)


def test_a_new_revision_compiles_again(value_of_loop):
    assert value_of_loop(1, revision=10) == 1
    assert value_of_loop(2, revision=10) == 1  # from the cache: numba looks at the caller's file alone
    assert value_of_loop(2, revision=11) == 2


def test_revision_changes_with_any_file_of_the_pattern(tmp_path, monkeypatch):
    monkeypatch.setattr(numba_cache, "__file__", str(tmp_path / "numba_cache.py"))
    for name in ("cpu_a.py", "cpu_b.py", "other.py"):
        (tmp_path / name).write_text("x = 1\n")
    seen = [numba_cache.revision.__wrapped__("cpu*.py")]
    for name in ("other.py", "cpu_b.py"):
        (tmp_path / name).write_text("x = 2\n")
        seen.append(numba_cache.revision.__wrapped__("cpu*.py"))
    assert seen[0] == seen[1] != seen[2]


def test_loops_of_the_filter_carry_the_revision():
    pytest.importorskip("numba")
    from nwb_rnn.smc.backends import cpu_forward, cpu_optimal, cpu_spec

    number = numba_cache.revision(cpu_spec.FILES)
    for loops in (cpu_forward, cpu_optimal):
        cached = [
            x for x in vars(loops).values() if hasattr(x, "_cache") and x.py_func.__module__ == loops.__name__
        ]
        assert cached and all(x._cache._cache_file._source_stamp[1] == number for x in cached)
