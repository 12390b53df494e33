"""Inference that stops looking: the future does not leak, and the forecast follows the map."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import small

from nwb_rnn.dynamics.named_arrays import network_of
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.teachers.oscillator import oscillator

STOP = 12


@pytest.fixture(scope="module")
def teacher():
    return LowRankRNN.from_arrays(**oscillator(observed=12, units=32, noise=1e-4))


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_what_comes_later_is_not_looked_at(teacher, backend):
    trials = small.counts(bins=30)
    changed = trials.copy(deep=True)
    changed["counts"][:, STOP:] = 40
    until = float(trials.time[STOP])
    a, b = (teacher.infer(x, until=until, particles=32, backend=backend) for x in (trials, changed))
    np.testing.assert_array_equal(a.rates.values, b.rates.values)
    assert np.isfinite(a.rates.values[trials.mask.values]).all()
    seen = teacher.infer(trials, particles=32, backend=backend)
    assert np.abs(a.rates.values - seen.rates.values)[:, STOP:][trials.mask.values[:, STOP:]].max() > 1e-3


def test_a_forecast_without_noise_follows_the_map(teacher):
    trials = teacher.simulate(trials=5, bins=30, seed=1)
    found = teacher.infer(trials, until=float(trials.time[STOP]), particles=1, samples=1, backend="reference")
    path = found.latent_mean.values
    step = network_of(teacher.to_arrays()).step(path[:, :-1].astype(float))
    np.testing.assert_allclose(path[:, STOP:], step[:, STOP - 1 :], atol=1e-3)
