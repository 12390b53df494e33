"""The site builds clean and alone, and every block of code in it runs."""

import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from dandi_server import DandiServer
from dandi_world import SET, TOKEN, only_loopback, write_small_nwb
from simulated_world import quick_fits, run, small_session

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
OTHER_TESTS = {"make demo", "make test"}  # tests/test_demo.py, and this run itself
INCLUDED = "--8<--"  # scripts of examples/, which tests/test_examples.py runs


def blocks(page: str) -> list[tuple[str, str]]:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert text.count("```") % 2 == 0
    return [(language, code) for language, code in BLOCK.findall(text) if INCLUDED not in code]


def with_code() -> list[str]:
    return [page for page in PAGES if blocks(page)]


def calcium(path: Path) -> Path:
    """Fluorescence of six ROIs at 5 Hz for 100 s."""
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.file import Subject
    from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel

    nwbfile = NWBFile("calcium", "calcium", datetime(2024, 1, 1, tzinfo=UTC), session_id="c1")
    nwbfile.subject = Subject(subject_id="zf1", species="Danio rerio", sex="U", age="P6D")
    plane = nwbfile.create_imaging_plane(
        name="plane",
        description="one plane",
        optical_channel=OpticalChannel(name="green", description="green", emission_lambda=510.0),
        device=nwbfile.create_device(name="microscope"),
        excitation_lambda=920.0,
        indicator="GCaMP6s",
        location="tectum",
    )
    module = nwbfile.create_processing_module("ophys", "fluorescence")
    segmentation = ImageSegmentation()
    module.add(segmentation)
    rois = segmentation.create_plane_segmentation(description="ROIs", imaging_plane=plane)
    for _ in range(6):
        rois.add_roi(image_mask=np.ones((2, 2)))
    time = np.arange(500) / 5.0
    phases = np.arange(6.0)
    values = np.sin(2 * np.pi * time[:, None] / 10 + phases) + np.random.default_rng(0).normal(size=(500, 6))
    fluorescence = DfOverF()
    module.add(fluorescence)
    fluorescence.create_roi_response_series(
        name="RoiResponseSeries",
        data=values,
        unit="a.u.",
        rois=rois.create_roi_table_region(description="all", region=list(range(6))),
        rate=5.0,
    )
    with NWBHDF5IO(path, "w") as io:
        io.write(nwbfile)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """What the pages find in the folder they run in."""
    folder = tmp_path_factory.mktemp("files")
    small_session(folder / "session.nwb", trials=12)
    small_session(folder / "another_session.nwb", trials=9, seed=2)
    calcium(folder / "calcium.nwb")
    return folder


@pytest.fixture
def world(files, tmp_path, monkeypatch):
    """A folder with small files, an archive on loopback in place of DANDI, and fits of a few iterations."""
    here = tmp_path / "here"
    shutil.copytree(files, here)
    monkeypatch.chdir(here)
    only_loopback(monkeypatch)
    quick_fits(monkeypatch)
    monkeypatch.setenv("NWB_RNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DANDI_CACHE", "ignore")
    with DandiServer(tmp_path / "store") as server:
        server.folder.mkdir()
        server.tokens.add(TOKEN)
        server.add_dandiset(SET, "Reaches")
        server.add_dandiset("000777", "Our fits")
        server.add_file(SET, "sub-X/sub-X_ses-1_ecephys.nwb", write_small_nwb(tmp_path / "one.nwb", seed=1))
        monkeypatch.setenv("DANDI_INSTANCE", server.api_url)
        from dandi.dandiapi import DandiAPIClient

        with DandiAPIClient(api_url=server.api_url) as client:
            monkeypatch.setenv(client.api_key_env_var, TOKEN)
        yield here


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("page", with_code())
def test_every_block_of_a_page_runs(page, capsys):
    """In the order of the page; Python blocks share their names, as a reader's session does."""
    names: dict = {"__name__": "page"}
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, page, "exec"), names)
        elif language == "sh":
            for line in code.replace("\\\n", " ").splitlines():
                run_line(line.split("#")[0].strip())
        else:
            assert language == "text", f"{page}: a block of {language!r} that no test runs"
    assert "nan" not in capsys.readouterr().out.lower().split()


def run_line(line: str) -> None:
    if line in OTHER_TESTS or not line:
        return
    program, *arguments = line.split()
    assert program == "nwb-rnn", f"no test runs {line!r}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        run(*arguments)


def test_commands_in_pages_exist():
    """`text` blocks and words in the pages name commands that are there."""
    listed = run("--help")
    for page in PAGES:
        for command in re.findall(r"nwb-rnn ([a-z-]+)", (DOCS / page).read_text(encoding="utf-8")):
            assert re.search(rf"^  {command} ", listed, re.M), f"{page} names {command}"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built as `make docs` builds it, in a process that cannot reach any other machine."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed; the extra 'docs' has it")
    folder = tmp_path_factory.mktemp("site")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **proxies, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_built(site):
    assert {page.replace(".md", ".html") for page in PAGES} <= {
        path.relative_to(site).as_posix() for path in site.rglob("*.html")
    }


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]+rel=\"(?:stylesheet|preconnect|icon)\"[^>]*href=\"([^\"]+)\"", text)
        loaded += re.findall(r"<link[^>]+href=\"([^\"]+)\"[^>]*rel=\"(?:stylesheet|preconnect)\"", text)
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], path.name


def test_equations_are_set_and_none_is_left_over(site):
    text = (site / "mathematics.html").read_text(encoding="utf-8")
    assert text.count("<math") > 30
    assert "equationnumber" not in text
    assert not re.search(r"\$\$|\\mathcal|\\frac", text)


def test_types_results_commands_and_docstrings_are_on_their_pages(site):
    import yaml

    spec = yaml.safe_load(
        (ROOT / "extensions/ndx-latent-dynamics/spec/ndx-latent-dynamics.extensions.yaml").read_text()
    )
    types = (site / "types.html").read_text(encoding="utf-8")
    for kind in spec["groups"] + spec["datasets"]:
        assert f">{kind['neurodata_type_def']}<" in types
    results = (site / "results.html").read_text(encoding="utf-8")
    for heading in re.findall(r"^## (.+)$", (ROOT / "benchmarks/RESULTS.md").read_text(), re.M):
        assert heading.split(":")[0] in results
    assert "--dandiset" in (site / "command_line.html").read_text(encoding="utf-8")
    examples = (site / "examples.html").read_text(encoding="utf-8")
    assert examples.count("__main__") == len(list((ROOT / "examples").glob("*.py")))
    reference = (site / "api.html").read_text(encoding="utf-8")
    for text in ("number of latents R", "A file at", "steps of particle expectation maximisation"):
        assert text in reference


def test_public_names_are_in_the_reference(site):
    import nwb_rnn
    from nwb_rnn import dynamics, plotting

    reference = (site / "api.html").read_text(encoding="utf-8")
    for name in [*nwb_rnn.__all__, *plotting.__all__, *dynamics.__all__]:
        assert re.search(rf'id="nwb_rnn\.[\w.]+\.{name}"', reference), f"the reference lacks {name}"


def test_docstrings_become_lists():
    sys.path.insert(0, str(DOCS / "tools"))
    try:
        from docstrings import as_markdown
    finally:
        sys.path.pop(0)
    made = as_markdown(
        "Do it.\n\n    x = y\n\nParameters\n----------\na, b : two\n    more\nc : three\n\nReturns\n-------\n"
        "Something."
    )
    assert made == (
        "Do it.\n\n    x = y\n\n**Parameters**\n\n- `a`, `b`: two\n    more\n- `c`: three\n\n**Returns**\n\n"
        "Something."
    )
