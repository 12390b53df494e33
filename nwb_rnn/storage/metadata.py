"""What DANDI asks of every file, and who can supply it: the source, or the caller; never a guess."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

from nwb_rnn.errors import InputError, StorageError

SUBJECT_FIELDS = (
    "subject_id",
    "species",
    "sex",
    "age",
    "date_of_birth",
    "description",
    "genotype",
    "strain",
    "weight",
    "age__reference",
)
_SPECIES = re.compile(r"[A-Z][a-z]+ [a-z]+|https?://purl\.obolibrary\.org/obo/NCBITaxon_\d+/?")
_DURATION = (
    r"P(?!$)(\d+(\.\d+)?Y)?(\d+(\.\d+)?M)?(\d+(\.\d+)?W)?(\d+(\.\d+)?D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"
)
_AGE = re.compile(rf"{_DURATION}(/({_DURATION})?)?")


@dataclass(frozen=True)
class Metadata:
    """What the caller says about the session; None leaves what the source says.

    Attributes
    ----------
    subject : any of subject_id, species, sex, age, date_of_birth, description, genotype, strain, weight
    session_start_time : with a time zone
    session_description, session_id, experimenter, experiment_description, institution, lab, keywords,
        related_publications : as in `pynwb.NWBFile`
    """

    subject: dict[str, Any] | None = None
    session_start_time: datetime | str | None = None
    session_description: str | None = None
    session_id: str | None = None
    experimenter: str | Sequence[str] | None = None
    experiment_description: str | None = None
    institution: str | None = None
    lab: str | None = None
    keywords: Sequence[str] | None = None
    related_publications: Sequence[str] | None = None

    def __post_init__(self):
        unknown = set(self.subject or ()) - set(SUBJECT_FIELDS)
        if unknown:
            raise InputError(
                f"subject has no field {', '.join(sorted(unknown))}; it has {', '.join(SUBJECT_FIELDS)}"
            )
        if isinstance(self.session_start_time, str):
            object.__setattr__(self, "session_start_time", _moment(self.session_start_time))
        start = self.session_start_time
        if start is not None and (not isinstance(start, datetime) or start.tzinfo is None):
            raise InputError(
                f"session_start_time={start!r} must be a datetime with a time zone, or ISO text such as "
                "'2024-03-01T10:30:00+01:00'"
            )

    def given(self) -> dict[str, Any]:
        """The fields of the session that were given; those of the subject are apart."""
        names = [f.name for f in fields(self) if f.name != "subject"]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def is_empty(self) -> bool:
        """True where nothing was given at all."""
        return not self.given() and not self.subject


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InputError(
            f"session_start_time={text!r} is not an ISO time such as '2024-03-01T10:30:00+01:00'"
        ) from error


def check_dandi(subject: dict[str, Any], start: datetime | None) -> None:
    """Refuse what DANDI would refuse, naming every missing field and the argument that supplies it.

    Parameters
    ----------
    subject : fields of the subject that are known, empty ones left out
    start : session_start_time

    Raises
    ------
    StorageError : one or more fields are missing or malformed
    """
    wrong = [*_subject_demands(subject)]
    if start is None:
        wrong.append("session_start_time: session_start_time='2024-03-01T10:30:00+01:00'")
    if wrong:
        raise StorageError(
            "DANDI asks for what the source does not say:\n  "
            + "\n  ".join(wrong)
            + "\nGive these arguments, or dandi=False for a file that DANDI will not accept"
        )


def _subject_demands(subject: dict[str, Any]) -> Iterator[str]:
    name = str(subject.get("subject_id", ""))
    if not name:
        yield "subject id: subject={'subject_id': '…'}"
    elif "/" in name:
        yield f"subject id {name!r} holds a slash: subject={{'subject_id': '…'}} without slashes"
    species = str(subject.get("species", ""))
    if not _SPECIES.fullmatch(species):
        said = f" ({species!r} is not one)" if species else ""
        yield f"subject species, a Latin binomial{said}: subject={{'species': 'Mus musculus'}}"
    sex = str(subject.get("sex", ""))
    if sex not in ("M", "F", "U", "O"):
        said = f" ({sex!r} is none of them)" if sex else ""
        yield f"subject sex{said}: subject={{'sex': 'M', 'F', 'U' (unknown) or 'O' (other)}}"
    age = str(subject.get("age", ""))
    if age and not _AGE.fullmatch(age):
        yield f"subject age {age!r} is not an ISO 8601 duration: subject={{'age': 'P90D'}}"
    elif not age and not isinstance(subject.get("date_of_birth"), date):
        yield "subject age: subject={'age': 'P90D'} or subject={'date_of_birth': datetime(…)}"


def check_start(start: datetime | None) -> datetime:
    """The start of the session, which no NWB file can do without.

    Raises
    ------
    StorageError : it is not known
    """
    if start is None:
        raise StorageError(
            "an NWB file needs the start of the session, which the source does not say; give "
            "session_start_time='2024-03-01T10:30:00+01:00'"
        )
    return start
