"""`match_free_runs` on models and recordings: what it takes, gives back and leaves alone."""

from __future__ import annotations

import numpy as np
import pynwb
import pytest
import torch

import nwb_rnn as nr
from nwb_rnn.errors import InputError, NotFittedError
from nwb_rnn.estimators.free_runs import _drawn, _pieces
from nwb_rnn.teachers.oscillator import oscillator

from .small import QUICK, counts

OPTIONS = dict(iterations=4, runs=4, window=60, progress=False)


@pytest.fixture(scope="module")
def world():
    """A recording in two trials, one of them with a gap, and a model fitted to it."""
    arrays = oscillator(observed=8, units=32, observation="gaussian")
    trials = nr.LowRankRNN.from_arrays(**arrays).simulate(trials=2, bins=200, seed=3).drop_vars("latents")
    mask = trials["mask"].values.copy()
    mask[1, 150:] = False
    trials = trials.assign(mask=(("trial", "time"), mask))
    model = nr.LowRankRNN(rank=2, units=16, observation="gaussian", seed=1).fit(trials, **QUICK)
    return model, trials


def test_a_new_model_comes_back_and_the_old_one_stays(world):
    model, trials = world
    before = model.to_arrays()
    found = nr.match_free_runs(model, trials, **OPTIONS)
    for name, value in model.to_arrays().items():
        np.testing.assert_array_equal(value, before[name])
    assert found.is_canonical and found.unit_ids == model.unit_ids and found.history == model.history
    assert "matched_free_runs" not in model.data_description
    said = found.data_description["matched_free_runs"]
    assert said["iterations"] == 4 and said["seed"] == 1 and len(said["law"]) == len(said["spectrum"]) == 2
    np.testing.assert_allclose(found.to_arrays()["observation_noise"], before["observation_noise"])
    assert found.to_arrays()["decay"] == before["decay"]
    assert np.isfinite(found.score(trials, particles=8, samples=1)["log_likelihood_per_bin"])


def test_a_seed_is_enough_to_get_the_same_model(world):
    model, trials = world
    first, again, other = (
        nr.match_free_runs(model, trials, seed=s, **OPTIONS).to_arrays()["right_vectors"] for s in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_steps_are_reported(world):
    model, trials = world
    seen = []
    nr.match_free_runs(model, trials, callback=seen.append, **OPTIONS)
    assert [s["iteration"] for s in seen] == [1, 2, 3, 4]
    assert all(np.isfinite([s["law"], s["spectrum"]]).all() for s in seen)


def test_what_was_matched_goes_into_a_file_and_comes_back(world, tmp_path):
    model, trials = world
    found = nr.match_free_runs(model, trials, **OPTIONS)
    start = "2024-03-01T10:30:00+01:00"
    path = nr.write(tmp_path / "matched.nwb", found, session_start_time=start, dandi=False)
    assert pynwb.validate(path=str(path)) == []
    back = nr.load(path)
    assert back.data_description["matched_free_runs"] == found.data_description["matched_free_runs"]
    for name, value in found.to_arrays().items():
        np.testing.assert_array_equal(back.to_arrays()[name], value)


def test_what_it_cannot_do_is_refused_with_the_reason(world):
    model, trials = world
    with pytest.raises(InputError, match=r"unknown option\(s\) steps; choose from iterations"):
        nr.match_free_runs(model, trials, steps=3)
    with pytest.raises(InputError, match="no trial has 300 bins on end"):
        nr.match_free_runs(model, trials, **(OPTIONS | {"window": 300}))
    spikes = counts()
    of_counts = nr.LowRankRNN(rank=2, units=16).fit(spikes, **QUICK)
    with pytest.raises(InputError, match="observation='poisson'"):
        nr.match_free_runs(of_counts, spikes, **OPTIONS)
    driven = trials.assign(inputs=(("trial", "time", "input"), np.ones((2, 200, 1))))
    with_inputs = nr.LowRankRNN(rank=2, units=16, observation="gaussian").fit(driven, **QUICK)
    with pytest.raises(InputError, match="knows no inputs, and this model has 1"):
        nr.match_free_runs(with_inputs, driven, **OPTIONS)
    with pytest.raises(InputError, match="takes a LowRankRNN, not a RateRNN"):
        nr.match_free_runs(nr.RateRNN(), trials, **OPTIONS)
    with pytest.raises(NotFittedError):
        nr.match_free_runs(nr.LowRankRNN(rank=2, observation="gaussian"), trials, **OPTIONS)


def test_pieces_are_what_lies_between_gaps():
    path = torch.arange(12.0).reshape(6, 2)
    inside = torch.tensor([True, True, False, True, True, True, False, False])
    first, second = _pieces(path, inside)
    assert torch.equal(first, path[:2]) and torch.equal(second, path[3:])
    assert _pieces(path, torch.zeros(8, dtype=torch.bool)) == []


def test_latents_are_those_that_infer_draws_up_to_each_gap(world):
    model, trials = world
    mask = trials["mask"].values.copy()
    mask[0, 90:100] = False
    gappy = trials.assign(mask=(("trial", "time"), mask))
    first, second, third = _drawn(model, gappy, particles=16, seed=4)
    assert [len(x) for x in (first, second, third)] == [90, 100, 150]
    alone = gappy.isel(trial=[0])
    drawn = model.infer(alone, particles=16, samples=1, seed=4, return_samples=True).latent_samples
    np.testing.assert_array_equal(first, drawn.values[0, 0, :90])
