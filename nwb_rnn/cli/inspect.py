"""`nwb-rnn inspect`."""

from __future__ import annotations

import click

from nwb_rnn.cli import options


@click.command()
@click.argument("source")
def inspect(source: str) -> None:
    """Say what is in SOURCE: units, tables, columns, durations, and what could be aligned.

    SOURCE is a path or address of an NWB file, DANDI:000140/sub-X/sub-X_ses-Y.nwb for one file of a
    dandiset, or DANDI:000140 to list its files.
    """
    from nwb_rnn.cli_dandi import dandiset_text, is_dandiset
    from nwb_rnn.cli_inspect import describe
    from nwb_rnn.sources.dandi_address import is_dandi_address

    if is_dandi_address(source) and is_dandiset(source):
        options.say(dandiset_text(source))
    else:
        options.say(describe(source))
