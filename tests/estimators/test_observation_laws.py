"""Negative binomial counts, links by unit and network readouts, from fit to simulate."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import small

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.teachers.oscillator import oscillator

FILTER = dict(particles=16, backend="reference")
LINKS = ["exp", "softplus"] * 6


def overdispersed(trials=40, bins=150, observed=16, seed=2):
    """The oscillator with 120 spikes/s a unit, whose units' dispersions run from 1 to 8."""
    arrays = oscillator(observed=observed, units=48, mean_rate=120.0, modulation=0.5)
    arrays["observation"] = np.array("negative_binomial")
    arrays["dispersion"] = np.geomspace(1, 8, observed)
    teacher = LowRankRNN.from_arrays(**arrays)
    return teacher, teacher.simulate(trials=trials, bins=bins, seed=seed).drop_vars("latents")


@pytest.mark.parametrize(
    "settings",
    [
        dict(observation="negative_binomial"),
        dict(observation="negative_binomial", link="exp", readout="one_to_one"),
        dict(observation="negative_binomial", link=LINKS),
        dict(observation="poisson", link=LINKS),
        dict(observation="poisson", link=LINKS, readout="one_to_one"),
        dict(observation="poisson", readout="network", readout_units=5),
        dict(observation="negative_binomial", readout="network", link="exp", readout_units=5),
    ],
    ids=str,
)
@pytest.mark.parametrize("proposal", ["encoder", "bootstrap"])
def test_every_verb(settings, proposal):
    trials = small.counts()
    model = LowRankRNN(rank=2, units=16, seed=1, **settings)
    model.fit(trials, proposal=proposal, **small.QUICK)
    assert all(np.isfinite(v).all() for v in model.to_arrays().values() if v.dtype.kind == "f")
    scores = model.score(trials, held_out_units=model.unit_ids[:3], **FILTER)
    assert np.isfinite(list(scores.values())).all()
    copy = LowRankRNN.from_arrays(seed=1, unit_ids=model.unit_ids, **model.to_arrays())
    assert copy.config.observation == model.config.observation and copy.config.link == model.config.link
    for a, b in ((m.simulate(trials=3, like=trials) for m in (model, copy)),):
        np.testing.assert_array_equal(a.counts.values, b.counts.values)
    a, b = (m.infer(trials, **FILTER) for m in (model, copy))
    np.testing.assert_array_equal(a.rates.values, b.rates.values)
    model.fit(trials, start="current", proposal=proposal, **small.QUICK)


def test_the_dispersion_of_a_teacher_is_recovered():
    """16 units with dispersions from 1 to 8: log k has a standard error of about 0.05 a unit, bound 0.3."""
    teacher, trials = overdispersed()
    model = LowRankRNN(rank=2, units=48, observation="negative_binomial", link="exp", seed=0)
    model.fit(trials, iterations=150, batch_size=20, particles=8, progress=False, polish=4)
    found = np.log(model.to_arrays()["dispersion"])
    assert np.abs(found - np.log(teacher.to_arrays()["dispersion"])).max() < 0.3
    test = teacher.simulate(trials=10, bins=150, seed=9)
    poisson = LowRankRNN(rank=2, units=48, observation="poisson", link="exp", seed=0)
    poisson.fit(trials, iterations=150, batch_size=20, particles=8, progress=False, polish=4)
    better, worse, best = (m.score(test, particles=128) for m in (model, poisson, teacher))
    assert better["log_likelihood_per_bin"] > worse["log_likelihood_per_bin"] + 1
    assert better["log_likelihood_per_bin"] > best["log_likelihood_per_bin"] - 0.3


def test_the_start_knows_the_dispersion():
    from nwb_rnn.fitting.initialisation import initial_parameters
    from nwb_rnn.models.low_rank import LowRankConfig
    from nwb_rnn.smc.trials import from_dataset

    teacher, trials = overdispersed()
    for readout in ("affine", "one_to_one"):
        config = LowRankConfig(2, 48, observation="negative_binomial", link="exp", readout=readout)
        start, _ = initial_parameters(config, from_dataset(trials))
        error = torch.log(start.dispersion) - torch.log(teacher.parameters.dispersion)
        assert error.abs().max() < (0.5 if readout == "affine" else 1.2)


def bent(seed=4, gaussian=True):
    """Signals of the oscillator that are |z| and the like: an affine readout of 2 latents cannot follow."""
    arrays = oscillator(observed=24, units=48, observation="gaussian", modulation=1.0)
    rng = np.random.default_rng(0)
    arrays |= {
        "readout": np.array("network"),
        "readout_weights": 0.2 * arrays["readout_weights"],
        "readout_network_input": 4 * rng.standard_normal((6, 2)),
        "readout_network_bias": rng.uniform(1, 3, 6) * rng.choice([-1, 1], 6),
        "readout_network_output": 0.7 * rng.standard_normal((24, 6)),
        "observation_noise": np.full(24, 0.3),
    }
    teacher = LowRankRNN.from_arrays(**arrays)
    return teacher, *(teacher.simulate(trials=n, bins=120, seed=seed + n) for n in (20, 10))


def test_a_network_readout_sees_what_an_affine_one_cannot():
    teacher, trials, test = bent()
    best = teacher.score(test, particles=128)
    fits = {}
    for readout in ("affine", "network"):
        model = LowRankRNN(rank=2, units=48, observation="gaussian", readout=readout, seed=0)
        model.fit(trials.drop_vars("latents"), iterations=120, particles=8, progress=False)
        fits[readout] = model.score(test, particles=128)
    gain = fits["network"]["r2"] - fits["affine"]["r2"]
    assert gain > 0.3 * (best["r2"] - fits["affine"]["r2"]) > 0
    assert fits["network"]["log_likelihood_per_bin"] > fits["affine"]["log_likelihood_per_bin"] + 0.5


def test_dispersions_that_are_not_positive_are_refused():
    arrays = oscillator(observed=3, units=8)
    with pytest.raises(InputError, match="not positive"):
        LowRankRNN.from_arrays(**arrays | {"observation": "negative_binomial", "dispersion": np.zeros(3)})
    with pytest.raises(InputError, match="names 2 units"):
        LowRankRNN.from_arrays(**arrays | {"link": np.array("exp,softplus")})
