"""One figure that says how a fit went and what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.plotting.flow import flow_field
from nwb_rnn.plotting.latents import latents as draw_latents
from nwb_rnn.plotting.rates import mean_rates, most_modulated, rates
from nwb_rnn.plotting.spectra import power_spectra
from nwb_rnn.plotting.spikes import expected, longest_typical, raster, unit_order
from nwb_rnn.plotting.training import training_curve

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN

_STYLE = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "legend.fontsize": 8,
    "axes.linewidth": 0.8,
}
_KINDS_SHOWN = 6


def report(
    model: LowRankRNN,
    trials: xr.Dataset,
    inferred: xr.Dataset,
    simulated: xr.Dataset,
    points: FixedPoints | None = None,
    trial: int | None = None,
    title: str = "",
) -> Figure:
    """Raster and rates, latents, flow field with fixed points, training curve and spectra in one figure.

    Parameters
    ----------
    model : a fitted model
    trials, inferred, simulated : what `align`, `infer` and `simulate` return, of the same trials
    points : what `fixed_points` returns; left out of the flow field where not given
    trial : position of the trial that is shown alone; by default one of median length
    title : above everything, such as the name of the file

    Returns
    -------
    Figure : not known to pyplot; save it with `figure.savefig(path)`

    Raises
    ------
    InputError : `trials` and `inferred` are not the same trials, or the model is no LowRankRNN
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if "left_vectors" not in model.to_arrays():
        raise InputError(
            f"this figure shows the flow of a LowRankRNN, and this is a {type(model).__name__}; its page, "
            "`nwb-rnn report FILE`, holds what there is to show"
        )
    if trials.sizes["trial"] != inferred.sizes["trial"]:
        raise InputError(
            f"{trials.sizes['trial']} trials and latents of {inferred.sizes['trial']}: give those of "
            "the same trials, inferred = model.infer(trials)"
        )
    trials = trials.sel(unit=inferred["unit"].values)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(13.5, 10.5), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08)
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(title, fontsize=11)
        rows = figure.subfigures(3, 1, height_ratios=(1, 1.15, 1), hspace=0.04)
        _one_trial(rows[0], model, trials, inferred, longest_typical(trials) if trial is None else trial)
        _dynamics(rows[1], model, trials, inferred, points)
        _agreement(rows[2], model, trials, simulated, points)
    return figure


def _one_trial(row: Any, model: LowRankRNN, trials, inferred, trial: int) -> None:
    """Recorded spikes, expected rates and latents of one trial."""
    order = _order(model)
    left, middle, right = row.subplots(1, 3, width_ratios=(1, 1.15, 1))
    raster(trials, trial, order, ax=left)
    expected(inferred, trial, order, ax=middle)
    draw_latents(inferred, trial, ax=right)
    if order is not None:
        for ax in (left, middle):
            ax.set_ylabel("unit (sorted by loading)")


def _order(model: LowRankRNN) -> np.ndarray | None:
    """Units by their loading on the latents, or as they come for a one-to-one readout."""
    arrays = model.to_arrays()
    return unit_order(arrays["readout_weights"]) if "readout_weights" in arrays else None


def _dynamics(row: Any, model: LowRankRNN, trials, inferred, points) -> None:
    """The flow with its fixed points, averages over trials of three units, and the training curve."""
    left, middle, right = row.subfigures(1, 3, width_ratios=(1, 1.15, 1))
    ax = left.subplots()
    flow_field(model, inferred, points, ax=ax)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), frameon=False, borderaxespad=0)
    _averages(middle, trials, inferred)
    ax = right.subplots()
    if model.history:
        training_curve(model.history, ax=ax)
    else:
        _say(ax, "no training history:\nthe model was made\nfrom known weights")


def _averages(panel: Any, trials, inferred) -> None:
    units = most_modulated(trials, inferred, 3)
    axes = np.atleast_1d(panel.subplots(len(units), 1, sharex=True))
    for row, (ax, unit) in enumerate(zip(axes, units, strict=True)):
        rates(trials, inferred, unit, ax=ax)
        ax.set_title(f"unit {unit}" if row else f"average over trials: unit {unit}", loc="left")
        if row < len(units) - 1:
            ax.set_xlabel("")
        if row != len(units) // 2:
            ax.set_ylabel("")
    axes[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, borderaxespad=0)


def _agreement(row: Any, model: LowRankRNN, trials, simulated, points) -> None:
    """Spectra and mean rates, recorded against simulated, and the facts in words."""
    left, middle, right = row.subfigures(1, 3, width_ratios=(1, 1.15, 1))
    _spectra(left, trials, simulated)
    mean_rates(trials, simulated, ax=middle.subplots())
    _say(right.subplots(), facts(model, trials, points))


def _spectra(panel: Any, trials, simulated) -> None:
    """Of the pooled spikes and of single units; of signals only the latter."""
    ways = (True, False) if "counts" in trials else (False,)
    axes = np.atleast_1d(panel.subplots(len(ways), 1, sharex=True))
    for ax, pooled in zip(axes, ways, strict=True):
        try:
            power_spectra(trials, simulated, pooled, ax=ax)
        except InputError as error:
            _say(ax, f"no spectrum:\n{error}")
            continue
        if ax is not axes[-1]:
            ax.set_xlabel("")
            ax.legend_.remove()
        if len(ways) > 1:
            ax.set_ylabel("")
    if len(ways) > 1:
        panel.supylabel("power ((spikes/s)²/Hz)", fontsize=8.5)


def facts(model: LowRankRNN, trials: xr.Dataset, points: FixedPoints | None = None) -> str:
    """What was fitted to what, with scores and fixed points, as a few short lines."""
    config, attrs = model.config, trials.attrs
    bins = float(attrs["bin_size"]) * 1000
    lines = [
        f"rank {config.rank}, {config.units} network units",
        f"{config.activation}, {config.observation}, {config.readout} readout",
        f"{trials.sizes['unit']} recorded units, {trials.sizes['trial']} trials, bins of {bins:g} ms",
    ]
    if model.history:
        last = model.history[-1]
        lines.append(f"{last['iteration']} iterations in {last['seconds']:.0f} s")
    lines += [f"{name.replace('_', ' ')} {value:.4g}" for name, value in model.scores.items()]
    if points is not None:
        kinds, counts = np.unique(np.asarray(points.kind).astype(str), return_counts=True)
        listed = [f"{count} {kind}" for kind, count in zip(kinds, counts, strict=True)]
        listed = listed if len(listed) <= _KINDS_SHOWN else [*listed[:_KINDS_SHOWN], "…"]
        certain = "all of them" if points.complete else "perhaps not all"
        lines.append(f"fixed points ({certain}): " + (", ".join(listed) or "none"))
    return "\n".join(lines)


def _say(ax: Axes, text: str) -> None:
    import textwrap

    ax.axis("off")
    lines = [line for part in text.split("\n") for line in textwrap.wrap(part, 52) or [""]]
    ax.text(0.02, 0.95, "\n".join(lines), va="top", ha="left", transform=ax.transAxes, linespacing=1.5)
