"""`nwb-rnn publish`."""

from __future__ import annotations

import sys

import click

from nwb_rnn.cli import options


@click.command()
@click.argument("file")
@click.option("--dandiset", required=True, metavar="ID", help="Whose draft gets the file, such as 000140.")
@click.option("--instance", help="Another archive: sandbox, ember-dandi, … or the address of its API.")
@click.option("--path", metavar="PATH", help="Path in the dandiset.  [default: as DANDI names files]")
@click.option("--replace", is_flag=True, help="Put it in the place of a file of the same path.")
@click.option("--yes", is_flag=True, help="Send without asking.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.pass_context
def publish(
    ctx: click.Context,
    file: str,
    dandiset: str,
    instance: str | None,
    path: str | None,
    replace: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Send FILE, a file with results, to the draft of a dandiset.

    The file gets the name and the metadata that DANDI wants: which recording it is derived from, and the
    versions of the software that fitted it. It is validated as DANDI does; then everything that would be
    sent is shown, and nothing is sent without a yes. The key of an owner of the dandiset is taken from the
    environment variable DANDI_API_KEY (another archive: its own, such as DANDI_SANDBOX_API_KEY). An upload
    that failed leaves the file as it is: run the same command again.
    """
    from nwb_rnn.storage.publishing import publish as send

    def agree(text: str) -> bool:
        options.say(text)
        if yes or dry_run:
            return yes and not dry_run
        try:
            return click.confirm("Send this?", default=False)
        except click.Abort:  # interrupted, or nobody is there to answer
            options.say()
            return False

    def progress(percent: float) -> None:
        if sys.stderr.isatty():
            click.echo(f"\rsent {percent:.0f} %", nl=percent >= 100, err=True)

    address = send(
        file, dandiset, agree=agree, path=path, instance=instance, replace=replace, progress=progress
    )
    if address is None:
        options.say("Nothing was sent." + ("" if dry_run else " --yes sends without asking."))
        ctx.exit(0 if dry_run else 1)
    options.say(f"The draft holds {address}")
