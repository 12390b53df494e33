"""The page about a stored model: complete, self-contained, and deaf to what a hostile file says."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import browse, program
from simulated_world import SMALL_FIT, run, small_session

import nwb_rnn as nr
from nwb_rnn.dynamics.named_arrays import network_of
from nwb_rnn.plotting.style import of_signal
from nwb_rnn.report.page import in_script, page
from nwb_rnn.report.scene import latent_paths, rounded
from nwb_rnn.report.stored import gather
from nwb_rnn.report.words import number, shown

NEEDS_BROWSER = pytest.mark.skipif(
    program() is None, reason="no Chromium here (apt-get install chromium): pages are not tried in a browser"
)
ATTACKS = (
    "</script><script>window.hacked=1</script>",
    "<!--<script>window.hacked=1",
    "\"><img src=x onerror='window.hacked=1'>",
    "<svg onload=window.hacked=1>\u2028window.hacked=1//\u2029",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>$\\frac{1$",
)
HOSTILE = " ".join(ATTACKS)


class Reader(HTMLParser):
    """Elements with their attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.scripts, self.words, self.inside = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data
        else:
            self.words.append(data)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    small_session(folder / "session.nwb")
    path = folder / "fitted.nwb"
    options = ("--align=start_time", "--bin-size=0.01", *SMALL_FIT, "--no-report", "--output", path)
    run("fit", folder / "session.nwb", *options)
    return path


@pytest.fixture(scope="module")
def html(fitted):
    assert "wrote" in run("report", fitted)
    return fitted.with_suffix(".html")


@pytest.fixture(scope="module")
def hostile(fitted):
    """A page of a file every text of which attacks its reader."""
    stored = gather(str(fitted))
    for name in ("name", "description", "equations", "source_location", "source_identifier"):
        stored.about[name] = HOSTILE
    count = stored.latents.sizes["trial"]
    coords = {
        "trial": np.array([f"{ATTACKS[k % 5]} {k}" for k in range(count)]),
        "condition": ("trial", np.array([ATTACKS[k % 2] for k in range(count)])),
    }
    stored.latents = stored.latents.assign_coords(coords)
    stored.trials = stored.trials.assign_coords(coords)
    for part in (stored.latents, stored.trials):
        part.attrs["align_to"] = HOSTILE
    stored.model.scores[HOSTILE] = 1.0
    stored.model.software[HOSTILE] = HOSTILE
    stored.model.data_description[HOSTILE] = [HOSTILE]
    stored.recording.description["session_description"] = HOSTILE
    stored.points = {HOSTILE: next(iter(stored.points.values()))}
    stored.absent.append(HOSTILE)
    return page(stored, HOSTILE)


def test_everything_is_on_the_page(html, fitted):
    text = html.read_text(encoding="utf-8")
    found = Reader(text)
    words = " ".join(found.words)
    model = nr.load(fitted)
    for expected in (
        "Latents",
        "Flow",
        "Scores",
        "Provenance",
        "Configuration",
        "nr.load('fitted.nwb')",
        number(model.scores["bits_per_spike"], 5),
        model.software["torch"],
        "Average over trials",
    ):
        assert expected in words
    pictures = [a for tag, a in found.elements if tag == "img"]
    assert len(pictures) >= 8
    assert all(a["src"].startswith("data:image/png;base64,") and len(a["alt"]) > 20 for a in pictures)
    assert "exists already" in run("report", fitted, code=1)


def test_the_page_needs_nothing_from_elsewhere(html):
    found = Reader(html.read_text(encoding="utf-8"))
    for tag, attributes in found.elements:
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
    policy = next(a["content"] for t, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert html.stat().st_size < 5e6
    assert str(html.parent) not in html.read_text(encoding="utf-8")


def test_a_long_signal_without_a_copy_is_short_in_its_unit_and_tells_no_folder(tmp_path):
    """As for EEG: the file holds no samples."""
    from nwb_rnn.teachers.oscillator import oscillator

    teacher = nr.LowRankRNN.from_arrays(**oscillator(observed=5, units=16, observation="gaussian"))
    values = teacher.simulate(trials=1, bins=1500, seed=1)["signal"].values[0]
    recording = nr.read({"signals": {"EEG": {"values": values, "rate": 100.0, "unit": "volts"}}})
    trials = recording.segments()
    model = nr.LowRankRNN(rank=2, units=16, observation="gaussian")
    quick = {"particles": 4, "backend": "reference"}
    model.fit(trials, iterations=2, polish=0, progress=False, crop=50, **quick)
    latents = model.infer(trials, **quick)
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "eeg.nwb", model, latents=latents, session_start_time=start, dandi=False)
    stored = gather(str(path))
    assert stored.trials is None
    assert stored.simulated is None
    assert of_signal("signal", stored.latents) == "signal (V)"
    text = page(stored, "eeg.nwb")
    assert "name it with --source FILE" in text
    assert str(tmp_path) not in text
    assert "trial 0, its first 10 s" in text


def test_a_rate_network_of_spikes_has_a_page_and_no_figures_that_do_not_fit_it(tmp_path):
    small_session(tmp_path / "session.nwb")
    recording = nr.read(tmp_path / "session.nwb")
    trials = recording.align("start_time", window=(0.0, 0.3), bin_size=0.01)
    model = nr.RateRNN(smoothing=0.05).fit(trials, method="ridge", penalty=1.0)
    points = model.fixed_points(trials=trials, n_starts=2)
    latents = model.infer(trials)
    path = nr.write(tmp_path / "rate.nwb", model, latents=latents, fixed_points=points, source=recording)
    stored = gather(str(path))
    text = page(stored, "rate.nwb")
    assert "Inferred latents of trial" in text and "one standard deviation" not in text
    assert "Averages over trials" not in text
    assert any("smoothed rates" in line for line in stored.absent)
    assert "LowRankRNN" in run("report", path, "--output", tmp_path / "rate.png", code=1)


def test_the_scene_holds_the_latents_of_the_file(html, fitted):
    from nwb_rnn.storage import load_latents

    data = json.loads(Reader(html.read_text(encoding="utf-8")).scripts[0])
    latents = load_latents(fitted)
    mean = latents["latent_mean"].transpose("trial", "time", "latent").values
    known = np.isfinite(mean[3]).all(axis=1)
    found = np.reshape(data["latents"]["trials"][3]["z"], (-1, 2))
    np.testing.assert_allclose(found, mean[3][known], rtol=1e-4)
    assert len(data["points"]) == len(nr.load(fitted).fixed_points())


def test_the_file_is_opened_once(fitted, monkeypatch):
    """Opening takes longer than all reading from it."""
    from nwb_rnn.sources import nwb
    from nwb_rnn.storage import reading

    asked, really = [], reading.open_nwb
    for module in (nwb, reading):
        monkeypatch.setattr(module, "open_nwb", lambda path: asked.append(path) or really(path))
    assert gather(str(fitted)).simulated is not None
    assert asked == [str(fitted)]


def test_an_open_file_is_read_and_left_open(fitted):
    from nwb_rnn.errors import StorageError
    from nwb_rnn.storage.reading import load_latents, opened

    with opened(fitted) as nwbfile:
        model = nr.load(nwbfile)
        np.testing.assert_array_equal(
            load_latents(nwbfile)["latent_mean"].values, load_latents(fitted)["latent_mean"].values
        )
        assert nwbfile.identifier
        with pytest.raises(StorageError, match=r"fitted\.nwb"):
            nr.load(nwbfile, "another")
    for name, values in nr.load(fitted).to_arrays().items():
        np.testing.assert_array_equal(model.to_arrays()[name], values)


def test_a_long_trial_is_simulated_about_as_often_as_it_can_tell_something(fitted):
    from nwb_rnn.report import stored as reading

    whole = gather(str(fitted))
    assert whole.simulated.sizes["trial"] == reading.SIMULATED_TRIALS
    few = whole.trials.isel(trial=[0])
    bins = np.arange(12_000)
    whole.trials = few.isel(time=bins % few.sizes["time"]).assign_coords(time=bins * whole.model.bin_size)
    assert reading._simulated(whole).sizes["trial"] == 10


def test_long_recordings_are_thinned_to_whole_trials_and_it_is_said():
    import xarray as xr

    mean = np.random.default_rng(0).normal(size=(50, 100, 2))
    latents = xr.Dataset(
        {"latent_mean": (("trial", "time", "latent"), mean)},
        {"trial": np.arange(50), "time": np.arange(100.0)},
    )
    found = latent_paths(latents, most=2000)
    assert found["total"] == 50
    assert [trial["id"] for trial in found["trials"]][:: len(found["trials"]) - 1] == ["0", "49"]
    assert sum(len(trial["z"]) for trial in found["trials"]) <= 2000


def test_hostile_texts_are_only_texts(hostile):
    found = Reader(hostile)
    tags = [tag for tag, _ in found.elements]
    assert tags.count("script") == 2
    assert tags.count("link") == 1
    assert not {"svg", "iframe", "object", "form"} & set(tags)
    for _, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on")]
    assert found.scripts[0].isprintable()
    names = [column["name"] for column in json.loads(found.scripts[0])["latents"]["columns"]]
    assert "condition" in names


@pytest.mark.parametrize("text", ATTACKS)
def test_json_in_a_script_is_the_same_value_and_cannot_leave_it(text):
    found = in_script({text: [text, 1.5, None]})
    assert not re.search("[<>&\u2028\u2029]", found)
    assert json.loads(found) == {text: [text, 1.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        in_script(float("nan"))


def test_words():
    assert shown("a\n\tb\u202ec\x00") == "a b c"
    assert shown("x" * 300).endswith("…")
    assert [number(v) for v in (3, 0.123456, np.inf, np.nan, True)] == ["3", "0.1235", "∞", "–", "yes"]
    np.testing.assert_array_equal(rounded(np.array([1.234567, -0.0, np.nan])), [1.2346, 0.0, 0.0])


def test_other_endings(fitted, tmp_path):
    assert "end it in .html" in run("report", fitted, "--output", tmp_path / "x.docx", code=2)


@NEEDS_BROWSER
def test_the_page_works_in_a_browser(html, fitted, tmp_path):
    network = network_of(nr.load(fitted).to_arrays())
    state = [0.7, -1.3]

    async def visit(tab):
        await tab.open(html, 1280)
        box = await tab.value(
            "(() => {const b = document.getElementById('latents-view').getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]})()"
        )
        canvas = "document.getElementById('latents-view')"
        before = await tab.value(f"{canvas}.dataset.turn"), await tab.value(f"{canvas}.toDataURL()")
        await tab.drag(box, (box[0] + 90, box[1] + 30))
        after = await tab.value(f"{canvas}.dataset.turn"), await tab.value(f"{canvas}.toDataURL()")
        assert before[0] == "0.700 0.450"
        assert after[0] == "1.600 0.750"
        assert before[1] != after[1]
        await tab.value(f"{canvas}.dispatchEvent(new KeyboardEvent('keydown', {{key: 'ArrowLeft'}}))")
        assert await tab.value(f"{canvas}.dataset.turn") == "1.500 0.750"
        flow = "document.getElementById('flow-view')"
        await tab.value(f"{flow}.dispatchEvent(new MouseEvent('click', {{clientX: 300, clientY: 300}}))")
        assert await tab.value(f"{flow}.dataset.paths") == "1"
        stepped = await tab.value(f"nwbRnn.step({json.dumps(state)})")
        np.testing.assert_allclose(stepped, network.step(np.array(state)), rtol=1e-6, atol=1e-7)
        for index in range(await tab.value("document.getElementById('colour').length")):
            await tab.value(
                f"(() => {{const c = document.getElementById('colour'); c.value = '{index}';"
                "c.dispatchEvent(new Event('change'))})()"
            )
        assert (await tab.pdf()).startswith(b"%PDF")
        assert tab.problems == []
        assert all(url.startswith(("file:", "data:")) for url in tab.requests)

    browse(visit, tmp_path)


@NEEDS_BROWSER
def test_the_page_is_readable_at_phone_width(html, tmp_path):
    async def visit(tab):
        await tab.open(html, 390, 844, mobile=True)
        assert await tab.value("document.documentElement.scrollWidth") <= 390
        assert await tab.value("window.innerWidth") == 390
        small = await tab.value(
            "[...document.querySelectorAll('p,td,th,dt,dd,figcaption,label')].filter(e => e.offsetParent && "
            "parseFloat(getComputedStyle(e).fontSize) < 12).length"
        )
        assert small == 0
        assert tab.problems == []

    browse(visit, tmp_path)


@NEEDS_BROWSER
def test_hostile_texts_do_not_run(hostile, tmp_path):
    path = tmp_path / "hostile.html"
    path.write_text(hostile, encoding="utf-8")

    async def visit(tab):
        await tab.open(path, 1280)
        for index in range(await tab.value("document.getElementById('colour').length")):
            await tab.value(
                f"(() => {{const c = document.getElementById('colour'); c.value = '{index}';"
                "c.dispatchEvent(new Event('change'))})()"
            )
        assert await tab.value("typeof window.hacked") == "undefined"
        assert await tab.value("document.querySelectorAll('script').length") == 2
        assert "window.hacked=1" in await tab.value("document.body.innerText")
        assert tab.problems == []
        assert all(url.startswith(("file:", "data:")) for url in tab.requests)

    browse(visit, tmp_path)


@NEEDS_BROWSER
def test_the_policy_stops_what_would_slip_through(html, tmp_path):
    """Were a text not escaped, the page's own policy would still not let it run."""
    path = tmp_path / "slipped.html"
    slipped = "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
    path.write_text(html.read_text(encoding="utf-8").replace("<h1>", slipped + "<h1>", 1), encoding="utf-8")

    async def visit(tab):
        await tab.open(path, 800)
        assert await tab.value("typeof window.hacked") == "undefined"
        assert tab.problems

    browse(visit, tmp_path)
