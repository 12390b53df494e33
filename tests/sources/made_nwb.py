"""NWB files with known contents, made by pynwb for the tests of the reader."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pynwb import NWBHDF5IO, NWBFile
from pynwb.base import TimeSeries

TRAINS = [np.array([0.1, 0.5, 1.5, 2.2]), np.array([0.2, 2.5]), np.array([1.1, 1.2, 1.3])]


def empty_file(**fields) -> NWBFile:
    """A session without any data."""
    return NWBFile("a made session", "made", datetime(2024, 1, 1, tzinfo=UTC), **fields)


def with_units(nwbfile: NWBFile, trains=TRAINS, **columns) -> NWBFile:
    """Units, each with its spike times and further columns."""
    for name in columns:
        nwbfile.add_unit_column(name, name)
    for i, train in enumerate(trains):
        nwbfile.add_unit(spike_times=train, **{k: v[i] for k, v in columns.items()})
    return nwbfile


def with_trials(nwbfile: NWBFile, start=(0.0, 1.0, 2.0), length=0.9, **columns) -> NWBFile:
    """Trials of equal length, with further columns."""
    for name in columns:
        nwbfile.add_trial_column(name, name)
    for i, begin in enumerate(start):
        nwbfile.add_trial(start_time=begin, stop_time=begin + length, **{k: v[i] for k, v in columns.items()})
    return nwbfile


def with_electrodes(nwbfile: NWBFile, locations=("CA1", "CA1", "CA3")) -> NWBFile:
    """Electrodes of one group in some regions."""
    device = nwbfile.create_device("probe")
    group = nwbfile.create_electrode_group("shank", "one", "hippocampus", device)
    for place in locations:
        nwbfile.add_electrode(location=place, group=group)
    return nwbfile


def with_rois(
    nwbfile: NWBFile, planes: dict[str, tuple[np.ndarray, dict]], rate=5.0, kind="DfOverF"
) -> NWBFile:
    """ROI responses: plane name -> (values (T, n), further columns of the segmentation)."""
    from pynwb.ophys import DfOverF, Fluorescence, ImageSegmentation, OpticalChannel

    device = nwbfile.create_device("microscope")
    module = nwbfile.create_processing_module("ophys", "calcium")
    segmentation, container = ImageSegmentation(), {"DfOverF": DfOverF, "Fluorescence": Fluorescence}[kind]()
    module.add(segmentation)
    module.add(container)
    for number, (name, (values, columns)) in enumerate(planes.items()):
        plane = nwbfile.create_imaging_plane(
            optical_channel=OpticalChannel(name="green", description="green", emission_lambda=500.0),
            name=f"plane_{name}",
            description=name,
            device=device,
            excitation_lambda=900.0,
            indicator="GCaMP6",
            location="V1",
        )
        rois = segmentation.create_plane_segmentation(name=name, description=name, imaging_plane=plane)
        for column in columns:
            rois.add_column(column, column)
        for i in range(values.shape[1]):
            rois.add_roi(pixel_mask=[(i, i, 1.0)], **{k: v[i] for k, v in columns.items()})
        region = rois.create_roi_table_region("all", region=list(range(values.shape[1])))
        container.create_roi_response_series(
            name=f"response_{name}",
            data=values,
            rois=region,
            unit="a.u.",
            rate=rate,
            starting_time=0.01 * number,
        )
    return nwbfile


def series(name: str, data, rate=10.0, **fields) -> TimeSeries:
    """A plain TimeSeries."""
    timing = {} if "timestamps" in fields else {"rate": rate}
    return TimeSeries(name=name, data=data, unit=fields.pop("unit", "m"), **timing, **fields)


def saved(nwbfile: NWBFile, folder: Path, name: str = "made.nwb") -> Path:
    """The file on disk."""
    with NWBHDF5IO(folder / name, "w") as io:
        io.write(nwbfile)
    return folder / name
