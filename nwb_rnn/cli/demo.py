"""`nwb-rnn demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nwb_rnn.cli import options
from nwb_rnn.cli.fit import job_from


@click.command()
@click.argument("source", required=False)
@options.alignment
@options.network
@options.training
@click.option(
    "--output-folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo_output"),
    show_default=True,
    help="Where the files go; those of an earlier demo are replaced.",
)
@options.metadata
@click.pass_context
def demo(ctx: click.Context, source: str | None, output_folder: Path, **values: Any) -> None:
    """The whole walk: from a recording to a fitted network, its dynamics, and back into NWB.

    Without SOURCE a session is simulated from a network that oscillates, written as an NWB file, and
    then treated as if it were yours; at the end, what was found is compared with the truth.
    With SOURCE, an NWB file, --align says which events its trials are aligned to, or --segments
    how long equal pieces of it are.
    """
    from nwb_rnn.cli.walk import own_file, simulated_session

    job = None if source is None else job_from(source, values)
    given = {name for name in values if ctx.get_parameter_source(name) != click.core.ParameterSource.DEFAULT}
    output_folder.mkdir(parents=True, exist_ok=True)
    if job is None:
        simulated_session(values, given, output_folder, options.say)
    else:
        own_file(job, output_folder, options.say)
