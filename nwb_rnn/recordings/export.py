"""Hand a recording to other tools: spikeinterface, and trials to ndx-binned-spikes.

neo is in `export_neo`, pynapple in `export_pynapple`; all four functions can be imported from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.recordings.export_neo import to_neo
from nwb_rnn.recordings.export_pynapple import to_pynapple
from nwb_rnn.recordings.recording import Recording

if TYPE_CHECKING:
    import xarray

__all__ = ["to_binned_aligned_spikes", "to_neo", "to_pynapple", "to_spikeinterface"]


def to_spikeinterface(recording: Recording, sampling_frequency: float = 30000.0) -> Any:
    """The spikes as a spikeinterface `NumpySorting` of one segment.

    A sorting stores sample numbers: each spike is moved to the nearest sample, by up to half a sample
    (17 µs at 30 kHz). Sample 0 is at 0 s of the session, or before the first spike where that is negative.

    Parameters
    ----------
    recording : with spikes
    sampling_frequency : Hz; that of the raw data, if known, gives back the times that were sorted

    Returns
    -------
    NumpySorting with the unit ids of the recording and its unit columns as properties

    Raises
    ------
    InputError : no spikes, or a sampling frequency that is not positive
    """
    if recording.spikes is None:
        raise InputError("the recording has no spikes, which is all that a spikeinterface sorting holds")
    if not np.isfinite(sampling_frequency) or sampling_frequency <= 0:
        raise InputError(f"sampling_frequency={sampling_frequency}: expected a positive number of Hz")
    from spikeinterface.core import NumpySorting

    times = recording.spikes.times
    first = int(np.floor(min(0.0, times.min(initial=0.0)) * sampling_frequency))
    samples = np.round(times * sampling_frequency).astype(np.int64) - first
    offsets = recording.spikes.offsets
    per_unit = {
        identifier: samples[offsets[i] : offsets[i + 1]]
        for i, identifier in enumerate(recording.units.ids.tolist())
    }
    sorting = NumpySorting.from_unit_dict([per_unit], sampling_frequency)
    if first:
        sorting.shift_times(first / sampling_frequency)
    for name, values in recording.units.columns.items():
        sorting.set_property(name, values)
    return sorting


def to_binned_aligned_spikes(
    trials: xarray.Dataset, units_table: Any = None, condition: str | None = None
) -> Any:
    """Trials as a `BinnedAlignedSpikes` of ndx-binned-spikes, to be added to an NWB file.

    Parameters
    ----------
    trials : Dataset of `Recording.align` with ``counts`` (trial, time, unit), where every bin of every
        trial was observed: the type has no place for a mask
    units_table : pynwb `Units` table of the file that will hold the result; its rows are looked up by
        the ids in ``trials.unit``
    condition : coordinate of the trials that says their condition, such as ``"direction"``

    Returns
    -------
    ndx_binned_spikes.BinnedAlignedSpikes with ``data`` (unit, event, bin), events in order of time

    Raises
    ------
    InputError : no counts, bins that were not observed, or units that the table does not have
    """
    if "counts" not in trials:
        raise InputError(f"the trials hold no 'counts' to export; they hold {', '.join(map(str, trials))}")
    if not bool(trials["mask"].all()):
        raise InputError(
            f"{int((~trials['mask']).sum())} bins of the trials are masked, and BinnedAlignedSpikes has no "
            "mask: they would read as bins without spikes. Choose a window that every trial covers, or drop "
            "the trials that do not"
        )
    from ndx_binned_spikes import BinnedAlignedSpikes

    events = np.asarray(trials["event_time"].values, dtype=float)
    order = np.argsort(events, kind="stable")
    counts = trials["counts"].transpose("unit", "trial", "time").values[:, order]
    width = float(trials.attrs["bin_size"])
    first = float(trials["time"].values[0]) - width / 2
    optional: dict[str, Any] = {}
    if condition is not None:
        labels, which = np.unique(np.asarray(trials[condition].values)[order], return_inverse=True)
        optional["condition_labels"] = labels.astype(str).astype(object)
        optional["condition_indices"] = which.astype(np.uint64)
    if units_table is not None:
        optional["units_region"] = _region(trials, units_table)
    return BinnedAlignedSpikes(
        bin_width_in_ms=width * 1000,
        event_to_bin_offset_in_ms=round(first * 1000, 6),
        data=counts.astype(np.uint32),
        event_timestamps=events[order],
        **optional,
    )


def _region(trials: xarray.Dataset, units_table: Any) -> Any:
    from hdmf.common import DynamicTableRegion

    rows = {identifier: row for row, identifier in enumerate(np.asarray(units_table.id[:]).tolist())}
    wanted = trials["unit"].values.tolist()
    if absent := [unit for unit in wanted if unit not in rows]:
        raise InputError(
            f"units {absent[:10]} of the trials are not in the units table, which has {len(rows)}"
        )
    return DynamicTableRegion(
        name="units_region",
        data=[rows[unit] for unit in wanted],
        description="units of the first axis of data",
        table=units_table,
    )
