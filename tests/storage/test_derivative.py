"""Slim copies: what is in them, what is not, and whose ids they carry."""

import json

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO

import nwb_rnn as nr
from nwb_rnn.errors import StorageError
from nwb_rnn.recordings.recording import Provenance, Recording, Table

START = "2024-01-01T00:00:00+00:00"


@pytest.fixture
def derivative(tmp_path, session_path, fitted):
    return nr.write(tmp_path / "slim.nwb", fitted.model, source=nr.read(session_path))


def test_a_derivative_keeps_tables_and_behaviour_and_no_signals(derivative, session_path):
    with NWBHDF5IO(str(session_path), "r") as one, NWBHDF5IO(str(derivative), "r") as two:
        source, slim = one.read(), two.read()
        assert not slim.acquisition and not slim.stimulus
        for unit in range(6):
            np.testing.assert_array_equal(source.units["spike_times"][unit], slim.units["spike_times"][unit])
        assert slim.units["obs_intervals"][2].tolist() == [[0.0, 8.0]]
        assert slim.units["quality"].data[:].tolist() == source.units["quality"].data[:].tolist()
        assert slim.units.id[:].tolist() == [10, 11, 12, 13, 14, 15]
        assert slim.units["electrodes"][3].index.tolist() == [3]
        assert slim.units.electrodes.table is slim.electrodes
        assert slim.electrodes["group"].data[0] is slim.electrode_groups["shank"]
        assert slim.electrode_groups["shank"].device is slim.devices["probe"]
        assert slim.trials.to_dataframe().equals(source.trials.to_dataframe())
        hand = slim.processing["behavior"]["Position"]["hand"]
        assert hand.data.shape == (800, 2) and hand.rate == 100.0 and hand.reference_frame == "table"
        assert slim.subject.subject_id == "m1" and slim.session_id == "s1"


def test_a_derivative_has_identifiers_of_its_own(derivative, session_path):
    def ids(path):
        with h5py.File(path) as file:
            found = [file.attrs["object_id"]]
            file.visititems(lambda _, item: found.append(item.attrs.get("object_id")))
            return {i for i in found if i}, file["identifier"][()]

    (source, source_identifier), (slim, slim_identifier) = ids(session_path), ids(derivative)
    assert not source & slim
    assert source_identifier != slim_identifier


def test_a_derivative_says_what_it_is_derived_from_and_what_was_left_out(derivative):
    with NWBHDF5IO(str(derivative), "r") as io:
        nwbfile = io.read()
        assert "'session-1'" in nwbfile.notes
        assert "raw: acquisition is not part of a derivative" in nwbfile.notes
        generated = {row[0]: row[1] for row in nwbfile.was_generated_by[:]}
        assert {"nwb_rnn", "ndx-latent-dynamics", "pynwb", "hdmf"} <= set(generated)


def test_no_folder_of_this_machine_and_no_credentials_reach_the_file(tmp_path, session_path, fitted):
    from dataclasses import replace

    recording = nr.read(session_path)
    # Not hexadecimal and long: the file holds dozens of random object ids, and "abc0" was found in one.
    password, signature = "swordfish-of-user", "signature-of-request"
    secret = f"https://user:{password}@127.0.0.1/a/b.nwb?X-Amz-Signature={signature}"
    path = nr.write(tmp_path / "a.nwb", fitted.model, latents=fitted.latents, source=recording)
    raw = path.read_bytes()
    assert str(tmp_path).encode() not in raw and b"/source/" not in raw
    away = replace(recording, provenance=Provenance("arrays", secret, "i", "o"))
    path = nr.write(tmp_path / "b.nwb", fitted.model, source=away, subject={"age": "P1D"})
    raw = path.read_bytes()
    assert password.encode() not in raw and signature.encode() not in raw


def test_a_derivative_never_replaces_its_source(session_path, fitted):
    before = session_path.read_bytes()
    for overwrite in (False, True):
        with pytest.raises(StorageError, match="is the source itself"):
            nr.write(session_path, fitted.model, source=session_path, overwrite=overwrite)
    assert session_path.read_bytes() == before


def test_an_existing_file_is_replaced_only_on_request(tmp_path, session_path, fitted):
    path = tmp_path / "out.nwb"
    path.write_bytes(b"precious")
    with pytest.raises(StorageError, match="exists already"):
        nr.write(path, fitted.model, source=session_path)
    assert path.read_bytes() == b"precious"
    nr.write(path, fitted.model, source=session_path, overwrite=True)
    assert nr.load(path).unit_ids == fitted.model.unit_ids


def test_a_folder_gets_a_file_with_a_dandi_name(tmp_path, session_path, fitted):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = nr.write(folder, fitted.model, source=nr.read(session_path))
    assert path == folder / "sub-m1_ses-s1_desc-rnn_ecephys.nwb"


def test_an_open_file_is_a_source_too(tmp_path, session_path, fitted):
    with NWBHDF5IO(str(session_path), "r") as io:
        nwbfile = io.read()
        path = nr.write(tmp_path / "a.nwb", fitted.model, source=nwbfile)
        assert nwbfile.acquisition["raw"].data.shape == (5000, 4)
    assert nr.load(path).unit_ids == fitted.model.unit_ids


def test_a_zarr_source_gives_an_hdf5_derivative(tmp_path, session_path, fitted):
    hdmf_zarr = pytest.importorskip("hdmf_zarr")
    folder = str(tmp_path / "session.nwb.zarr")
    with NWBHDF5IO(str(session_path), "r") as io, hdmf_zarr.NWBZarrIO(folder, "w") as out:
        out.export(src_io=io, write_args={"link_data": False})
    path = nr.write(tmp_path / "a.nwb", fitted.model, source=folder)
    with NWBHDF5IO(str(path), "r") as io:
        slim = io.read()
        assert slim.units["electrodes"][3].index.tolist() == [3]
        assert slim.trials["direction"].data[1] == "left"
        assert len(slim.units["spike_times"][0]) == 96


def test_a_recording_of_arrays_becomes_a_small_file(tmp_path, fitted):
    trials = Table("trials", np.arange(8), {"start_time": np.arange(8.0), "stop_time": np.arange(8.0) + 0.8})
    recording = Recording.build(
        units=Table("units", 10 + np.arange(6), {"quality": np.array(["good"] * 6)}),
        spikes=[np.linspace(0, 8, 50) + 0.01 * unit for unit in range(6)],
        intervals={"trials": trials, "a/b": trials},
        span=(0.0, 9.0),
        description={"session_start_time": START, "species": "ignored"},
    )
    path = nr.write(
        tmp_path / "a.nwb",
        fitted.model,
        latents=fitted.latents,
        source=recording,
        subject={"subject_id": "x", "species": "Mus musculus", "sex": "U", "age": "P1D"},
    )
    again = nr.read(path)
    np.testing.assert_array_equal(again.spikes.times, recording.spikes.times)
    np.testing.assert_array_equal(again.spikes.offsets, recording.spikes.offsets)
    np.testing.assert_array_equal(again.observed.intervals, recording.observed.intervals)
    assert again.units.columns["quality"].tolist() == ["good"] * 6
    assert set(again.intervals) >= {"trials", "a_b"}
    with NWBHDF5IO(str(path), "r") as io:
        nwbfile = io.read()
        module = nwbfile.processing["ecephys"]
        assert module["low_rank_rnn"].observed_units.table is nwbfile.units
        assert module["low_rank_rnn_latents"].trials.table is nwbfile.trials


def test_trials_that_are_not_in_the_file_are_stored_by_their_times_alone(tmp_path, session_path, fitted):
    latents = fitted.latents.assign_coords(trial=fitted.latents["trial"].values + 100)
    path = nr.write(tmp_path / "a.nwb", fitted.model, latents=latents, source=session_path)
    with NWBHDF5IO(str(path), "r") as io:
        stored = io.read().processing["ecephys"]["low_rank_rnn_latents"]
        assert stored.trials is None
        assert stored.trial_ids[:].tolist() == latents["trial"].values.tolist()
        np.testing.assert_array_equal(stored.event_time[:], latents["event_time"].values)


def test_large_columns_are_left_out_and_said(tmp_path, session_path, fitted, monkeypatch):
    from nwb_rnn.storage import copying

    monkeypatch.setattr(copying, "LARGEST", 1000)
    path = nr.write(tmp_path / "a.nwb", fitted.model, source=session_path)
    with NWBHDF5IO(str(path), "r") as io:
        slim = io.read()
        assert len(slim.units["spike_times"][0]) == 96
        assert "behavior" not in slim.processing
        assert "Position: data has 0 MiB" in slim.notes


def test_rois_lead_to_the_ophys_module(tmp_path, fitted):
    from datetime import UTC, datetime

    from pynwb import NWBFile
    from pynwb.ophys import ImageSegmentation, OpticalChannel

    nwbfile = NWBFile("imaging", "imaging-1", datetime(2024, 1, 1, tzinfo=UTC))
    plane = nwbfile.create_imaging_plane(
        name="plane",
        optical_channel=OpticalChannel(name="green", description="green", emission_lambda=500.0),
        description="a plane",
        device=nwbfile.create_device(name="microscope"),
        excitation_lambda=600.0,
        indicator="GCaMP",
        location="V1",
    )
    segmentation = ImageSegmentation()
    rois = segmentation.create_plane_segmentation(description="cells", imaging_plane=plane)
    for roi in range(6):
        rois.add_roi(pixel_mask=[(roi, 1, 1.0), (roi, 2, 0.5)], id=10 + roi)
    nwbfile.create_processing_module("ophys", "imaging").add(segmentation)
    source = tmp_path / "imaging.nwb"
    with NWBHDF5IO(str(source), "w") as io:
        io.write(nwbfile)
    model = type(fitted.model).restore(
        fitted.model.to_arrays(),
        fitted.model.configuration,
        [],
        {**fitted.model.data_description, "observed": "signal"},
        {},
        {},
    )
    path = nr.write(tmp_path / "a.nwb", model, source=source, dandi=False)
    with NWBHDF5IO(str(path), "r") as io:
        slim = io.read()
        units = slim.processing["ophys"]["low_rank_rnn"].observed_units
        assert type(units.table).__name__ == "PlaneSegmentation"
        assert units.table["pixel_mask"][2].tolist() == [(2, 1, 1.0), (2, 2, 0.5)]
        assert slim.imaging_planes["plane"].optical_channel[0].name == "green"


def test_results_without_a_source_make_a_file_of_their_own(tmp_path, fitted):
    with pytest.raises(StorageError, match="session_start_time"):
        nr.write(tmp_path / "a.nwb", fitted.model, dandi=False)
    path = nr.write(tmp_path / "a.nwb", fitted.model, dandi=False, session_start_time=START)
    with NWBHDF5IO(str(path), "r") as io:
        model = io.read().processing["ecephys"]["low_rank_rnn"]
        assert model.observed_units is None
        assert model.observed_unit_ids[:].tolist() == fitted.model.unit_ids
        assert json.loads(model.configuration)["rank"] == 2
