"""nr.compare at its limits: a model beside its own session is perfect, beside a shuffled one it is not."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.teachers.delayed_reach import DelayedReach

matplotlib.use("Agg")
WINDOWS = dict(preparation=(-0.5, 0.0), movement=(0.1, 0.6))


@pytest.fixture(scope="module")
def task():
    return DelayedReach()


@pytest.fixture(scope="module")
def model(task):
    return nr.TaskRNN(units=50, seed=2).fit(task, iterations=200, learning_rate=5e-3, progress=False)


@pytest.fixture(scope="module")
def itself(model, task):
    return model.simulate(task.conditions(0.7), noise=False)


@pytest.fixture(scope="module")
def perfect(model, itself):
    return nr.compare(model, itself, **WINDOWS)


def test_a_model_beside_its_own_session_is_perfect(perfect):
    assert perfect.value("correlation with the best unit, median") == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(perfect.population.canonical, 1, atol=1e-6)
    assert perfect.value("distance of dynamics (rad; chance: time reversed)") < 1e-3
    for row in perfect.rows:
        if row.part in ("single units", "population") and np.isfinite(row.recorded):
            assert row.recorded == pytest.approx(row.model, rel=1e-6, abs=1e-9), row.measure


def test_beside_a_shuffled_session_it_is_not(model, itself, perfect):
    """Conditions shuffled for each unit: what units do together is lost, what each does is not."""
    rng = np.random.default_rng(0)
    values = itself["signal"].values.copy()
    for unit in range(values.shape[2]):
        values[:, :, unit] = values[rng.permutation(len(values)), :, unit]
    shuffled = nr.compare(model, itself.assign(signal=(itself["signal"].dims, values)), **WINDOWS)
    assert shuffled.value("correlation with the best unit, median") < 0.98
    assert shuffled.population.canonical.mean() < 0.95
    assert shuffled.value("distance of dynamics (rad; chance: time reversed)") > 0.05
    name = "cosine tuning in movement, median R²"
    assert shuffled.value(name, "recorded") < perfect.value(name, "recorded") - 0.1


def test_chance_is_below_what_is_real(perfect):
    name = "correlation with the best unit, median"
    assert perfect.value(name, "chance") < 0.98
    assert perfect.population.shuffled_canonical.mean() <= 1 + 1e-9


def test_the_mechanism_and_its_figure(perfect):
    assert perfect.value("of them stable, preparation", "model") > 0
    curve = perfect.mechanism.recurrent
    assert curve[-1] > 3 * curve[1]
    assert perfect.value("reach error, trained targets", "model") < 0.1
    figure = perfect.plot()
    assert len(figure.axes) == 6
    plt.close(figure)
    assert "canonical correlation" in str(perfect)


def test_directions_and_times_that_do_not_fit_are_refused(model, itself):
    with pytest.raises(InputError, match="same directions"):
        nr.compare(model, itself.isel(trial=slice(0, 5)), **WINDOWS)
    with pytest.raises(InputError, match="shift="):
        nr.compare(model, itself, simulated=itself, shift=50.0)
