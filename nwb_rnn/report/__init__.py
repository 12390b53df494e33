"""One self-contained HTML page about a stored model: what it is, how well it does, how it moves."""

from nwb_rnn.report.page import page, write_page

__all__ = ["page", "write_page"]
