"""`nwb-rnn simulate`."""

from __future__ import annotations

from pathlib import Path

import click

from nwb_rnn.cli import options


@click.command()
@click.argument("model_file", metavar="MODEL")
@click.option("--trials", type=click.IntRange(1), default=100, show_default=True)
@click.option("--duration", type=float, help="Length of a trial, s.  [default: as in the fit]")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--name", help="Of the model, where MODEL holds several.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="x.nc for the trials as an xarray dataset, or x.nwb for spikes laid out as a session.",
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def simulate(
    model_file: str,
    trials: int,
    duration: float | None,
    seed: int,
    name: str | None,
    output: Path,
    overwrite: bool,
) -> None:
    """Draw new trials from the fitted MODEL, an NWB file that `nwb-rnn fit` wrote."""
    import nwb_rnn
    from nwb_rnn.cli.simulation import save
    from nwb_rnn.storage.atomic import check_target

    check_target(output, overwrite)
    model = nwb_rnn.load(model_file, name)
    if duration is None:
        begin, end = model.data_description["window"]
        duration = end - begin
    simulated = model.simulate(trials=trials, bins=max(1, round(duration / model.bin_size)), seed=seed)
    save(simulated, output, overwrite, seed)
    options.say(f"wrote {trials} simulated trials of {duration:g} s to {output}")
