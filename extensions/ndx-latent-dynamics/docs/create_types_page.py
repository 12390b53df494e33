"""Write docs/README.md, the page of all types, from the YAML files: `python docs/create_types_page.py`."""

from pathlib import Path

import yaml

HOME = Path(__file__).resolve().parents[1]
SPEC = HOME / "spec" / "ndx-latent-dynamics.extensions.yaml"
HEAD = """# Types of ndx-latent-dynamics

Made from the specification by `docs/create_types_page.py`. Times are in seconds. A dataset without axes is
a single value. What is not marked as required may be absent.
"""


def page(spec: Path = SPEC) -> str:
    """The page as Markdown."""
    content = yaml.safe_load(spec.read_text(encoding="utf-8"))
    types = content.get("groups", []) + content.get("datasets", [])
    return HEAD + "".join(section(kind) for kind in types)


def section(kind: dict) -> str:
    """One type: what it is, then a line for each part."""
    lines = [
        f"\n## {kind['neurodata_type_def']}\n",
        f"Extends `{kind['neurodata_type_inc']}`. {kind['doc']}\n",
        "| part | what | axes | type | required |",
        "|---|---|---|---|---|",
    ]
    for sort in ("attributes", "datasets", "groups", "links"):
        lines += [row(part, sort) for part in kind.get(sort, [])]
    return "\n".join(lines) + "\n"


def row(part: dict, sort: str) -> str:
    """One line of the table of a type."""
    held = part.get("dtype") or part.get("neurodata_type_inc") or part.get("target_type") or "any"
    if "neurodata_type_inc" in part and "dtype" in part:
        held = f"{part['neurodata_type_inc']} of {held}"
    held = f"link to {held}" if sort == "links" else held
    needed = part.get("required", True) if sort == "attributes" else part.get("quantity", 1) == 1
    name = part.get("name", "(any name)") + (" (attribute)" if sort == "attributes" else "")
    doc = part["doc"].replace("|", "\\|")
    return f"| {name} | {doc} | {axes(part)} | {held} | {'yes' if needed else ''} |"


def axes(part: dict) -> str:
    """Names of the axes of an array, in order."""
    dims = part.get("dims") or []
    return ", ".join(dims) if all(isinstance(d, str) for d in dims) else "1 to 6, any"


if __name__ == "__main__":
    (HOME / "docs" / "README.md").write_text(page(), encoding="utf-8")
