"""`nwb-rnn fixed-points`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nwb_rnn.cli import options

if TYPE_CHECKING:
    from nwb_rnn.dynamics.fixed_points import FixedPoints


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
@click.option(
    "--max-boxes",
    type=click.IntRange(1),
    help="Of exact: give up, saying so, after this many; a million take some 10 s.  [default: 50 million]",
)
@click.option("--name", help="Of the model, where MODEL holds several.")
@click.option(
    "--table", type=click.Path(path_type=Path, dir_okay=False), help="Also write them as a .csv file."
)
@click.option("--overwrite", is_flag=True, help="Replace a .csv file that is there.")
@click.option(
    "--add/--no-add", default=True, show_default=True, help="Add them to MODEL, a file on this machine."
)
@click.option("--add-as", metavar="TABLE", help="Name of their table in MODEL.  [default: NAME_fixed_points]")
def fixed_points(
    model_file: str,
    inputs: tuple[float, ...],
    method: str,
    max_boxes: int | None,
    name: str | None,
    table: Path | None,
    overwrite: bool,
    add: bool,
    add_as: str | None,
) -> None:
    """Find where the latents of the fitted MODEL stand still without noise, and add them to its file."""
    import nwb_rnn
    from nwb_rnn.storage.atomic import check_target, replacing

    if table is not None:
        check_target(table, overwrite)
    model = nwb_rnn.load(model_file, name)
    limit = {} if max_boxes is None else {"max_boxes": max_boxes}
    points = model.fixed_points(inputs=inputs or None, method=method, **limit)
    options.say(str(points))
    if table is not None:
        with replacing(table, overwrite) as temporary:
            points.to_pandas().to_csv(temporary)
        options.say(f"wrote {table}")
    if add or add_as is not None:
        options.say(_added(model_file, name, add_as, points))


def _added(model_file: str, name: str | None, table: str | None, points: FixedPoints) -> str:
    """Put the points beside their model, and say so, or why not."""
    import nwb_rnn
    from nwb_rnn.storage.reading import contents

    if not Path(model_file).is_file():
        return "not added: the model is not in a file on this machine"
    held = contents(model_file)
    name = name or held["models"][0]
    table = table or f"{name}_fixed_points"
    if table in held["fixed_points"]:
        return f"not added: the file holds {table} already; --add-as gives these another name"
    nwb_rnn.write(model_file, fixed_points={table: points}, name=name, mode="append")
    return f"added {table} to {model_file}"
