"""Networks that reach after a delay, beside motor cortex (m1_reach).

    python benchmarks/delayed_reach.py [--results FOLDER] [--seeds 3] [--iterations 700]

tanh and ReLU networks × three strengths of the rate penalty × seeds, each trained on the delayed reach
and compared with averages of 141 units over eight directions. Every network and its table is saved when it
is done, and a run that was interrupted goes on from there. Prints the tables of benchmarks/RESULTS.md and
saves the figure of each network.
"""

from __future__ import annotations

import recordings

recordings.one_thread()

import argparse
import json
import time
from pathlib import Path

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

import nwb_rnn as nr
from nwb_rnn.teachers.delayed_reach import DelayedReach

PENALTIES = (1e-4, 1e-2, 1e-1)


def m1_reach() -> xr.Dataset:
    """Averages over trials, spikes/s, in bins of 20 ms about the onset of movement; one row per direction."""
    with np.load(recordings.folder() / "m1_reach" / "m1_rates_hatsopoulos2007.npz") as file:
        rates = file["firing_rate"][:, :120].reshape(-1, 60, 2, 8).mean(axis=2)
    time = -0.8 + 0.02 * np.arange(60) + 0.005
    return xr.Dataset(
        {"signal": (("trial", "time", "unit"), rates.transpose(2, 1, 0))},
        coords={"time": time, "direction": ("trial", np.arange(8) * np.pi / 4)},
        attrs={"bin_size": 0.02, "align_to": "movement onset"},
    )


def network(activation: str, penalty: float, seed: int, iterations: int, folder: Path) -> dict:
    """Train and compare one network, or read what was saved of it."""
    saved = folder / f"{activation}_{penalty:g}_{seed}_{iterations}.json"
    if saved.exists():
        return json.loads(saved.read_text())
    import matplotlib

    matplotlib.use("Agg")
    task, started = DelayedReach(), time.process_time()
    model = nr.TaskRNN(units=100, activation=activation, rate_penalty=penalty, seed=seed)
    model.fit(task, iterations=iterations, progress=False, checkpoint=saved.with_suffix(".checkpoint.npz"))
    trained = time.process_time() - started
    scores = model.score(task)
    compared = nr.compare(model, m1_reach(), shift=task.reaction, delay=0.7)
    figure = compared.plot()
    figure.suptitle(f"{activation}, rate penalty {penalty:g}, seed {seed}")
    figure.savefig(saved.with_suffix(".png"), dpi=70)
    import matplotlib.pyplot as plt

    plt.close(figure)
    result = {
        "activation": activation,
        "penalty": penalty,
        "seed": seed,
        "seconds": trained,
        "scores": scores,
        "rows": [vars(row) for row in compared.rows],
    }
    saved.write_text(json.dumps(result))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("build") / "delayed_reach")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=700)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    groups: dict[tuple[str, float], list[dict]] = {}
    for seed in range(options.seeds):
        for activation in ("tanh", "relu"):
            for penalty in PENALTIES:
                found = network(activation, penalty, seed, options.iterations, options.results)
                groups.setdefault((activation, penalty), []).append(found)
                print(
                    f"{activation} {penalty:g} seed {seed}: {found['seconds']:.1f} s, reached: "
                    f"{found['scores']['reached']:.2f}, worst error {found['scores']['reach_error_max']:.3f}",
                    flush=True,
                )
    tables(dict(sorted(groups.items())))
    single_units_against_population([r for group in groups.values() for r in group])


def value(result: dict, measure: str, column: str) -> float:
    return next(row[column] for row in result["rows"] if row["measure"] == measure)


def tables(groups: dict[tuple[str, float], list[dict]]) -> None:
    """Mean over seeds of every measure, with the recording's own value and chance."""
    measures = [(row["part"], row["measure"]) for row in next(iter(groups.values()))[0]["rows"]]
    print("\n| part | measure | recorded | chance | " + " | ".join(f"{a} {p:g}" for a, p in groups) + " |")
    print("|" + "---|" * (4 + len(groups)))
    for part, measure in measures:
        column = "model"
        results = [r for group in groups.values() for r in group]
        if not np.isfinite([value(r, measure, "together") or np.nan for r in results]).any():
            chance = ""
        else:
            column = "together"
            chance = f"{np.nanmean([value(r, measure, 'chance') for r in results]):.3g}"
        recorded = value(results[0], measure, "recorded")
        cells = []
        for group in groups.values():
            values = [value(r, measure, column) for r in group]
            cells.append(f"{np.nanmean(values):.3g}" if np.isfinite(values).any() else "none")
        shown = "" if not np.isfinite(recorded) else f"{recorded:.3g}"
        print(f"| {part} | {measure} | {shown} | {chance} | " + " | ".join(cells) + " |")


def single_units_against_population(results: list[dict]) -> None:
    """Over networks: does a good match of single units go with a good match of the population?

    Each measure becomes a distance from the recording: 1 − correlation, or |ln(model / recorded)|. Networks
    whose units match at least as well as the median, and whose population is the farthest, are named.
    """
    single = np.array([1 - value(r, "correlation with the best unit, median", "together") for r in results])
    canonical = "canonical correlation, mean of 6"
    far = {canonical: [1 - value(r, canonical, "together") for r in results]}
    for name in (
        "jPCA R², skew-symmetric",
        "jPCA frequency (Hz)",
        "tangling, 90th percentile (1/s²)",
        "alignment of preparation and movement",
        "participation ratio",
    ):
        far[name] = [abs(np.log(value(r, name, "model") / value(r, name, "recorded"))) for r in results]
    print(
        "\n| population measure | Spearman with single units | farthest of the better half by single units |"
    )
    print("|---|---|---|")
    good = np.flatnonzero(single <= np.median(single))
    for name, distance in far.items():
        worst = results[good[np.argmax(np.asarray(distance)[good])]]
        column = "together" if name.startswith("canonical") else "model"
        match = value(worst, "correlation with the best unit, median", "together")
        print(
            f"| {name} | {spearmanr(single, distance).statistic:.2f} | {worst['activation']} "
            f"{worst['penalty']:g} seed {worst['seed']}: units {match:.2f}, population "
            f"{value(worst, name, column):.3g} "
            f"(recorded {value(worst, name, 'recorded'):.3g}) |"
        )


if __name__ == "__main__":
    main()
