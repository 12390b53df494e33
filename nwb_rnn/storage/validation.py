"""Is a file what NWB and DANDI want it to be?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nwb_rnn.errors import SourceError
from nwb_rnn.sources.nwb_open import quiet

_SEVERE = ("CRITICAL", "ERROR", "PYNWB_VALIDATION")


@dataclass(frozen=True)
class Finding:
    """One remark about a file.

    Attributes
    ----------
    tool : ``"pynwb"`` or ``"nwbinspector"``
    importance : such as ``"ERROR"``, ``"CRITICAL"``, ``"BEST_PRACTICE_VIOLATION"``,
        ``"BEST_PRACTICE_SUGGESTION"``
    check : name of the check
    message : what is wrong, and what to do
    location : where in the file
    """

    tool: str
    importance: str
    check: str
    message: str
    location: str

    @property
    def is_severe(self) -> bool:
        """True where DANDI refuses the file for it."""
        return self.importance in _SEVERE

    def __str__(self) -> str:
        return f"{self.importance} [{self.check}] {self.location}: {self.message}"


def validate(path: str | os.PathLike) -> list[Finding]:
    """What pynwb's validator and nwbinspector, with the DANDI configuration, say about a file.

    Parameters
    ----------
    path : an NWB file on this machine

    Returns
    -------
    The findings, severe ones first; an empty list for a file without any.

    Raises
    ------
    SourceError : there is no such file
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise SourceError(f"there is no file {str(path)!r}; check the path")
    with quiet():
        findings = [*_by_pynwb(str(path)), *_by_inspector(str(path))]
    return sorted(findings, key=lambda f: not f.is_severe)


def _by_pynwb(path: str) -> Iterator[Finding]:
    import pynwb

    try:
        errors = pynwb.validate(path=path)
    except Exception as error:  # whatever a damaged file makes of the reader
        yield Finding("pynwb", "ERROR", "readable", f"cannot be read: {str(error)[:300]}", "/")
        return
    for error in errors:
        yield Finding("pynwb", "ERROR", str(error.name), str(error.reason), str(error.location or "/"))


def _by_inspector(path: str) -> Iterator[Finding]:
    from nwbinspector import inspect_nwbfile, load_config

    for message in inspect_nwbfile(nwbfile_path=path, config=load_config("dandi"), skip_validate=True):
        yield Finding(
            "nwbinspector",
            message.importance.name,
            str(message.check_function_name),
            str(message.message),
            str(message.location or "/"),
        )
