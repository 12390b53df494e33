"""`nwb-rnn` itself: its commands, and how they say that something went wrong."""

from __future__ import annotations

import click

from nwb_rnn import __version__
from nwb_rnn.cli.demo import demo
from nwb_rnn.cli.dynamics import fixed_points
from nwb_rnn.cli.fit import fit
from nwb_rnn.cli.inspect import inspect
from nwb_rnn.cli.publish import publish
from nwb_rnn.cli.report import report
from nwb_rnn.cli.simulate import simulate
from nwb_rnn.cli.sweep import sweep
from nwb_rnn.cli.validate import validate
from nwb_rnn.errors import NwbRnnError


class Commands(click.Group):
    """Errors that the package raises on purpose become one message and exit code 1."""

    def invoke(self, ctx: click.Context):
        """Run the command; with --debug, errors keep their traceback."""
        try:
            return super().invoke(ctx)
        except NwbRnnError as error:
            if ctx.params["debug"]:
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nwb-rnn")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """From an NWB recording to a fitted recurrent network, its dynamics, and back into NWB.

    Start with `nwb-rnn inspect FILE`, which says what a file holds and what can be aligned, or with
    `nwb-rnn demo`, which does the whole walk on a simulated session.
    """


for _command in (inspect, fit, simulate, fixed_points, report, validate, publish, sweep, demo):
    main.add_command(_command)
