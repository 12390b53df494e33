"""Several sessions of one network with different units: shared dynamics, own readouts."""

import numpy as np
import pytest
import torch
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.estimators.sessions import as_one
from nwb_rnn.smc.trials import from_dataset
from nwb_rnn.teachers.oscillator import cycle_frequency, oscillator

QUICK = dict(iterations=4, batch_size=8, particles=4, polish=1, progress=False, backend="reference")


def recorded(observation, per_session, sessions, trials, bins, seed=0):
    """Sessions of one teacher; session s sees the units s·n .. (s+1)·n − 1, under ids from 0."""
    arrays = oscillator(observed=per_session * sessions, units=48, observation=observation, mean_rate=30.0)
    teacher = LowRankRNN.from_arrays(**arrays)
    found = []
    for s in range(sessions):
        drawn = teacher.simulate(trials=trials, bins=bins, seed=seed + s).drop_vars("latents")
        own = drawn.isel(unit=slice(s * per_session, (s + 1) * per_session))
        found.append(own.assign_coords(unit=np.arange(per_session)))
    return found


@pytest.fixture(scope="module")
def pair():
    a, b = recorded("poisson", 8, 2, 6, 40)
    return a, b.isel(time=slice(0, 30), unit=slice(0, 5))


@pytest.fixture(scope="module")
def fitted(pair):
    return LowRankRNN(rank=2, units=16, encoder_kernels=(5, 1), encoder_channels=8, seed=1).fit(pair, **QUICK)


def test_sessions_lie_side_by_side(pair):
    together = as_one(pair)
    assert together.counts.shape == (12, 40, 13)
    assert together.unit.values.tolist()[7:9] == ["0:7", "1:0"] and together.session.values.sum() == 6
    np.testing.assert_array_equal(together.counts.values[:6, :, :8], pair[0].counts.values)
    np.testing.assert_array_equal(together.counts.values[6:, :30, 8:], pair[1].counts.values)
    mask = together.mask.values
    assert mask[:6, :, :8].all() and not mask[:6, :, 8:].any()
    assert mask[6:, :30, 8:].all() and not mask[6:, 30:].any() and not mask[6:, :, :8].any()
    assert as_one(together) is together


def test_a_session_is_the_joint_model_on_its_trials(pair, fitted):
    """Same potentials of the encoder, same likelihood and rates, to the rounding of float32."""
    for s, trials in enumerate(pair):
        own = fitted.session(s)
        assert own.unit_ids == trials.unit.values.tolist()
        torch.testing.assert_close(own.parameters.left_vectors, fitted.parameters.left_vectors)
        alone = from_dataset(trials)
        together = from_dataset(as_one(pair)).select(torch.arange(6) + 6 * s)
        with torch.no_grad():
            expected = fitted._encoder(together.observed, together.mask)
            found = own._encoder(alone.observed, alone.mask)
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    # nothing that draws a particle by its weight, where rounding may choose another one
    how = dict(particles=16, proposal="encoder", kind="filtered", resampling="none")
    a = fitted.session(0).infer(pair[0], **how)
    b = fitted.infer([pair[0]], **how)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood, rtol=1e-5)
    np.testing.assert_allclose(a.rates.values, b.rates.values[..., :8], rtol=1e-3)


def test_every_verb_of_one_session(pair, fitted):
    own = fitted.session(1)
    drawn = own.simulate(trials=3, like=pair[1], seed=2)
    assert drawn.counts.shape == (3, 30, 5)
    assert np.isfinite(list(own.score(pair[1], held_out_units=[0, 3], particles=16).values())).all()
    (other,) = own.data_description["shared_with"]
    assert other["unit_ids"] == pair[0].unit.values.tolist() and own.data_description["session"] == 1
    scores = fitted.score(pair, particles=16)
    assert np.isfinite(scores["log_likelihood_per_bin"])
    assert own.fixed_points().location.shape[1] == 2


def test_validation_may_be_sessions_too(pair):
    held = [p.isel(trial=slice(0, 2)) for p in pair]
    model = LowRankRNN(rank=2, units=16, observation="negative_binomial", link=["exp"] * 8 + ["softplus"] * 5)
    model.fit(pair, validation=held, **QUICK)
    assert np.isfinite(model.history[-1]["validation"])
    assert model.session(0).config.link == "exp" and model.session(1).config.link == "softplus"
    assert model.session(1).parameters.dispersion.shape == (5,)


def test_short_sessions_help_each_other():
    """Four sessions of 1.5 s with 6 units each, of one oscillator at 3 Hz: together they find it."""
    trials = recorded("gaussian", 6, 4, 3, 50)
    test = recorded("gaussian", 6, 4, 20, 60, seed=50)
    settings = dict(rank=2, units=48, observation="gaussian", seed=0)
    how = dict(iterations=150, particles=8, progress=False)
    joint = LowRankRNN(**settings).fit(trials, **how)
    alone = [LowRankRNN(**settings).fit(t, **how) for t in trials]
    together = [joint.session(s).score(t, particles=64) for s, t in enumerate(test)]
    separate = [m.score(t, particles=64) for m, t in zip(alone, test, strict=True)]
    pairs = zip(together, separate, strict=True)
    gains = [a["log_likelihood_per_bin"] - b["log_likelihood_per_bin"] for a, b in pairs]
    assert np.mean(gains) > 0.01 and sum(g > 0 for g in gains) >= 3, gains
    drawn = joint.simulate(trials=10, bins=400, seed=1)["latents"].values[:, 100:]
    assert np.median([abs(cycle_frequency(z, 0.01)) for z in drawn]) == pytest.approx(3.0, rel=0.1)
    assert joint.fixed_points().kind.tolist() == ["unstable focus"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda a, b: [], "empty list"),
        (lambda a, b: [a, b.assign_attrs(bin_size=0.5)], "same bin width"),
        (lambda a, b: [a, b.rename(counts="signal")], "same kind of data"),
        (lambda a, b: [a, b.assign(inputs=(("trial", "time", "input"), np.ones((6, 30, 1))))], "inputs"),
    ],
)
def test_sessions_that_do_not_go_together_are_refused(pair, change, word):
    with pytest.raises(InputError, match=word):
        LowRankRNN(rank=2, units=16).fit(change(*pair), **QUICK)


def test_what_is_no_session_is_refused(pair, fitted):
    with pytest.raises(InputError, match="2 sessions"):
        fitted.session(2)
    with pytest.raises(InputError, match="one set of trials"):
        fitted.session(0).session(0)


def test_inputs_are_kept_past_the_end_of_a_shorter_session(pair):
    driven = [
        p.assign(inputs=(("trial", "time", "input"), np.full((6, p.sizes["time"], 1), i + 1.0)))
        for i, p in enumerate(pair)
    ]
    together = as_one(driven)
    assert isinstance(together, xr.Dataset)
    np.testing.assert_array_equal(together.inputs.values[6:], 2.0)
