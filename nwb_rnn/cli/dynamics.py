"""`nwb-rnn fixed-points`."""

from __future__ import annotations

from pathlib import Path

import click

from nwb_rnn.cli import options


@click.command("fixed-points")
@click.argument("model_file", metavar="MODEL")
@click.option(
    "--input", "inputs", type=float, multiple=True, help="Constant input; once for each.  [default: 0]"
)
@click.option(
    "--method",
    type=click.Choice(["auto", "exact", "enumerate", "newton"]),
    default="auto",
    show_default=True,
    help="exact and enumerate prove that they find all, for piecewise-linear units.",
)
@click.option("--name", help="Of the model, where MODEL holds several.")
@click.option(
    "--table", type=click.Path(path_type=Path, dir_okay=False), help="Also write them as a .csv file."
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def fixed_points(
    model_file: str,
    inputs: tuple[float, ...],
    method: str,
    name: str | None,
    table: Path | None,
    overwrite: bool,
) -> None:
    """Find where the latents of the fitted MODEL stand still without noise, and what happens nearby."""
    import nwb_rnn
    from nwb_rnn.storage.atomic import check_target, replacing

    if table is not None:
        check_target(table, overwrite)
    model = nwb_rnn.load(model_file, name)
    points = model.fixed_points(inputs=inputs or None, method=method)
    options.say(str(points))
    if table is not None:
        with replacing(table, overwrite) as temporary:
            points.to_pandas().to_csv(temporary)
        options.say(f"wrote {table}")
