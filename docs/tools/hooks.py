"""What mkdocs makes at build time: the page of NWB types, the page of commands, and equations as MathML."""

from __future__ import annotations

import html
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TYPES_SCRIPT = ROOT / "extensions" / "ndx-latent-dynamics" / "docs" / "create_types_page.py"
_EQUATION = re.compile(r"\$\$(.+?)\$\$|(?<![\\$\w])\$([^$\n]+?)\$(?![\w$])", re.S)
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.S)
_ALL_OF = re.compile(r"^::: all of ([\w.]+)$", re.M)
_MARK = "equationnumber{}ofthispage"


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Fill the pages that are made, and put a mark where an equation goes."""
    name = page.file.src_uri
    if name == "types.md":
        return types_page()
    if name == "command_line.md":
        return markdown + commands()
    if name == "api.md":
        return _ALL_OF.sub(lambda m: entries(m[1]), markdown)
    if page.meta.get("equations"):
        page.meta["made"] = []
        parts = _CODE.split(markdown)
        parts[::2] = [_EQUATION.sub(lambda m: _marked(m, page.meta["made"]), part) for part in parts[::2]]
        return "".join(parts)
    return markdown


def on_page_content(content: str, page: Any, **kwargs: Any) -> str:
    """Put the equations where their marks are."""
    for number, made in enumerate(page.meta.get("made", [])):
        content = content.replace(f"<p>{_MARK.format(number)}</p>", made)
        content = content.replace(_MARK.format(number), made)
    return content


def _marked(match: re.Match, made: list[str]) -> str:
    from latex2mathml.converter import convert

    block = match[1] is not None
    equation = convert((match[1] or match[2]).strip(), display="block" if block else "inline")
    made.append(f'<div class="equation">{equation}</div>' if block else equation)
    mark = _MARK.format(len(made) - 1)
    return f"\n\n{mark}\n\n" if block else mark


def types_page() -> str:
    """The page of `docs/create_types_page.py`, which reads the specification."""
    spec = importlib.util.spec_from_file_location("create_types_page", TYPES_SCRIPT)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module.page()


def entries(package: str) -> str:
    """An entry of the reference for every public name of a package, in the module that defines it."""
    found = importlib.import_module(package)
    homes = {name: getattr(found, name).__module__ for name in found.__all__}
    return "\n\n".join(f"::: {home}.{name}" for name, home in homes.items())


def commands() -> str:
    """What `--help` says of every command."""
    import click

    from nwb_rnn.cli import main

    context = click.Context(main, info_name="nwb-rnn", max_content_width=96, terminal_width=96)
    sections = [_block(main.get_help(context))]
    for name, command in main.commands.items():
        inner = click.Context(command, parent=context, info_name=name)
        sections.append(f"\n## nwb-rnn {name}\n\n{_block(command.get_help(inner))}")
    return "\n".join(sections)


def _block(text: str) -> str:
    return f"<pre><code>{html.escape(text, quote=False)}</code></pre>\n"
