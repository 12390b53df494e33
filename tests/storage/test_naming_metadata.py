"""Names that stay in their folder, and metadata that nobody invents."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nwb_rnn as nr
from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.recordings.recording import Provenance, Recording
from nwb_rnn.storage import derivative_name
from nwb_rnn.storage.metadata import Metadata, check_dandi

GOOD = {"subject_id": "m1", "species": "Mus musculus", "sex": "F", "age": "P90D"}
START = datetime(2024, 1, 1, tzinfo=UTC)


def recording(subject="", session=""):
    return Recording.build(
        spikes=[[0.1]], provenance=Provenance("nwb", "", "", "", session_id=session, subject_id=subject)
    )


def test_names_are_those_of_dandi(tmp_path):
    assert derivative_name(recording("m1", "s1"), tmp_path).name == "sub-m1_ses-s1_desc-rnn_ecephys.nwb"
    assert derivative_name(recording("m_1"), tmp_path).name == "sub-m-1_desc-rnn_ecephys.nwb"
    assert derivative_name(recording(), tmp_path).name == "sub-unknown_desc-rnn_ecephys.nwb"


@pytest.mark.parametrize(
    "text",
    [
        "../../etc/passwd",
        "/abs",
        "a\\..\\b",
        "C:x",
        "a\x00b",
        "a\nb",
        "..",
        ".",
        "~",
        "-",
        "a" * 5000,
        "日本",
        "%2e",
    ],
)
def test_no_id_leads_out_of_the_folder(tmp_path, text):
    path = derivative_name(recording(text, text), tmp_path)
    assert path.parent == tmp_path and path.name == Path(path.name).name
    path.write_bytes(b"")
    assert list(tmp_path.iterdir()) == [path]


@given(subject=st.text(max_size=300), session=st.text(max_size=300))
def test_any_ids_make_a_plain_name(tmp_path_factory, subject, session):
    folder = tmp_path_factory.getbasetemp()
    name = derivative_name(recording(subject, session), folder).name
    assert len(name.encode()) < 255
    assert name.isascii() and name.startswith("sub-") and name.endswith("_desc-rnn_ecephys.nwb")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert name.count("_") == (3 if "_ses-" in name else 2) and name.count(".") == 1


def test_different_long_ids_get_different_names(tmp_path):
    names = {derivative_name(recording("x" * 200 + end), tmp_path).name for end in ("a", "b")}
    assert len(names) == 2


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(StorageError, match="no folder"):
        derivative_name(recording("m1"), tmp_path / "no")


def test_complete_metadata_pass():
    check_dandi(GOOD, START)
    birth = {k: v for k, v in GOOD.items() if k != "age"} | {"date_of_birth": START}
    check_dandi(birth, START)
    for age in ("P1Y", "P3M2D", "P2W", "P90D/", "P1D/P3D", "P1DT12H", "P1.5Y"):
        check_dandi(GOOD | {"age": age}, START)
    check_dandi(GOOD | {"species": "http://purl.obolibrary.org/obo/NCBITaxon_10090"}, START)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"subject_id": ""}, "'subject_id'"),
        ({"subject_id": "a/b"}, "without slashes"),
        ({"species": "mouse"}, "Latin binomial"),
        ({"sex": "male"}, "'male' is none of them"),
        ({"age": ""}, "'date_of_birth'"),
        ({"age": "90 days"}, "ISO 8601"),
        ({"age": "P"}, "ISO 8601"),
    ],
)
def test_each_demand_names_the_argument_that_meets_it(changes, named):
    with pytest.raises(StorageError, match=named):
        check_dandi({k: v for k, v in (GOOD | changes).items() if v}, START)


def test_everything_missing_is_named_at_once():
    with pytest.raises(StorageError) as caught:
        check_dandi({}, None)
    for word in ("subject_id", "species", "sex", "age", "session_start_time=", "dandi=False"):
        assert word in str(caught.value)


def test_a_real_source_without_age_and_sex_is_refused_until_they_are_given(tmp_path, fitted, helpers):
    bare = {"subject_id": "unknown", "species": "Macaca mulatta"}
    source = helpers.make_session(tmp_path / "bare.nwb", subject=bare)
    out = tmp_path / "out.nwb"
    with pytest.raises(StorageError) as caught:
        nr.write(out, fitted.model, source=source)
    assert "subject sex: subject={'sex'" in str(caught.value)
    assert "subject age: subject={'age'" in str(caught.value)
    assert "species" not in str(caught.value)
    assert not out.exists()
    nr.write(out, fitted.model, source=source, dandi=False)
    assert _subject(out) == bare
    nr.write(out, fitted.model, source=source, subject={"sex": "M", "age": "P5Y"}, overwrite=True)
    assert _subject(out) == bare | {"sex": "M", "age": "P5Y"}


def _subject(path):
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "r") as io:
        subject = io.read().subject
        return {k: str(v) for k, v in subject.fields.items() if k != "age__reference"}


def test_metadata_of_the_caller_replace_those_of_the_source(tmp_path, session_path, fitted):
    from pynwb import NWBHDF5IO

    given = {
        "session_start_time": "2021-05-06T07:08:09+02:00",
        "session_description": "another",
        "experimenter": ["Doe, Jane"],
        "institution": "An institute",
        "lab": "A lab",
        "keywords": ["rnn"],
        "related_publications": ["doi:10.1000/1"],
        "session_id": "s9",
        "experiment_description": "words",
    }
    path = nr.write(tmp_path / "a.nwb", fitted.model, source=session_path, **given)
    with NWBHDF5IO(str(path), "r") as io:
        nwbfile = io.read()
        assert nwbfile.session_start_time == datetime.fromisoformat(given["session_start_time"])
        assert nwbfile.timestamps_reference_time == nwbfile.session_start_time
        assert list(nwbfile.experimenter) == ["Doe, Jane"] and list(nwbfile.keywords[:]) == ["rnn"]
        for name in ("session_description", "institution", "lab", "session_id", "experiment_description"):
            assert getattr(nwbfile, name) == given[name]


@pytest.mark.parametrize("start", [datetime(2024, 1, 1), "yesterday", 5])
def test_a_start_without_a_time_zone_is_refused(start):
    with pytest.raises(InputError, match="2024-03-01T10:30:00"):
        Metadata(session_start_time=start)


def test_unknown_fields_of_the_subject_are_refused():
    with pytest.raises(InputError, match="colour"):
        Metadata(subject={"colour": "brown"})


def test_signals_of_rois_are_named_ophys(tmp_path):
    from nwb_rnn.recordings.recording import Traces

    rois = Traces(
        "dff", np.zeros((3, 2)), np.arange(3.0), np.arange(2), columns={"plane": np.array(["p", "p"])}
    )
    made = Recording.build(traces=rois)
    assert derivative_name(made, tmp_path).name.endswith("_ophys.nwb")
