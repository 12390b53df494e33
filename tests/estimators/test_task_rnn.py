"""TaskRNN: it learns, repeats itself from a seed, resumes, finds fixed points, and comes back from a file."""

import numpy as np
import pytest
import torch

import nwb_rnn as nr
from nwb_rnn.errors import DivergenceError, InputError, NotFittedError
from nwb_rnn.teachers.delayed_reach import DelayedReach

QUICK = dict(iterations=6, batch_size=4, validate_every=2, progress=False)


@pytest.fixture(scope="module")
def task():
    return DelayedReach()


@pytest.fixture(scope="module")
def trained(task):
    return nr.TaskRNN(units=60, seed=1).fit(task, iterations=250, learning_rate=5e-3, progress=False)


def same(one, other):
    first, second = one.to_arrays(), other.to_arrays()
    assert first.keys() == second.keys()
    return all(np.array_equal(first[k], second[k]) for k in first)


def test_it_learns_to_reach(trained, task):
    scores = trained.score(task)
    assert scores["reached"] > 0.95
    assert scores["r2"] > 0.95
    assert trained.history[-1]["validation"] < 0.1 * trained.history[0]["validation"]


def test_noise_comes_from_the_seed(trained, task):
    trials = task.conditions()
    one, two, other = (trained.simulate(trials, seed=s)["signal"].values for s in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)
    quiet = [trained.simulate(trials, seed=s, noise=False)["signal"].values for s in (3, 4)]
    np.testing.assert_array_equal(*quiet)


def test_the_same_seed_gives_the_same_fit(task):
    one, two = (nr.TaskRNN(units=10, seed=5).fit(task, **QUICK) for _ in range(2))
    assert same(one, two)
    assert not same(one, nr.TaskRNN(units=10, seed=6).fit(task, **QUICK))


def test_an_interrupted_fit_ends_where_it_would_have(task, tmp_path):
    whole = nr.TaskRNN(units=10, seed=5).fit(task, **QUICK)

    def stop(row):
        if row["iteration"] == 4:
            raise KeyboardInterrupt

    path = tmp_path / "checkpoint.npz"
    with pytest.raises(KeyboardInterrupt):
        nr.TaskRNN(units=10, seed=5).fit(task, checkpoint=path, callback=stop, **QUICK)
    assert same(whole, nr.TaskRNN(units=10, seed=5).fit(task, checkpoint=path, **QUICK))
    with pytest.raises(InputError, match="other data, another model"):
        nr.TaskRNN(units=10, seed=6).fit(task, checkpoint=path, **QUICK)


def test_a_rate_penalty_lowers_the_rates(task):
    quick = dict(iterations=100, learning_rate=1e-2, progress=False)
    size = [
        np.square(
            nr.TaskRNN(units=30, rate_penalty=p).fit(task, **quick).simulate(task)["signal"].values
        ).mean()
        for p in (0.0, 1.0)
    ]
    assert size[1] < 0.5 * size[0]


def test_fixed_points_stand_still(trained, task):
    trials = task.conditions()
    constant = trials.inputs[0, 10]
    x = trained.currents(trials, noise=False).numpy()
    points = trained.fixed_points(constant, starts=x[:, 30], n_starts=8)
    assert len(points) >= 1
    assert (points.residual < 1e-20).all()
    p = {k: v.double() for k, v in zip("JWb", trained.parameters.tensors()[:3], strict=True)}
    at = torch.from_numpy(points.location)
    moved = torch.tanh(at) @ p["J"].T + torch.from_numpy(constant) @ p["W"].T + p["b"]
    np.testing.assert_allclose(at, moved, atol=1e-8)
    h = 1e-6 * np.random.default_rng(0).standard_normal(60)
    after = [
        (1 - 0.2) * y + 0.2 * (np.tanh(y) @ p["J"].numpy().T) for y in (at[0].numpy() + h, at[0].numpy() - h)
    ]
    np.testing.assert_allclose((after[0] - after[1]) / 2, points.jacobian[0] @ h, atol=1e-12)


def test_a_model_comes_back_bit_for_bit(trained, task, tmp_path):
    arrays = trained.to_arrays()
    again = nr.TaskRNN.from_arrays(**arrays)
    assert same(trained, again)
    path = nr.write(
        tmp_path / "task.nwb",
        trained,
        dandi=False,
        session_start_time="2024-01-01T00:00:00+00:00",
        session_description="a network that reaches",
        subject={"subject_id": "none"},
    )
    back = nr.load(path)
    assert same(trained, back)
    assert back.config == trained.config
    assert back.history == trained.history
    trials = task.conditions()
    np.testing.assert_array_equal(
        back.simulate(trials, seed=2)["outputs"].values, trained.simulate(trials, seed=2)["outputs"].values
    )


def test_what_cannot_be_is_refused(task):
    with pytest.raises(NotFittedError, match="fit"):
        nr.TaskRNN().score(task)
    with pytest.raises(InputError, match="does not know"):
        nr.TaskRNN(colour="red")
    with pytest.raises(InputError, match="is no task"):
        nr.TaskRNN().fit(object())
    with pytest.raises(InputError, match="do not resolve"):
        nr.TaskRNN(time_constant=0.01).fit(task)
    with pytest.raises(DivergenceError, match="diverged"):
        nr.TaskRNN(units=10, activation="relu", gain=1e30).fit(task, **QUICK)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_dales_law_and_the_zero_diagonal_hold_exactly(task, activation, tmp_path):
    settings = dict(activation=activation, dale=True, excitatory=0.75, zero_diagonal=True, seed=2)
    model = nr.TaskRNN(units=40, **settings)
    assert (model.unit_sign == 1).sum() == 30 and (model.unit_sign == -1).sum() == 10
    model.fit(task, iterations=250, batch_size=16, learning_rate=5e-3, progress=False)
    weights = model.to_arrays()["recurrent_weights"]
    assert (weights * model.unit_sign >= 0).all() and (np.diag(weights) == 0).all()
    assert np.count_nonzero(weights) > 500
    scores = model.score(task)
    assert scores["reached"] > 0.95 and scores["r2"] > 0.95
    start = "2024-01-01T00:00:00+00:00"
    loaded = nr.load(nr.write(tmp_path / "dale.nwb", model, session_start_time=start, dandi=False))
    assert same(loaded, model) and loaded.config == model.config
    known = nr.TaskRNN.from_arrays(**model.to_arrays())
    np.testing.assert_array_equal(known.unit_sign, model.unit_sign)
    with pytest.raises(InputError, match="unit_sign must hold 40"):
        nr.TaskRNN.from_arrays(**model.to_arrays() | {"unit_sign": -model.unit_sign})
    with pytest.raises(InputError, match="excitatory"):
        nr.TaskRNN(dale=True, excitatory=1.0)


def test_the_start_under_dales_law_has_the_spectral_radius_that_was_asked_for():
    from nwb_rnn.models.task_network import start_parameters

    config = nr.TaskRNN(units=50, dale=True, zero_diagonal=True, gain=1.3).config
    weights = start_parameters(config, 2, 2).recurrent_weights.double()
    assert float(torch.linalg.eigvals(weights).abs().max()) == pytest.approx(1.3, rel=1e-5)
    assert (weights * torch.as_tensor(config.unit_sign) >= 0).all()
