"""Other packages read the files that are written, without help from this one, and find the same numbers."""

import importlib.metadata
import re
import subprocess
import sys
import textwrap
import warnings
from datetime import UTC, datetime

import numpy as np
import pytest
from simulated_world import run

import nwb_rnn as nr
from nwb_rnn.storage import load_latents


@pytest.fixture(scope="module")
def derivative(tmp_path_factory, fitted, helpers):
    """A derivative with everything in it, and the recording it was made from."""
    folder = tmp_path_factory.mktemp("programs")
    recording = nr.read(helpers.make_session(folder / "session.nwb"))
    path = nr.write(
        folder / "session_desc-rnn.nwb",
        fitted.model,
        latents=fitted.latents,
        fixed_points=fitted.fixed_points,
        simulation=fitted.simulation,
        source=recording,
    )
    return path, recording


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, derivative):
    """The session of spikes that `nwb-rnn simulate` writes, in NWB and in NetCDF."""
    folder = tmp_path_factory.mktemp("simulated")
    for name in ("spikes.nwb", "trials.nc"):
        run("simulate", derivative[0], "--output", folder / name, "--trials", 5, "--seed", 2)
    return folder


@pytest.fixture(autouse=True)
def their_warnings():
    """What other packages warn of while they read is theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_spikeinterface_reads_the_units(derivative):
    from spikeinterface.extractors import read_nwb_sorting

    path, recording = derivative
    clock = 30000.0
    sorting = read_nwb_sorting(str(path), sampling_frequency=clock, t_start=0.0)
    assert sorting.get_num_units() == len(recording.units)
    assert [int(i) for i in sorting.unit_ids] == recording.units.ids.tolist()
    for i, unit in enumerate(sorting.unit_ids):
        times = sorting.get_unit_spike_train(unit, segment_index=0) / clock
        np.testing.assert_allclose(np.sort(times), recording.spikes.of(i), atol=1 / clock)


def test_neo_reads_the_units_and_receives_the_latents(derivative, fitted):
    import neo

    path, recording = derivative
    segment = neo.io.NWBIO(str(path), mode="r").read_all_blocks()[0].segments[0]
    assert len(segment.spiketrains) == len(recording.units)
    for i, train in enumerate(segment.spiketrains):
        np.testing.assert_allclose(train.rescale("s").magnitude, recording.spikes.of(i))
    ours = nr.read(path).to_neo().segments[0]  # neo's own reader leaves processing modules out
    signals = [*ours.analogsignals, *ours.irregularlysampledsignals]
    latents = next(s for s in signals if s.name == "low_rank_rnn_latents_session_time")
    inside = fitted.latents["mask"].values
    np.testing.assert_array_equal(
        np.asarray(latents.magnitude), fitted.latents["latent_mean"].values[inside].astype(np.float32)
    )


def test_elephant_takes_the_simulated_spikes_of_a_file(simulated):
    """Rates and Fano factors from elephant against those of the counts."""
    from elephant.statistics import fanofactor, mean_firing_rate

    recording = nr.read(simulated / "spikes.nwb")
    segment = recording.to_neo().segments[0]
    trains = segment.spiketrains
    for i, train in enumerate(trains):
        seconds = float((train.t_stop - train.t_start).rescale("s"))
        expected = len(recording.spikes.of(i)) / seconds
        assert float(mean_firing_rate(train).rescale("Hz")) == pytest.approx(expected)
    counts = np.array([len(t) for t in trains])
    assert fanofactor(list(trains)) == pytest.approx(counts.var() / counts.mean())


def test_pynapple_reads_simulated_spikes_and_trials(simulated):
    import pynapple

    session = pynapple.load_file(str(simulated / "spikes.nwb"))
    recording = nr.read(simulated / "spikes.nwb")
    assert len(session["units"]) == len(recording.units)
    for i, key in enumerate(session["units"].keys()):
        np.testing.assert_allclose(session["units"][key].t, recording.spikes.of(i))
    assert len(session["trials"]) == 5


def test_xarray_opens_trials_and_latents(simulated, derivative, tmp_path):
    import xarray

    with xarray.open_dataset(simulated / "trials.nc", engine="h5netcdf") as trials:
        assert trials["counts"].dims == ("trial", "time", "unit")
        assert trials.sizes["trial"] == 5
        assert float(trials.attrs["bin_size"]) == pytest.approx(0.05)
    latents = load_latents(derivative[0])
    latents["latent_mean"].to_netcdf(tmp_path / "latents.nc", engine="h5netcdf")
    with xarray.open_dataarray(tmp_path / "latents.nc", engine="h5netcdf") as again:
        xarray.testing.assert_equal(again, latents["latent_mean"])


# the extension alone ---------------------------------------------------------------------------------

# In a process where nothing can be imported that the extension does not ask for.
CLEAN = """
    import sys
    from importlib.abc import MetaPathFinder

    forbidden = set({forbidden!r})

    class Absent(MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in forbidden:
                raise ModuleNotFoundError(f"{{name}} is not in the clean environment")

    sys.meta_path.insert(0, Absent())
    import ndx_latent_dynamics as ndx
    from pynwb import NWBHDF5IO

    kinds = set()
    for path in {paths!r}:
        with NWBHDF5IO(path, "r") as io:
            for item in io.read().objects.values():
                if item.namespace == ndx.NAMESPACE:
                    kinds.add(item.neurodata_type)
                    assert type(item) is getattr(ndx, item.neurodata_type), type(item)
                    if isinstance(item, ndx.LatentDynamicsModel):
                        arrays = item.to_numpy()
                        assert all(a.dtype.kind in "fiuUb" for a in arrays.values()) and len(arrays) > 5
                        assert item.versions() is not None
                    elif hasattr(item, "to_dataframe"):
                        assert list(item.to_dataframe().columns) == list(item.colnames)
    loaded = {{name.split(".")[0] for name in sys.modules}}
    assert not loaded & forbidden, loaded & forbidden
    print(*sorted(kinds))
"""


def what_the_extension_needs() -> set[str]:
    """Distributions that an installation of the extension alone brings in, those of pip's own included."""
    needed, waiting = set(), ["ndx-latent-dynamics", "setuptools", "pip"]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in needed:
            continue
        needed.add(name)
        for requirement in importlib.metadata.requires(name) or ():
            if "extra ==" not in requirement:
                wanted = re.match(r"[\w.-]+", requirement)[0]
                if _installed(wanted):
                    waiting.append(wanted)
    return needed


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def test_the_extension_alone_reads_every_type(derivative, tmp_path):
    from ndx_latent_dynamics.testing import mock
    from pynwb import NWBHDF5IO, NWBFile

    nwbfile = NWBFile("mocks", "mocks", datetime(2024, 1, 1, tzinfo=UTC))
    module = nwbfile.create_processing_module("ecephys", "one object of every type")
    model = mock.mock_low_rank_rnn()
    for item in (
        model,
        mock.mock_rate_rnn(),
        mock.mock_task_rnn(),
        mock.mock_trial_aligned_latents(model=model),
        mock.mock_fixed_point_table(model=model),
    ):
        module.add(item)
    with NWBHDF5IO(str(tmp_path / "mocks.nwb"), "w") as io:
        io.write(nwbfile)

    needed = what_the_extension_needs()
    assert {"pynwb", "hdmf", "numpy"} <= needed
    forbidden = sorted(
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & needed
    )
    assert {"torch", "xarray", "dandi"} <= set(forbidden)
    paths = [str(derivative[0]), str(tmp_path / "mocks.nwb")]
    script = CLEAN.format(forbidden=[*forbidden, "nwb_rnn"], paths=paths)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {
        "FitHistoryTable",
        "FixedPointTable",
        "LowRankRNN",
        "ParameterArray",
        "ParameterGroup",
        "RateRNN",
        "TaskRNN",
        "TrialAlignedLatents",
    }
