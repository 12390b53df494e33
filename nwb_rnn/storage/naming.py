"""Names of files as DANDI wants them, made from ids that may hold anything."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from pathlib import Path

from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.recordings.recording import Recording

_LONGEST = 80  # characters of an id; the whole name must stay below 255 bytes


def derivative_name(recording: Recording, folder: str | os.PathLike) -> Path:
    """Where a derivative of a recording goes: ``folder/sub-X_ses-Y_desc-rnn_ecephys.nwb``.

    Parameters
    ----------
    recording : its subject and session ids give X and Y; without a session id there is no ``ses-`` part.
        Whatever is not a letter or a digit becomes a hyphen, so that no id leads out of the folder
    folder : an existing folder

    Raises
    ------
    StorageError : there is no such folder
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise StorageError(f"there is no folder {str(folder)!r}; make it first")
    provenance = recording.provenance
    subject = provenance.subject_id or recording.description.get("subject_id", "")
    session = provenance.session_id or recording.description.get("session_id", "")
    return folder / file_name(subject, session, modality(recording))


def check_ending(path: Path) -> None:
    """Raise InputError where a new file would not be called what every reader takes for NWB."""
    if path.suffix != ".nwb" and (path.suffix == ".zarr" or not path.exists()):
        raise InputError(f"{path.name!r}: results are written as HDF5; give a name that ends in .nwb")


def file_name(subject: str, session: str, kind: str) -> str:
    """``sub-X_ses-Y_desc-rnn_ecephys.nwb`` from ids that may hold anything; `kind` is ecephys or ophys."""
    parts = [f"sub-{plain_id(subject) or 'unknown'}"]
    if plain_id(session):
        parts.append(f"ses-{plain_id(session)}")
    return "_".join([*parts, "desc-rnn", kind]) + ".nwb"


def plain_id(text: str) -> str:
    """Letters, digits and single hyphens only; long ids are cut and end in a checksum of the whole."""
    folded = unicodedata.normalize("NFKD", str(text)).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9]+", "-", folded).strip("-")
    if len(plain) > _LONGEST or (text and not plain):
        mark = hashlib.sha256(str(text).encode("utf-8", "surrogatepass")).hexdigest()[:8]
        plain = f"{plain[:_LONGEST]}-{mark}".strip("-")
    return plain


def modality(recording: Recording) -> str:
    """``"ophys"`` for recordings of ROIs, else ``"ecephys"``."""
    return "ophys" if recording.spikes is None and "plane" in recording.units.columns else "ecephys"
