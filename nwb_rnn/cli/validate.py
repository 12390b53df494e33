"""`nwb-rnn validate`."""

from __future__ import annotations

import click

from nwb_rnn.cli import options


@click.command()
@click.argument("path")
@click.pass_context
def validate(ctx: click.Context, path: str) -> None:
    """Say what pynwb and nwbinspector, with the DANDI rules, find wrong with an NWB file.

    The exit code is 1 where DANDI would refuse the file.
    """
    from nwb_rnn.storage import validate as findings_of

    found = findings_of(path)
    for finding in found:
        options.say(str(finding))
    severe = sum(finding.is_severe for finding in found)
    options.say(f"{path}: {severe} errors, {len(found) - severe} remarks")
    if severe:
        ctx.exit(1)
