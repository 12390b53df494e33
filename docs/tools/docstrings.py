"""Docstrings of this project as Markdown: `name : text` under a heading with dashes becomes a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

_HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.M)
_ENTRY = re.compile(r"^(?P<names>[\w*.]+(?:, [\w*.]+)*)(?: \([^)]*\))? : ?(?P<text>.*)$")


class ProjectDocstrings(griffe.Extension):
    """Rewrites the docstring of everything that is collected."""

    def on_object(self, *, obj: Any, loader: Any, **kwargs: Any) -> None:
        """Called by griffe once for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(docstring: str) -> str:
    """Each section with a heading of its own in bold, its entries as a list.

    Entries may go on over several lines that are indented; equations that are indented by four spaces stay
    code.
    """
    parts = _HEADING.split(docstring)
    text = parts[0].rstrip()
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        text += f"\n\n**{heading}**\n\n{_entries(body.strip(chr(10)))}"
    return text


def _entries(body: str) -> str:
    """The lines of a section; where none is an entry, they stay as they are."""
    lines = body.splitlines()
    if not any(_ENTRY.match(line) for line in lines):
        return body
    made: list[str] = []
    for line in lines:
        entry = _ENTRY.match(line)
        if entry:
            names = ", ".join(f"`{name}`" for name in entry["names"].split(", "))
            made.append(f"- {names}: {entry['text']}")
        elif line.startswith(" "):
            made.append(line)
        elif line and made and made[-1]:
            made += ["", line]
        else:
            made.append(line)
    return "\n".join(made)
