"""D_stsp, D_H and spike statistics in `evaluate`, each worked out a second time by its definition in loops.

The model draws from known rates, so the rows of the model, of the baselines and of the two halves of the
recording can all be made again here. Known limits: a perfect model, one that knows mean rates only, and
shuffled bins.
"""

import numpy as np
import pytest
from oracle_model import Oracle, session
from scipy.integrate import quad
from scipy.stats import norm

import nwb_rnn as nr
from nwb_rnn.metrics import baselines
from nwb_rnn.metrics.attractor import spectrum_distance, state_space_divergence

WIDTH, BIN = 0.04, 0.02  # s
SEEDS = 2
STATISTICS = ("mean_rate", "interval_variability", "pairwise_correlation", "autocorrelation")


@pytest.fixture(scope="module")
def scored():
    trials, rates = session()
    return trials, Oracle(trials, rates), evaluated(Oracle(trials, rates), trials)


def evaluated(model, trials, seeds=SEEDS):
    return nr.evaluate(model, trials, by="condition", smoothing=WIDTH, folds=2, seeds=seeds)


def drawn(model, trials):
    """What each source draws, seed by seed, in the order in which `evaluate` draws."""
    found = {"model": [], "mean_rate": [], "condition_average": [], "shuffle": []}
    for seed in range(SEEDS):
        found["model"].append(model.simulate(trials.sizes["trial"], trials, seed))
        rng = np.random.default_rng(seed)
        for kind in ("mean_rate", "condition_average", "shuffle"):
            found[kind].append(baselines.null_trials(trials, kind, "condition", WIDTH, rng))
    return found


def halves(trials):
    """Two random halves of the recording for each seed."""
    found = []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(24)
        found.append([trials.isel(trial=np.sort(rows)) for rows in (order[:12], order[12:])])
    return found


def counts_and_mask(trials):
    """(B, T, D) counts, and (B, T) True where observed, as every unit is here."""
    mask = trials["mask"].values
    return trials["counts"].values, mask if mask.ndim == 2 else mask[..., 0]


def mean_rate(trials):
    counts, seen = counts_and_mask(trials)
    return np.array([counts[..., d][seen].sum() / (seen.sum() * BIN) for d in range(counts.shape[2])])


def interval_variability(trials):
    counts, seen = counts_and_mask(trials)
    found = []
    for unit in range(counts.shape[2]):
        intervals = []
        for trial in range(len(counts)):
            times = [
                t + (spike + 0.5) / counts[trial, t, unit]
                for t in np.flatnonzero(seen[trial])  # all in a row: trials only end early
                for spike in range(int(counts[trial, t, unit]))
            ]
            intervals += np.diff(times).tolist()
        found.append(np.std(intervals) / np.mean(intervals))
    return np.array(found)


def pairwise_correlation(trials):
    counts, seen = counts_and_mask(trials)
    table = np.corrcoef(counts[seen].T)
    return np.array([table[i, j] for i in range(len(table)) for j in range(i + 1, len(table))])


def autocorrelation(trials):
    counts, seen = counts_and_mask(trials)
    total = counts.sum(axis=2)
    mean = np.mean([total[b, t] for b, t in np.argwhere(seen)])
    variance = np.mean([(total[b, t] - mean) ** 2 for b, t in np.argwhere(seen)])
    found = []
    for lag in range(1, 13):  # 0.25 s
        pairs = [
            (total[b, t] - mean) * (total[b, t + lag] - mean)
            for b, t in np.argwhere(seen[:, :-lag])
            if seen[b, t + lag]
        ]
        found.append(np.mean(pairs) / variance)
    return np.array(found)


def match(one, other):
    return np.corrcoef(one, other)[0, 1]


def difference(one, other):
    return np.sqrt(np.mean((one - other) ** 2))


def check(score, expected):
    """Mean and spread over seeds of the model and of each baseline; `expected` source -> values."""
    for source, values in expected.items():
        value, spread = (score.value, score.spread) if source == "model" else score.baselines[source]
        assert value == pytest.approx(np.mean(values), rel=1e-5, abs=1e-9), (score.name, source)
        assert spread == pytest.approx(np.std(values, ddof=1), rel=1e-4, abs=1e-7), (score.name, source)


@pytest.mark.parametrize("name", STATISTICS)
def test_spike_statistics_equal_their_definitions(scored, name):
    trials, model, found = scored
    statistic = globals()[name]
    sources = drawn(model, trials)
    for suffix, measure in (("match", match), ("difference", difference)):
        if (name, suffix) == ("autocorrelation", "match"):
            continue
        recorded = statistic(trials)
        expected = {k: [measure(recorded, statistic(x)) for x in v] for k, v in sources.items()}
        if name == "mean_rate" and suffix == "difference":
            del expected["shuffle"]  # zero but for rounding
        expected["recorded"] = [measure(statistic(a), statistic(b)) for a, b in halves(trials)]
        check(found[f"{name}_{suffix}"], expected)


def smoothed(trials):
    """(samples, D): a Gaussian that reaches over 4 standard deviations, within each trial, then z-scored."""
    counts, seen = counts_and_mask(trials)
    rows = []
    for trial in range(len(counts)):
        inside = np.flatnonzero(seen[trial])
        for t in inside:
            near = [s for s in inside if abs(s - t) * BIN <= 4 * WIDTH + 1e-9]
            weights = [norm.pdf((s - t) * BIN, scale=WIDTH) for s in near]
            rows.append(np.average(counts[trial, near], axis=0, weights=weights))
    series = np.array(rows)
    return (series - series.mean(axis=0)) / series.std(axis=0)


def kernel_divergence(recorded, generated, seed=0, samples=1000):
    """D_stsp sample by sample; densities that float32 takes for zero are left out, as published."""
    rng = np.random.default_rng(seed)
    centres = recorded[rng.integers(len(recorded), size=samples)]
    terms = []
    for point in centres + rng.standard_normal(centres.shape):
        p, q = (np.exp(-0.5 * ((point - x) ** 2).sum(axis=1)).mean() for x in (recorded, generated))
        if np.float32(p) > 0 and np.float32(q) > 0:
            terms.append(np.log(p / q))
    return np.mean(terms)


def hellinger(recorded, generated, sigma=20.0):
    """D_H with a Fourier sum written out and a Gaussian whose ends are mirrored."""
    length = min(len(recorded), len(generated)) // 2 * 2
    wave = np.exp(-2j * np.pi * np.outer(np.arange(length // 2 + 1), np.arange(length)) / length)
    reach = int(4 * sigma + 0.5)
    weights = norm.pdf(np.arange(-reach, reach + 1), scale=sigma)
    weights /= weights.sum()

    def spectrum(series):
        power = np.abs(wave @ series[:length]) ** 2
        smooth = np.array([weights @ power[mirrored(k, len(power), reach)] for k in range(len(power))])
        return smooth / smooth.sum()

    distances = []
    for channel in range(recorded.shape[1]):
        p, q = spectrum(recorded[:, channel]), spectrum(generated[:, channel])
        distances.append(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))
    return np.mean(distances)


def mirrored(centre, length, reach):
    """Positions within `reach` of `centre`, mirrored at the ends as often as it takes."""
    where = np.arange(centre - reach, centre + reach + 1) % (2 * length)
    return np.where(where < length, where, 2 * length - 1 - where)


def test_distributions_equal_their_definitions(scored):
    trials, model, found = scored
    recorded = smoothed(trials)
    sources = {k: [smoothed(x) for x in v] for k, v in drawn(model, trials).items()}
    parts = [[smoothed(x) for x in pair] for pair in halves(trials)]
    for name, measure in (("state_space_divergence", kernel_divergence), ("spectrum_distance", hellinger)):
        expected = {k: [measure(recorded, x) for x in v] for k, v in sources.items()}
        expected["recorded"] = [measure(a, b) for a, b in parts]
        check(found[name], expected)


class Drawing(Oracle):
    """Simulates what a function makes of the trials and a seed."""

    def __init__(self, trials, rates, make):
        super().__init__(trials, rates)
        self.make = make

    def simulate(self, trials, like, seed):
        return self.make(like, seed)


def null_of(kind):
    return lambda like, seed: baselines.null_trials(
        like, kind, "condition", WIDTH, np.random.default_rng(seed)
    )


def test_a_perfect_simulation_has_the_best_scores_there_are():
    trials, rates = session()
    found = evaluated(Drawing(trials, rates, lambda like, seed: like.copy()), trials)
    for name in STATISTICS:
        assert found[f"{name}_difference"].value == pytest.approx(0, abs=1e-12)
        if name != "autocorrelation":
            assert found[f"{name}_match"].value == pytest.approx(1)
    assert found["state_space_divergence"].value == pytest.approx(0, abs=1e-12)
    assert found["spectrum_distance"].value == pytest.approx(0, abs=1e-6)


def test_a_model_of_mean_rates_scores_as_the_baseline_of_mean_rates():
    trials, rates = session()
    found = evaluated(Drawing(trials, rates, null_of("mean_rate")), trials)
    for score in list(found):
        if "mean_rate" in score.baselines and score.over == f"{SEEDS} seeds":
            assert score.value == pytest.approx(score.baselines["mean_rate"][0], abs=1e-12)


def test_shuffled_bins_keep_mean_rates_and_lose_all_that_is_in_time():
    """Within trials of constant rate, so that nothing is left: every correlation is then that of chance.

    60 trials of 60 bins: a correlation over 3,600 bins has a standard error of 0.017, so that the root mean
    square of twelve lags is above 0.05 once in more than 10⁶.
    """
    trials, rates = session(trials=60, bins=60, mask=False)
    found = evaluated(Drawing(trials, rates, null_of("shuffle")), trials, seeds=1)
    assert found["mean_rate_difference"].value == pytest.approx(0, abs=1e-12)
    assert found["mean_rate_match"].value == pytest.approx(1)
    left = autocorrelation(null_of("shuffle")(trials, 0))
    lost = found["autocorrelation_difference"].value
    assert lost == pytest.approx(difference(autocorrelation(trials), left))
    assert np.sqrt(np.mean((left - left.mean()) ** 2)) < 0.05
    assert lost > 0.1
    assert found["spectrum_distance"].value > found["spectrum_distance"].baselines["recorded"][0]
    assert found["state_space_divergence"].value > found["state_space_divergence"].baselines["recorded"][0]


def test_divergence_is_the_integral_in_one_dimension():
    """20,000 samples against quadrature: within 5 standard errors, one false alarm in 10⁶."""
    rng = np.random.default_rng(0)
    recorded, generated = rng.normal(size=(7, 1)), rng.normal(size=(9, 1)) + 1.0

    def density(x, kernels):
        return norm.pdf(x - kernels[:, 0]).mean()

    def term(x, power=1):
        p = density(x, recorded)
        return p * np.log(p / density(x, generated)) ** power

    exact = quad(term, -12, 12, limit=200)[0]
    error = np.sqrt((quad(term, -12, 12, (2,), limit=200)[0] - exact**2) / 20_000)
    found = state_space_divergence(recorded, generated, samples=20_000)
    assert found == pytest.approx(exact, abs=5 * error)
    assert error < 0.01


def test_spectrum_distance_of_an_odd_length_leaves_out_the_last_bin():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(301, 2)), rng.normal(size=(301, 2)).cumsum(axis=0)
    assert spectrum_distance(one, other) == spectrum_distance(one[:300], other[:300])
    assert spectrum_distance(one, other) == pytest.approx(hellinger(one, other), rel=1e-9)
