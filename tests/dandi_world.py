"""What the DANDI tests share: small NWB files, and a guard against other hosts."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

TOKEN = "f00dfeedf00dfeedf00dfeedf00dfeedf00dfeed"
SET = "000140"


def write_small_nwb(path: Path, seed: int = 0, units: int = 3, raw_samples: int = 0) -> Path:
    """An NWB file with `units` sorted units, 10 trials of 1 s and, if asked, a raw signal of 16 channels."""
    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.file import Subject

    rng = np.random.default_rng(seed)
    file = NWBFile(
        session_description="made for a test",
        identifier=f"small-{seed}",
        session_start_time=datetime(2024, 1, 1, tzinfo=UTC),
        session_id="1",
    )
    file.subject = Subject(subject_id="X", species="Mus musculus", sex="U", age="P90D")
    for _ in range(units):
        file.add_unit(spike_times=np.sort(rng.uniform(0, 20, 200)))
    file.add_trial_column("go_time", "when the animal could go")
    for i in range(10):
        file.add_trial(start_time=2.0 * i, stop_time=2.0 * i + 1.0, go_time=2.0 * i + 0.25)
    if raw_samples:
        _add_raw(file, rng, raw_samples)
    path.parent.mkdir(parents=True, exist_ok=True)
    with NWBHDF5IO(path, "w") as io:
        io.write(file)
    return path


def _add_raw(file, rng: np.random.Generator, samples: int) -> None:
    from pynwb.ecephys import ElectricalSeries

    device = file.create_device(name="probe")
    group = file.create_electrode_group(name="shank", description="one", location="CA1", device=device)
    for _ in range(16):
        file.add_electrode(group=group, location="CA1")
    region = file.create_electrode_table_region(list(range(16)), "all")
    data = rng.integers(-100, 100, (samples, 16)).astype(np.int16)
    series = ElectricalSeries(
        name="raw", data=data, electrodes=region, rate=30000.0, starting_time=0.0, conversion=1e-6
    )
    file.add_acquisition(series)


def only_loopback(monkeypatch) -> None:
    """Make every connection to another host than 127.0.0.1 fail at once."""
    connect = socket.socket.connect

    def guarded(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise AssertionError(f"a test tried to reach {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
