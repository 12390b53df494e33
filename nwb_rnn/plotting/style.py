"""Colours and small habits that all figures share; the colours stay apart for colour-blind readers.

The palette is that of Okabe and Ito (2008, Color Universal Design).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

RECORDED = "#1A1A1A"
MODEL = "#D55E00"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")
QUIET = "#9A9A9A"
_SYMBOLS = {"volts": "V", "volt": "V", "amperes": "A", "meters": "m", "seconds": "s"}
_NO_UNITS = ("", "n/a", "none", "unknown")


def given_or_new(ax: Axes | None) -> Axes:
    """The axes to draw into: those given, else those of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1]


def tidy(ax: Axes, x: str, y: str, title: str = "") -> Axes:
    """Labels, a title on the left, and no frame on the upper and right sides."""
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if title:
        ax.set_title(title, loc="left")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def time_label(align_to: str) -> str:
    """Label of a time axis, naming the event it counts from where there is one."""
    return f"time from {align_to} (s)" if align_to and align_to != "simulated" else "time in trial (s)"


def of_signal(what: str, dataset: xr.Dataset, power: int = 1, per: str = "") -> str:
    """A label with the unit of the recorded signal, where it is known: "signal (V)", "power (V²/Hz)"."""
    unit = str(dataset.attrs.get("physical_unit") or "").strip()
    if unit.lower() in _NO_UNITS:
        return f"{what} per {per}" if per else what
    symbol = _SYMBOLS.get(unit.lower(), unit)
    raised = symbol if power == 1 else f"{symbol}²" if len(symbol) == 1 else f"({symbol})²"
    return f"{what} ({raised}{'/' + per if per else ''})"
