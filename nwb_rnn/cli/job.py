"""The main job, the same for `fit` and `demo`: from a source to a model, a file and a picture."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwb_rnn.cli import steps

if TYPE_CHECKING:
    import xarray as xr

    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
    from nwb_rnn.recordings.recording import Recording
    from nwb_rnn.storage import Finding

SIMULATED_TRIALS = 100


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes
    ----------
    source : anything that `nwb_rnn.read` takes
    alignment : arguments of `Recording.align`, or of `Recording.segments` with a length
    network : arguments of `LowRankRNN`; observation="auto" chooses by what was recorded
    training : arguments of `LowRankRNN.fit`
    metadata : arguments of `nwb_rnn.write` about subject and session, and `dandi`
    output : NWB file to write; None for the name that DANDI would give, in the current folder
    append : write the whole source with the results added, instead of a slim derivative
    overwrite : replace files that are there
    picture : also draw the report, beside the output
    validation_fraction : share of the trials held out of the fit
    threads : of torch; the matrices are small, and threads that wait for each other cost more than they bring
    """

    source: Any
    alignment: dict[str, Any]
    network: dict[str, Any]
    training: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)
    output: Path | None = None
    append: bool = False
    overwrite: bool = False
    picture: bool = True
    validation_fraction: float = 0.2
    threads: int = 1


@dataclass(frozen=True)
class Done:
    """What came out of a job: all that went into the file, and where the files are."""

    recording: Recording
    trials: xr.Dataset
    held_out: xr.Dataset | None
    model: LowRankRNN
    latents: xr.Dataset
    simulated: xr.Dataset
    points: FixedPoints
    output: Path
    picture: Path | None
    findings: list[Finding]


def run(job: Job, say: Callable[[str], None]) -> Done:
    """Read, align, fit, infer, simulate, find fixed points, write, validate, draw.

    Parameters
    ----------
    say : called with a line of text after each step

    Raises
    ------
    NwbRnnError : a step cannot be done; what cannot be written is refused before anything is fitted
    """
    import nwb_rnn

    recording, trials, output, picture = steps.begin(job, say)
    training, held_out = steps.split(trials, job.validation_fraction, int(job.network.get("seed", 0)))
    model = nwb_rnn.LowRankRNN(**steps.network(job.network, trials))
    model.fit(training, validation=held_out, progress=sys.stderr.isatty(), **steps.checks(job.training))
    scores = model.score(training if held_out is None else held_out, **steps.used(job.training))
    say(f"fitted     {steps.fit_text(model, scores, held_out)}")
    latents = model.infer(trials, **steps.used(job.training))
    say(f"inferred   {model.config.rank} latents in {trials.sizes['trial']} trials")
    simulated = model.simulate(trials=max(SIMULATED_TRIALS, trials.sizes["trial"]), like=trials)
    say(f"simulated  {steps.simulation_text(trials, simulated)}")
    points = steps.fixed_points(model, latents)
    say(f"dynamics   {steps.kinds(points)}")
    findings = steps.write(job, output, model, latents, points, recording, say)
    if picture is not None:
        steps.draw(picture, model, trials, latents, simulated, points, title=output.name)
        say(f"drew       {picture}")
    return Done(recording, trials, held_out, model, latents, simulated, points, output, picture, findings)
