"""The still pictures of a report, each small enough to be read on a phone."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.report.stored import Stored
from nwb_rnn.report.words import plain_for_figures, shown

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

_SIZE = (4.4, 3.1)  # inches; on a phone 9 points of it are still some 10 pixels
_DOTS_PER_INCH = 190
_STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "axes.linewidth": 0.8,
}
_UNITS_SHOWN = 3
_BINS_SHOWN = 1000  # of one trial; more than the figure has dots in a row show nothing


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, with what it shows in words.

    Attributes
    ----------
    section : heading of the part of the page that it belongs to
    png : the file
    caption : a sentence below it, which is its text for those who cannot see it as well
    """

    section: str
    png: bytes
    caption: str


def pictures(stored: Stored) -> Iterator[Picture]:
    """Every figure that what is stored allows; one that cannot be drawn is left out and said so."""
    stored = _plain(stored)
    for section, draw, caption in _plan(stored):
        try:
            yield Picture(section, _png(draw), caption)
        except InputError as error:
            stored.absent.append(f"a figure ({shown(caption, 60)}): {error}")


def _plan(stored: Stored) -> Iterator[tuple[str, Callable[[Axes], Any], str]]:
    """(section, what draws into axes, caption) of each figure."""
    if stored.latents is not None:
        yield from _one_trial(stored)
    if _smoothed_counts(stored):
        stored.absent.append(
            "averages and spectra: this network makes smoothed rates, and the file holds counts"
        )
    else:
        if stored.trials is not None and stored.latents is not None and stored.trials.sizes["trial"] > 1:
            yield from _averages(stored)
        if stored.trials is not None and stored.simulated is not None:
            yield from _agreement(stored)
    yield from _dynamics(stored)


def _smoothed_counts(stored: Stored) -> bool:
    """A rate network of spikes, whose rates are not what was recorded."""
    counts = stored.trials is not None and "counts" in stored.trials
    return counts and stored.about["kind"] == "RateRNN"


def _one_trial(stored: Stored) -> Iterator[tuple[str, Callable, str]]:
    from nwb_rnn.plotting.latents import latents as draw_latents
    from nwb_rnn.plotting.spikes import expected, inside_of, longest_typical, raster, unit_order

    latents, trials, section = stored.latents, stored.trials, "One trial"
    trial = longest_typical(latents)
    name = shown(stored.latents["trial"].values[trial])
    bins = latents.sizes["time"]
    if bins > _BINS_SHOWN and inside_of(latents, trial).sum() > _BINS_SHOWN:
        span = slice(0, _BINS_SHOWN)
        latents, trials = latents.isel(time=span), None if trials is None else trials.isel(time=span)
        name += f", its first {_BINS_SHOWN * float(latents.attrs['bin_size']):.3g} s"
    arrays = stored.model.to_arrays()
    by_loading = "readout_weights" in arrays and "recurrent_weights" not in arrays  # else that of outputs
    order = unit_order(arrays["readout_weights"]) if by_loading else None
    rows = "units sorted by their loading on the latents" if order is not None else "units in rows"
    if trials is not None:
        what = "Spikes" if "counts" in trials else "Signal"
        yield section, lambda ax: raster(trials, trial, order, ax=ax), f"{what} of trial {name}; {rows}."
    if "rates" in latents:
        caption = f"What the model expects in trial {name}, given what was recorded; {rows}."
        yield section, lambda ax: expected(latents, trial, order, ax=ax), caption
    bands = "; bands are one standard deviation to both sides" if "latent_std" in latents else ""
    caption = f"Inferred latents of trial {name}{bands}."
    yield section, lambda ax: draw_latents(latents, trial, ax=ax), caption


def _averages(stored: Stored) -> Iterator[tuple[str, Callable, str]]:
    from nwb_rnn.plotting.rates import most_modulated, rates

    trials, latents = stored.trials.sel(unit=stored.latents["unit"].values), stored.latents
    for unit in most_modulated(trials, latents, _UNITS_SHOWN):

        def draw(ax: Axes, unit=unit) -> None:
            rates(trials, latents, unit, ax=ax)
            ax.legend(frameon=False)

        caption = f"Average over trials of unit {shown(unit)}, recorded and as the model expects it."
        yield "Averages over trials", draw, caption


def _agreement(stored: Stored) -> Iterator[tuple[str, Callable, str]]:
    from nwb_rnn.plotting.rates import mean_rates
    from nwb_rnn.plotting.spectra import power_spectra

    trials, simulated = stored.trials.sel(unit=stored.latents["unit"].values), stored.simulated
    section = "Simulated against recorded"
    caption = "Mean of each unit in trials simulated from the model, against the recorded one."
    yield section, lambda ax: mean_rates(trials, simulated, ax=ax), caption
    if "counts" in trials:
        caption = "Power spectrum of all spikes together: rhythms that units share."
        yield section, lambda ax: power_spectra(trials, simulated, True, ax=ax), caption
    caption = "Mean power spectrum of single units or channels."
    yield section, lambda ax: power_spectra(trials, simulated, False, ax=ax), caption


def _dynamics(stored: Stored) -> Iterator[tuple[str, Callable, str]]:
    from nwb_rnn.plotting.training import training_curve

    for name, points in stored.points.items():
        if len(points) and points.location.shape[1] > 1:

            def draw(ax: Axes, points=points) -> None:
                from nwb_rnn.plotting.fixed_points import plot_eigenvalues

                plot_eigenvalues(points, ax)

            caption = (
                f"Eigenvalues of the linearised dynamics at the fixed points ({shown(name)}), with the unit "
                "circle: inside of it a push dies out. Green where the point is stable."
            )
            yield "Fixed points", draw, caption
    if stored.model.history:
        caption = "How the fit went: the objective of one batch, and the score of trials that were held out."
        if stored.about["kind"] != "LowRankRNN":
            caption = "How the fit went: objective and validation as the docstring of `fit` defines them."

        def curve(ax: Axes) -> None:
            training_curve(stored.model.history, ax=ax)
            if stored.about["kind"] != "LowRankRNN":
                ax.set_ylabel("objective")

        yield "Fit", curve, caption


def _png(draw: Callable[[Axes], Any]) -> bytes:
    """A figure of its own, unknown to pyplot, as a PNG file."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    file = io.BytesIO()
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a text in a script without font
        figure = Figure(figsize=_SIZE, dpi=_DOTS_PER_INCH, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure.subplots())
        canvas.print_png(file)  # figure.savefig would draw everything twice
    return file.getvalue()


def _plain(stored: Stored) -> Stored:
    """The same with ids and names that matplotlib draws as they are."""
    from dataclasses import replace

    parts = {name: getattr(stored, name) for name in ("latents", "trials", "simulated")}
    return replace(stored, **{name: _plain_names(part) for name, part in parts.items()})


def _plain_names(dataset: xr.Dataset | None) -> xr.Dataset | None:
    if dataset is None:
        return None
    changed = {}
    for name in ("trial", "unit"):
        if name in dataset.coords and dataset[name].dtype.kind not in "iuf":
            changed[name] = _different([plain_for_figures(value) for value in dataset[name].values])
    dataset = dataset.assign_coords(changed)
    for name in {"align_to", "physical_unit"} & set(dataset.attrs):
        dataset.attrs[name] = plain_for_figures(dataset.attrs[name])
    return dataset


def _different(texts: list[str]) -> np.ndarray:
    """The texts, with their place behind those that were cut to the same text."""
    return np.array(
        [text if texts.count(text) == 1 else f"{text} #{place}" for place, text in enumerate(texts)]
    )
