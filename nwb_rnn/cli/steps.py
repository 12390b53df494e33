"""What the commands share: where files go, how trials are split, and each step in a line of plain words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwb_rnn.errors import StorageError

if TYPE_CHECKING:
    import xarray as xr

    from nwb_rnn.cli.job import Job
    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
    from nwb_rnn.estimators.rate_rnn import RateRNN
    from nwb_rnn.recordings.recording import Recording
    from nwb_rnn.storage import Finding

FEWEST_TO_SPLIT = 5
_BOXES, _STARTS = 3_000_000, 4096  # of a proof, and of a search where it does not end
_DOTS_PER_INCH = 130


def begin(job: Job, say: Callable[[str], None]) -> tuple[Recording, xr.Dataset, Path, Path | None]:
    """Read and align: the recording, its trials, and where the NWB file and the picture go (`targets`)."""
    import torch

    import nwb_rnn

    torch.set_num_threads(job.threads)
    recording = nwb_rnn.read(job.source)
    say(f"read       {recording!r}")
    output, picture = targets(job, recording)
    trials = cut(recording, job.alignment)
    say(f"aligned    {described(trials)}")
    return recording, trials, output, picture


def cut(recording: Recording, alignment: dict[str, Any]) -> xr.Dataset:
    """Equal pieces where `alignment` has a length, s, and else trials around events."""
    return recording.segments(**alignment) if "length" in alignment else recording.align(**alignment)


def write(
    job: Job,
    output: Path,
    model: LowRankRNN | RateRNN,
    latents: xr.Dataset,
    points: FixedPoints,
    recording: Recording,
    say: Callable[[str], None],
) -> list[Finding]:
    """Write the file and validate it; what the validators say."""
    import nwb_rnn
    from nwb_rnn.storage import validate

    nwb_rnn.write(
        output,
        model,
        latents=latents,
        fixed_points=points,
        source=recording,
        overwrite=job.overwrite,
        mode="append" if job.append else "derivative",
        **job.metadata,
    )
    say(f"wrote      {output}")
    found = validate(output)
    say(f"validated  {findings_text(found, job.metadata.get('dandi', True))}")
    return found


def targets(job: Job, recording: Recording) -> tuple[Path, Path | None]:
    """Where the NWB file and the picture go; refused now, not after the fit, if they cannot be written.

    Raises
    ------
    StorageError : a file exists, a folder is missing, or metadata that DANDI demands is
    InputError : a name that does not end in .nwb
    """
    from nwb_rnn.storage import derivative_name
    from nwb_rnn.storage.atomic import check_target
    from nwb_rnn.storage.naming import check_ending

    output = Path(job.output).expanduser() if job.output else derivative_name(recording, ".")
    if output.is_dir():
        output = derivative_name(recording, output)
    check_ending(output)
    picture = output.with_suffix(".png") if job.picture else None
    in_place = job.append and str(output) == recording.provenance.location
    for path in (output, picture):
        if path is not None and not (in_place and path == output):
            check_target(path, job.overwrite)
    if job.metadata.get("dandi", True) and not job.append:
        _check_metadata(job.metadata, recording)
    return output, picture


def _check_metadata(metadata: dict[str, Any], recording: Recording) -> None:
    from nwb_rnn.storage.metadata import SUBJECT_FIELDS, Metadata, check_dandi

    said = Metadata(**{name: value for name, value in metadata.items() if name != "dandi"})
    texts = recording.description
    subject = {name: texts.get(f"subject_{name.removeprefix('subject_')}", "") for name in SUBJECT_FIELDS}
    subject = {name: text for name, text in subject.items() if text} | (said.subject or {})
    if isinstance(subject.get("date_of_birth"), str):
        subject["date_of_birth"] = date.fromisoformat(subject["date_of_birth"][:10])
    start = said.session_start_time
    if start is None and texts.get("session_start_time"):
        start = Metadata(session_start_time=texts["session_start_time"]).session_start_time
    try:
        check_dandi(subject, start)
    except StorageError as error:
        raise StorageError(
            f"{error}\n(on the command line: --subject-id, --species, --sex, --age, --session-start-time; "
            "--no-dandi for a file that DANDI will not accept)"
        ) from None


def split(trials: xr.Dataset, fraction: float, seed: int) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Trials to fit and trials held out, drawn at random; none are held out of fewer than 5 trials."""
    from nwb_rnn.recordings.splits import split_trials

    if fraction == 0 or trials.sizes["trial"] < FEWEST_TO_SPLIT:
        return trials, None
    fitted, held_out = split_trials(trials, (1 - fraction, fraction), seed=seed)
    return fitted, held_out


def network(options: dict[str, Any], trials: xr.Dataset) -> dict[str, Any]:
    """Arguments of the model; where the observation law is left open, what was recorded decides."""
    if options.get("observation", "auto") != "auto":
        return options
    return options | {"observation": "poisson" if "counts" in trials else "gaussian"}


def checks(training: dict[str, Any]) -> dict[str, Any]:
    """Options of a fit, with a dozen checks at least in a short one, so that its curve can be drawn."""
    every = max(1, min(50, training.get("iterations", 500) // 12))
    return {"validate_every": every, "patience": 12} | training


def used(training: dict[str, Any]) -> dict[str, Any]:
    """Those options of a fit that inference takes as well."""
    return {name: training[name] for name in ("device", "backend") if name in training}


def fixed_points(model: LowRankRNN, latents: xr.Dataset) -> FixedPoints:
    """All of them where that is proved in about half a minute; else what a search from visited states finds.

    With six latents and more a proof can take hours, which nobody who fits a model asked for.
    """
    import numpy as np

    if not model.step_map().is_piecewise_linear:
        return model.fixed_points()
    points = model.fixed_points(max_boxes=_BOXES)
    if points.complete:
        return points
    visited = latents["latent_mean"].values[latents["mask"].values].astype(float)
    chosen = np.random.default_rng(0).permutation(len(visited))[:_STARTS]
    return model.fixed_points(method="newton", starts=np.concatenate([points.location, visited[chosen]]))


def draw(
    path: Path,
    model: LowRankRNN,
    trials: xr.Dataset,
    latents: xr.Dataset,
    simulated: xr.Dataset,
    points: FixedPoints | None,
    title: str,
) -> None:
    """The report as a picture, whole or not at all; the suffix of `path` says which kind."""
    from nwb_rnn.plotting import report
    from nwb_rnn.storage.atomic import replacing

    figure = report(model, trials, latents, simulated, points, title=title)
    with replacing(path, overwrite=True) as temporary:
        figure.savefig(temporary, dpi=_DOTS_PER_INCH, format=path.suffix.lstrip(".") or "png")


# each step in words ----------------------------------------------------------------------------------


def described(trials: xr.Dataset) -> str:
    """How many trials, how long, in which bins, and what was left out."""
    import json

    from nwb_rnn.metrics.spectra import bins_inside

    size = float(trials.attrs["bin_size"])
    lengths = bins_inside(trials).sum(axis=1) * size
    what = "units" if "counts" in trials else "channels"
    span = (
        f"{lengths.min():.4g} s"
        if lengths.min() == lengths.max()
        else f"{lengths.min():.4g} to {lengths.max():.4g} s"
    )
    text = (
        f"{trials.sizes['trial']} trials of {span}, {trials.sizes['unit']} {what}, bins of {1000 * size:g} ms"
    )
    for note in json.loads(trials.attrs.get("dropped", "[]")):
        many = f"{note['count']} {note['what']}: " if note["count"] else ""
        text += f"\n           left out: {many}{note['reason']}"
    return text


def fit_text(model: LowRankRNN, scores: dict[str, float], held_out: xr.Dataset | None) -> str:
    """Iterations, seconds and scores."""
    last = model.history[-1]
    return f"{last['iteration']} iterations in {last['seconds']:.0f} s; {scores_text(scores, held_out)}"


def scores_text(scores: dict[str, float], held_out: xr.Dataset | None) -> str:
    """Scores, and on which trials."""
    where = (
        "the trials it was fitted to" if held_out is None else f"{held_out.sizes['trial']} held-out trials"
    )
    listed = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in scores.items())
    return f"on {where}: {listed}"


def simulation_text(trials: xr.Dataset, simulated: xr.Dataset) -> str:
    """How alike the mean rates are."""
    from nwb_rnn.metrics.comparison import mean_rate_correlation

    correlation = mean_rate_correlation(trials, simulated)
    return (
        f"{simulated.sizes['trial']} trials; mean rates of the units correlate with the recorded ones at "
        f"{correlation:.3f}"
    )


def kinds(points: FixedPoints) -> str:
    """How many fixed points of which kind."""
    certain = "proved to be all" if points.complete else "not proved to be all"
    plural = "" if len(points) == 1 else "s"
    return f"{len(points)} fixed point{plural} ({certain}): {listed(points)}"


def listed(points: FixedPoints) -> str:
    """Such as ``1 unstable focus, 2 saddle``."""
    import numpy as np

    names, counts = np.unique(np.asarray(points.kind).astype(str), return_counts=True)
    return ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True)) or "none"


def findings_text(found: list[Finding], dandi: bool = True) -> str:
    """Errors in full; remarks only counted. Without `dandi`, what DANDI would refuse is no error."""
    severe = [item for item in found if item.is_severe]
    refused = [] if dandi else [item for item in severe if item.tool == "nwbinspector"]
    severe = [item for item in severe if item not in refused]
    if severe:
        many = "1 error" if len(severe) == 1 else f"{len(severe)} errors"
        lines = [f"{many} (DANDI rules)", *map(str, severe)]
    else:
        style = len(found) - len(refused)
        remarks = f", {style} remarks on style" if style else ""
        rules = " (DANDI rules)" if dandi else ""
        lines = [f"by pynwb and nwbinspector{rules}: no errors{remarks}"]
    lines += [f"DANDI would not accept it: {item.message}" for item in refused]
    return "\n           ".join(lines)
