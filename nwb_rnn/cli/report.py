"""`nwb-rnn report`."""

from __future__ import annotations

from pathlib import Path

import click

from nwb_rnn.cli import options


@click.command()
@click.argument("model_file", metavar="MODEL")
@click.option("--source", help="Recording to compare with.  [default: the copy inside MODEL]")
@click.option("--name", help="Of the model, where MODEL holds several.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help=".png, .pdf or .svg  [default: beside MODEL]",
)
@click.option("--overwrite", is_flag=True, help="Replace a picture that is there.")
def report(
    model_file: str, source: str | None, name: str | None, output: Path | None, overwrite: bool
) -> None:
    """Draw one figure of the fitted MODEL: raster and rates, latents, flow, training, spectra."""
    from nwb_rnn.cli import steps
    from nwb_rnn.cli.stored import everything
    from nwb_rnn.storage.atomic import check_target

    path = output or Path(Path(model_file).name).with_suffix(".png") if _is_remote(model_file) else output
    path = path or Path(model_file).with_suffix(".png")
    check_target(path, overwrite)
    model, trials, latents, simulated, points = everything(model_file, source, name)
    steps.draw(path, model, trials, latents, simulated, points, title=Path(model_file).name)
    options.say(f"drew {path}")


def _is_remote(address: str) -> bool:
    return "://" in address or address.upper().startswith("DANDI:")
