"""Loops from the disk cache are those of today's source files, and round as those just compiled."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

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
    for name in ("cpu_a.py", "cpu_b.py", "other.py", "numba_cache.py"):
        (tmp_path / name).write_text("x = 1\n")
    seen = [numba_cache.revision.__wrapped__("cpu*.py")]
    for name in ("other.py", "cpu_b.py", "numba_cache.py"):
        (tmp_path / name).write_text("x = 2\n")
        seen.append(numba_cache.revision.__wrapped__("cpu*.py"))
    assert seen[0] == seen[1] and len(set(seen)) == 3


def test_loops_of_the_filter_carry_the_revision():
    pytest.importorskip("numba")
    from nwb_rnn.smc.backends import cpu_forward, cpu_optimal, cpu_spec

    number = numba_cache.revision(cpu_spec.FILES)
    for loops in (cpu_forward, cpu_optimal):
        cached = [
            x for x in vars(loops).values() if hasattr(x, "_cache") and x.py_func.__module__ == loops.__name__
        ]
        assert cached and all(x._cache._cache_file._source_stamp[1] == number for x in cached)


_CALLS = """
import hashlib, sys
import numpy as np
from nwb_rnn.smc.backends.cpu_optimal import add_product
from nwb_rnn.smc.backends.cpu_steps import allocating_loop

@allocating_loop
def all_products(one, other, out):
    rank = int(np.sqrt(one.shape[1]))
    for j in range(one.shape[0]):
        add_product(one[j], other[j], rank, False, True, out[j])
    for j in range(one.shape[0]):
        add_product(other[j], one[j], rank, False, True, out[j])
    for j in range(one.shape[0]):
        add_product(other[j], other[j], rank, True, False, out[j])

@allocating_loop
def products(one, other, out):
    all_products(one, other, out)

def digest():
    found = hashlib.md5()
    for rank in range(1, 20):
        numbers = np.random.default_rng(rank).standard_normal((3, 40, rank**2)).astype(np.float32)
        products(*numbers)
        found.update(numbers[2].tobytes())
    return found.hexdigest(), sum(products.stats.cache_hits.values())
"""


def test_a_loop_just_compiled_and_one_from_the_cache_give_the_same_digits(tmp_path):
    """Copies of `add_product` two levels up sum three products in another order than the function itself."""
    (tmp_path / "calls.py").write_text(_CALLS)
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    runs = [
        subprocess.run(
            [sys.executable, "-c", "import calls; print(*calls.digest())"],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert [hits for _, hits in runs] == ["0", "1"]
    assert runs[0][0] == runs[1][0]


def test_loops_that_may_sum_in_any_order_call_their_own_copies():
    pytest.importorskip("numba")
    loops = []
    package = Path(numba_cache.__file__).parent
    for path in package.rglob("*.py"):
        if "@loop" in (text := path.read_text()) or "@allocating_loop" in text or "@njit" in text:
            module = importlib.import_module(
                ".".join(("nwb_rnn", *path.relative_to(package).with_suffix("").parts))
            )
            loops += [x for x in vars(module).values() if getattr(x, "targetoptions", {}).get("fastmath")]
    assert len(loops) > 50
    assert all(x._compiler.pipeline_class is numba_cache.pipeline() for x in loops)
