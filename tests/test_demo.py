"""The demo walks end to end, on its own session and on a file of one's own."""

import re

from simulated_world import SMALL_FIT, run, small_session

import nwb_rnn as nr
from nwb_rnn.cli.walk import SESSION_FILE


def test_demo_on_a_simulated_session(tmp_path):
    options = ("--iterations=2", "--units=16", "--particles=4", "--backend=reference", "--batch-size=8")
    options += ("--polish=4",)
    said = run("demo", *options, "--output-folder", tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    result = SESSION_FILE.replace("_ecephys", "_desc-rnn_ecephys")
    assert written == sorted([SESSION_FILE, result, result.replace(".nwb", ".png")])
    assert "no errors" in said
    found = dict(re.findall(r"^  (latents|frequency|fixed points|mean rates).*?  +(\S.*)$", said, re.M))
    assert set(found) == {"latents", "frequency", "fixed points", "mean rates"}
    score = float(re.search(r"held-out trials\s+(\S+)", said).group(1))
    assert score > 0.8  # the start from the data alone, with this seed; 0.98 after a hundred iterations
    assert nr.load(tmp_path / result).data_description["bin_size"] == 0.01


def test_demo_on_an_own_file(tmp_path):
    small_session(tmp_path / "mine.nwb")
    folder = tmp_path / "results"
    arguments = ("--align=start_time", "--bin-size=0.01", *SMALL_FIT, "--output-folder", folder)
    said = run("demo", tmp_path / "mine.nwb", *arguments)
    assert "truth" not in said
    assert len(list(folder.glob("*.nwb"))) == 1
    assert len(list(folder.glob("*.png"))) == 1
    run("demo", tmp_path / "mine.nwb", *arguments, "--seed=1")  # replaces what the first one left
    assert len(list(folder.iterdir())) == 2
