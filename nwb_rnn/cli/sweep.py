"""`nwb-rnn sweep`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from nwb_rnn.cli import options, steps
from nwb_rnn.cli.fit import alignment_from


@click.command()
@click.argument("source")
@options.alignment
@click.option("--ranks", default="1 2 3 4 6 8", show_default=True, help='Such as "1 2 3".')
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Fits of each rank.")
@click.option("--units", "network_units", type=int, default=128, show_default=True, help="Network units.")
@click.option("--iterations", type=click.IntRange(1), default=300, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep results here, and go on from them.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each process.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the curve into this file.")
def sweep(source: str, ranks: str, seeds: int, picture: Path | None, **values: Any) -> None:
    """Choose the number of latents for SOURCE by what held-out trials say."""
    import nwb_rnn

    try:
        wanted = [int(rank) for rank in ranks.replace(",", " ").split()]
    except ValueError as error:
        raise click.BadParameter(f"{ranks!r} is not a list of whole numbers", param_hint="--ranks") from error
    names = ("network_units", "iterations", "folder", "workers", "threads")
    given = options.take(values, names)
    alignment = alignment_from(source, values)
    trials = steps.cut(nwb_rnn.read(source), alignment)
    found = nwb_rnn.select_rank(
        trials,
        wanted,
        range(seeds),
        network={"units": given.pop("network_units")},
        progress=sys.stderr.isatty(),
        **given,
    )
    options.say(str(found))
    if picture is not None:
        figure = found.plot().figure
        figure.savefig(picture)
        options.say(f"drew {picture}")
