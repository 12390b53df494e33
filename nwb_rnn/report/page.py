"""The page itself: one HTML file that needs no network and no software but a browser.

Every text that comes out of a file is escaped. The policy in its head forbids whatever the page was not
written with: its one script and one style are named by their hashes, pictures are inside of it, and nothing
is loaded, sent or framed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from nwb_rnn.report import tables
from nwb_rnn.report.figures import Picture, pictures
from nwb_rnn.report.scene import scene
from nwb_rnn.report.stored import Stored, gather
from nwb_rnn.report.tables import Table
from nwb_rnn.report.words import shown

_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def write_page(
    model_file: str,
    path: Path,
    source: str | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the page about a stored model, whole or not at all.

    Parameters
    ----------
    model_file, source, name : see `nwb_rnn.report.stored.gather`
    path : of the page
    overwrite : replace a page that is there

    Raises
    ------
    SourceError, StorageError : the model cannot be read, or the page not written
    InputError : `source` does not have the trials that the latents belong to
    """
    from nwb_rnn.storage.atomic import check_target, replacing

    path = check_target(Path(path), overwrite)
    text = page(gather(model_file, source, name), Path(model_file).name)
    with replacing(path, overwrite) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def page(stored: Stored, file_name: str) -> str:
    """HTML about what is stored.

    Parameters
    ----------
    file_name : as the page calls the file, also in the lines that load the model
    """
    drawn = list(pictures(stored))
    style, script = (_resource(name) for name in ("page.css", "view.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"{shown(stored.about['name'], 80)} in {shown(file_name, 80)}"
    parts = [*_head(stored, file_name), *_views(stored), *_figures(drawn), *_tables(stored, file_name)]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>{style}</style></head><body>",
            *parts,
            f'<script type="application/json" id="scene">{in_script(scene(stored))}</script>',
            f"<script>{script}</script>",
            "</body></html>\n",
        ]
    )


def in_script(value: Any) -> str:
    """JSON that neither ends nor comments out the script element it stands in."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_IN_SCRIPT)


def _resource(name: str) -> str:
    return files("nwb_rnn.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _head(stored: Stored, file_name: str) -> Iterator[str]:
    yield f"<h1>{escape(shown(stored.about['name'], 80))}</h1>"
    yield f'<p class="note">{escape(shown(file_name))}</p>'
    if stored.about["description"]:
        yield f"<p>{escape(shown(stored.about['description'], 1000))}</p>"
    cells = [
        f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>"
        for what, value in tables.key_numbers(stored)
    ]
    yield f'<dl class="key">{"".join(cells)}</dl>'


def _views(stored: Stored) -> Iterator[str]:
    from nwb_rnn.report.scene import network

    if stored.latents is not None:
        yield "<h2>Latents</h2>"
        yield (
            '<p class="note screen">Drag to turn, or use the arrow keys; + and − zoom. Filled dots are '
            "stable fixed points, open dots are not stable. Each axis spans the range of what it shows.</p>"
        )
        axes = "".join(f'<label>{x} <select id="axis-{x}"></select></label>' for x in "xyz")
        yield f'<div class="controls">{axes}<label>colour <select id="colour"></select></label></div>'
        yield (
            '<canvas id="latents-view" tabindex="0" role="img" '
            'aria-label="Inferred latents of every trial in three dimensions"></canvas>'
        )
        yield '<p class="note" id="colour-key"></p>'
    if network(stored) is not None:
        yield "<h2>Flow</h2>"
        yield (
            '<p class="note screen">Arrows show where the fitted dynamics move the latents without noise, '
            "blue lines the start of the first trials. Click to start a path. Sliders set what is not on the "
            "axes.</p>"
        )
        axes = "".join(f'<label>{x} <select id="flow-{x}"></select></label>' for x in "xy")
        yield f'<div class="controls" id="flow-controls">{axes}</div>'
        yield (
            '<canvas id="flow-view" role="img" '
            'aria-label="Flow of the latents in a plane, with fixed points"></canvas>'
        )


def _figures(drawn: list[Picture]) -> Iterator[str]:
    for section in dict.fromkeys(picture.section for picture in drawn):
        yield f'<h2>{escape(section)}</h2><div class="pictures">'
        for picture in drawn:
            if picture.section == section:
                png = base64.b64encode(picture.png).decode()
                caption = escape(picture.caption)
                yield (
                    f'<figure><img alt="{caption}" src="data:image/png;base64,{png}">'
                    f"<figcaption>{caption}</figcaption></figure>"
                )
        yield "</div>"


def _tables(stored: Stored, file_name: str) -> Iterator[str]:
    yield from _table("Scores", tables.scores(stored), "scores")
    for name, points in stored.points.items():
        yield f"<h2>Fixed points: {escape(shown(name))}</h2><p>{escape(tables.proof(points))}</p>"
        yield from _table("", tables.fixed_points(points), "points")
    if stored.about["equations"]:
        yield f"<h2>Equations</h2><pre>{escape(_lines(stored.about['equations']))}</pre>"
    yield from _table("Data", tables.data(stored))
    yield from _table("Session", tables.session(stored))
    yield from _table("Configuration", tables.configuration(stored))
    yield from _table("Provenance", tables.provenance(stored, file_name))
    yield "<h2>Load this model</h2>"
    name = f", {stored.about['name']!r}" if stored.about.get("several") else ""
    code = f"import nwb_rnn as nr\nmodel = nr.load({file_name!r}{name})\nprint(model, model.scores)"
    yield f"<pre>{escape(_lines(code))}</pre>"
    if stored.absent:
        yield "<h2>What is not here</h2>"
        yield f"<ul>{''.join(f'<li>{escape(shown(line, 400))}</li>' for line in stored.absent)}</ul>"


def _lines(text: str) -> str:
    return "\n".join(shown(line, 400) for line in str(text).splitlines())


def _table(title: str, table: Table, kind: str = "") -> Iterator[str]:
    if not table.rows:
        return
    if title:
        yield f"<h2>{escape(title)}</h2>"
    head = "".join(f"<th>{escape(text)}</th>" for text in table.head)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    shape = f' class="{kind}"' if kind else ""
    yield f'<div class="wide"><table{shape}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'
