"""The examples run, and leave what they say they leave."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "arguments", "left"),
    [
        ("known_network", (), {"known_network.png"}),
        (
            "session_to_model",
            ("3",),
            {"session.nwb", "session_desc-rnn.nwb", "session_desc-rnn.png"},
        ),
    ],
)
def test_example(name, arguments, left, tmp_path):
    load(name).main(str(tmp_path), *arguments)
    assert {path.name for path in tmp_path.iterdir()} == left


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"known_network", "session_to_model"}
