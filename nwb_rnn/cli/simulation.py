"""Simulated trials as a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nwb_rnn.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

SUFFIXES = (".nc", ".nwb")


def save(simulated: xr.Dataset, path: Path, overwrite: bool, seed: int) -> None:
    """Write what `simulate` returned: ``.nc`` keeps everything, ``.nwb`` the spikes as a session.

    Raises
    ------
    InputError : another suffix, or a signal to be written as spikes
    StorageError : the file exists or cannot be written
    """
    from nwb_rnn.storage.atomic import replacing

    if path.suffix == ".nc":
        with replacing(path, overwrite) as temporary:
            simulated.to_netcdf(temporary, engine="h5netcdf")
    elif path.suffix == ".nwb":
        _as_session(simulated, path, overwrite, seed)
    else:
        raise InputError(f"{path.name!r} should end in {' or '.join(SUFFIXES)}")


def _as_session(simulated: xr.Dataset, path: Path, overwrite: bool, seed: int) -> None:
    import numpy as np

    from nwb_rnn.metrics.spectra import bins_inside
    from nwb_rnn.storage.session import write_session
    from nwb_rnn.teachers.session import lay_out

    if "counts" not in simulated:
        raise InputError(
            "this model makes a continuous signal, and an .nwb of simulated trials holds spikes: write .nc"
        )
    values = simulated["counts"].transpose("trial", "time", "unit").values
    trials = [trial[inside] for trial, inside in zip(values, bins_inside(simulated), strict=True)]
    recording = lay_out(
        trials,
        float(simulated.attrs["bin_size"]),
        np.random.default_rng(seed),
        unit_ids=simulated["unit"].values,
    )
    write_session(path, recording, overwrite=overwrite)
