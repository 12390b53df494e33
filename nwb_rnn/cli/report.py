"""`nwb-rnn report`."""

from __future__ import annotations

from pathlib import Path

import click

from nwb_rnn.cli import options

_PICTURES = (".png", ".pdf", ".svg")


@click.command()
@click.argument("model_file", metavar="MODEL")
@click.option("--source", help="Recording to compare with.  [default: the copy inside MODEL]")
@click.option("--name", help="Of the model, where MODEL holds several.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help=".html for a page, .png, .pdf or .svg for one figure  [default: a page beside MODEL]",
)
@click.option("--overwrite", is_flag=True, help="Replace a page or picture that is there.")
def report(
    model_file: str, source: str | None, name: str | None, output: Path | None, overwrite: bool
) -> None:
    """Make a page about the fitted MODEL that opens in any browser, without a network.

    It holds latents and flow that can be turned, figures, tables, where everything comes from, and how to
    load the model.
    """
    from nwb_rnn.report import write_page
    from nwb_rnn.storage.atomic import check_target

    beside = Path(Path(model_file).name) if _is_remote(model_file) else Path(model_file)
    path = output or beside.with_suffix(".html")
    if path.suffix.lower() in _PICTURES:
        check_target(path, overwrite)
        _figure(path, model_file, source, name)
        options.say(f"drew {path}")
        return
    if path.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter(
            f"{path.name}: end it in .html, {', '.join(_PICTURES)}", param_hint="--output"
        )
    write_page(model_file, path, source, name, overwrite)
    options.say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


def _figure(path: Path, model_file: str, source: str | None, name: str | None) -> None:
    """Everything in one picture, which needs the recorded trials too."""
    from nwb_rnn.cli import steps
    from nwb_rnn.errors import InputError
    from nwb_rnn.report.stored import gather

    stored = gather(model_file, source, name)
    if stored.latents is None or stored.trials is None or stored.simulated is None:
        raise InputError("one figure needs all of it: " + "; ".join(stored.absent))
    points = next(iter(stored.points.values()), None)
    title = Path(model_file).name
    steps.draw(path, stored.model, stored.trials, stored.latents, stored.simulated, points, title=title)


def _is_remote(address: str) -> bool:
    return "://" in address or address.upper().startswith("DANDI:")
