"""`nwb-rnn fit`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nwb_rnn.cli import options


@click.command()
@click.argument("source")
@options.alignment
@options.rate
@options.network
@options.training
@click.option(
    "--output", type=click.Path(path_type=Path), help="NWB file or folder.  [default: a name from the ids]"
)
@click.option(
    "--append", is_flag=True, help="Write the whole source with the results added, not a slim copy."
)
@click.option("--overwrite", is_flag=True, help="Replace files that are there.")
@click.option("--report/--no-report", "picture", default=True, show_default=True, help="Draw the report too.")
@options.metadata
def fit(source: str, **values: Any) -> None:
    """Fit a recurrent network to SOURCE and write it, with all that was found, as NWB.

    SOURCE is a path or address of an NWB file, or DANDI:000140/sub-X/sub-X_ses-Y.nwb.
    """
    if values["model"] == "rate":
        from nwb_rnn.cli.rate_job import job_from as rate_job_from
        from nwb_rnn.cli.rate_job import run as run_rate

        run_rate(rate_job_from(source, values, given()), options.say)
        return
    from nwb_rnn.cli.job import run

    refuse(given() & set(RATE_ONLY), "--model=rate")
    for name in ("model", *RATE_ONLY):
        del values[name]
    run(job_from(source, values), options.say)


RATE_ONLY = (
    "method",
    "targets",
    "optimiser",
    "start",
    "state_noise",
    "regions",
    "smoothing",
    "time_constant",
    "unrecorded",
    "dale",
    "zero_diagonal",
)


def given() -> set[str]:
    """Names of the options that the user chose."""
    context = click.get_current_context()
    return {n for n in context.params if context.get_parameter_source(n) == ParameterSource.COMMANDLINE}


def refuse(names: set[str], where: str) -> None:
    """Raise UsageError for options that belong elsewhere."""
    if names:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(names))
        raise click.UsageError(f"{listed} only {'goes' if len(names) == 1 else 'go'} with {where}")


def job_from(source: str, values: dict[str, Any]):
    """The job that the options of a command describe.

    Aligning to start_time without a window takes each trial from its start to its stop_time.
    """
    from nwb_rnn.cli.job import Job

    values = dict(values)
    alignment = alignment_from(source, values)
    network = options.take(values, ("rank", "units", "activation", "observation", "readout", "seed"))
    training = options.take(
        values,
        (
            "iterations",
            "polish",
            "batch_size",
            "particles",
            "learning_rate",
            "crop",
            "checkpoint",
            "device",
            "backend",
        ),
    )
    subject = options.take(values, options.SUBJECT)
    metadata = options.take(values, (*options.SESSION, "dandi"))
    if subject:
        metadata["subject"] = subject
    return Job(
        source=source,
        alignment=alignment,
        network=network,
        training=training,
        metadata=metadata,
        **values,
    )


def alignment_from(source: str, values: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `steps.cut` out of the options, which are taken out of `values`."""
    names = ("event", "until", "window", "bin_size", "table", "where", "time_reference", "inputs", "signal")
    given, length = options.take(values, names), values.pop("segments")
    chosen = values.pop("select_units")
    if chosen is not None:
        given["units"] = chosen
    if (length is None) == ("event" not in given):
        raise click.UsageError(
            "say what a trial is: either --align COLUMN, such as --align start_time, or --segments S for "
            f"equal pieces of a recording without trials; `nwb-rnn inspect {source}` shows what there is"
        )
    if length is not None:
        if given["time_reference"] == "auto":
            del given["time_reference"]
        refuse({"until", "window", "table", "where", "time_reference"} & set(given), "--align")
        return given | {"length": length}
    if given.get("event") == "start_time" and not {"until", "window"} & set(given):
        given["until"] = "stop_time"
    return given
