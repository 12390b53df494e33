"""The YAML files, the types page and the built distributions agree with what src/spec says."""

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

HOME = Path(__file__).resolve().parents[3]
YAML = ("ndx-latent-dynamics.extensions.yaml", "ndx-latent-dynamics.namespace.yaml")


def test_yaml_files_are_what_the_generator_writes(tmp_path):
    script = f"import create_extension_spec as c; from pathlib import Path; c.main(Path({str(tmp_path)!r}))"
    source = str(HOME / "src" / "spec")
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": source})
    for name in YAML:
        made = yaml.safe_load((tmp_path / name).read_text())
        assert made == yaml.safe_load((HOME / "spec" / name).read_text()), f"{name}: run the generator again"


def test_types_page_is_what_its_script_writes():
    spec = importlib.util.spec_from_file_location("types_page", HOME / "docs" / "create_types_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (HOME / "docs" / "README.md").read_text(encoding="utf-8") == module.page()


def test_every_array_names_its_axes_and_everything_is_documented():
    content = yaml.safe_load((HOME / "spec" / YAML[0]).read_text())
    for kind in content["groups"]:
        for part in kind.get("datasets", []) + kind.get("attributes", []) + kind.get("links", []):
            assert part["doc"].strip()
            assert ("shape" in part) == ("dims" in part)


def test_wheel_and_sdist_hold_the_specification(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling, which builds the package, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run(command, cwd=HOME, check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
    for name in YAML:
        assert f"ndx_latent_dynamics/spec/{name}" in names
    assert "ndx_latent_dynamics/__init__.py" in names
    assert "ndx_latent_dynamics/testing/mock.py" in names
    assert not any(name.startswith(("spec/", "tests/")) for name in names)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as sdist:
        assert any(name.endswith(f"/spec/{YAML[0]}") for name in sdist.getnames())


def test_the_examples_of_the_readme_run(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (HOME / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    reading, writing = blocks
    monkeypatch.chdir(tmp_path)
    exec(compile(writing, "README: write", "exec"), {})
    example = reading.replace("sub-1_ses-1_desc-rnn_ecephys.nwb", "results.nwb")
    found: dict = {}
    exec(compile(example, "README: read", "exec"), found)
    assert found["left"].shape == (8, 2) and found["right"].shape == (2, 8)
