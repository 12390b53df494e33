"""Rate networks fitted to recorded units: held-out free runs, recovered weights, speed, reaches.

Run it with ``python benchmarks/data_constrained.py [--peer PATH] [--seeds 5]``. PATH is a checkout of
rajanlab/CURBD; its demonstration data and its training then run beside ours, in the same process. Times are
those of the processor. NWB_RNN_DATA names the folder with m1_reach.

The fits are told the regions and not the inputs to two of them, except in the column "told": unknown_input
with the drive's own components as inputs. "Truth" is our teacher itself, run on from its own state with its
inputs and new noise of 0.01 in each step: what can be reached; "from what was seen" starts it from the last
noisy state, smoothed. ``--first 10`` takes other draws (pilots). Every fit and every start of a free run
sees the first 80 % alone. Noisy data are smoothed with smoothing="auto", or ``--smoothing fixed`` with 20 and
50 ms.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

import nwb_rnn as nr
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.rate_data import RateData
from nwb_rnn.fitting.rls import rls
from nwb_rnn.metrics.region_currents import current_shares
from nwb_rnn.recordings.denoising import denoise
from nwb_rnn.teachers.three_region import (
    RateTeacher,
    observed,
    random_teacher,
    simulate_currents,
    three_region_teacher,
)

REGIONS = np.repeat(["A", "B", "C"], 100)
METHODS = {
    "ridge": {},
    "unknown_input": {},
    "convex": {},
    "rls": {"passes": 30},
    "backprop": {"iterations": 60},
    "auto": {"iterations": 60},
}


def as_trials(
    activity: np.ndarray, name: str = "signal", bin_size: float = 0.01, inputs: np.ndarray | None = None
) -> xr.Dataset:
    """(T, D) or (B, T, D) as trials, with inputs (T, U)."""
    values = activity[None] if activity.ndim == 2 else activity
    coords = {
        "trial": np.arange(values.shape[0]),
        "time": (np.arange(values.shape[1]) + 0.5) * bin_size,
        "unit": np.arange(values.shape[2]),
    }
    variables = {
        name: (("trial", "time", "unit"), values),
        "mask": (("trial", "time"), np.ones(values.shape[:2], dtype=bool)),
    }
    if inputs is not None:
        variables["inputs"] = (("trial", "time", "input"), inputs[None])
    return xr.Dataset(variables, coords=coords, attrs={"bin_size": bin_size, "align_to": "start"})


def explained(truth: np.ndarray, made: np.ndarray) -> float:
    """1 − residual/variance over all units and bins."""
    return float(1 - np.sum((truth - made) ** 2) / np.sum((truth - truth.mean()) ** 2))


def held_out(
    activity: np.ndarray,
    drive: np.ndarray,
    methods: list[str],
    shown: np.ndarray,
    smoothing: float | str | None,
    rate: float,
) -> dict[str, tuple]:
    """Scores on the last fifth of the clean activity, and seconds, of every method and baseline.

    `shown` is what the fit sees: the activity, with observation noise, or counts of mean rate `rate`.
    """
    cut = int(0.8 * len(activity))
    name = "counts" if rate else "signal"
    left, size, _ = np.linalg.svd(drive, full_matrices=False)
    kept = min(int(np.sum(size > 1e-8 * size[0])), 30)
    untold, told = as_trials(shown, name), as_trials(shown, name, inputs=left[:, :kept] * size[:kept] / 10)
    truth = activity[cut:]
    found = {}
    for column in methods:
        options = METHODS.get(column, {})
        method, trials = ("unknown_input", told) if column == "told" else (column, untold)
        model = nr.RateRNN(smoothing=smoothing, regions=REGIONS)
        began = time.process_time()
        model.fit(trials.isel(time=slice(0, cut)), method, **options)
        seconds = time.process_time() - began
        seen, heard = trials.isel(time=slice(0, cut)), None
        if column == "told":
            heard = trials["inputs"].values[:, cut - 1 : -1]
        runs = [model.forecast(seen, len(truth), heard, noise=True, seed=s) for s in range(3)]
        made = [r["signal"].values[0] / rate - 1 if rate else r["signal"].values[0] for r in runs]
        found[column] = (float(np.mean([explained(truth, m) for m in made])), seconds)
    known = shown[:cut] / (rate * 0.01) - 1 if rate else shown[:cut]  # unsmoothed
    found["mean"] = (explained(truth, np.broadcast_to(known.mean(axis=0), truth.shape)), 0.0)
    order = np.random.default_rng(0).permutation(cut)[: len(truth)]
    found["shuffle"] = (explained(truth, known[order]), 0.0)
    return found


def truth_again(teacher: RateTeacher, noise: float = 0.01, seen: np.ndarray | None = None) -> float:
    """Explained variance of the teacher itself, on from its own state with new noise; mean of five runs.

    With `seen` (T, N), activity with noise, it starts from the last state of the first 80 % of it, smoothed.
    """
    cut, alpha, found = int(0.8 * len(teacher.rates)), teacher.bin_size / teacher.time_constant, []
    scale = np.abs(teacher.rates / np.where(teacher.activity == 0, 1, teacher.activity)).max(axis=0)
    for seed in range(5):
        drawn = noise / alpha * np.random.default_rng(seed).standard_normal(teacher.drive.shape)
        start, weights = teacher.currents[cut - 1], teacher.recurrent_weights
        if seen is not None:
            last = denoise(as_trials(seen[:cut]))["signal"].values[0, -1]
            start = np.arctanh(np.clip(last * scale, -0.9999, 0.9999))
        made = simulate_currents(weights, (teacher.drive + drawn)[cut - 1 :], start, alpha)[1:]
        found.append(explained(teacher.activity[cut:], np.tanh(made) / scale))
    return float(np.mean(found))


def three_regions(seeds: range, peer, only: str | None, methods: list[str], fixed: bool) -> None:
    columns = [*methods, "mean", "shuffle"]
    print("\nThree regions, last fifth, free run with new noise: explained variance (median s of a fit)\n")
    print("| data | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    kinds = {
        "clean": lambda a, s: (a, None, 0.0),
        "observation noise 0.1": lambda a, s: (
            observed(a, noise=0.1, seed=s),
            0.02 if fixed else "auto",
            0.0,
        ),
        "Poisson spikes, 50/s": lambda a, s: (
            observed(a, spikes=50, seed=s),
            0.05 if fixed else "auto",
            50.0,
        ),
    }
    sources = {}
    if peer is not None:
        sources["published demo"] = lambda s: peer_activity(peer, s)
    sources["ours"] = lambda s: ((t := three_region_teacher(seed=s)).activity, t.drive)
    for source, make in sources.items():
        for kind, see in kinds.items():
            if only is not None and not kind.lower().startswith(only):
                continue
            rows = []
            for seed in seeds:
                activity, drive = make(seed)
                rows.append(held_out(activity, drive, methods, *see(activity, seed)))
                cells = " | ".join(f"{rows[-1][m][0]:.3f}" for m in rows[-1])
                print(f"| {source}, {kind}, seed {seed} | {cells} |", flush=True)
            cells = []
            for method in rows[0]:
                seconds = np.median([r[method][1] for r in rows])
                cells.append(f"{np.median([r[method][0] for r in rows]):.3f} ({seconds:.1f})")
            print(f"| **{source}, {kind}, median** | " + " | ".join(cells) + " |", flush=True)
    teachers = [three_region_teacher(seed=s) for s in seeds]
    print("\nTruth, ours: " + ", ".join(f"{truth_again(t):.3f}" for t in teachers))
    for name, make in (
        ("observation noise 0.1", lambda a, s: observed(a, noise=0.1, seed=s)),
        ("Poisson spikes, 50/s", lambda a, s: observed(a, spikes=50, seed=s) / 0.5 - 1),
    ):
        found = [truth_again(t, seen=make(t.activity, s)) for t, s in zip(teachers, seeds, strict=True)]
        print(f"From what was seen, {name}: " + ", ".join(f"{v:.3f}" for v in found), flush=True)


def shares(seeds: range) -> None:
    """Shares of the currents between our teacher's regions, of fits to the first 80 %, against the truth."""
    print("\nShares of currents, target ← source: mean ± SD over draws; spread of a resampled ridge\n")
    methods = ("ridge", "unknown_input")
    found: dict[str, list] = {name: [] for name in ("truth", *methods, "resampled")}
    for seed in seeds:
        teacher = three_region_teacher(seed=seed)
        trials = as_trials(teacher.activity[: int(0.8 * len(teacher.activity))])
        span = slice(0, trials.sizes["time"])
        found["truth"].append(current_shares(teacher.recurrent_weights, teacher.rates[span], REGIONS)[1])
        for method in methods:
            model = nr.RateRNN(regions=REGIONS).fit(trials, method)
            found[method].append(model.region_currents(trials)["share"].values)
            if method == "ridge":
                found["resampled"].append(model.uncertainty(trials, resamples=10)["share_std"].values)
    print("| target ← source | truth | ridge | unknown_input | SD over resamples of ridge |")
    print("|---|---|---|---|---|")
    for b, target in enumerate("ABC"):
        for a, source in enumerate("ABC"):
            cells = [np.array(found[name])[:, b, a] for name in ("truth", *methods)]
            shown = [f"{c.mean():.4f} ± {c.std():.4f}" for c in cells]
            spread = f"{np.mean(found['resampled'], axis=0)[b, a]:.4f}"
            print(f"| {target} ← {source} | {' | '.join([*shown, spread])} |", flush=True)
    for method in methods:
        apart = np.abs(np.array(found[method]) - np.array(found["truth"])).mean(axis=(1, 2))
        print(f"{method}: mean distance of a share from the truth, each draw: {np.round(apart, 4)}")


def matched() -> None:
    print("\nMatched teachers, 3,000 samples: correlation of J with the truth\n")
    print("| units | gain | τ (ms) | noise per step | λ | correlation | s |\n|---|---|---|---|---|---|---|")
    for units in (200, 500):
        for gain, tau, noise, penalty in ((3, 0.02, 0.1, 1e-3), (1.5, 0.1, 0.0, 1e-12), (1.5, 0.1, 0.1, 1.0)):
            teacher = random_teacher(units, 3000, gain, noise, tau)
            trials = as_trials(teacher.activity)
            began = time.process_time()
            model = nr.RateRNN(time_constant=tau).fit(trials, "ridge", penalty=penalty)
            seconds = time.process_time() - began
            found = model.parameters.recurrent_weights.ravel()
            r = np.corrcoef(found, teacher.recurrent_weights.ravel())[0, 1]
            row = (units, gain, f"{1000 * tau:g}", noise, penalty, f"{r:.4f}", f"{seconds:.2f}")
            print("| " + " | ".join(map(str, row)) + " |", flush=True)


def speed(peer, rounds: int = 3) -> None:
    """A pass of RLS over 300 units × 1,201 samples, with five Euler steps in a bin as in the demo."""
    activity = three_region_teacher(seed=0).activity
    data = RateData(activity[None], np.ones((1, 1201), bool), np.zeros((1, 1201, 0)), 0.1, "tanh")
    rng = np.random.default_rng(0)
    start = np.c_[1.5 / np.sqrt(300) * rng.standard_normal((300, 300)), np.zeros(300)]
    free = Constraints.make(300)
    rls(data, start, free, passes=1, substeps=5)
    ours, theirs = [], []
    for _ in range(rounds):
        began = time.process_time()
        rls(data, start, free, passes=5, substeps=5)
        ours.append((time.process_time() - began) / 5)
        if peer is not None:
            theirs.append(peer_pass(peer, activity))
    print(f"\nRLS pass: {np.median(ours):.3f} s", end="")
    if theirs:
        print(f"; published code {np.median(theirs):.3f} s; ratio {np.median(theirs) / np.median(ours):.1f}")
    else:
        print()


def load_peer(path: str):
    """The published code, with the names that numpy has dropped since."""
    import matplotlib

    matplotlib.use("Agg")
    for name, kind in (("int", int), ("float", float), ("NaN", np.nan)):
        if name not in np.__dict__:
            setattr(np, name, kind)
    sys.path.insert(0, path)
    import curbd  # type: ignore[import-not-found]

    return curbd


def peer_activity(peer, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(T, 300) activity and drive of the published demonstration."""
    np.random.seed(seed)  # noqa: NPY002, the published code draws from the global generator
    sim = peer.threeRegionSim(number_units=100, plotSim=False)
    drive = np.zeros((sim["Ra"].shape[1], 300))
    drive[:, 100:200] = (sim["w_Seq2B"] * sim["Rseq"]).T
    drive[:, 200:] = -(sim["w_Fix2C"] * sim["Rfp"]).T
    return np.concatenate([sim["Ra"], sim["Rb"], sim["Rc"]]).T, drive


def peer_pass(peer, activity: np.ndarray) -> float:
    """Seconds of two further passes, halved: what is done once drops out."""
    times = []
    for passes in (1, 3):
        began = time.process_time()
        peer.trainMultiRegionRNN(
            activity.T.copy(),
            dtData=0.01,
            dtFactor=5,
            tauRNN=0.1,
            nRunTrain=passes,
            nRunFree=0,
            verbose=False,
            plotStatus=False,
        )
        times.append(time.process_time() - began)
    return (times[1] - times[0]) / 2


def reaches() -> None:
    """Seven directions fitted, the eighth's rates in free run from its preparatory state."""
    folder = os.environ.get("NWB_RNN_DATA", Path(__file__).parents[2] / "shared" / "data")
    path = Path(folder) / "m1_reach" / "m1_rates_hatsopoulos2007.npz"
    if not path.exists():
        print(f"\nm1_reach skipped: no {path}")
        return
    stored = np.load(path)
    rates = np.sqrt(np.transpose(stored["firing_rate"], (2, 1, 0)).astype(float))
    velocity = np.stack(
        [np.gradient(stored[k].astype(float), axis=1) for k in ("xhandposition", "yhandposition")], -1
    )
    begin = 60  # 0.2 s before movement onset
    print("\nm1_reach: each direction predicted in free run from 0.2 s before movement onset\n")
    print("| direction | free run R² | mean of the others R² | velocity R² from free run | from data |")
    print("|---|---|---|---|---|")
    rows = []
    for held in range(8):
        others = np.delete(np.arange(8), held)
        model = nr.RateRNN(time_constant=0.05, seed=0)
        model.fit(as_trials(rates[others]), "auto", iterations=60)
        free = model.free_run(as_trials(rates[[held]])[{"time": slice(begin, None)}])["rates"].values[0, 1:]
        truth, average = rates[held, begin + 1 :], rates[others, begin + 1 :].mean(axis=0)
        total = np.sum((truth - truth.mean(axis=0)) ** 2)
        x = rates[others, begin + 1 :].reshape(-1, rates.shape[2])
        y = velocity[others, begin + 1 :].reshape(-1, 2)
        level, centre = y.mean(axis=0), x.mean(axis=0)
        kernel = (x - centre).T @ (x - centre) + 100.0 * np.eye(x.shape[1])
        decoder = np.linalg.solve(kernel, (x - centre).T @ (y - level))
        hand = velocity[held, begin + 1 :]
        spread = np.sum((hand - hand.mean(axis=0)) ** 2)
        row = [1 - np.sum((truth - made) ** 2) / total for made in (free, average)]
        row += [
            1 - np.sum((hand - level - (made - centre) @ decoder) ** 2) / spread for made in (free, truth)
        ]
        rows.append(row)
        print(f"| {held} | " + " | ".join(f"{v:.3f}" for v in row) + " |", flush=True)
    print("| **median** | " + " | ".join(f"{v:.3f}" for v in np.median(rows, axis=0)) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="a checkout of rajanlab/CURBD")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="number of the first draw")
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, "told"), default=[*METHODS, "told"])
    parser.add_argument("--smoothing", choices=("auto", "fixed"), default="auto", help="of noisy data")
    parser.add_argument("--data", choices=("clean", "observation", "poisson"))
    parser.add_argument("--only", choices=("regions", "shares", "matched", "speed", "reach"))
    chosen = parser.parse_args()
    peer = None if chosen.peer is None else load_peer(chosen.peer)
    seeds = range(chosen.first, chosen.first + chosen.seeds)
    parts = {
        "regions": lambda: three_regions(
            seeds, peer, chosen.data, chosen.methods, chosen.smoothing == "fixed"
        ),
        "shares": lambda: shares(seeds),
        "matched": matched,
        "speed": lambda: speed(peer),
        "reach": reaches,
    }
    for name, part in parts.items():
        if chosen.only in (None, name):
            part()


if __name__ == "__main__":
    main()
