"""Fluorescence of a known network: a slow indicator must not slow the dynamics that are found."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.teachers.oscillator import cycle_frequency, oscillator

DECAY, BIN = 0.9, 0.05  # τ = 0.47 s; the cycle takes 2 s
QUICK = dict(iterations=80, particles=8, progress=False, polish=2)


def fluorescent():
    arrays = oscillator(observed=16, units=48, observation="gaussian", frequency=0.5, bin_size=BIN)
    arrays["indicator_decay"] = np.full(16, DECAY)
    teacher = LowRankRNN.from_arrays(**arrays)
    trials, test = (teacher.simulate(trials=n, bins=160, seed=n) for n in (20, 6))
    return teacher, trials.drop_vars("latents"), test


@pytest.fixture(scope="module")
def world():
    teacher, trials, test = fluorescent()
    settings = dict(rank=2, units=48, observation="gaussian", seed=0)
    model = LowRankRNN(**settings, indicator="ar1", indicator_time_constant=-BIN / np.log(DECAY))
    plain = LowRankRNN(**settings)
    return teacher, model.fit(trials, **QUICK), plain.fit(trials, **QUICK), test


def test_frequency_and_likelihood_of_a_teacher(world):
    """0.5 Hz within 5 %; held-out likelihood near the teacher's, above that of a plain Gaussian readout."""
    teacher, model, plain, test = world
    drawn = model.simulate(trials=10, bins=400, seed=1)["latents"].values[:, 100:]
    assert np.median([abs(cycle_frequency(z, BIN)) for z in drawn]) == pytest.approx(0.5, rel=0.05)
    found, other, best = (m.score(test, particles=128) for m in (model, plain, teacher))
    assert found["log_likelihood_per_bin"] > best["log_likelihood_per_bin"] - 0.15
    assert found["log_likelihood_per_bin"] > other["log_likelihood_per_bin"] + 0.3


def test_rates_are_the_expected_fluorescence(world):
    """Against the teacher's own, in the trace's spread; held-out units are predicted too."""
    teacher, model, _, test = world
    held = model.unit_ids[:4]
    mine, best = (m.infer(test, held_out_units=held, particles=128).rates.values for m in (model, teacher))
    assert np.corrcoef(mine[..., :4].ravel(), best[..., :4].ravel())[0, 1] > 0.97
    assert np.corrcoef(mine[:, 20:, :4].ravel(), test.signal.values[:, 20:, :4].ravel())[0, 1] > 0.7


def test_simulated_fluorescence_has_the_autocorrelation_of_the_recorded(world):
    _, model, _, test = world
    drawn = model.simulate(trials=20, like=test, seed=2).signal.values
    for lag in (1, 5):
        a, b = (_autocorrelation(x, lag) for x in (drawn, test.signal.values))
        assert np.abs(a - b).max() < 0.1


def _autocorrelation(x, lag):
    x = x - x.mean((0, 1))
    return (x[:, lag:] * x[:, :-lag]).mean((0, 1)) / (x**2).mean((0, 1))


def test_arrays_and_going_on(world):
    _, model, _, test = world
    copy = LowRankRNN.from_arrays(seed=0, unit_ids=model.unit_ids, **model.to_arrays())
    a, b = (m.infer(test, particles=32).rates.values for m in (model, copy))
    np.testing.assert_array_equal(a, b)
    decay = model.to_arrays()["indicator_decay"]
    copy.fit(test.drop_vars("latents"), start="current", iterations=2, progress=False, particles=4)
    np.testing.assert_array_equal(copy.to_arrays()["indicator_decay"], decay)
    with pytest.raises(InputError, match="two observed bins"):
        model.infer(test.isel(time=[0]))
