"""Texts that come out of files, made fit to be shown: short, on one line, printable."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import numpy as np

LONGEST = 200  # characters


def shown(value: Any, longest: int = LONGEST) -> str:
    """One line of printable characters; signs that turn the direction of writing are taken out."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    line = "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else " " for c in text)
    line = " ".join(line.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def number(value: Any, digits: int = 4) -> str:
    """A number for a reader; whole numbers in full, infinity as a sign."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(int(value))
    value = float(value)
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.{digits}g}".replace("-", "−")


def compact(value: Any) -> str:
    """Any value that JSON can hold, on one line."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, bool | int | float | np.number):
        return number(value, 6)
    if value is None:
        return "–"
    if isinstance(value, list) and value and all(type(v) in (int, float) for v in value):
        return shown(f"[{', '.join(number(v, 6) for v in value)}]")
    return shown(json.dumps(value, ensure_ascii=False, default=str))


def plain_for_figures(text: Any, longest: int = 40) -> str:
    """A text that matplotlib draws as it is: dollars do not start mathematics."""
    return shown(text, longest).replace("$", r"\$")
