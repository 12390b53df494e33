"""A known spiking oscillator is recovered from its spikes alone."""

import numpy as np
import pytest

from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.teachers.oscillator import cycle_frequency, oscillator


@pytest.fixture(scope="module")
def lesson():
    """The teacher's frequency, and training and held-out trials of unequal length."""
    arrays = oscillator(frequency=3.0)
    teacher = LowRankRNN.from_arrays(**arrays)
    trials = teacher.simulate(trials=50, bins=150, seed=3)
    mask = trials["mask"].values.copy()
    for i, length in enumerate(np.random.default_rng(0).integers(80, 151, 50)):
        mask[i, length:] = False
    trials["mask"] = (("trial", "time"), mask)
    frequency = cycle_frequency(teacher.simulate(trials=40, bins=600, seed=5).latents.values, 0.01)
    return frequency, trials.isel(trial=slice(0, 40)), trials.isel(trial=slice(40, 50))


@pytest.fixture(scope="module")
def student(lesson):
    _, train, held_out = lesson
    model = LowRankRNN(rank=2, units=64, seed=0)
    return model.fit(train, validation=held_out, iterations=150, batch_size=10, progress=False)


def test_the_teacher_turns_at_the_frequency_it_was_given(lesson):
    assert lesson[0] == pytest.approx(3.0, rel=0.02)


def test_latents_of_held_out_trials_are_recovered(lesson, student):
    _, _, held_out = lesson
    inferred = student.infer(held_out)
    inside = held_out.mask.values
    true, found = held_out.latents.values[inside], inferred.latent_mean.values[inside]
    design = np.column_stack([found, np.ones(len(found))])
    residual = true - design @ np.linalg.lstsq(design, true, rcond=None)[0]
    assert 1 - residual.var() / true.var() >= 0.9


def test_the_frequency_is_recovered_within_five_percent(lesson, student):
    drawn = student.simulate(trials=40, bins=600, seed=5)
    assert cycle_frequency(drawn.latents.values, 0.01) == pytest.approx(lesson[0], rel=0.05)


def test_the_likelihood_of_held_out_trials_comes_near_the_teachers(lesson, student):
    _, _, held_out = lesson
    teacher = LowRankRNN.from_arrays(**oscillator(frequency=3.0))
    truth = teacher.score(held_out)["log_likelihood_per_bin"]
    found = student.score(held_out)["log_likelihood_per_bin"]
    mean = held_out.counts.values[held_out.mask.values].mean(0)
    counts = held_out.counts.values[held_out.mask.values]
    from scipy.stats import poisson

    null = poisson(mean).logpmf(counts).sum() / len(counts)
    assert (found - null) > 0.9 * (truth - null)
