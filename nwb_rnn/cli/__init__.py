"""The command line `nwb-rnn`; every command is a thin layer over the Python calls."""

from nwb_rnn.cli.main import main

__all__ = ["main"]
