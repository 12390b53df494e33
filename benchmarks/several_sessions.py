"""Several short sessions of one network, fitted together and one by one, on held-out trials of each.

The oscillator teacher (3 Hz, Gaussian observations) is recorded in sessions that share no unit.
Over seeds: how far log p(y) per bin of 20 held-out trials of each session is below the teacher's own, and the
frequency of what the fitted networks generate.

    python benchmarks/several_sessions.py [--sessions 4] [--units 6] [--trials 3] [--bins 50] [--seeds 5]
        [--resampling-gradient SHARE]
"""

from __future__ import annotations

import argparse

import numpy as np

from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.teachers.oscillator import cycle_frequency, oscillator


def recorded(teacher, options, trials, seed):
    found = []
    for s in range(options.sessions):
        drawn = teacher.simulate(trials=trials, bins=options.bins, seed=seed + s).drop_vars("latents")
        own = drawn.isel(unit=slice(s * options.units, (s + 1) * options.units))
        found.append(own.assign_coords(unit=np.arange(options.units)))
    return found


def frequency(model) -> float:
    latents = model.simulate(trials=10, bins=400, seed=1)["latents"].values[:, 100:]
    return float(np.median([abs(cycle_frequency(z, model.bin_size)) for z in latents]))


def one_session(teacher, options, session):
    arrays = teacher.to_arrays()
    units = slice(session * options.units, (session + 1) * options.units)
    own = {n: arrays[n][units] for n in ("readout_weights", "readout_bias", "observation_noise")}
    return LowRankRNN.from_arrays(**arrays | own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("sessions", 4), ("units", 6), ("trials", 3), ("bins", 50), ("seeds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--resampling-gradient", type=float, help="by default that of the fit")
    options = parser.parse_args()
    gradient = options.resampling_gradient
    how = dict(iterations=150, particles=8, resampling_gradient=gradient, progress=False)
    gaps, tones = {"together": [], "alone": []}, {"together": [], "alone": []}
    for seed in range(options.seeds):
        arrays = oscillator(
            observed=options.units * options.sessions, units=48, observation="gaussian", seed=seed
        )
        teacher = LowRankRNN.from_arrays(**arrays)
        train, test = (
            recorded(teacher, options, n, 100 * seed + k) for n, k in ((options.trials, 0), (20, 50))
        )
        settings = dict(rank=2, units=48, observation="gaussian", seed=seed)
        joint = LowRankRNN(**settings).fit(train, **how)
        tones["together"].append(frequency(joint))
        for s in range(options.sessions):
            alone = LowRankRNN(**settings).fit(train[s], **how)
            tones["alone"].append(frequency(alone))
            best = one_session(teacher, options, s).score(test[s], particles=128)["log_likelihood_per_bin"]
            for name, model in (("together", joint.session(s)), ("alone", alone)):
                found = model.score(test[s], particles=128)["log_likelihood_per_bin"]
                gaps[name].append(best - found)
    for name in gaps:
        gap, tone = np.array(gaps[name]), np.array(tones[name])
        print(
            f"{name}: {gap.mean():.3f} ± {gap.std() / np.sqrt(len(gap)):.3f} nats a bin below the teacher; "
            f"{tone.mean():.2f} Hz, from {tone.min():.2f} to {tone.max():.2f}"
        )
    better = np.array(gaps["together"]) < np.array(gaps["alone"])
    print(f"together is better in {better.sum()} of {len(better)} sessions")


if __name__ == "__main__":
    main()
