"""Ridge with unknown inputs: the regression against dense algebra, and a known network that hears a jump."""

from dataclasses import replace

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.fitting.rate_data import RateData
from nwb_rnn.fitting.unknown_input import (
    FLOOR,
    PERSISTENCE,
    _inverse_bands,
    floors,
    random_walk_ridge,
    share_of_range,
)
from nwb_rnn.teachers.three_region import simulate_currents
from tests.estimators.rate_cases import trials_of


def test_inverse_bands_are_those_of_the_dense_inverse():
    rng = np.random.default_rng(0)
    lower = np.stack([1 + rng.random(9), rng.standard_normal(9)])
    dense = np.diag(lower[0]) + np.diag(lower[1, :-1], -1)
    inverse = np.linalg.inv(dense @ dense.T)
    middle, beside = _inverse_bands(lower)
    np.testing.assert_allclose(middle, np.diag(inverse), atol=1e-10)
    np.testing.assert_allclose(beside, np.diag(inverse, 1), atol=1e-10)


def test_regression_is_the_posterior_mean_of_the_stated_model():
    """With one iteration s and q are those it starts from; weights and likelihood by dense matrices."""
    rng = np.random.default_rng(1)
    x, d = rng.standard_normal((30, 4)), rng.standard_normal((30, 2))
    variance = np.array([0.5, 0.5, 0.1, 2.0])
    found = random_walk_ridge(x, d, variance, np.zeros(4, bool), floor=0.01, iterations=1)
    delta = np.diff(np.eye(30), axis=0)
    noise = found.noise**2 * delta @ delta.T + np.diag(found.steps)
    dx, dd = delta @ x, delta @ d
    total = noise + dx @ np.diag(variance) @ dx.T
    mean = np.diag(variance) @ dx.T @ np.linalg.solve(total, dd)
    np.testing.assert_allclose(found.weights, mean.T, atol=1e-9)
    likelihood = -np.linalg.slogdet(2 * np.pi * total)[1] - 0.5 * np.sum(dd * np.linalg.solve(total, dd))
    assert found.log_likelihood == pytest.approx(likelihood)


def test_fixed_point_raises_the_likelihood():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((200, 6))
    bias = np.where(np.arange(200) < 120, 0.0, 3.0)[:, None]
    d = x @ rng.standard_normal((6, 3)) + bias + 0.1 * rng.standard_normal((200, 3))
    few, many = (random_walk_ridge(x, d, np.ones(6), np.zeros(6, bool), 1e-3, iterations=n) for n in (2, 30))
    assert many.log_likelihood > few.log_likelihood
    assert np.argmax(many.steps) == 119
    assert np.abs(many.bias[-1] - 3.0).max() < 0.2


def jumping(units: int = 20, bins: int = 800):
    """A chaotic network whose input jumps, recorded over its largest rate."""
    rng = np.random.default_rng(3)
    weights = 1.5 / np.sqrt(units) * rng.standard_normal((units, units))
    drive = np.where(np.arange(bins)[:, None] < 500, 0.0, 1.0) * rng.standard_normal(units)
    drive = drive + 0.5 * np.sin(np.arange(bins) / 40)[:, None] * rng.standard_normal(units) * (
        np.arange(bins)[:, None] < 500
    )
    rates = np.tanh(simulate_currents(weights, drive, rng.uniform(-1, 1, units), 0.1))
    return rates / np.abs(rates).max(), weights, float(np.abs(rates).max())


def test_share_of_range_is_found():
    rates, _, largest = jumping()
    assert share_of_range(rates, np.zeros((len(rates), 0)), 0.1, 1.5**2 / 20, 0.005) == pytest.approx(
        largest, abs=3e-3
    )


def test_free_run_after_a_jump_is_better_than_that_of_ridge():
    rates, weights, _ = jumping()
    trials = trials_of(rates)
    scores = {}
    for method in ("ridge", "unknown_input"):
        model = nr.RateRNN().fit(trials.isel(time=slice(0, 640)), method)
        scores[method] = model.score(trials.isel(time=slice(639, None)))["noisy_free_run_explained_variance"]
    assert scores["unknown_input"] > 0.95
    assert scores["unknown_input"] > scores["ridge"]
    found = model.parameters.recurrent_weights
    assert np.corrcoef(found.ravel(), weights.ravel())[0, 1] > 0.9


def test_noise_is_smoothed_away_first_and_raises_the_floor():
    """With noise of 0.1 seen in every bin: forecasts from what was seen, against the clean rates."""
    rates, *_ = jumping()
    seen = trials_of(rates + 0.1 * np.random.default_rng(0).standard_normal(rates.shape))
    left = {}
    for smoothing in (0.02, "auto"):
        model = nr.RateRNN(smoothing=smoothing).fit(seen.isel(time=slice(0, 640)), "unknown_input")
        ahead = model.forecast(seen.isel(time=slice(0, 640)), 160).signal.values[0]
        left[smoothing] = np.mean((ahead - rates[640:]) ** 2) / rates[640:].var()
    assert left["auto"] < 0.5 * left[0.02]
    assert left["auto"] < 0.3


def test_floor_is_that_of_clean_data_without_noise_and_grows_with_its_error():
    rates = np.zeros((50, 4))
    names = np.array(["A", "A", "B", "B"])
    made = {"rates": rates[None], "mask": np.ones((1, 50), bool), "inputs": np.zeros((1, 50, 0))}
    clean = RateData(**made, alpha=0.1, activation="tanh")
    assert floors(clean, rates, names) == {"A": FLOOR, "B": FLOOR}
    noisy = replace(clean, error=np.array([0.0, 0.0, 0.03, 0.04]))
    assert floors(noisy, rates, names)["A"] == FLOOR
    assert floors(noisy, rates, names)["B"] == pytest.approx(PERSISTENCE * np.sqrt((0.03**2 + 0.04**2) / 2))


def test_auto_takes_unknown_inputs_where_they_help_and_not_where_noise_is_taken_for_them():
    rates, *_ = jumping()
    auto = nr.RateRNN().fit(trials_of(rates[:640]), "auto", iterations=5)
    assert auto.data_description["chosen"] == "unknown_input"
    same = nr.RateRNN().fit(trials_of(rates[:640]), "unknown_input")
    np.testing.assert_array_equal(auto.parameters.recurrent_weights, same.parameters.recurrent_weights)
    noisy = trials_of(rates[:640] + 0.1 * np.random.default_rng(0).standard_normal((640, 20)))
    other = nr.RateRNN(smoothing=0.05).fit(noisy, "auto", iterations=5)
    validated = [row["validation"] for row in other.history if row["validation"] is not None]
    assert validated[6] < max(validated[:6]) - 0.25  # six λ of ridge, then unknown inputs
    assert other.data_description["chosen"] in ("ridge", "backprop")


@pytest.mark.parametrize(
    ("made", "trials", "words"),
    [
        ({"unrecorded": 3}, 1, "unrecorded"),
        ({"activation": "relu", "scaling": "unit"}, 1, "tanh"),
        ({}, 4, "one recording"),
    ],
)
def test_what_it_does_not_do_is_refused(made, trials, words):
    rates, *_ = jumping()
    with pytest.raises(InputError, match=words):
        nr.RateRNN(**made).fit(trials_of(rates, segments=trials), "unknown_input")
