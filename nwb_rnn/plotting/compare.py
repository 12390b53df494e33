"""`compare`: one table and one figure of a model beside a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.metrics.conditions import condition_averages
from nwb_rnn.metrics.populations import PopulationComparison, Row, compare_populations
from nwb_rnn.plotting.style import MODEL, PALETTE, QUIET, RECORDED, tidy
from nwb_rnn.recordings.splits import conditions
from nwb_rnn.smc.trials import check_trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nwb_rnn.estimators.mechanism import Mechanism

_DRAWS = 20  # simulated trials for each recorded one


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `compare` found; prints as a table.

    Attributes
    ----------
    rows : the table, see `nwb_rnn.metrics.populations.Row`
    population : arrays behind it
    mechanism : of a TaskRNN trained on a delayed reach; None for others
    """

    rows: list[Row]
    population: PopulationComparison
    mechanism: Mechanism | None = None

    def value(self, measure: str, column: str = "together") -> float:
        """One number of the table."""
        found = [getattr(r, column) for r in self.rows if r.measure == measure]
        if not found:
            raise InputError(f"there is no measure {measure!r}; there are {[r.measure for r in self.rows]}")
        return found[0]

    def to_pandas(self) -> Any:
        """The table as a pandas.DataFrame."""
        import pandas

        return pandas.DataFrame([vars(r) for r in self.rows])

    def __str__(self) -> str:
        lines = [f"{'':16}{'':56}{'recorded':>10}{'model':>10}{'together':>10}{'chance':>10}"]
        for r in self.rows:
            numbers = "".join(
                f"{'' if np.isnan(v) else format(v, '.3g'):>10}"
                for v in (r.recorded, r.model, r.together, r.chance)
            )
            lines.append(f"{r.part:16}{r.measure:56}{numbers}")
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self) -> Figure:
        """The figure: matched units, canonical correlations, rotations of both, noise, fixed points."""
        import matplotlib.pyplot as plt

        wide = 3 if self.mechanism is not None else 2
        figure, axes = plt.subplots(2, wide, figsize=(4.2 * wide, 7.2), layout="constrained")
        _matches(axes[0, 0], self.population)
        _canonical(axes[1, 0], self.population)
        for ax, rotations, name in zip(
            axes[:, 1], self.population.rotations, ("recorded", "model"), strict=True
        ):
            _plane(ax, rotations, name)
        if self.mechanism is not None:
            _noise(axes[0, 2], self.mechanism)
            _points(axes[1, 2], self.mechanism)
        return figure


def compare(
    model: Any,
    trials: xr.Dataset,
    *,
    by: str = "direction",
    task: Any = None,
    simulated: xr.Dataset | None = None,
    shift: float = 0.0,
    delay: float | None = None,
    preparation: tuple[float, float] = (-0.4, -0.1),
    movement: tuple[float, float] = (-0.05, 0.35),
    seed: int = 0,
) -> Comparison:
    """Hold a model against a recording of the same task.

    Averages over trials of each condition are compared on the bins of the recording; the model's are
    interpolated to them.

    Parameters
    ----------
    model : a TaskRNN, or any estimator with `simulate(like=trials)`
    trials : of the recording
    by : coordinate of trials with the direction of each, rad; both must have it, with the same values
    task : that a TaskRNN was trained on; by default the delayed reach in the model
    simulated : trials of the model, instead of new ones
    shift : time of the model at the recording's time zero, s: for a recording aligned to movement onset
        and a model whose time counts from go, the reaction time
    delay : between target and go in the trials that a TaskRNN simulates, s; by default such that they begin
        with the recording's
    preparation, movement : windows on the recording's clock, s
    seed : of everything random

    Returns
    -------
    Comparison: prints as a table; `plot()` makes the figure.

    Raises
    ------
    InputError : conditions that differ, or times that do not overlap
    """
    from nwb_rnn.estimators.mechanism import mechanism, reach_task_of
    from nwb_rnn.estimators.task_rnn import TaskRNN

    check_trials(trials)
    conditions(trials, by)
    found = None
    if isinstance(model, TaskRNN):
        task = reach_task_of(model) if task is None else task
        if simulated is None:
            simulated = _conditions(model, task, trials, shift, delay)
        if hasattr(task, "directions"):
            found = mechanism(model, task)
    elif simulated is None:
        simulated = model.simulate(_DRAWS * trials.sizes["trial"], like=trials, seed=seed)
        simulated = simulated.assign_coords({by: ("trial", np.tile(trials[by].values, _DRAWS))})
    both = [condition_averages(t, by) for t in (trials, simulated)]
    angles = [np.mod(np.asarray(b[by].values, dtype=float) + 1e-6, 2 * np.pi) for b in both]
    both = [b.isel(condition=np.argsort(a)) for b, a in zip(both, angles, strict=True)]
    angles = [np.sort(a) for a in angles]
    if len(angles[0]) != len(angles[1]) or not np.allclose(angles[0], angles[1], atol=1e-2):
        raise InputError(
            f"{by} is {np.round(angles[0], 2)} in the recording and {np.round(angles[1], 2)} in the model; "
            "expected the same directions, rad"
        )
    time, recorded, modelled = _on_one_clock(*both, shift)
    windows = [(time >= a) & (time <= b) for a, b in (preparation, movement)]
    width = float(trials.attrs["bin_size"])
    population = compare_populations(recorded, modelled, width, angles[0] - 1e-6, *windows, seed=seed)
    rows = population.rows + ([] if found is None else found.rows)
    return Comparison(rows, population, found)


def _conditions(model: Any, task: Any, trials: xr.Dataset, shift: float, delay: float | None) -> xr.Dataset:
    """One trial of each condition without noise."""
    if not hasattr(task, "conditions"):
        raise InputError("this task has no conditions(): give simulated=, trials of the model, instead")
    if delay is None and hasattr(task, "shortest"):
        start = float(trials["time"].values[0]) - 0.5 * float(trials.attrs["bin_size"]) + shift
        delay = max(-start - task.before, task.shortest)
    return model.simulate(task.conditions() if delay is None else task.conditions(delay), noise=False)


def _on_one_clock(recorded: xr.DataArray, modelled: xr.DataArray, shift: float) -> tuple[np.ndarray, ...]:
    """Times (T,), and both on the bins of the recording that both have."""
    time, own = recorded["time"].values, modelled["time"].values - shift
    inside = (time >= own[0] - 1e-9) & (time <= own[-1] + 1e-9)
    inside &= np.isfinite(recorded.values).all(axis=(0, 2))
    whole = np.isfinite(modelled.values).all(axis=(0, 2))
    if inside.sum() < 2:
        raise InputError(
            f"the recording runs from {time[0]:g} to {time[-1]:g} s and the model from {own[0]:g} to "
            f"{own[-1]:g} s: give the time of the model at the recording's zero as shift="
        )
    values, own = modelled.values[:, whole], own[whole]
    right = np.clip(np.searchsorted(own, time[inside] - 1e-9), 1, len(own) - 1)
    share = np.clip((time[inside] - own[right - 1]) / (own[right] - own[right - 1]), 0.0, 1.0)
    share = np.where(np.abs(share - np.round(share)) < 1e-6, np.round(share), share)[None, :, None]
    return (
        time[inside],
        recorded.values[:, inside],
        (1 - share) * values[:, right - 1] + share * values[:, right],
    )


def _matches(ax, found: PopulationComparison) -> None:
    from matplotlib.ticker import MaxNLocator

    bins = np.linspace(-0.2, 1, 25)
    ax.hist(found.shuffled_matches, bins, color=QUIET, alpha=0.7, label="conditions shuffled")
    ax.hist(found.matches, bins, color=MODEL, alpha=0.7, label="model")
    ax.set_ylim(0, 1.35 * ax.get_ylim()[1])  # room for the legend above the bars
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, loc="upper left", ncols=2)
    tidy(ax, "correlation with the best unit", "number of recorded units", "single units")


def _canonical(ax, found: PopulationComparison) -> None:
    place = np.arange(1, len(found.canonical) + 1)
    ax.plot(place, found.canonical, "o-", color=MODEL, label="model")
    ax.plot(np.arange(1, len(found.shuffled_canonical) + 1), found.shuffled_canonical, "o-", color=QUIET)
    ax.set_ylim(0, 1.05)
    ax.set_xticks(place)
    tidy(ax, "canonical variable", "correlation (grey: shuffled)", "population")


def _plane(ax, rotations, name: str) -> None:
    paths = rotations.projections
    colours = _cycle(len(paths))
    for path, colour in zip(paths, colours, strict=True):
        ax.plot(path[:, 0], path[:, 1], color=colour)
        ax.plot(*path[0], "o", color=colour, markersize=4)
    ax.set_aspect("equal", adjustable="datalim")
    title = f"{name}: jPCA R² {rotations.r2:.2f}, {rotations.frequency[0]:.1f} Hz"
    tidy(ax, "jPC 1 (normalised rate)", "jPC 2 (normalised rate)", title)
    ax.title.set_color(RECORDED if name == "recorded" else MODEL)


def _cycle(count: int) -> np.ndarray:
    """Colours of directions: they close on themselves, and differ in lightness for colour-blind readers."""
    import matplotlib

    colours = matplotlib.colormaps["twilight_shifted"](np.linspace(0.12, 0.88, count))
    colours[:, :3] *= 0.8  # its lightest hardly show on paper
    return colours


def _noise(ax, found: Mechanism) -> None:
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    shown = found.scales > 0
    ax.plot(found.scales[shown], found.recurrent[shown], "o-", color=PALETTE[0], label="recurrent noise")
    ax.plot(found.scales[shown], found.inputs[shown], "o-", color=PALETTE[1], label="input noise")
    ax.set(xscale="log", yscale="log")
    ax.set_xticks(found.scales[shown], [f"{scale:g}" for scale in found.scales[shown]])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.axhline(0.1, color=QUIET, linewidth=1)
    ax.legend(frameon=False)
    tidy(ax, "times the noise of training", "reach error / distance", "robustness")


def _points(ax, found: Mechanism) -> None:
    """Stable fixed points of every target, in the plane that holds most of them."""
    everything = [p for points in found.points.values() for p in points if len(p)]
    if not everything:
        ax.text(0.5, 0.5, "no stable fixed point", ha="center", transform=ax.transAxes)
        ax.set_axis_off()
        return
    joined = np.concatenate(everything)
    middle = joined.mean(axis=0)
    axes = np.linalg.svd(joined - middle, full_matrices=False)[2][:2]
    for marker, (name, points) in zip("os", found.points.items(), strict=False):
        for target, colour in zip(points, _cycle(len(points)), strict=True):
            flat = (target - middle) @ axes.T
            if len(flat):
                ax.plot(flat[:, 0], flat[:, -1], marker, color=colour, markersize=7 if marker == "o" else 5)
        ax.plot([], [], marker, color=QUIET, label=name)
    ax.legend(frameon=False)
    title = "stable fixed points, one colour a target"
    tidy(ax, "principal axis 1 (current)", "principal axis 2 (current)", title)
