"""Calibration of the posterior over latents: simulation-based (Talts et al. 2018) and by coverage.

If z is drawn from the model, y from p(y | z), and L draws from p(z | y), the rank of z among the draws is
uniform on 0 ... L. Trials are independent, so the ranks of one latent in one bin over trials are counted
and compared with the uniform law by a chi-square test, at the level 0.001 for each of 6 numbers: chance of
a false alarm over the three cases 18 × 0.001 = 1.8 %, once, as the seeds are fixed. ``-s`` shows the numbers.
"""

import numpy as np
import pytest
from scipy.stats import chisquare

import nwb_rnn as nr
from nwb_rnn.teachers.bistable import bistable
from nwb_rnn.teachers.oscillator import oscillator
from nwb_rnn.teachers.ring import ring

BINS, DRAWS, TRIALS = 12, 9, 600
CHECKED = (0, 5, BINS - 1)
LEVEL = 0.001
CASES = [("gaussian", "optimal"), ("poisson", "bootstrap"), ("poisson", "expansion")]
cases = pytest.mark.parametrize(("observation", "proposal"), CASES)


def teacher(observation: str, **changes) -> nr.LowRankRNN:
    arrays = oscillator(
        units=16, observed=8, observation=observation, noise=0.2, bin_size=0.04, growth=0.2, mean_rate=20.0
    )
    return nr.LowRankRNN.from_arrays(**(arrays | changes))


def other_teacher(name: str, observation: str) -> nr.LowRankRNN:
    make = {"bistable": bistable, "ring": ring}[name]
    built = make(observed=8, observation=observation, noise=0.2, seed=0, mean_rate=20.0)
    return nr.LowRankRNN.from_arrays(**built.arrays)


def ranks(observation: str, proposal: str, **wrong) -> np.ndarray:
    """(trials, checked bins x latents) ranks of true latents among draws of a model, changed by `wrong`."""
    trials = teacher(observation).simulate(TRIALS, bins=BINS, seed=11)
    model = teacher(observation, **wrong)
    options = {"particles": 200, "samples": DRAWS, "proposal": proposal, "seed": 12}
    draws = model.infer(trials, return_samples=True, **options)["latent_samples"].values[:, :, CHECKED]
    truth = trials["latents"].values[:, None, CHECKED]
    return (draws < truth).sum(axis=1).reshape(TRIALS, -1)


def p_values(found: np.ndarray) -> np.ndarray:
    """One chi-square p value for each column of ranks, 10 cells of 60 expected trials."""
    return np.array([chisquare(np.bincount(column, minlength=DRAWS + 1)).pvalue for column in found.T])


@cases
def test_ranks_of_true_latents_are_uniform(observation, proposal):
    found = p_values(ranks(observation, proposal))
    print(f"{observation}, {proposal}: p values {found.min():.2f} to {found.max():.2f}")
    assert found.min() > LEVEL


@cases
def test_a_posterior_that_is_too_narrow_is_found_out(observation, proposal):
    """The same test refuses a model that believes in a third of the latent noise."""
    narrow = {"transition_cholesky": 0.2 / 3 * np.eye(2)}
    found = p_values(ranks(observation, proposal, **narrow))
    print(f"{observation}, {proposal}, a third of the noise: smallest p value {found.min():.0e}")
    assert found.min() < 1e-6


@cases
@pytest.mark.parametrize("name", ["oscillator", "bistable", "ring"])
def test_ninety_per_cent_intervals_cover(name, observation, proposal):
    """Share of true latents inside, over 60 trials of 50 bins and 2 latents.

    The ends of an interval are quantiles of 199 draws, which by itself lowers the expected share to 0.891.
    The standard error, from the spread between trials, must be under 0.8 %, so that 0.85 lies 5 of them
    below: each of nine cases fails once in a million runs for a calibrated posterior.
    """
    model = teacher(observation) if name == "oscillator" else other_teacher(name, observation)
    trials = model.simulate(60, bins=50, seed=21)
    posterior = model.infer(trials, particles=400, samples=199, proposal=proposal, return_samples=True)
    low, high = posterior["latent_samples"].quantile([0.05, 0.95], dim="sample").values
    inside = (trials["latents"].values >= low) & (trials["latents"].values <= high)
    by_trial = inside.mean(axis=(1, 2))
    print(f"{name}, {observation}, {proposal}: {100 * by_trial.mean():.1f} % covered")
    assert by_trial.std() / np.sqrt(len(by_trial)) < 0.008
    assert 0.85 < by_trial.mean() < 0.95
