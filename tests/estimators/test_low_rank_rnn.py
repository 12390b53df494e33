"""The verbs of LowRankRNN: fit, infer, simulate, score, arrays, and what they refuse."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
import small

from nwb_rnn.errors import DivergenceError, InputError, NotFittedError
from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.models.canonical import canonical_basis
from nwb_rnn.smc.filter import prepare
from nwb_rnn.smc.trials import from_dataset

FILTER = dict(particles=16, backend="reference")


@pytest.fixture(scope="module")
def trials():
    return small.counts()


@pytest.fixture(scope="module")
def fitted(trials):
    return LowRankRNN(rank=2, units=16, seed=1).fit(trials, **small.QUICK)


def test_fit_ends_in_the_canonical_basis_with_a_history(fitted):
    left = fitted.parameters.left_vectors
    torch.testing.assert_close(left.T @ left, torch.eye(2), rtol=1e-5, atol=1e-5)
    assert fitted.is_canonical
    assert [h["iteration"] for h in fitted.history] == [2, 4, 6]
    assert all(np.isfinite(h["objective"]) for h in fitted.history)


def test_the_same_seed_gives_the_same_fit(trials, fitted):
    again = LowRankRNN(rank=2, units=16, seed=1).fit(trials, **small.QUICK)
    other = LowRankRNN(rank=2, units=16, seed=2).fit(trials, **small.QUICK)
    for name, array in fitted.to_arrays().items():
        np.testing.assert_array_equal(array, again.to_arrays()[name])
    assert not np.array_equal(fitted.to_arrays()["left_vectors"], other.to_arrays()["left_vectors"])


def test_nothing_is_seeded_globally(trials):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    LowRankRNN(rank=1, units=8).fit(trials, **small.QUICK | {"iterations": 1})
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


def test_arrays_make_the_same_model_again(trials, fitted):
    copy = LowRankRNN.from_arrays(seed=1, unit_ids=fitted.unit_ids, **fitted.to_arrays())
    for name, array in fitted.to_arrays().items():
        np.testing.assert_array_equal(array, copy.to_arrays()[name])
    for kind in ("smoothed", "filtered"):
        a, b = (m.infer(trials, kind=kind, **FILTER) for m in (fitted, copy))
        for name in ("latent_mean", "rates", "log_likelihood"):
            np.testing.assert_array_equal(a[name].values, b[name].values)
    np.testing.assert_array_equal(
        fitted.simulate(trials=3, like=trials).counts.values,
        copy.simulate(trials=3, like=trials).counts.values,
    )


def test_the_canonical_basis_moves_the_proposal_with_the_latents(trials):
    model = LowRankRNN(rank=2, units=16, seed=1)
    model.to_canonical = lambda: None
    model.fit(trials, **small.QUICK)
    before = proposal_of(model, trials)
    basis = canonical_basis(model.parameters).float()
    LowRankRNN.to_canonical(model)
    after = proposal_of(model, trials)
    close = dict(rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(after.gain, basis @ before.gain @ torch.linalg.inv(basis), **close)
    torch.testing.assert_close(after.offset, before.offset @ basis.T, **close)
    covariances = [x.scale @ x.scale.transpose(1, 2) for x in (before, after)]
    torch.testing.assert_close(covariances[1], basis @ covariances[0] @ basis.T, **close)
    torch.testing.assert_close(after.log_ratio, before.log_ratio, **close)


def proposal_of(model, trials):
    return prepare(model.parameters, model.config, from_dataset(trials), "encoder", model._encoder).proposal


def test_inferred_datasets_are_shaped_and_masked_like_the_trials(trials, fitted):
    latents = fitted.infer(trials, **FILTER)
    assert latents.latent_mean.dims == ("trial", "time", "latent")
    assert latents.rates.dims == ("trial", "time", "unit")
    outside = ~trials.mask.values
    assert np.isnan(latents.latent_mean.values[outside]).all()
    assert np.isfinite(latents.latent_mean.values[~outside]).all()
    sizes = latents.effective_sample_size.values[~outside]
    assert (sizes >= 1 - 1e-4).all() and (sizes <= 16 + 1e-3).all()


def test_units_may_come_in_another_order_or_be_missing(trials, fitted):
    base = fitted.infer(trials, **FILTER)
    shuffled = fitted.infer(trials.isel(unit=[5, 0, 3, 1, 2, 4, 11, 10, 9, 8, 7, 6]), **FILTER)
    np.testing.assert_allclose(base.log_likelihood, shuffled.log_likelihood, rtol=1e-6)
    some = fitted.infer(trials.isel(unit=[0, 1, 2]), **FILTER)
    hidden = fitted.infer(trials, held_out_units=fitted.unit_ids[3:], **FILTER)
    np.testing.assert_array_equal(some.rates.values, hidden.rates.values)
    assert some.rates.shape[2] == 12


def test_held_out_units_do_not_leak(trials, fitted):
    changed = trials.copy(deep=True)
    changed["counts"][..., 9:] = 50
    held = fitted.unit_ids[9:]
    a, b = (fitted.infer(x, held_out_units=held, **FILTER) for x in (trials, changed))
    np.testing.assert_array_equal(a.rates.values, b.rates.values)


def test_masked_values_do_not_matter(trials, fitted):
    changed = trials.copy(deep=True)
    changed["counts"] = changed.counts.where(trials.mask, 99)
    a, b = (fitted.infer(x, **FILTER) for x in (trials, changed))
    np.testing.assert_array_equal(a.latent_mean.values, b.latent_mean.values)


def test_simulated_trials_look_like_the_given_ones(trials, fitted):
    drawn = fitted.simulate(trials=10, like=trials, seed=4)
    assert drawn.counts.shape == (10, *trials.counts.shape[1:])
    np.testing.assert_array_equal(drawn.mask.values[:8], trials.mask.values)
    assert (drawn.counts.values[~drawn.mask.values] == 0).all()
    assert not np.array_equal(
        drawn.counts.values, fitted.simulate(trials=10, like=trials, seed=5).counts.values
    )


def test_inputs_are_learned_and_asked_for(trials):
    driven = trials.assign(inputs=(("trial", "time", "input"), np.ones((8, 40, 1))))
    model = LowRankRNN(rank=2, units=16).fit(driven, **small.QUICK)
    assert model.parameters.input_weights.shape == (16, 1)
    with pytest.raises(InputError, match="takes 1 inputs"):
        model.infer(trials, **FILTER)
    assert len(model.fixed_points(inputs=[0.5]).location.shape) == 2


@pytest.mark.parametrize("readout", ["affine", "one_to_one"])
@pytest.mark.parametrize("proposal", ["auto", "bootstrap", "encoder"])
def test_gaussian_signals(readout, proposal):
    data = small.signal()
    model = LowRankRNN(rank=2, units=16, observation="gaussian", readout=readout)
    model.fit(data, proposal=proposal, **small.QUICK)
    scores = model.score(data, held_out_units=model.unit_ids[:2], **FILTER)
    assert scores["r2"] > 0.1 and np.isfinite(scores["co_smoothing_r2"])


def test_signals_in_other_units_give_the_same_fit():
    data = small.signal()
    volts = data.assign(signal=data.signal * 2.0**-20 + 3 * 2.0**-20)
    fits = [
        LowRankRNN(rank=2, units=16, observation="gaussian").fit(x, proposal="encoder", **small.QUICK)
        for x in (data, volts)
    ]
    a, b = (f.infer(x, **FILTER) for f, x in zip(fits, (data, volts), strict=True))
    np.testing.assert_allclose(a.rates.values, b.rates.values * 2**20 - 3, atol=2e-3)
    shift = data.sizes["time"] * data.sizes["unit"] * 20 * np.log(2)
    np.testing.assert_allclose(a.log_likelihood, b.log_likelihood - shift, rtol=1e-3)


def test_fitting_can_go_on_from_where_the_model_is():
    data = small.signal()
    model = LowRankRNN(rank=2, units=16, observation="gaussian").fit(data, **small.QUICK)
    before = model.parameters.readout_weights.clone()
    model.fit(data, start="current", **small.QUICK | {"iterations": 1, "learning_rate": 1e-9, "polish": 0})
    torch.testing.assert_close(model.parameters.readout_weights, before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "clipped_relu", "tanh", "softplus", "identity"])
def test_every_activation_fits_and_has_fixed_points_looked_for(activation, trials):
    model = LowRankRNN(rank=1, units=8, activation=activation, noise="diagonal").fit(trials, **small.QUICK)
    assert model.fixed_points().location.shape[1] == 1


def test_validation_keeps_the_best_and_stops_early(trials):
    seen = []
    model = LowRankRNN(rank=2, units=16).fit(
        trials.isel(trial=slice(0, 6)),
        validation=trials.isel(trial=slice(6, 8)),
        callback=seen.append,
        patience=2,
        learning_rate=3.0,  # far too large: no check improves on the first ones
        **small.QUICK | {"iterations": 60},
    )
    assert len(model.history) < 30
    assert [h["iteration"] for h in seen] == [h["iteration"] for h in model.history]


def test_divergence_keeps_the_last_good_state(trials, monkeypatch):
    from nwb_rnn.fitting.trainer import Trainer

    honest, calls = Trainer.objective, []

    def breaks(self, *args):
        calls.append(1)
        return honest(self, *args) * (float("nan") if len(calls) > 4 else 1.0)

    monkeypatch.setattr(Trainer, "objective", breaks)
    model = LowRankRNN(rank=2, units=16)
    with pytest.raises(DivergenceError, match="learning_rate"):
        model.fit(trials, **small.QUICK)
    assert model.history[-1]["iteration"] == 4
    assert all(np.isfinite(v).all() for v in model.to_arrays().values() if v.dtype.kind == "f")


def test_verbs_before_fit_say_what_to_call():
    with pytest.raises(NotFittedError, match="fit"):
        LowRankRNN(rank=2).to_arrays()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t.assign(counts=t.counts * 0), "not one spike"),
        (lambda t: t.assign(counts=t.counts - 1), "negative"),
        (lambda t: t.rename(counts="signal"), "gaussian"),
        (lambda t: t.assign(counts=t.counts.where(t.counts > 0)), "NaN"),
        (lambda t: t.isel(trial=[]), "no trials"),
        (lambda t: t.assign(mask=t.mask & False), "False everywhere"),
        (lambda t: t.drop_vars("counts"), "no 'counts'"),
    ],
)
def test_data_that_cannot_be_fitted_is_refused_with_a_reason(trials, change, word):
    with pytest.raises(InputError, match=word):
        LowRankRNN(rank=2, units=16).fit(change(trials), **small.QUICK)


def test_a_single_trial_and_a_single_bin_can_be_fitted(trials):
    for few in (trials.isel(trial=[0]), trials.isel(time=[0])):
        model = LowRankRNN(rank=1, units=8).fit(few, **small.QUICK)
        assert all(np.isfinite(v).all() for v in model.to_arrays().values() if v.dtype.kind == "f")


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda m, t: m.infer(t.assign_coords(unit=t.unit + 100)), "does not know unit"),
        (lambda m, t: m.infer(t.assign_attrs(bin_size=0.05)), "bin_size=0.01"),
        (lambda m, t: m.infer(t, kind="guessed"), "smoothed or filtered"),
        (lambda m, t: m.infer(t, held_out_units=[999]), "999"),
        (lambda m, t: m.infer(t, proposal="optimal"), "closed form"),
        (lambda m, t: m.infer(t, particles=0), "at least 1"),
        (lambda m, t: m.simulate(trials=2), "how long"),
        (lambda m, t: m.fit(t, speed="fast"), "speed"),
        (lambda m, t: m.fit(t, start="there"), "start="),
        (lambda m, t: m.fit(t, crop=1000), "longest trial"),
        (lambda m, t: m.fixed_points(inputs=[1.0, 2.0]), "0 inputs"),
        (lambda m, t: LowRankRNN.from_arrays(left_vectors=np.ones((3, 2))), "right_vectors"),
        (lambda m, t: LowRankRNN.from_arrays(**m.to_arrays(), speed=1), "speed"),
    ],
)
def test_wrong_arguments_get_a_clear_error(trials, fitted, call, word):
    with pytest.raises(InputError, match=word):
        call(fitted, trials)
