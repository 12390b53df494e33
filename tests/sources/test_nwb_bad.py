"""Bad, broken and hostile NWB files: each a clear error or a correct result, never a wrong number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sources.made_nwb import TRAINS, empty_file, saved, series, with_trials, with_units

import nwb_rnn as nr
from nwb_rnn.cli_inspect import describe
from nwb_rnn.errors import InputError, NwbRnnError, SourceError

WINDOW = {"window": (0, 0.9), "bin_size": 0.1}


@pytest.fixture
def made(tmp_path):
    return saved(with_trials(with_units(empty_file())), tmp_path)


def test_no_such_file_names_its_neighbours(made):
    with pytest.raises(SourceError, match=r"there is no file .*NWB files in that folder: made.nwb"):
        nr.read(made.with_name("mode.nwb"))


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x89HDF", os.urandom(5000)])
def test_not_nwb(tmp_path, content):
    path = tmp_path / "x.nwb"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"is empty|is not NWB"):
        nr.read(path)


def test_hdf5_but_not_nwb(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = [1, 2]
    with pytest.raises(SourceError, match="HDF5 but not NWB 2"):
        nr.read(tmp_path / "x.h5")


def test_a_folder_that_is_no_zarr(tmp_path):
    with pytest.raises(SourceError, match="holds no Zarr group"):
        nr.read(tmp_path)


def test_something_else_altogether():
    with pytest.raises(InputError, match="cannot read a recording from int"):
        nr.read(3)


def test_a_file_held_open_for_writing_by_another_program(made):
    program = (
        f"import h5py, sys; f = h5py.File({str(made)!r}, 'r+'); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(SourceError, match="held open for writing"):
            nr.read(made)
        other.communicate()
    assert len(nr.read(made).units) == 3


def test_nothing_to_fit_says_what_there_is(tmp_path):
    nwbfile = with_trials(empty_file())
    nwbfile.add_acquisition(series("speed", np.arange(5.0)))
    with pytest.raises(InputError, match=r"no units with spike times.*tables: 'trials'"):
        nr.read(saved(nwbfile, tmp_path))


def test_units_without_spike_times(tmp_path):
    nwbfile = empty_file()
    nwbfile.add_unit_column("depth", "depth")
    nwbfile.add_unit(depth=1.0)
    with pytest.raises(InputError, match="holds no spike times"):
        nr.read(saved(nwbfile, tmp_path))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 0.999))
def test_truncated_files_are_refused(made, share):
    """Cut anywhere, an HDF5 file must be refused: its end is written into its head."""
    whole = made.read_bytes()
    cut = made.with_name("cut.nwb")
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SourceError):
        nr.read(cut)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.lists(st.floats(0, 0.9999), min_size=1, max_size=20), value=st.integers(0, 255))
def test_flipped_bytes_never_crash(made, where, value):
    """A damaged file gives one of our own errors, or a recording that aligns or says why not."""
    content = bytearray(made.read_bytes())
    for share in where:
        content[int(share * len(content))] = value
    bad = made.with_name("bad.nwb")
    bad.write_bytes(content)
    with suppress(NwbRnnError):
        assert nr.read(bad).align("start_time", **WINDOW)["counts"].values.sum() >= 0


def edited(path, edit):
    """The file after a change made behind the back of pynwb."""
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def replaced(name, data, **options):
    """Change one dataset, its attributes kept."""

    def edit(file):
        attributes = dict(file[name].attrs)
        del file[name]
        file.create_dataset(name, data=data, **options).attrs.update(attributes)

    return edit


FLAT = np.concatenate(TRAINS)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("units/spike_times", FLAT[::-1].copy()),
        ("units/spike_times", FLAT.astype(np.float32)),
        ("units/spike_times", np.where(np.arange(9) == 4, np.nan, FLAT)),
        ("units/spike_times", np.where(np.arange(9) == 4, np.inf, FLAT)),
        ("units/spike_times", -FLAT),
        ("units/spike_times", (FLAT * 10).astype(np.int64)),
    ],
)
def test_odd_spike_times_still_count_right(made, name, data):
    path = edited(made, replaced(name, data))
    recording = nr.read(path)
    trials = recording.align([0.0, 1.0, -1.0], **WINDOW)
    parts = np.split(np.asarray(data, dtype=np.float64), [4, 6])
    for unit, part in enumerate(parts):
        if unit not in trials["unit"].values:
            continue
        for row, start in enumerate(trials["event_time"].values):
            number = np.floor((part[np.isfinite(part)] - start) / 0.1 + 1e-6)
            expected = np.bincount(number[(number >= 0) & (number < 9)].astype(int), minlength=9)
            np.testing.assert_array_equal(trials["counts"].sel(unit=unit).values[row], expected)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("units/spike_times", np.array([b"a"] * 9)),
        ("units/spike_times", np.zeros((9, 2))),
        ("units/spike_times_index", np.array([4, 6, 99])),
        ("units/spike_times_index", np.array([6, 4, 9])),
        ("units/spike_times_index", np.array([4.5, 6.0, 9.0])),
        ("units/spike_times_index", np.array([4, 9])),
        ("intervals/trials/start_time", np.array([b"a", b"b", b"c"])),
        ("intervals/trials/start_time", np.zeros((3, 2))),
    ],
)
def test_wrong_kinds_and_shapes_are_refused(made, name, data):
    path = edited(made, replaced(name, data))
    with pytest.raises(NwbRnnError):
        nr.read(path).align("start_time", **WINDOW)


@pytest.mark.parametrize(
    "name",
    [
        "units/spike_times_index",
        "units/id",
        "intervals/trials/stop_time",
        "intervals/trials/id",
        "identifier",
    ],
)
def test_missing_parts(made, name):
    """A part that the standard demands is not there: refused, or read right without it."""

    def edit(file):
        del file[name]

    path = edited(made, edit)
    with suppress(NwbRnnError):
        trials = nr.read(path).align([0.0, 1.0, 2.0], **WINDOW)
        np.testing.assert_array_equal(
            trials["counts"], nr.read(TRAINS).align([0.0, 1.0, 2.0], **WINDOW)["counts"]
        )


def test_starts_that_are_not_finite_are_dropped(made):
    path = edited(made, replaced("intervals/trials/start_time", np.array([0.0, np.nan, np.inf])))
    trials = nr.read(path).align("start_time", window=(0, 0.5), bin_size=0.1)
    assert trials["trial"].values.tolist() == [0]


def test_duplicate_ids_give_way_to_row_numbers(made):
    path = edited(made, replaced("units/id", np.array([5, 5, 6])))
    recording = nr.read(path)
    assert recording.units.ids.tolist() == [0, 1, 2]
    assert "occur more than once" in recording.report()


def test_empty_tables(tmp_path):
    from pynwb.epoch import TimeIntervals

    nwbfile = with_units(empty_file())
    nwbfile.add_time_intervals(TimeIntervals(name="laps", description="none"))
    recording = nr.read(saved(nwbfile, tmp_path))
    with pytest.raises(InputError, match="is empty"):
        recording.align("start_time", **WINDOW)
    assert "0 rows" in describe(recording)


def test_units_that_never_fire(tmp_path):
    with pytest.raises(InputError, match="has a single spike"):
        nr.read(saved(with_trials(with_units(empty_file(), [[], []])), tmp_path)).align(
            "start_time", **WINDOW
        )


def test_a_hostile_condition_is_not_run(made):
    with pytest.raises(InputError, match=r"not allowed|cannot read"):
        nr.read(made).align("start_time", where="__import__('os').remove('made.nwb')", **WINDOW)
    assert made.exists()


def test_hostile_texts_are_data_and_no_more(tmp_path):
    texts = ["../../etc/passwd", "\x1b[2J; rm -rf /", "{" * 1000]
    nwbfile = with_trials(with_units(empty_file(session_id="../../../x\x07y")), kind=texts)
    recording = nr.read(saved(nwbfile, tmp_path))
    trials = recording.align("start_time", **WINDOW)
    assert trials["kind"].values.tolist() == texts
    assert json.loads(trials.attrs["source"])["session_id"] == "../../../x\x07y"
    assert all(c.isprintable() or c == "\n" for c in describe(recording))


def test_overlong_texts_are_refused_and_said(tmp_path):
    nwbfile = with_trials(with_units(empty_file(lab="x" * 200_000)), kind=["a", "b", "y" * 200_000])
    recording = nr.read(saved(nwbfile, tmp_path))
    assert "lab" not in recording.description
    assert "kind" not in recording.intervals["trials"].columns
    assert "more than 100000 characters refused" in recording.report()


def test_a_cached_specification_that_is_hostile(made):
    """The specification in a file is JSON that pynwb parses: nested too deep it is refused, not run."""

    def edit(file):
        for version in file["specifications/core"].values():
            del version["namespace"]
            version["namespace"] = "[" * 200_000

    with pytest.raises(SourceError):
        nr.read(edited(made, edit))


def test_a_hundred_thousand_trials(tmp_path):
    from hdmf.common import ElementIdentifiers, VectorData
    from pynwb.epoch import TimeIntervals

    start = np.arange(100_000) * 0.1
    columns = [
        VectorData(name=name, description=name, data=values)
        for name, values in (("start_time", start), ("stop_time", start + 0.1))
    ]
    nwbfile = with_units(empty_file(), [start + 0.05, start[::3] + 0.01])
    nwbfile.trials = TimeIntervals(
        name="trials",
        description="many",
        id=ElementIdentifiers(name="id", data=np.arange(100_000)),
        columns=columns,
    )
    trials = nr.read(saved(nwbfile, tmp_path)).align("start_time", until="stop_time")
    assert trials.sizes["trial"] == 100_000
    assert trials["counts"].sum() == 100_000 + 33_334
