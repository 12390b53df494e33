"""From an NWB file to aligned counts: against pynapple and a loop over pynwb, and over a network.

Run it with ``python benchmarks/read_align.py`` (about three minutes; files go to a temporary folder). All
numbers of a table come from one run on one machine, each way in a process of its own:

1. 400 units x 20,000 spikes, 1,000 trials, 50 bins of 20 ms, from opening the file to the counts.
   Imports are not counted. Counts may differ between the ways where a spike lies within a millionth of
   a bin of an edge, which each rounds its own way; the table says in how many bins.
2. One second of 20 units out of a 1 GB file on a small HTTP server on loopback: share of the file moved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

SIZE, WINDOW = 0.02, 1.0
BINS = 50


def make_session(path: Path, units: int, spikes: int, trials: int) -> None:
    """A file of units and trials, without any noise that would make runs differ."""
    from pynwb import NWBHDF5IO

    rng = np.random.default_rng(0)
    seconds = 3.0 * trials
    nwbfile = new_file()
    nwbfile.units = table_of_units(np.sort(rng.uniform(0, seconds, (units, spikes)), axis=1))
    for start in 1.0 + 2.9 * np.arange(trials):
        nwbfile.add_trial(start_time=start, stop_time=start + 1.5)
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)


def make_large_file(path: Path, gigabytes: float, units: int, spikes: int) -> None:
    """Spikes of many units beside a raw recording that fills the rest of the file."""
    from hdmf.backends.hdf5 import H5DataIO
    from hdmf.data_utils import DataChunkIterator
    from pynwb import NWBHDF5IO
    from pynwb.ecephys import ElectricalSeries

    rng = np.random.default_rng(1)
    nwbfile = new_file()
    device = nwbfile.create_device("probe")
    group = nwbfile.create_electrode_group("shank", "one", "CA1", device)
    for _ in range(32):
        nwbfile.add_electrode(location="CA1", group=group)
    seconds = gigabytes * 1e9 / (32 * 2 * 30_000)
    nwbfile.units = table_of_units(np.sort(rng.uniform(0, seconds, (units, spikes)), axis=1))
    noise = rng.integers(-300, 300, (30_000, 32), dtype=np.int16)
    pieces = DataChunkIterator((row for _ in range(int(seconds)) for row in noise), buffer_size=30_000)
    region = nwbfile.create_electrode_table_region(list(range(32)), "all")
    raw = ElectricalSeries(
        name="raw", data=H5DataIO(pieces), electrodes=region, rate=30_000.0, conversion=1e-6
    )
    nwbfile.add_acquisition(raw)
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)


def new_file():
    """A session without any data."""
    from pynwb import NWBFile

    return NWBFile("made for a benchmark", "benchmark", datetime(2024, 1, 1, tzinfo=UTC))


def table_of_units(times: np.ndarray):
    """The table of units for (units, spikes) times, s."""
    from hdmf.common import ElementIdentifiers, VectorData, VectorIndex
    from pynwb.misc import Units

    spikes = VectorData(name="spike_times", description="s", data=times.ravel())
    ends = np.arange(1, len(times) + 1) * times.shape[1]
    index = VectorIndex(name="spike_times_index", data=ends, target=spikes)
    ids = ElementIdentifiers(name="id", data=np.arange(len(times)))
    return Units(name="units", description="made", id=ids, columns=[spikes, index], colnames=["spike_times"])


def with_nwb_rnn(path: Path) -> np.ndarray:
    import nwb_rnn as nr

    trials = nr.read(path).align("start_time", window=(0.0, WINDOW), bin_size=SIZE)
    return trials["counts"].values


def with_pynapple(path: Path) -> np.ndarray:
    import pynapple as nap

    data = nap.load_file(str(path))
    units, starts = data["units"], data["trials"].start
    tensor = nap.build_tensor(units, nap.IntervalSet(starts, starts + WINDOW), bin_size=SIZE)
    return tensor.transpose(1, 2, 0)


def with_pynwb(path: Path) -> np.ndarray:
    """The loop that a careful user writes: each unit's spikes, and of each trial's the histogram."""
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(path, "r") as io:
        nwbfile = io.read()
        starts = nwbfile.trials["start_time"].data[:]
        stops, edges = starts + WINDOW, np.arange(BINS + 1) * SIZE
        counts = np.zeros((len(starts), BINS, len(nwbfile.units)), dtype=np.float32)
        for unit in range(len(nwbfile.units)):
            times = nwbfile.units.get_unit_spike_times(unit)
            first, last = np.searchsorted(times, starts), np.searchsorted(times, stops)
            for trial, start in enumerate(starts):
                own = times[first[trial] : last[trial]]
                counts[trial, :, unit] = np.histogram(own - start, edges)[0]
    return counts


WAYS = {"nwb_rnn": with_nwb_rnn, "pynapple": with_pynapple, "pynwb loop": with_pynwb}


def measure(way: str, path: Path, repeats: int) -> dict[str, float]:
    """Best and first time, s, and the peak of memory, bytes, of a further run; in this process."""
    import pynwb  # noqa: F401
    import xarray  # noqa: F401

    import nwb_rnn.sources.nwb  # noqa: F401

    if way == "pynapple":
        import pynapple  # noqa: F401
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        counts = WAYS[way](path)
        seconds.append(time.perf_counter() - begin)
    np.save(path.with_suffix(f".{way.replace(' ', '_')}.npy"), counts.astype(np.float32))
    return {
        "seconds": min(seconds),
        "first": seconds[0],
        "bytes": 0.0 if repeats == 1 else peak_memory(way, path),
    }


def peak_memory(way: str, path: Path) -> float:
    """Most bytes held at once by Python and numpy while the counts are made."""
    tracemalloc.start()
    WAYS[way](path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(peak)


def in_own_process(way: str, path: Path, repeats: int) -> dict[str, float]:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--way", way, "--path", str(path), "--repeats", str(repeats)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(folder: Path, units: int, spikes: int, trials: int) -> list[str]:
    """The table of the first part, as lines of Markdown."""
    path = folder / "session.nwb"
    make_session(path, units, spikes, trials)
    found = {way: in_own_process(way, path, 1 if way == "pynwb loop" else 5) for way in WAYS}
    counts = {way: np.load(path.with_suffix(f".{way.replace(' ', '_')}.npy")) for way in WAYS}
    different = {way: int((counts[way] != counts["nwb_rnn"]).sum()) for way in WAYS}
    ours, output, held = found["nwb_rnn"], counts["nwb_rnn"].nbytes, units * spikes * 8
    lines = [
        f"{units} units x {spikes} spikes, {trials} trials, {BINS} bins of 20 ms, file to counts:",
        "",
        "| way | best of 5, loop once (s) | first (s) | times slower | peak memory (MB) | bins that differ |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {way} | {r['seconds']:.2f} | {r['first']:.2f} | {r['seconds'] / ours['seconds']:.1f} | "
        f"{format(r['bytes'] / 1e6, '.0f') if r['bytes'] else 'not measured'} | {different[way]} |"
        for way, r in found.items()
    ]
    limit = 3 * output + held
    memory = (
        f"Output {output / 1e6:.0f} MB, spikes {held / 1e6:.0f} MB; peak of nwb_rnn "
        f"{ours['bytes'] / 1e6:.0f} MB, three outputs plus the spikes would be {limit / 1e6:.0f} MB."
    )
    return [*lines, "", memory]


def stream(folder: Path, gigabytes: float) -> list[str]:
    """The second part, as lines of Markdown."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from sources.range_server import serving

    import nwb_rnn as nr

    path = folder / "large.nwb"
    make_large_file(path, gigabytes, units=400, spikes=50_000)
    size = path.stat().st_size
    lines = []
    with serving(folder) as server:
        begin = time.perf_counter()
        recording = nr.read(server.address(path.name), units=list(range(20)), span=(100.0, 101.0))
        trials = recording.align([100.0], window=(0.0, 1.0), bin_size=SIZE)
        lines.append(_moved("1 s of 20 of 400 units", server.sent, size, time.perf_counter() - begin))
        assert trials.sizes["unit"] <= 20
        server.sent, begin = 0, time.perf_counter()
        nr.read(server.address(path.name))
        lines.append(_moved("all spikes and tables", server.sent, size, time.perf_counter() - begin))
        server.sent, begin = 0, time.perf_counter()
        recording = nr.read(server.address(path.name), signal="raw", units=[0])
        recording.align([100.0], window=(0.0, 1.0), bin_size=0.001, signal="raw")
        lines.append(
            _moved("1 s of the raw signal, 32 channels", server.sent, size, time.perf_counter() - begin)
        )
    header = [
        f"Streamed over HTTP on loopback from a file of {size / 1e9:.2f} GB:",
        "",
        "| what | moved (MB) | share | s |",
    ]
    return [*header, "|---|---|---|---|", *lines]


def _moved(what: str, sent: int, size: int, seconds: float) -> str:
    return f"| {what} | {sent / 1e6:.1f} | {sent / size:.2%} | {seconds:.1f} |"


def main() -> None:
    """Print both tables, or measure one way (as the program calls itself)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=400)
    parser.add_argument("--spikes", type=int, default=20_000)
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument(
        "--gigabytes", type=float, default=1.0, help="size of the streamed file; 0 leaves it out"
    )
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.path, options.repeats)))
        return
    with tempfile.TemporaryDirectory() as name:
        print("\n".join(compare(Path(name), options.units, options.spikes, options.trials)), flush=True)
        if options.gigabytes > 0:
            print()
            print("\n".join(stream(Path(name), options.gigabytes)))


if __name__ == "__main__":
    main()
