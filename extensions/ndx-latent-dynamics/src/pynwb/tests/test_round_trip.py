"""Every type comes back from a file as it went in, and the file is valid NWB."""

import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pynwb
import pytest
from hdmf.common import DynamicTableRegion
from hdmf.container import AbstractContainer, Data
from ndx_latent_dynamics.models import plain_array
from ndx_latent_dynamics.testing.mock import (
    mock_fixed_point_table,
    mock_low_rank_rnn,
    mock_rate_rnn,
    mock_task_rnn,
    mock_trial_aligned_latents,
)
from pynwb import NWBHDF5IO, NWBFile

RESULTS = ("low_rank_rnn", "latents", "rate_rnn", "task_rnn", "fixed_points")


def rows(name: str, table, count: int) -> DynamicTableRegion:
    return DynamicTableRegion(name=name, description=name, data=np.arange(count), table=table)


def filled() -> NWBFile:
    """A session of three units and four trials with one object of every type, all linked up."""
    nwbfile = NWBFile("a session", "session-1", datetime(2024, 1, 1, tzinfo=UTC))
    for unit in range(3):
        nwbfile.add_unit(spike_times=np.arange(5) + 0.1 * unit, id=unit)
    for trial in range(4):
        nwbfile.add_trial(start_time=float(trial), stop_time=trial + 0.5)
    model = mock_low_rank_rnn(observed_units=rows("observed_units", nwbfile.units, 3))
    latents = mock_trial_aligned_latents(
        model=model,
        trials=rows("trials", nwbfile.trials, 4),
        observed_units=rows("observed_units", nwbfile.units, 3),
    )
    module = nwbfile.create_processing_module("ecephys", "results")
    for item in (model, latents, mock_rate_rnn(), mock_task_rnn(), mock_fixed_point_table(model=model)):
        module.add(item)
    return nwbfile


def assert_same(written: AbstractContainer, read: AbstractContainer) -> None:
    """Every field of a container, and of the containers in it, is equal; arrays bit for bit."""
    assert type(written).__name__ == type(read).__name__
    assert written.name == read.name
    assert set(written.fields) == set(read.fields)
    if isinstance(written, Data):
        assert_same_values(written.data, read.data)
    for name, value in written.fields.items():
        if isinstance(value, AbstractContainer):
            if value.parent is written:
                assert_same(value, read.fields[name])
            else:
                assert value.name == read.fields[name].name
        elif isinstance(value, dict):
            assert set(value) == set(read.fields[name])
            for key, item in value.items():
                assert_same(item, read.fields[name][key])
        elif name == "columns":
            for mine, theirs in zip(
                sorted(value, key=lambda c: c.name),
                sorted(read.fields[name], key=lambda c: c.name),
                strict=True,
            ):
                assert_same(mine, theirs)
        elif name != "colnames":
            assert_same_values(value, read.fields[name])


def assert_same_values(written, read) -> None:
    before, after = plain_array(written), plain_array(read)
    assert before.shape == after.shape
    if before.dtype.kind in "UO":
        assert before.astype(str).tolist() == after.astype(str).tolist()
        return
    if isinstance(written, np.ndarray | np.generic):
        assert before.dtype == after.dtype
    np.testing.assert_array_equal(before, after)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of `filled`, in HDF5."""
    path = tmp_path / "results.nwb"
    with NWBHDF5IO(str(path), "w") as io:
        io.write(filled())
    return path


@pytest.mark.parametrize("name", RESULTS)
def test_hdf5_gives_back_what_was_written(path, name):
    with NWBHDF5IO(str(path), "r") as io:
        read = io.read().processing["ecephys"][name]
        assert_same(filled().processing["ecephys"][name], read)


def test_hdf5_is_valid(path):
    assert pynwb.validate(path=str(path)) == []


def test_links_and_regions_lead_to_the_tables_of_the_file(path):
    with NWBHDF5IO(str(path), "r") as io:
        nwbfile = io.read()
        module = nwbfile.processing["ecephys"]
        assert module["latents"].model is module["low_rank_rnn"]
        assert module["fixed_points"].model is module["low_rank_rnn"]
        assert module["latents"].trials.table is nwbfile.trials
        assert module["low_rank_rnn"].observed_units.table is nwbfile.units
        assert module["latents"].trials.to_dataframe()["start_time"].tolist() == [0, 1, 2, 3]


def test_zarr_gives_back_what_was_written(tmp_path):
    hdmf_zarr = pytest.importorskip("hdmf_zarr", reason="hdmf-zarr is not installed")
    path = str(tmp_path / "results.nwb.zarr")
    with hdmf_zarr.NWBZarrIO(path, "w") as io:
        io.write(filled())
    with hdmf_zarr.NWBZarrIO(path, "r") as io:
        read = io.read().processing["ecephys"]
        for name in RESULTS:
            assert_same(filled().processing["ecephys"][name], read[name])
        assert read["latents"].model is read["low_rank_rnn"]


def test_tables_without_rows_are_written_and_read(tmp_path):
    nwbfile = NWBFile("a session", "session-2", datetime(2024, 1, 1, tzinfo=UTC))
    nwbfile.create_processing_module("ecephys", "results").add(mock_fixed_point_table(points=0))
    path = str(tmp_path / "empty.nwb")
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)
    assert pynwb.validate(path=path) == []
    with NWBHDF5IO(path, "r") as io:
        table = io.read().processing["ecephys"]["fixed_points"]
        assert len(table) == 0
        assert table.eigenvalues().shape == (0, 2)


def test_a_reader_without_the_extension_sees_every_number(path):
    """Another process that never imports this package reads through the specification in the file."""
    script = f"""
        import sys
        from pynwb import NWBHDF5IO
        with NWBHDF5IO({str(path)!r}, "r") as io:
            module = io.read().processing["ecephys"]
            model = module["low_rank_rnn"]
            print(type(model).__name__, model.neurodata_type, model.namespace)
            print(model.left_vectors[:].sum(), model.decay, model.activation)
            print(model.proposal_network.parameter_arrays["first_weight"].data.shape)
            print(module["latents"].model is model, module["fixed_points"]["location"].data.shape)
            print(module["rate_rnn"].recurrent_weights.shape, module["task_rnn"].task)
        assert not any("ndx_latent" in name for name in sys.modules)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True
    )
    model = mock_low_rank_rnn()
    assert run.stdout.splitlines() == [
        "LowRankRNN LowRankRNN ndx-latent-dynamics",
        f"{model.left_vectors.sum()!s} {np.float32(0.9)!s} clipped_relu",
        "(4, 3, 5)",
        "True (3, 2)",
        "(5, 5) hold, then reach",
    ]
