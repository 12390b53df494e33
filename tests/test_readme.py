"""What the README shows runs, and names what is there."""

import re
from pathlib import Path

import numpy as np
from simulated_world import run, small_session

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    small_session(tmp_path / "session.nwb")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 2
    code = (
        blocks[0]
        .replace("units=64", "units=12")
        .replace("iterations=300", "iterations=3, particles=4, progress=False, backend='reference'")
    )
    assert code != blocks[0]
    names: dict = {}
    exec(compile(code + blocks[1], "README.md", "exec"), names)
    assert names["latents"]["latent_mean"].dims == ("trial", "time", "latent")
    assert names["latents"].sizes["trial"] == 8
    assert np.isfinite(names["scores"]["bits_per_spike"])
    assert (tmp_path / "report.png").exists()


def test_the_first_screen_shows_both_commands():
    first = README.splitlines()[:12]
    assert any(line.strip().startswith("make demo") for line in first)
    assert any(line.strip().startswith("make test") for line in first)


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"^    nwb-rnn ([a-z-]+)", README, re.M))
    listed = run("--help")
    assert named
    for command in named:
        assert re.search(rf"^  {command} ", listed, re.M), f"the README names {command}"


def test_links_inside_the_project_lead_somewhere():
    for target in re.findall(r"\]\(([^):#]+)\)", README):
        assert (ROOT / target).exists(), f"the README links to {target}"
