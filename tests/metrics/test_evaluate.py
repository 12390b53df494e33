"""`evaluate` with a model whose rates are known beforehand: every number worked out a second time."""

import numpy as np
import pytest
from oracle_model import Oracle, session
from scipy.stats import poisson
from sklearn.metrics import r2_score

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.metrics import baselines
from nwb_rnn.metrics.scorecard import Evaluation, Score, moments


def bits(rates, counts, seen):
    """Pei et al. 2021, written out with scipy's Poisson law."""
    mean = counts[seen].mean(0)
    gain = poisson(rates[seen]).logpmf(counts[seen]).sum() - poisson(mean).logpmf(counts[seen]).sum()
    return gain / counts[seen].sum() / np.log(2)


@pytest.fixture(scope="module")
def scored():
    trials, rates = session()
    model = Oracle(trials, rates)
    found = nr.evaluate(
        model,
        trials,
        by="condition",
        teacher={"rates": rates, "latents": rates[..., :2] @ [[1.0, 2.0], [0.5, -1.0]] + 3.0},
        held_out_units=[8, 11],
        forecast=0.3,
        folds=4,
        seeds=2,
    )
    return trials, rates, model, found


def test_co_smoothing_and_forecast_equal_their_definitions(scored):
    trials, rates, model, found = scored
    counts, seen = trials["counts"].values, trials["mask"].values
    expected = bits(rates[..., [1, 4]], counts[..., [1, 4]], seen)
    assert found["co_smoothing_bits_per_spike"].value == pytest.approx(expected)
    late = seen & (np.arange(30) >= 21)
    assert found["forward_bits_per_spike"].value == pytest.approx(bits(rates, counts, late))
    assert {"held_out_units": [8, 11], "until": None} in model.asked
    assert any(a["until"] == pytest.approx(21 * 0.02) for a in model.asked)


def test_known_limits_of_predictions(scored):
    """The truth scores best; its mean nothing (less what cross-validation costs); another trial's less."""
    score = scored[3]["co_smoothing_bits_per_spike"]
    others = {name: value for name, (value, _) in score.baselines.items()}
    assert score.value > max(others.values())
    assert -0.05 < others["mean_rate"] <= 0.0
    assert others["shuffle"] < score.value
    assert set(others) == {"mean_rate", "condition_average", "smoothing", "shuffle"}


def test_psth_r2_is_that_of_scikit_learn(scored):
    trials, rates, _, found = scored
    seen = trials["mask"].values
    target = baselines.condition_average(trials, trials, "condition", 0.04)
    assert found["psth_r2"].value == pytest.approx(r2_score(target[seen], rates[seen]))


def test_a_teachers_own_rates_and_states_score_one(scored):
    found = scored[3]
    assert found["rate_r2"].value == pytest.approx(1.0)
    assert found["rate_r2"].baselines["mean_rate"][0] < 0.05
    assert found["state_r2"].value == pytest.approx(1.0)
    assert found["state_r2"].baselines["shuffle"][0] < 0.9


def test_decoding_is_beside_its_baselines(scored):
    found = scored[3]
    for name in ("decoding_hand_r2", "decoding_hand_change_r2"):
        assert found[name].value > found[name].baselines["shuffle"][0]
        assert found[name].baselines["condition_average"][0] == pytest.approx(1.0)


def test_simulations_from_the_truth_match_the_recording(scored):
    found = scored[3]
    for name in ("mean_rate_match", "pairwise_correlation_match"):
        assert found[name].value > 0.5
        assert found[name].over == "2 seeds"
    assert found["mean_rate_difference"].baselines["shuffle"][0] == pytest.approx(0.0, abs=1e-12)
    assert found["mean_rate_difference"].value < 5.0
    divergence = found["state_space_divergence"]
    assert divergence.value < divergence.baselines["mean_rate"][0]
    assert "linear" not in found["interval_variability_difference"].baselines


def test_the_spread_is_that_over_folds(scored):
    from nwb_rnn.metrics.decoding import folds_of

    trials, rates, _, found = scored
    fold = folds_of(trials["condition"].values, 4, 0)
    target = baselines.condition_average(trials, trials, "condition", 0.04)
    seen = trials["mask"].values
    parts = []
    for k in range(4):
        rows = seen & (fold == k)[:, None]
        parts.append(r2_score(target[rows], rates[rows]))
    assert found["psth_r2"].spread == pytest.approx(np.std(parts, ddof=1))


def test_few_shot_punishes_latents_that_hold_more_than_the_recording():
    trials, rates = session(mask=False)
    rng = np.random.default_rng(0)
    clean = np.log(rates)
    crowded = np.concatenate([clean, 3 * rng.normal(size=(*rates.shape[:2], 60))], axis=2)
    options = {"held_out_units": [9], "shots": 3, "seeds": 3, "folds": 3}
    few = [
        nr.evaluate(Oracle(trials, rates, z), trials, **options)["few_shot_bits_per_spike"]
        for z in (clean, crowded)
    ]
    assert few[0].value > few[1].value
    assert few[0].value > 0


def test_what_a_model_lacks_is_said():
    class Silent:
        pass

    trials, rates = session(trials=6, bins=12)
    found = nr.evaluate(Silent(), trials)
    assert len(found) == 0
    assert found.notes == ("no prediction: Silent has no infer", "no simulation: Silent has no simulate")

    class NoForecast(Oracle):
        def infer(self, trials, held_out_units=None):
            return super().infer(trials, held_out_units)

    found = nr.evaluate(NoForecast(trials, rates), trials, folds=2, seeds=1)
    assert "no forecast: NoForecast.infer has no until" in found.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "colour"}, "colour"),
        ({"behaviour": ["foot"]}, "foot"),
        ({"held_out_units": [99]}, "99"),
        ({"held_out_units": 1.5}, "1.5"),
        ({"folds": 1}, "folds=1"),
        ({"seeds": 0}, "seeds=0"),
        ({"teacher": {"rates": np.ones((2, 2, 2))}}, "teacher"),
    ],
)
def test_wrong_choices_are_refused(options, message):
    trials, rates = session(trials=6, bins=12)
    with pytest.raises(InputError, match=message):
        nr.evaluate(Oracle(trials, rates), trials, **options)


def test_a_real_model_is_evaluated_and_its_numbers_are_stored():
    from nwb_rnn.teachers.oscillator import oscillator

    model = nr.LowRankRNN.from_arrays(**oscillator(observed=8, units=16))
    trials = model.simulate(trials=8, bins=30, seed=1)
    found = nr.evaluate(
        model, trials, folds=2, seeds=1, inference={"particles": 16, "samples": 4, "backend": "reference"}
    )
    assert found["co_smoothing_bits_per_spike"].unit == "bits/spike"
    assert not [note for note in found.notes if "decod" not in note]
    model.scores.update(found.to_dict())
    assert model.scores["forward_bits_per_spike"] == found["forward_bits_per_spike"].value


def test_the_table_holds_the_same_numbers_in_every_form():
    rows = (
        Score.of("a", [1.0, 3.0], "2 folds", unit="R²", better="higher", baselines={"mean": [0.0, 1.0]}),
        Score("b", 2.0, float("nan"), "", "nats", "lower"),
    )
    found = Evaluation(rows, ("a note",))
    assert found["a"].value == 2.0
    assert found["a"].spread == pytest.approx(np.sqrt(2))
    assert found.to_dict() == {"a": 2.0, "b": 2.0}
    assert found.to_dict(baselines=True)["a_of_mean"] == 0.5
    assert found.to_pandas().loc["a", "mean"] == 0.5
    table = found.to_xarray()
    assert float(table["value"].sel(score="a", source="mean")) == 0.5
    assert float(table["sd"].sel(score="a", source="model")) == pytest.approx(np.sqrt(2))
    assert "note: a note" in str(found)
    assert "2.000 ± 1.414" in str(found)
    assert np.isnan(moments([np.nan])[0])
    with pytest.raises(InputError, match="there are a, b"):
        found["c"]
