"""Rhythms of recorded and simulated activity side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nwb_rnn.metrics.spectra import spectrum
from nwb_rnn.plotting.style import MODEL, RECORDED, given_or_new, of_signal, tidy

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes


def power_spectra(
    recorded: xr.Dataset,
    simulated: xr.Dataset,
    pooled: bool = True,
    segment: float | None = None,
    highest: float = 50.0,
    ax: Axes | None = None,
) -> Axes:
    """Power spectra of the pooled spikes, or the mean spectrum of single units or channels.

    Parameters
    ----------
    recorded, simulated : what `align` and `simulate` return
    pooled : sum the units first, or average the spectra of single units; signals are never summed
    segment : length of the stretches, s, the same for both; see `spectrum`
    highest : highest frequency shown, Hz
    """
    ax = given_or_new(ax)
    frequency, power = spectrum(recorded, pooled, segment)
    stretch = 1.0 / frequency[0]
    pairs = ((frequency, power, RECORDED, "recorded"),)
    pairs += ((*spectrum(simulated, pooled, stretch), MODEL, "simulated"),)
    for x, y, colour, label in pairs:
        shown = x <= highest
        ax.semilogy(x[shown], y[shown], color=colour, linewidth=1.3, label=label)
    ax.set_xlim(0, min(highest, frequency[-1]))
    _plain_decades(ax)
    ax.legend(frameon=False)
    counts = "counts" in recorded
    label = "power ((spikes/s)²/Hz)" if counts else of_signal("power", recorded, power=2, per="Hz")
    title = "spectrum of all units pooled" if counts and pooled else "mean spectrum of single units"
    return tidy(ax, "frequency (Hz)", label, title if counts else "mean spectrum of the channels")


def _plain_decades(ax: Axes) -> None:
    """Ticks at 1, 2 and 5 of each decade in plain numbers: a spectrum often spans less than one decade."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=7))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
