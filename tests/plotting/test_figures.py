"""Every figure draws on the axes it is given, shows the right numbers, and labels them with their units."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot

import nwb_rnn as nr
from nwb_rnn import plotting
from nwb_rnn.dynamics.named_arrays import network_of
from nwb_rnn.errors import InputError
from nwb_rnn.plotting.rates import average, smoothed
from nwb_rnn.plotting.report import facts
from nwb_rnn.plotting.spikes import unit_order
from nwb_rnn.teachers.oscillator import oscillator
from nwb_rnn.teachers.session import simulate_session


@pytest.fixture
def ax():
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


@pytest.fixture(scope="module")
def teacher():
    """A model that is its own truth, with trials and everything that can be drawn of them."""
    arrays = oscillator(observed=8, units=32, seed=2)
    session = simulate_session(arrays, trials=6, shortest=0.4, longest=0.8, seed=2)
    trials = session.recording.align("start_time", until="stop_time", bin_size=0.01)
    model = nr.LowRankRNN.from_arrays(**arrays, unit_ids=trials["unit"].values.tolist())
    inferred = model.infer(trials, particles=32, samples=8, backend="reference")
    return {
        "model": model,
        "trials": trials,
        "inferred": inferred,
        "simulated": model.simulate(trials=20, like=trials),
        "points": model.fixed_points(),
    }


def fully_labelled(axes):
    return bool(axes.get_xlabel() and axes.get_ylabel())


def test_raster_has_a_tick_for_each_bin_with_spikes(teacher, ax):
    trials = teacher["trials"]
    assert plotting.raster(trials, trial=1, ax=ax) is ax
    ticks = sum(len(lines.get_segments()) for lines in ax.collections)
    assert ticks == int((trials["counts"].values[1] > 0).sum())
    assert ax.get_xlim()[1] == pytest.approx(trials["mask"].values[1].sum() * 0.01)
    assert "(s)" in ax.get_xlabel()


def test_raster_follows_the_order(teacher, ax):
    order = np.arange(8)[::-1]
    plotting.raster(teacher["trials"], order=order, ax=ax)
    rows = {round(float(np.mean(segment[:, 1]))) for segment in ax.collections[0].get_segments()}
    counts = teacher["trials"]["counts"].values[0].sum(axis=0)
    assert rows == {row for row in range(8) if counts[order[row]] > 0}


def test_a_signal_is_drawn_as_an_image(teacher, ax):
    trials = teacher["trials"].rename(counts="signal")
    plotting.raster(trials, ax=ax)
    assert ax.images[0].get_array().shape == (8, trials.sizes["time"])


def test_expected_rates_are_per_second(teacher, ax):
    plotting.expected(teacher["inferred"], trial=2, ax=ax)
    np.testing.assert_allclose(
        ax.images[0].get_array().filled(np.nan), teacher["inferred"]["rates"].values[2].T / 0.01
    )
    colourbar = ax.figure.axes[-1]
    assert colourbar.get_ylabel() == "expected rate (spikes/s)"


def test_latents_show_mean_and_spread(teacher, ax):
    plotting.latents(teacher["inferred"], trial=3, ax=ax)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), teacher["inferred"]["latent_mean"].values[3, :, 1])
    assert len(ax.collections) == 2
    assert fully_labelled(ax)


def test_averages_count_only_trials_that_still_run(teacher):
    trials = teacher["trials"]
    unit = trials["unit"].values[2]
    found, seen = average(trials, "counts", unit)
    counts, mask = trials["counts"].values[:, :, 2], trials["mask"].values
    last = np.flatnonzero(mask.any(axis=0))[-1]
    assert seen[last] == mask[:, last].sum() < trials.sizes["trial"]
    assert found[last] == pytest.approx(counts[mask[:, last], last].mean())


def test_smoothing_keeps_constants_and_gaps():
    values = np.array([2.0, 2.0, np.nan, 2.0, 2.0, 2.0])
    np.testing.assert_allclose(smoothed(values, 1.5), values)
    np.testing.assert_array_equal(smoothed(values, 0.0), values)


def test_rates_draw_recorded_and_model(teacher, ax):
    plotting.rates(teacher["trials"], teacher["inferred"], unit=teacher["trials"]["unit"].values[0], ax=ax)
    assert [line.get_label() for line in ax.lines] == ["recorded", "model"]
    assert ax.get_ylabel() == "rate (spikes/s)"
    with pytest.raises(InputError, match="there is no unit 99"):
        plotting.rates(teacher["trials"], teacher["inferred"], unit=99, ax=ax)


def test_mean_rates_show_one_point_per_unit_and_the_correlation(teacher, ax):
    plotting.mean_rates(teacher["trials"], teacher["simulated"], ax=ax)
    assert ax.collections[0].get_offsets().shape == (8, 2)
    assert "r = " in ax.get_title(loc="left")


def test_flow_vanishes_at_the_fixed_points_it_marks(teacher, ax):
    model, points = teacher["model"], teacher["points"]
    plotting.flow_field(model, teacher["inferred"], points, ax=ax)
    marked = np.concatenate(
        [np.asarray(c.get_offsets()) for c in ax.collections if c.get_label() in points.kind]
    )
    np.testing.assert_allclose(marked, points.location)
    network = network_of(model.to_arrays())
    np.testing.assert_allclose(network.step(marked), marked, atol=1e-9)
    assert [text for text in ax.get_legend_handles_labels()[1]] == ["unstable focus"]


def test_flow_of_one_latent_crosses_zero_at_the_fixed_points(ax):
    rng = np.random.default_rng(0)
    arrays = {
        "left_vectors": rng.normal(size=(20, 1)),
        "right_vectors": rng.normal(size=(1, 20)) / 10,
        "unit_bias": rng.normal(size=20),
        "readout_weights": rng.normal(size=(4, 1)),
        "decay": np.array(0.8),
        "activation": np.array("clipped_relu"),
        "observation": np.array("poisson"),
        "bin_size": np.array(0.01),
    }
    model = nr.LowRankRNN.from_arrays(**arrays)
    plotting.flow_field(model, points=model.fixed_points(), ax=ax)
    assert fully_labelled(ax)


def test_flow_refuses_latents_that_are_not_there(teacher, ax):
    with pytest.raises(InputError, match="two different latents"):
        plotting.flow_field(teacher["model"], plane=(0, 2), ax=ax)


def test_spectra_of_both(teacher, ax):
    plotting.power_spectra(teacher["trials"], teacher["simulated"], ax=ax)
    assert [line.get_label() for line in ax.lines] == ["recorded", "simulated"]
    assert ax.get_xlabel() == "frequency (Hz)"
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), ax.lines[1].get_xdata())


def test_training_curve(ax):
    history = [
        {"iteration": i, "objective": -2.0 + i, "validation": None if i == 0 else float(i)} for i in range(3)
    ]
    plotting.training_curve(history, ax=ax)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [-2.0, -1.0, 0.0])
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [1, 2])
    with pytest.raises(InputError, match="no training history"):
        plotting.training_curve([], ax=ax)


def test_units_are_sorted_by_the_angle_of_their_loading():
    angle = np.array([2.0, -1.0, 0.5])
    assert unit_order(np.column_stack([np.cos(angle), np.sin(angle)])).tolist() == [1, 2, 0]
    assert unit_order(np.array([[3.0], [1.0], [2.0]])).tolist() == [1, 2, 0]


def texts_overlap(figure):
    """Pairs of visible titles and axis labels whose boxes overlap by more than a pixel."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    boxes = []
    for axes in figure.axes:
        parts = [axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title]
        for text in parts:
            if text.get_visible() and text.get_text() and axes.axison:
                boxes.append((text.get_text(), text.get_window_extent(renderer)))
    return [
        (a[0], b[0])
        for i, a in enumerate(boxes)
        for b in boxes[i + 1 :]
        if min(a[1].x1, b[1].x1) - max(a[1].x0, b[1].x0) > 1
        and min(a[1].y1, b[1].y1) - max(a[1].y0, b[1].y0) > 1
    ]


def test_report_has_every_panel_without_overlaps_and_leaves_pyplot_alone(teacher, tmp_path):
    before = pyplot.get_fignums()
    size = matplotlib.rcParams["font.size"]
    teacher["model"].history = [{"iteration": 1, "objective": -1.0, "validation": None, "seconds": 1.0}]
    parts = (teacher[n] for n in ("model", "trials", "inferred", "simulated", "points"))
    figure = plotting.report(*parts, title="a session")
    figure.savefig(tmp_path / "report.png")
    assert pyplot.get_fignums() == before
    assert matplotlib.rcParams["font.size"] == size
    titles = " ".join(axes.get_title(loc="left") for axes in figure.axes)
    for expected in ("recorded, trial", "model, trial", "flow", "average", "training", "spectrum", "mean of"):
        assert expected in titles
    assert texts_overlap(figure) == []


def test_facts_say_what_was_fitted(teacher):
    said = facts(teacher["model"], teacher["trials"], teacher["points"])
    assert "rank 2, 32 network units" in said
    assert "6 trials" in said
    assert "fixed points (all of them): 1 unstable focus" in said


def test_report_refuses_latents_of_other_trials(teacher):
    with pytest.raises(InputError, match="give those of the same trials"):
        plotting.report(
            teacher["model"],
            teacher["trials"],
            teacher["inferred"].isel(trial=slice(0, 2)),
            teacher["simulated"],
        )


@pytest.mark.parametrize(
    ("unit", "signal", "power"),
    [
        ("volts", "signal (V)", "power (V²/Hz)"),
        ("mmHg", "signal (mmHg)", "power ((mmHg)²/Hz)"),
        ("n/a", "signal", "power per Hz"),
        (None, "signal", "power per Hz"),
    ],
)
def test_signals_are_labelled_with_their_unit_where_it_is_known(unit, signal, power):
    import xarray as xr

    from nwb_rnn.plotting.style import of_signal

    trials = xr.Dataset(attrs={} if unit is None else {"physical_unit": unit})
    assert of_signal("signal", trials) == signal
    assert of_signal("power", trials, power=2, per="Hz") == power
