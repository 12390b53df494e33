"""The published EEG benchmark: rank 3, 512 clipped units, scored on generated series, and the time to it.

    python benchmarks/eeg_quality.py                five training seeds x five generation seeds
    python benchmarks/eeg_quality.py --held-out     the last fifth as well: log p per bin, and distances
    python benchmarks/eeg_quality.py --match 0      without `nr.match_free_runs` at the end
    python benchmarks/eeg_quality.py --limits       what rank 3 can reach: oracles that know the recording
    python benchmarks/eeg_quality.py --attainable   what a fit scores that could not be better
    python benchmarks/eeg_quality.py --fits A.npz   scores of models that were fitted elsewhere
    python benchmarks/eeg_quality.py --published FOLDER   those of the fits in the published code

Trained on the channels of eeg/sub-S001_ses-R01_ecephys.nwb (64 channels, 9,640 samples), read through our
own reader. Series of 12,040 steps are generated, the first 2,400 dropped, the rest smoothed and scored
against eeg_evaluation_smoothed.npy. Baseline: factor analysis with a lag-one linear model of its factors.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import time
from pathlib import Path

import numpy as np

import nwb_rnn as nr
from nwb_rnn.fitting.linear_gaussian import expectation_maximisation, smooth
from nwb_rnn.fitting.subspace import subspace_identification
from nwb_rnn.metrics.attractor import (
    smoothed_like_published,
    spectrum_distance,
    state_space_divergence,
)

DROPPED, KEPT = 2400, 9640


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", type=int, default=3)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--polish", type=int, default=2)
    parser.add_argument("--match", type=int, default=700, help="steps that match free runs to the recording")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--resampling-gradient", type=float, help="by default that of the fit")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--attainable", action="store_true")
    parser.add_argument("--save", default="", help="prefix for .npz files of the fitted models")
    parser.add_argument("--fits", nargs="*", help="score these .npz files of models instead of fitting")
    parser.add_argument("--published", help="score the models in this folder of the published code instead")
    parser.add_argument("--samples", type=int, default=1000, help="of D_stsp, for stored models")
    parser.add_argument("--sets", type=int, default=0, help="sets of 1,000 samples whose scatter is printed")
    options = parser.parse_args()
    target = np.load(recordings.folder() / "eeg" / "eeg_evaluation_smoothed.npy").astype(float)
    if options.limits:
        limits(options, target)
        return
    if options.attainable:
        attainable(options, target)
        return
    if options.fits or options.published:
        stored(options, target)
        return
    report("factor analysis + lag-one linear", linear_scores(options, target))
    scores = []
    for seed in seeds(options):
        started, worked = time.perf_counter(), time.process_time()
        trials = read()
        model = fit(options, trials, seed)
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        drawn = [generated(model, 100 * seed + g) for g in range(options.generations)]
        scores.append([score(target, x) for x in drawn])
        report(f"seed {seed}, {seconds:.0f} s, CPU {work:.0f} s", np.array(scores[-1]))
        if options.save:
            np.savez(f"{options.save}{seed}.npz", **model.to_arrays())
    report("all seeds and generations", np.concatenate(scores))
    if options.held_out:
        held_out(options)


def stored(options, target) -> None:
    """Scores of models that were fitted elsewhere."""
    scores = []
    for number, (name, model) in enumerate(stored_models(options)):
        drawn = [generated(model, 100 * number + g) for g in range(options.generations)]
        scores.append([score(target, x, options.samples) for x in drawn])
        report(name, np.array(scores[-1]))
        if options.sets:
            smooth = [smoothed_like_published(x) for x in drawn]
            found = [[state_space_divergence(target, x, seed=s) for x in smooth] for s in range(options.sets)]
            medians = np.median(found, axis=1)
            print(
                f"{options.sets} sets of samples: D_stsp {medians.mean():.3f}, SD {medians.std(ddof=1):.3f}"
            )
    report("all", np.concatenate(scores))


def stored_models(options):
    """Names and models."""
    for path in options.fits or []:
        with np.load(path, allow_pickle=False) as file:
            yield path, nr.LowRankRNN.from_arrays(**{name: file[name] for name in file.files})
    for path in sorted(Path(options.published or ".").glob("*_state_dict_rnn.pkl")):
        yield path.name[-40:-19], nr.LowRankRNN.from_arrays(**published_arrays(path))


def published_arrays(path: Path) -> dict:
    """A stored fit of the published code: its factors have the logarithm of variances on their diagonal."""
    import torch

    tensors = torch.load(path, map_location="cpu", weights_only=True)
    p = {name: value.double().numpy() for name, value in tensors.items()}

    def factor(raw):
        return np.tril(raw, -1) + np.diag(np.exp(np.diag(raw) / 2))

    return dict(
        activation="clipped_relu",
        observation="gaussian",
        bin_size=1 / 160,
        left_vectors=p["transition.m"],
        right_vectors=p["transition.n"],
        unit_bias=p["transition.h"],
        input_weights=np.zeros((len(p["transition.h"]), 0)),
        decay=np.exp(-np.exp(p["transition.AW"])).reshape(()),
        transition_cholesky=factor(p["R_z"]),
        initial_mean=p["initial_state"],
        initial_cholesky=factor(p["R_z_t0"]),
        readout_weights=p["observation.B"].T,
        readout_bias=p["observation.Bias"].ravel(),
        observation_noise=np.exp(p["R_x"]),
    )


def seeds(options) -> range:
    return range(options.first_seed, options.first_seed + options.seeds)


def read():
    path = recordings.folder() / "eeg" / "sub-S001_ses-R01_ecephys.nwb"
    return nr.read(path).segments(bin_size=1 / 160)


def fit(options, trials, seed: int) -> nr.LowRankRNN:
    model = nr.LowRankRNN(
        rank=options.rank,
        units=options.units,
        activation="clipped_relu",
        observation="gaussian",
        seed=seed,
    )
    model.fit(
        trials,
        iterations=options.iterations,
        batch_size=10,
        particles=10,
        crop=50,
        learning_rate=options.learning_rate,
        polish=options.polish,
        resampling_gradient=options.resampling_gradient,
        progress=False,
    )
    if not options.match:
        return model
    return nr.match_free_runs(model, trials, iterations=options.match, smoothing=15, progress=False)


def generated(model, seed: int) -> np.ndarray:
    return simulated(model, seed)[1]


def score(target: np.ndarray, series: np.ndarray, samples: int = 1000) -> tuple[float, float]:
    """D_stsp and D_H of one generated series."""
    smooth = smoothed_like_published(series)
    return state_space_divergence(target, smooth, samples=samples), spectrum_distance(target, smooth)


def report(name: str, scores: np.ndarray) -> None:
    middle = np.median(scores, axis=0)
    spread = np.median(np.abs(scores - middle), axis=0)
    parts = (f"{n} {m:.3f} (MAD {s:.3f})" for n, m, s in zip(("D_stsp", "D_H"), middle, spread, strict=True))
    print(f"{name:36s}", *parts, flush=True)


def linear_scores(options, target: np.ndarray) -> np.ndarray:
    """The baseline of the same rank, generated with the same number of seeds."""
    from sklearn.decomposition import FactorAnalysis

    series = read().signal.values[0].astype(float)
    series = (series - series.mean(0)) / series.std(0)
    analysis = FactorAnalysis(options.rank).fit(series)
    factors = analysis.transform(series)
    transition = np.linalg.lstsq(factors[:-1], factors[1:], rcond=None)[0]
    root = np.linalg.cholesky(np.cov((factors[1:] - factors[:-1] @ transition).T))
    scores = []
    for seed in range(options.generations):
        rng = np.random.default_rng(seed)
        state = np.zeros((DROPPED + KEPT, options.rank))
        for t in range(1, len(state)):
            state[t] = state[t - 1] @ transition + root @ rng.standard_normal(options.rank)
        noise = rng.standard_normal((len(state), 64)) * np.sqrt(analysis.noise_variance_)
        scores.append(score(target, (state @ analysis.components_ + noise)[DROPPED:]))
    return np.array(scores)


def limits(options, target: np.ndarray) -> None:
    """Oracles of the same rank: what a model could reach that had one part of the recording exactly.

    D_H says nothing of those without spectra or with white noise added after smoothing, nor D_stsp of the one
    that knows nothing of what channels share.
    """
    from scipy.ndimage import gaussian_filter1d
    from sklearn.decomposition import FactorAnalysis, FastICA

    series = read().signal.values[0].astype(float)
    series = (series - series.mean(0)) / series.std(0)
    raw, smoothed = (FactorAnalysis(options.rank).fit(x) for x in (series, target))
    latents = raw.transform(series)
    unmixing = FastICA(options.rank, random_state=0, whiten="unit-variance")
    sources = unmixing.fit_transform(smoothed.transform(target))
    power = gaussian_filter1d(np.abs(np.fft.rfft(target, axis=0)) ** 2, 20, axis=0)

    def noise(rng, analysis):
        return rng.standard_normal(target.shape) * np.sqrt(analysis.noise_variance_)

    def scored(x):  # no smoothing: these live where the target does
        x = (x - x.mean(0)) / x.std(0)
        return state_space_divergence(target, x), spectrum_distance(target, x)

    oracles: dict[str, list] = {"Gaussian, moments of the scored": [], "recorded latents, white noise": []}
    oracles["Gaussian, spectra of the scored"] = []
    shuffled, redrawn = "independent components shuffled", "independent components, phases redrawn"
    oracles |= {shuffled: [], redrawn: []}
    for seed in range(options.generations):
        rng = np.random.default_rng(seed)
        white = rng.standard_normal((len(target), options.rank))
        oracles["Gaussian, moments of the scored"].append(
            scored(white @ smoothed.components_ + noise(rng, smoothed))
        )
        oracles["recorded latents, white noise"].append(
            score(target, latents @ raw.components_ + noise(rng, raw))
        )
        phases = rng.standard_normal((2, *power.shape))
        signal = np.fft.irfft(np.sqrt(power / 2) * (phases[0] + 1j * phases[1]), len(target), axis=0)
        oracles["Gaussian, spectra of the scored"].append(scored(signal))
        for name, draw in ((shuffled, in_another_order), (redrawn, phases_redrawn)):
            drawn = unmixing.inverse_transform(np.apply_along_axis(draw, 0, sources, rng))
            oracles[name].append(scored(drawn @ smoothed.components_ + noise(rng, smoothed)))
    for name, found in oracles.items():
        report(name, np.array(found))


def in_another_order(values: np.ndarray, rng) -> np.ndarray:
    return rng.permutation(values)


def phases_redrawn(values: np.ndarray, rng) -> np.ndarray:
    """`values` (T,) in an order that nearly keeps their spectrum (Schreiber & Schmitz 1996)."""
    amplitude, ordered = np.abs(np.fft.rfft(values)), np.sort(values)
    drawn = rng.permutation(values)
    for _ in range(60):
        phase = np.exp(1j * np.angle(np.fft.rfft(drawn)))
        drawn = np.fft.irfft(amplitude * phase, len(values))
        drawn = ordered[np.argsort(np.argsort(drawn))]
    return drawn


def attainable(options, target: np.ndarray) -> None:
    """What a fit scores that could not be better, since no generated series is the recording.

    A fit is taken for the truth: the latents of one of its series replace those of the recording, which
    keeps all that the fit leaves over (what isn't of this rank, and isn't white), and other series of the
    same fit are scored against that. Beside it, each half of the recording from the other, and from
    generated series of that length.
    """
    trials = read()
    series = trials.signal.values[0].astype(float)
    half = KEPT // 2
    halves = [smoothed_like_published(series[:half]), smoothed_like_published(series[half:])]
    report("a half of the recording, from the other", np.array(both(halves, halves[::-1])))
    found: dict[str, list] = {"the recording": [], "the fit's own latents, recorded rest": []}
    found["a half of the recording"] = []
    for seed in seeds(options):
        model = fit(options, trials, seed)
        left_over = series - model.infer(trials, particles=64, samples=16).rates.values[0]
        drawn = [simulated(model, 100 * seed + g) for g in range(options.generations)]
        for (_, generated_series), (latents, _) in zip(drawn, drawn[1:] + drawn[:1], strict=True):
            found["the recording"].append(score(target, generated_series))
            as_recorded = smoothed_like_published(expected(model, latents) + left_over)
            found["the fit's own latents, recorded rest"].append(score(as_recorded, generated_series))
            short = smoothed_like_published(generated_series[:half])
            found["a half of the recording"] += both(halves, [short, short])
        print(f"seed {seed}", flush=True)
    for name, scores in found.items():
        report(f"{name}, from the fit", np.array(scores))


def both(recorded, generated) -> list[tuple[float, float]]:
    return [
        (state_space_divergence(p, q), spectrum_distance(p, q))
        for p, q in zip(recorded, generated, strict=True)
    ]


def simulated(model, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents (T, R) and series (T, D)."""
    found = model.simulate(trials=1, bins=DROPPED + KEPT, seed=seed).isel(trial=0, time=slice(DROPPED, None))
    return found.latents.values.astype(float), found.signal.values.astype(float)


def expected(model, latents: np.ndarray) -> np.ndarray:
    p = model.parameters
    return latents @ p.readout_weights.double().numpy().T + p.readout_bias.double().numpy()


def held_out(options) -> None:
    """log p(y) per bin of the last fifth, in z-scored units, beside a linear Gaussian system by EM."""
    trials = read()
    first, last = trials.isel(time=slice(0, 7712)), trials.isel(time=slice(7712, None))
    mean, spread = first.signal.values[0].mean(0), first.signal.values[0].std(0)
    shift = float(np.log(spread.astype(float)).sum())
    a, b = (((x.signal.values - mean) / spread).astype(float) for x in (first, last))
    pieces = a[:, :7500].reshape(15, 500, 64)
    mask = np.ones((15, 500, 1))
    system = subspace_identification(pieces, mask, options.rank)
    system, _ = expectation_maximisation(system, pieces, mask, 50, least_noise=1e-3)
    linear = smooth(system, b, np.ones((1, b.shape[1], 1))).log_likelihood.sum() / b.shape[1]
    print(f"held-out log p per bin: linear Gaussian system, EM {linear:.3f}", flush=True)
    target = smoothed_like_published(b[0])
    scores, distances = [], []
    for seed in seeds(options):
        model = fit(options, first, seed)
        scores.append(model.score(last, particles=512, samples=1)["log_likelihood_per_bin"] + shift)
        print(f"held-out log p per bin: seed {seed} {scores[-1]:.3f}", flush=True)
        drawn = [generated(model, 100 * seed + g) for g in range(options.generations)]
        distances.append([score(target, x) for x in drawn])
        report(f"last fifth, seed {seed}", np.array(distances[-1]))
    spread = np.std(scores, ddof=1) if len(scores) > 1 else np.nan
    print(f"held-out log p per bin: low-rank RNN {np.mean(scores):.3f} ± {spread:.3f} (SD over seeds)")
    report("last fifth, all seeds", np.concatenate(distances))


if __name__ == "__main__":
    main()
