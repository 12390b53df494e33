"""The job of `nwb-rnn fit --model=rate`: a network of the recorded units, its currents, a file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwb_rnn.cli import fit, options, steps
from nwb_rnn.cli.job import Job
from nwb_rnn.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

# what the two kinds of model do not share
_LOW_RANK_ONLY = {
    "rank",
    "units",
    "observation",
    "readout",
    "polish",
    "batch_size",
    "particles",
    "crop",
    "checkpoint",
    "device",
    "backend",
    "picture",
}
_STARTS = 16


def job_from(source: str, values: dict[str, Any], given: set[str]) -> Job:
    """The job that the options of `nwb-rnn fit` describe.

    Parameters
    ----------
    given : names of the options that the user chose; iterations, learning_rate and activation have other
        defaults here than in a low-rank fit
    """
    fit.refuse(given & _LOW_RANK_ONLY, "--model=low-rank")
    values = {name: value for name, value in values.items() if name not in _LOW_RANK_ONLY | {"model"}}
    alignment = fit.alignment_from(source, values)
    training = {name: values.pop(name) for name in ("iterations", "learning_rate") if name in given}
    for name in ("iterations", "learning_rate"):
        values.pop(name, None)
    training |= options.take(values, ("method", "targets", "optimiser", "start", "state_noise"))
    if "activation" not in given:
        values.pop("activation")
    network = {"activation": values.pop("activation")} if "activation" in values else {}
    names = ("smoothing", "time_constant", "unrecorded", "dale", "zero_diagonal", "seed")
    network |= options.take(values, names)
    column = values.pop("regions")
    network |= {"region_column": column} if column else {}
    training = _performance(training)
    if "targets" in training:
        every = "behaviour" in training["targets"]
        alignment["behaviour"] = True if every else list(training["targets"])
    subject = options.take(values, options.SUBJECT)
    metadata = options.take(values, (*options.SESSION, "dandi"))
    metadata |= {"subject": subject} if subject else {}
    return Job(source, alignment, network, training, metadata, picture=False, **values)


def _performance(training: dict[str, Any]) -> dict[str, Any]:
    """Targets mean the method that takes them."""
    if "targets" not in training:
        return training
    if training.get("method", "performance") != "performance":
        raise InputError(f"--targets means --method=performance; {training['method']} was given")
    return training | {"method": "performance", "targets": list(training["targets"])}


def run(job: Job, say: Callable[[str], None]) -> Path:
    """Read, align, fit, infer, find fixed points, write, validate; the path of the file.

    Raises
    ------
    NwbRnnError : a step cannot be done; what cannot be written is refused before anything is fitted
    """
    import nwb_rnn

    recording, trials, output, _ = steps.begin(job, say)
    if "counts" in trials and "smoothing" not in job.network:
        raise InputError(
            "a rate network is fitted to rates: say --smoothing=0.05 (s), or auto, to make rates of spikes"
        )
    fitted, held_out = steps.split(trials, job.validation_fraction, int(job.network.get("seed", 0)))
    still = steady(fitted)
    if still:
        say(
            f"           left out: units {', '.join(map(str, still))}: they never change in the fitted trials"
        )
        trials, fitted, held_out = (_without(part, still) for part in (trials, fitted, held_out))
    began = time.perf_counter()
    model = nwb_rnn.RateRNN(**job.network).fit(fitted, **job.training)
    seconds = time.perf_counter() - began
    scores = model.score(fitted if held_out is None else held_out)
    method = model.data_description["method"]
    say(f"fitted     by {method} in {seconds:.0f} s; {steps.scores_text(scores, held_out)}")
    latents = model.infer(trials)
    units = len(model.parameters.unit_bias)
    say(f"inferred   the currents of {units} units in {trials.sizes['trial']} trials")
    points = model.fixed_points(trials=trials, n_starts=_STARTS)
    say(f"dynamics   {steps.kinds(points)}")
    steps.write(job, output, model, latents, points, recording, say)
    return output


def steady(trials: xr.Dataset) -> list:
    """Ids of units whose recording never changes: no rates can be scaled to what does not vary."""
    name = "counts" if "counts" in trials else "signal"
    values = trials[name].where(trials["mask"])
    spread = values.max(("trial", "time")) - values.min(("trial", "time"))
    return trials["unit"].values[~(spread.values > 0)].tolist()


def _without(trials: xr.Dataset | None, ids: list) -> Any:
    if trials is None:
        return None
    kept = trials.drop_sel(unit=ids)
    notes = json.loads(trials.attrs.get("dropped", "[]"))
    reason = "never changes in the fitted trials"
    notes.append({"what": "unit", "ids": ids, "count": len(ids), "reason": reason})
    return kept.assign_attrs(dropped=json.dumps(notes))
