"""Hard data: no NaN in a fit, and what cannot be fitted is left out and named, or refused with a reason."""

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import small

from nwb_rnn.errors import InputError
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.smc.trials import observed_name

OBSERVATIONS = ("poisson", "gaussian")
FILTER = dict(particles=8, backend="reference")


def made(observation, **size):
    return small.counts(**size) if observation == "poisson" else small.signal(**size)


def changed(trials, values=None, mask=None):
    """The trials with other values, as float64, or another mask (trial, time) or (trial, time, unit)."""
    name = observed_name(trials)
    values = trials[name].values if values is None else values
    trials = trials.assign({name: (trials[name].dims, np.asarray(values, dtype=np.float64))})
    if mask is None:
        return trials
    return trials.drop_vars("mask").assign(mask=(("trial", "time", "unit")[: mask.ndim], mask))


def silent_unit(trials):
    values = trials[observed_name(trials)].values.copy()
    values[..., 2] = 0
    return changed(trials, values)


def loud_unit(trials):
    values = trials[observed_name(trials)].values.astype(float)
    values[..., 1] *= 100
    return changed(trials, values)


def very_loud_unit(trials):
    values = trials[observed_name(trials)].values.astype(float)
    values[..., 1] *= 1e6
    return changed(trials, values)


def nan_in_masked_bins(trials):
    values, mask = trials[observed_name(trials)].values.astype(float), trials.mask.values.copy()
    mask[:, 7:10] = False
    mask[1] = False
    values[~mask] = np.nan
    return changed(trials, values, mask)


def unit_never_observed(trials):
    values = trials[observed_name(trials)].values.astype(float)
    mask = np.repeat(trials.mask.values[..., None], values.shape[2], axis=2)
    mask[..., 3], values[..., 3] = False, np.nan
    return changed(trials, values, mask)


def some_trials_of_one_bin(trials):
    mask = trials.mask.values.copy()
    mask[::2, 1:] = False
    return changed(trials, mask=mask)


def constant_unit(trials):
    values = trials[observed_name(trials)].values.copy()
    values[..., 0] = 3
    return changed(trials, values)


CASES = {
    "float64": changed,
    "silent unit": silent_unit,
    "unit of 100 times the rate": loud_unit,
    "unit of a million times the rate": very_loud_unit,
    "NaN in masked bins": nan_in_masked_bins,
    "unit never observed": unit_never_observed,
    "trials of one bin": lambda trials: trials.isel(time=[0]),
    "trials of two bins": lambda trials: trials.isel(time=[0, 1]),
    "some trials of one bin": some_trials_of_one_bin,
    "constant unit": constant_unit,
    "one unit": lambda trials: trials.isel(unit=[1]),
}


def assert_whole(model, trials):
    """Every parameter, score, inferred moment and simulated value is a finite number."""
    for name, array in model.to_arrays().items():
        assert array.dtype.kind != "f" or np.isfinite(array).all(), name
    assert all(np.isfinite(score) for score in model.score(trials, **FILTER).values())
    latents = model.infer(trials, **FILTER)
    assert np.isfinite(latents.latent_mean.values[latents.mask.values]).all()
    drawn = model.simulate(trials=3, like=trials)
    assert np.isfinite(drawn[observed_name(drawn)].values).all()


@pytest.mark.parametrize("noise", ["full", "diagonal"])
@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("case", CASES)
def test_no_parameter_becomes_nan(case, observation, noise):
    trials = CASES[case](made(observation, bins=20))
    model = LowRankRNN(rank=2, units=16, observation=observation, noise=noise).fit(trials, **small.QUICK)
    assert_whole(model, trials)


@pytest.mark.parametrize("proposal", ["auto", "bootstrap"])
@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_one_particle_is_enough_to_fit_and_infer(observation, proposal):
    trials = loud_unit(made(observation))
    model = LowRankRNN(rank=2, units=16, observation=observation)
    model.fit(trials, proposal=proposal, **small.QUICK | {"particles": 1})
    assert_whole(model, trials)
    latents = model.infer(trials, particles=1, samples=1, backend="reference")
    inside = latents.mask.values
    assert np.isfinite(latents.latent_mean.values[inside]).all()
    np.testing.assert_allclose(latents.effective_sample_size.values[inside], 1, rtol=1e-6)


@pytest.mark.parametrize("link", ["softplus", "exp"])
def test_a_loud_unit_survives_large_steps(link):
    trials = loud_unit(small.counts())
    options = small.QUICK | {"iterations": 60, "learning_rate": 0.03}
    assert_whole(LowRankRNN(rank=2, units=16, link=link).fit(trials, **options), trials)


def test_constant_channels_are_left_out_and_named(caplog):
    trials = constant_unit(made("gaussian"))
    with caplog.at_level(logging.WARNING, "nwb_rnn"):
        model = LowRankRNN(rank=2, units=16, observation="gaussian").fit(trials, **small.QUICK)
    assert "constant" in caplog.text
    [note] = model.data_description["dropped"]
    assert note["count"] == 1 and "constant" in note["reason"] and "(0)" in note["what"]
    arrays = model.to_arrays()
    assert not arrays["readout_weights"][0].any() and arrays["readout_bias"][0] == pytest.approx(3)
    assert arrays["observation_noise"].min() > 0.1  # the others have a variance of 1 and more
    others = trials.isel(unit=slice(1, None))
    without = LowRankRNN(rank=2, units=16, observation="gaussian").fit(others, **small.QUICK)
    found, expected = (m.infer(others, **FILTER).rates.values for m in (model, without))
    assert np.corrcoef(found[..., 1:].ravel(), expected.ravel())[0, 1] > 0.99


def test_channels_never_observed_keep_a_sensible_noise():
    trials = unit_never_observed(made("gaussian"))
    model = LowRankRNN(rank=2, units=16, observation="gaussian").fit(trials, **small.QUICK | {"polish": 3})
    assert "never observed" in model.data_description["dropped"][0]["reason"]
    assert model.to_arrays()["observation_noise"].min() > 0.1


def test_a_silent_unit_gets_a_low_rate_and_leaves_the_others_alone():
    trials = silent_unit(small.counts())
    model = LowRankRNN(rank=2, units=16).fit(trials, **small.QUICK)
    rates = model.infer(trials, **FILTER).rates.values
    assert np.nanmax(rates[..., 2]) < 1e-2 and np.nanmean(rates[..., 3]) > 1e-2


def test_inputs_in_other_units_drive_alike():
    trials, rng = small.counts(), np.random.default_rng(0)
    drive = rng.standard_normal((8, 40, 2))
    drive[..., 1] = 0  # an input that is always 0 does no harm
    scores = []
    for factor in (1.0, 2.0**14):
        driven = trials.assign(inputs=(("trial", "time", "input"), factor * drive))
        model = LowRankRNN(rank=2, units=16).fit(driven, **small.QUICK | {"iterations": 20})
        assert_whole(model, driven)
        scores.append(model.score(driven, **FILTER)["log_likelihood_per_bin"])
    assert scores[0] == pytest.approx(scores[1], rel=0.03)


def offset(trials):
    return changed(trials, trials.signal.values.astype(float) + 1e9)


def test_a_moderate_offset_costs_nothing():
    trials = small.signal()
    model = LowRankRNN(rank=2, units=16, observation="gaussian")
    plain = model.fit(trials, **small.QUICK).score(trials, **FILTER)["r2"]
    shifted = changed(trials, trials.signal.values.astype(float) + 1000)
    found = model.fit(shifted, **small.QUICK).score(shifted, **FILTER)["r2"]
    assert found == pytest.approx(plain, abs=0.01)


@pytest.mark.parametrize(
    ("observation", "change", "reason"),
    [
        ("gaussian", lambda t: changed(t, 0 * t.signal.values + 2), "not one of the 8 channels changes"),
        ("gaussian", lambda t: t.isel(trial=[0], time=[0]), "not one of the 8 channels changes"),
        ("gaussian", offset, "Subtract each channel's mean"),
        ("gaussian", lambda t: changed(t, 1e200 * t.signal.values.astype(float)), "beyond"),
        ("gaussian", lambda t: changed(t, 1e25 * t.signal.values.astype(float)), "other units"),
        ("gaussian", lambda t: changed(t, 1e-25 * t.signal.values.astype(float)), "other units"),
        ("gaussian", lambda t: changed(t, np.inf * t.signal.values), "infinite"),
        ("poisson", lambda t: changed(t, 0 * t.counts.values), "not one spike"),
        ("poisson", lambda t: changed(t, t.counts.where(t.counts > 0).values), "NaN"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_a_reason(observation, change, reason):
    with pytest.raises(InputError, match=reason):
        LowRankRNN(rank=1, units=8, observation=observation).fit(change(made(observation)), **small.QUICK)


def test_a_recording_that_was_not_aligned_is_refused_with_what_to_do():
    import nwb_rnn as nr

    recording = nr.read({"spikes": [[0.1, 0.2], [0.15, 0.3]], "span": (0.0, 1.0)})
    tries = [
        LowRankRNN(rank=1).fit,
        nr.RateRNN(smoothing=0.05).fit,
        nr.select_rank,
        lambda trials: nr.evaluate(None, trials),
        lambda trials: nr.compare(None, trials),
    ]
    for attempt in tries:
        with pytest.raises(InputError, match=r"align\(\.\.\.\)"):
            attempt(recording)


def test_a_setting_that_is_not_known_is_named_with_those_that_are():
    with pytest.raises(InputError, match=r"LowRankRNN does not know ranks; it knows rank, units"):
        LowRankRNN(rank=1, ranks=2)


def test_variance_explained_is_undefined_where_nothing_varies():
    trials = small.signal()
    model = LowRankRNN(rank=1, units=8, observation="gaussian").fit(trials, **small.QUICK)
    assert np.isnan(model.score(trials.isel(trial=[0], time=[0]), **FILTER)["r2"])
