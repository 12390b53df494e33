"""Do fits find a teacher's fixed points and their stability, frequency and noise level? Over five seeds.

Latents of a fit are compared with the teacher's through the readouts, which give the same η = C z + d:
z_teacher = C⁺ (C_fit z_fit + d_fit − d). Then, for each fit, with the tolerances that are printed:

    stable    the fitted stable fixed points within |z| < 1.6 are as many as the teacher's, each within 0.2
    saddle    a saddle within 0.25 of 0 (bistable), no stable point within 0.5 of 0 (oscillator, ring)
    radius    mean |z| of noise-free orbits after 300 bins within 0.1 of 1 (oscillator, ring)
    frequency of simulated latents within 3 % of the teacher's, simulated alike (oscillator)
    drift     along the circle in those orbits, below 0.01 rad a bin (ring)
    noise     root of the mean latent noise variance within 15 %
    likelihood of as many new trials, nats a bin above that under the teacher (256 particles); no tolerance

    python benchmarks/teachers.py [--seeds 5] [--iterations 400] [--learning-rate 0.01]
        [--trials 60] [--bins 100] [--first-seed 0]
    python benchmarks/teachers.py --diagnose --observations poisson [--first-seed 0] [--seeds 1]

The second says where latent noise comes from: at which multiple of the teacher's noise log p(y) of the
trials is highest, and how sharply (one standard deviation, from the curvature); where particle EM ends that
starts at the teacher's own parameters; a fit before and after particle EM; and effective sample sizes and
log-likelihood of new trials with 64 particles from each proposal, under the fit.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np

from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
from nwb_rnn.teachers.bistable import bistable
from nwb_rnn.teachers.oscillator import cycle_frequency, oscillator
from nwb_rnn.teachers.ring import ring

OBSERVED, UNITS, NOISE = 30, 64, 0.1


def arrays_of(name: str, observation: str, seed: int) -> dict[str, np.ndarray]:
    options = dict(observed=OBSERVED, observation=observation, noise=NOISE, seed=seed, mean_rate=20.0)
    if name == "oscillator":
        return oscillator(bin_size=0.02, growth=0.2, **options)
    return (bistable if name == "bistable" else ring)(**options).arrays


def common(model: LowRankRNN, teacher: LowRankRNN) -> tuple[np.ndarray, np.ndarray]:
    """A (2, 2) and b (2,) with z_teacher = A z_fit + b."""
    mine, theirs = model.to_arrays(), teacher.to_arrays()
    back = np.linalg.pinv(theirs["readout_weights"])
    return back @ mine["readout_weights"], back @ (mine["readout_bias"] - theirs["readout_bias"])


def tone(model: LowRankRNN) -> float:
    latents = model.simulate(trials=20, bins=300, seed=1)["latents"].values[:, 50:]
    return float(np.median([abs(cycle_frequency(z, model.bin_size)) for z in latents]))


def orbits(model: LowRankRNN, matrix, offset) -> tuple[float, float]:
    """Mean |z| after 300 bins without noise, and turning per bin over the next 50, rad."""
    angle = 2 * np.pi * np.arange(60) / 60
    wanted = np.column_stack([np.cos(angle), np.sin(angle)])
    z, network = (wanted - offset) @ np.linalg.inv(matrix).T, model.step_map()
    phases = []
    for step in range(350):
        z = network.step(z)
        if step >= 300:
            seen = z @ matrix.T + offset
            phases.append(np.arctan2(seen[:, 1], seen[:, 0]))
    turned = np.abs(np.angle(np.exp(1j * np.diff(phases, axis=0)))).mean()
    return float(np.linalg.norm(seen, axis=1).mean()), float(turned)


def compare(name: str, model: LowRankRNN, teacher: LowRankRNN) -> dict[str, tuple[float, bool]]:
    """Figure and whether it is within its tolerance, by name."""
    matrix, offset = common(model, teacher)
    root = matrix @ model.to_arrays()["transition_cholesky"]
    noise = float(np.sqrt(np.trace(root @ root.T) / 2))
    found = {"noise": (noise, abs(noise / NOISE - 1) < 0.15)}
    points = model.fixed_points()
    where = points.location @ matrix.T + offset
    size = np.linalg.norm(where, axis=1)
    if name == "bistable":
        true = teacher.fixed_points()
        ends = true.location[true.stable]
        near = where[points.stable & (size < 1.6)]
        off = max(np.linalg.norm(near - end, axis=1).min(initial=np.inf) for end in ends)
        found["stable points"] = (float(len(near)), len(near) == 2)
        found["their error"] = (float(off), off < 0.2)
        middle = size[points.kind == "saddle"].min(initial=np.inf)
        return found | {"saddle error": (float(middle), middle < 0.25)}
    inner = int((points.stable & (size < 0.5)).sum())
    radius, drift = orbits(model, matrix, offset)
    found |= {"stable near 0": (inner, inner == 0), "radius": (radius, abs(radius - 1) < 0.1)}
    if name == "ring":
        return found | {"drift": (drift, drift < 0.01)}
    ratio = tone(model) / tone(teacher)
    return found | {"frequency ratio": (ratio, abs(ratio - 1) < 0.03)}


def fitted(options, model: LowRankRNN, trials, **changes) -> LowRankRNN:
    given = {
        "iterations": options.iterations,
        "learning_rate": options.learning_rate,
        "resampling_gradient": options.resampling_gradient,
        "polish": options.polish,
    }
    return model.fit(trials, progress=False, **given | changes)


def student(observation: str, seed: int) -> LowRankRNN:
    link = "exp" if observation == "poisson" else "identity"
    return LowRankRNN(rank=2, units=UNITS, observation=observation, link=link, seed=seed)


def diagnose(options, name: str, observation: str, seed: int) -> None:
    arrays = arrays_of(name, observation, seed)
    teacher = LowRankRNN.from_arrays(**arrays)
    trials = teacher.simulate(options.trials, bins=options.bins, seed=seed).drop_vars("latents")
    new = teacher.simulate(options.trials, bins=options.bins, seed=1000 + seed)

    def likelihood(model: LowRankRNN, data, **changes):
        return model.infer(data, kind="filtered", **{"particles": 256} | changes)

    def told(model: LowRankRNN) -> str:
        apart = likelihood(model, new)["log_likelihood"] - likelihood(teacher, new)["log_likelihood"]
        noise = compare(name, model, teacher)["noise"][0]
        return f"noise {noise:.3f}, new trials {float(apart.mean()) / options.bins:+.4f} nats a bin"

    scales, root = np.linspace(0.85, 1.15, 7), "transition_cholesky"
    louder = [LowRankRNN.from_arrays(**arrays | {root: scale * arrays[root]}) for scale in scales]
    curve = [float(likelihood(model, trials)["log_likelihood"].sum()) for model in louder]
    curved, slope, _ = np.polyfit(scales - 1, curve, 2)
    spread = np.sqrt(-0.5 / curved) if curved < 0 else np.nan
    print(f"{name}, {observation}, seed {seed}")
    print(f"  log p(y) is highest at {1 - 0.5 * slope / curved:.3f} ± {spread:.3f} of the noise", flush=True)
    still = {"iterations": 1, "learning_rate": 1e-9, "start": "current"}
    moved = fitted(options, LowRankRNN.from_arrays(**arrays), trials, **still)
    print(f"  particle EM from the teacher: {told(moved)}", flush=True)
    model = fitted(options, student(observation, seed), trials, polish=0)
    print(f"  a fit before particle EM: {told(model)}")
    print(f"  after it: {told(fitted(options, model, trials, **still))}", flush=True)
    if observation == "poisson":
        for proposal in ("encoder", "bootstrap", "expansion"):
            found = likelihood(model, new, particles=64, proposal=proposal)
            size, height = (float(found[key].mean()) for key in ("effective_sample_size", "log_likelihood"))
            print(f"  {proposal}: {size:.0f} of 64, {height / options.bins:.4f} nats a bin", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("seeds", 5), ("iterations", 400), ("trials", 60), ("bins", 100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--resampling-gradient", type=float, help="by default that of the fit")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--polish", type=int, help="steps of particle EM; by default those of the fit")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--diagnose", action="store_true", help="where latent noise comes from")
    parser.add_argument("--teachers", nargs="+", default=["oscillator", "bistable", "ring"])
    parser.add_argument("--observations", nargs="+", default=["gaussian", "poisson"])
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    if options.diagnose:
        for name in options.teachers:
            for observation in options.observations:
                for seed in seeds:
                    diagnose(options, name, observation, seed)
        return
    for name in options.teachers:
        for observation in options.observations:
            figures, began = defaultdict(list), time.process_time()
            for seed in seeds:
                teacher = LowRankRNN.from_arrays(**arrays_of(name, observation, seed))
                trials = teacher.simulate(options.trials, bins=options.bins, seed=seed).drop_vars("latents")
                model = fitted(options, student(observation, seed), trials)
                new = teacher.simulate(options.trials, bins=options.bins, seed=1000 + seed)
                pair = [m.score(new, particles=256)["log_likelihood_per_bin"] for m in (model, teacher)]
                figures["likelihood"].append((pair[0] - pair[1], True))
                for figure, value in compare(name, model, teacher).items():
                    figures[figure].append(value)
                last = ", ".join(f"{figure} {values[-1][0]:.3g}" for figure, values in figures.items())
                print(f"  {name}, {observation}, seed {seed}: {last}", flush=True)
            spent = (time.process_time() - began) / options.seeds
            print(f"{name}, {observation}: {spent:.1f} s of processor a fit", flush=True)
            for figure, values in figures.items():
                numbers = ", ".join(f"{value:.3g}" for value, _ in values)
                within = f"; within: {sum(ok for _, ok in values)}/{len(values)}"
                print(f"    {figure}: {numbers}{'' if figure == 'likelihood' else within}", flush=True)


if __name__ == "__main__":
    main()
