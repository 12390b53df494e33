"""The layout holds: what may import what, how long modules are, and what an import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nwb_rnn"
UNDER_ALL = ("errors", "numba_cache")  # any room may use these, and they use none
ORDER = (
    "recordings",
    "sources",
    "models",
    "smc",
    "fitting",
    "dynamics",
    "metrics",
    "teachers",
    "estimators",
    "storage",
    "plotting",
    "report",
    "sweep",
    "cli",
)
NUMERICAL = ("models", "smc", "fitting", "dynamics", "metrics")
FILE_LIBRARIES = {"pynwb", "hdmf", "hdmf_zarr", "dandi", "spikeinterface", "neo", "ndx_latent_dynamics"}
HEAVY = ("torch", "pynwb", "hdmf", "dandi", "matplotlib", "spikeinterface", "neo", "numba", "xarray", "scipy")
LONGEST = 500

MODULES = sorted(PACKAGE.rglob("*.py"))
ALL_PYTHON = [
    path
    for folder in ("nwb_rnn", "extensions", "tests", "examples", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(module: str) -> str | None:
    """The folder of a module of the package by its dotted name; None where nothing is forbidden."""
    parts = module.split(".")
    if parts[0] != "nwb_rnn" or len(parts) < 2 or parts[1] in UNDER_ALL or parts[1].startswith("_"):
        return None
    return "cli" if parts[1].startswith("cli") else parts[1]


def is_for_types(node: ast.If) -> bool:
    return ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(path: Path, nested: bool = True) -> list[str]:
    """Dotted names that a module imports; only those of its top level with nested=False.

    Imports for type checkers only are left out: they never run.
    """
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and is_for_types(node):
            return
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports relatively; write the whole name"
            if node.module != "nwb_rnn":
                found.append(node.module)
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
        elif not nested and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_up_the_list(path):
    relative = path.relative_to(PACKAGE)
    here = "cli" if relative.parts[0].startswith("cli") else relative.parts[0].removesuffix(".py")
    if here in ("__init__", *UNDER_ALL):
        allowed = set()
    else:
        assert here in ORDER, f"{name_of(path)} is in no room of the list"
        allowed = set(ORDER[: ORDER.index(here) + 1])
    wrong = {m for m in imports(path) if room_of(m) not in allowed | {None} and not _is_public_name(m)}
    assert not wrong, f"{name_of(path)} imports {sorted(wrong)}, which is below it"


def _is_public_name(module: str) -> bool:
    """`from nwb_rnn import __version__` and the like name no room."""
    return module.count(".") == 1 and module.split(".")[1] not in ORDER and "cli" not in module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_are_for_those_who_hold_estimators(path):
    """`import nwb_rnn` reaches every room, so only the last rooms may use it."""
    import nwb_rnn

    public = {"nwb_rnn", *(f"nwb_rnn.{name}" for name in nwb_rnn.__all__)}
    if public & set(imports(path)):
        assert path.relative_to(PACKAGE).parts[0] in ("cli", "sweep", "cli_inspect.py", "cli_dandi.py")


@pytest.mark.parametrize("room", NUMERICAL)
def test_numerical_rooms_know_no_files(room):
    for path in (PACKAGE / room).rglob("*.py"):
        wrong = {m.split(".")[0] for m in imports(path)} & FILE_LIBRARIES
        assert not wrong, f"{name_of(path)} imports {sorted(wrong)}"


@pytest.mark.parametrize("room", ["recordings", "sources", "storage"])
def test_reading_and_writing_load_no_torch(room):
    for path in (PACKAGE / room).rglob("*.py"):
        wrong = {m.split(".")[0] for m in imports(path, nested=False)} & {"torch", "numba"}
        assert not wrong, f"{name_of(path)} imports {sorted(wrong)} when it is loaded"


@pytest.mark.parametrize("path", ALL_PYTHON, ids=name_of)
def test_modules_are_short(path):
    length = len(path.read_text(encoding="utf-8").splitlines())
    assert length <= LONGEST, f"{name_of(path)} has {length} lines; split it"


def loaded_by(statement: str) -> set[str]:
    """Top packages in sys.modules after a statement, in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import nwb_rnn",
        "import nwb_rnn.recordings.recording",
        "import nwb_rnn.sources",
        "import nwb_rnn.cli",
        "from nwb_rnn.cli import main\ntry:\n    main(['fit', '--help'])\nexcept SystemExit:\n    pass",
    ],
)
def test_light_imports(statement):
    heavy = set(HEAVY) & loaded_by(statement)
    assert not heavy, f"{statement!r} loads {sorted(heavy)}"


def test_models_can_be_stored_without_torch_being_loaded_first():
    assert "torch" not in loaded_by("import nwb_rnn.storage")


def test_no_traces_of_where_the_project_was_made():
    """Paths of one machine and names of package hosts belong into no file of the project."""
    traces = ("/" + "work/", "files.python" + "hosted.org", "/" + "opt/")
    suffixes = {".py", ".md", ".toml", ".txt", ".yaml", ".cfg", ""}
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if any(p.startswith(".") and p not in (".ci", ".pre-commit-config.yaml") for p in parts):
            continue
        if path.is_file() and path.suffix in suffixes and "__pycache__" not in parts and "build" not in parts:
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not [t for t in traces if t in text], f"{name_of(path)} names a place of one machine"


def test_public_names_are_there():
    import nwb_rnn

    assert nwb_rnn.__all__ == sorted(nwb_rnn.__all__, key=str)
    for name in nwb_rnn.__all__:
        assert getattr(nwb_rnn, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = nwb_rnn.nothing
