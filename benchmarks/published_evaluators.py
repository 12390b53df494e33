"""Our scores beside those of the published evaluators, on the same arrays.

    python benchmarks/published_evaluators.py --nlb PATH --peer PATH

PATH are checkouts of neurallatents/nlb_tools and of mackelab/smc_rnns, whose functions are called where they
lie. Each row: our value, theirs, and their difference. Rates are smoothed counts, not those of a model: the
functions are compared, and whether the rates are good does not matter.

- bits per spike, co-smoothing, forward: pmd_reach, 42 trials, 15 held-out units, bins from 0.3 s on; with
  bins that were not observed, rates of exactly zero, and a unit that is silent.
- co-bps, fp-bps and psth R2: rows of `nr.evaluate` against the whole of nlb_tools' `evaluate`, its submission
  and target made of the same arrays.
- vel R2: head velocity of the linear track from smoothed counts; fitted to four fifths of the laps, scored on
  the others.
- D_stsp, D_H: EEG, its second half as if it were generated from the first, and white noise; with the sample
  points of one given to the other, and each with its own.
- intervals and correlations: pmd_reach.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import xarray as xr

import nwb_rnn as nr
from nwb_rnn.metrics import baselines, spiking
from nwb_rnn.metrics.attractor import smoothed_like_published, spectrum_distance, state_space_divergence
from nwb_rnn.metrics.decoding import decode, rate_of_change
from nwb_rnn.metrics.likelihood import bits_per_spike

WIDTH = 0.04  # s, of the Gaussian of the PSTHs
RATES = 0.1  # s, of the Gaussian of the rates
STOP = 15  # bin that the forecast starts at
SEEDS = 5  # of the sample points of D_stsp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nlb", type=Path, help="checkout of neurallatents/nlb_tools")
    parser.add_argument("--peer", type=Path, help="checkout of mackelab/smc_rnns")
    options = parser.parse_args()
    if options.nlb is None and options.peer is None:
        parser.error("name at least one of --nlb and --peer")
    print(f"{'score':58s} {'ours':>14s} {'published':>14s} {'difference':>12s}")
    if options.nlb is not None:
        sys.path.insert(0, str(options.nlb))
        likelihoods()
        whole_submission()
        velocity()
    if options.peer is not None:
        sys.path.insert(0, str(options.peer))
        states_and_spectra()
        statistics()


def row(name: str, ours: float, theirs: float) -> None:
    print(f"{name:58s} {ours:14.9f} {theirs:14.9f} {ours - theirs:12.1e}", flush=True)


def reaches() -> tuple[xr.Dataset, np.ndarray, np.ndarray, np.ndarray]:
    """Trials, smoothed counts as rates (B, T, D), the 42 test trials, and True for 15 held-out units."""
    path = recordings.folder() / "pmd_reach" / "sub-monkey_ses-ex1_ecephys.nwb"
    trials = nr.read(path).align("start_time", window=(0, 0.4), bin_size=0.02)
    rates = baselines.smoothed_values(trials, RATES)
    rng = np.random.default_rng(0)
    order, units = rng.permutation(210), rng.permutation(61)
    return trials, np.maximum(rates, 1e-3), np.sort(order[:42]), np.isin(np.arange(61), units[:15])


def likelihoods() -> None:
    from nlb_tools.evaluation import bits_per_spike as published

    trials, rates, test, held = reaches()
    counts = trials["counts"].values[test][..., held].astype(float)
    rates = rates[test][..., held]
    seen = np.ones(counts.shape, dtype=bool)

    def both(name: str) -> None:
        theirs = published(rates.copy(), np.where(seen, counts, np.nan))
        row(f"bits per spike, {name}", bits_per_spike(rates, counts, seen), theirs)

    both("held-out units")
    seen = np.random.default_rng(0).random(counts.shape) < 0.8
    both("a fifth of the bins not observed")
    rates = np.where(counts.cumsum(axis=1) > 0, rates, 0.0)
    both("rates of zero before the first spike")
    counts = np.where(np.arange(15) == 3, 0.0, counts)
    both("a silent unit")


class Given:
    """Infers the rates it was made with."""

    def __init__(self, trials: xr.Dataset, rates: np.ndarray):
        dims = ("trial", "time", "unit")
        self.known = xr.Dataset({"rates": (dims, rates)}, {name: trials[name] for name in dims})

    def infer(self, trials: xr.Dataset, held_out_units=None, until=None) -> xr.Dataset:
        return self.known.sel(trial=trials["trial"].values)


def whole_submission() -> None:
    """Rates of 42 trials as a submission of the benchmark, and as a model that `nr.evaluate` scores."""
    from nlb_tools.evaluation import evaluate as published

    trials, rates, test, held = reaches()
    trials, rates = trials.isel(trial=test), rates[test]
    by = "condition"
    ids = trials["unit"].values[held].tolist()
    forecast = 1 - STOP / trials.sizes["time"]
    found = nr.evaluate(
        Given(trials, rates), trials, by=by, held_out_units=ids, forecast=forecast, smoothing=WIDTH
    )
    counts = trials["counts"].values.astype(float)
    number = np.unique(trials[by].values, return_inverse=True)[1]
    groups = [np.flatnonzero(number == c) for c in range(number.max() + 1)]
    psth = baselines.condition_average(trials, trials, by, WIDTH)[[rows[0] for rows in groups]]
    still = np.random.default_rng(0).normal(size=(*counts.shape[:2], 2))  # behaviour, whose score is not used

    def submitted(spikes: bool) -> dict[str, np.ndarray]:
        values, what = (counts, "spikes") if spikes else (rates, "rates")
        parts = {"heldin": values[..., ~held], "heldout": values[..., held]}
        made = {f"eval_{what}_{name}": x.copy() for name, x in parts.items()}
        return made | {f"eval_{what}_{name}_forward": x[:, STOP:].copy() for name, x in parts.items()}

    user = submitted(spikes=False)
    user |= {f"train_rates_{part}": user[f"eval_rates_{part}"].copy() for part in ("heldin", "heldout")}
    target = submitted(spikes=True) | {"train_behavior": still, "eval_behavior": still}
    target["psth"] = np.concatenate([psth[..., ~held], psth[..., held]], axis=2)
    target["eval_cond_idx"] = np.array([*groups, None], dtype=object)[:-1]
    (answer,) = published({"mc_maze_20": target}, {"mc_maze_20": user})
    theirs = answer["mc_maze_20_split"]
    row("co-smoothing (co-bps)", found["co_smoothing_bits_per_spike"].value, theirs["co-bps"])
    row("forward (fp-bps)", found["forward_bits_per_spike"].value, theirs["fp-bps"])
    row("psth R2: psth_average_r2", found["psth_average_r2"].value, theirs["psth R2"])
    row("psth R2: psth_r2, of rates that are not averaged", found["psth_r2"].value, theirs["psth R2"])


def velocity() -> None:
    """Two penalties for the same regression: α of the plain features, or α a sample of standardised ones."""
    from nlb_tools.evaluation import velocity_decoding as published

    path = recordings.folder() / "linear_track" / "sub-rat01_ses-lineartrack_behavior+ecephys.nwb"
    trials = nr.read(path).align("start_time", until="stop_time", bin_size=0.02, behaviour=["head_position"])
    rates = baselines.smoothed_values(trials, RATES)
    position = trials["head_position"].values.astype(float)
    moving = rate_of_change(np.where(trials["mask"].values[..., None], position, np.nan), 0.02)
    moving = np.where(np.isfinite(rates).all(axis=2, keepdims=True), moving, np.nan)
    test = np.arange(len(rates)) % 5 == 4
    all_true = [np.ones((int(rows.sum()), 1), dtype=bool) for rows in (~test, test)]
    halves = [np.nan_to_num(rates[~test]), moving[~test], all_true[0]]
    halves += [np.nan_to_num(rates[test]), moving[test], all_true[1]]
    theirs = published(*halves)
    found = decode(rates, moving, test.astype(int))
    row("vel R2, each with its own choice of penalty", float(found.fold_r2[1].mean()), theirs)
    print(f"    penalty chosen by ours, per sample and for standardised rates: {found.penalties[1]:g}")
    weak = decode(rates, moving, test.astype(int), penalties=(1e-12,)).fold_r2[1].mean()
    row("vel R2, ours without a penalty", float(weak), theirs)
    with patch("nlb_tools.evaluation.Ridge", lambda alpha=0.0: _plain()):
        row("vel R2, both without a penalty", float(weak), published(*halves, grid_search=False))


def _plain():
    from sklearn.linear_model import LinearRegression

    return LinearRegression()


def states_and_spectra() -> None:
    from evaluation.kl_Gauss import calc_kl_from_data
    from evaluation.pse import power_spectrum_helling

    signal = nr.read(recordings.folder() / "eeg" / "sub-S001_ses-R01_ecephys.nwb").segments(bin_size=1 / 160)
    whole = smoothed_like_published(signal["signal"].values[0].astype(float))
    half = len(whole) // 2
    noise = np.random.default_rng(0).standard_normal((half, whole.shape[1]))
    cases = {
        "EEG, second half": standardised(whole[half : 2 * half]),
        "smoothed white noise": smoothed_like_published(noise),
        "EEG, odd length": standardised(whole[half : 2 * half - 1]),
    }
    for name, generated in cases.items():
        recorded = standardised(whole[: len(generated)])
        theirs = power_spectrum_helling(generated[None], recorded[None], smoothing=20, freq_cutoff=10_000)
        row(f"D_H, {name}", spectrum_distance(recorded, generated), float(theirs))
        tensors = [torch.tensor(x, dtype=torch.float32) for x in (generated, recorded)]
        with same_samples(0), quiet():
            theirs = float(calc_kl_from_data(*tensors))
        row(f"D_stsp, {name}, the same samples", state_space_divergence(recorded, generated), theirs)
        if name != "EEG, second half":
            continue
        ours = [state_space_divergence(recorded, generated, seed=seed) for seed in range(SEEDS)]
        published = []
        for seed in range(SEEDS):
            torch.manual_seed(seed)
            with quiet():
                published.append(float(calc_kl_from_data(*tensors)))
        spread = f"± {np.std(ours, ddof=1):.3f} and {np.std(published, ddof=1):.3f}, {SEEDS} seeds"
        row(f"D_stsp, {name}, own samples", float(np.mean(ours)), float(np.mean(published)))
        print(f"    {spread}")


def standardised(series: np.ndarray) -> np.ndarray:
    return (series - series.mean(axis=0)) / series.std(axis=0)


@contextmanager
def same_samples(seed: int) -> Iterator[None]:
    """torch draws what `state_space_divergence` draws with this seed."""
    rng = np.random.default_rng(seed)

    def randint(low, high, size):
        return torch.as_tensor(rng.integers(high, size=size[0]))

    def randn(shape):
        return torch.as_tensor(rng.standard_normal(tuple(shape)), dtype=torch.float32)

    with patch.object(torch, "randint", randint), patch.object(torch, "randn", randn):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Without what the published functions print."""
    from contextlib import redirect_stdout
    from io import StringIO

    with redirect_stdout(StringIO()):
        yield


def statistics() -> None:
    from evaluation.calc_stats import calc_isi_stats_per_trial, calculate_correlation

    trials = reaches()[0]
    for name, most in (("at most one spike a bin", 1), ("counts as they are", np.inf)):
        given = trials.assign(counts=np.minimum(trials["counts"], most))
        counts = given["counts"].values
        with quiet(), np.errstate(invalid="ignore", divide="ignore"):
            theirs = calc_isi_stats_per_trial(counts)[0]
        ours = spiking.interval_variability(given)
        known = np.isfinite(theirs) & np.isfinite(ours)
        row(f"interval CV, mean of units, {name}", float(ours[known].mean()), float(theirs[known].mean()))
        print(f"    largest difference of a unit {np.abs(ours - theirs)[known].max():.1e}")
        flat = counts.reshape(-1, counts.shape[2]).astype(float)
        theirs = spiking.above_diagonal(calculate_correlation(flat))
        ours = spiking.above_diagonal(spiking.pairwise_correlations(given))
        known = np.isfinite(theirs) & np.isfinite(ours)
        row(f"pairwise correlations, mean, {name}", float(ours[known].mean()), float(theirs[known].mean()))
        print(f"    largest difference of a pair {np.abs(ours - theirs)[known].max():.1e}")


if __name__ == "__main__":
    main()
