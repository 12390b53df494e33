"""The tables of a report: rows of plain texts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nwb_rnn.report.stored import Stored
from nwb_rnn.report.words import compact, number, shown

if TYPE_CHECKING:
    from nwb_rnn.dynamics.fixed_points import FixedPoints

POINTS_SHOWN = 40
_SESSION = (
    "session_description",
    "experiment_description",
    "session_id",
    "session_start_time",
    "experimenter",
    "lab",
    "institution",
    "subject_id",
    "subject_species",
    "subject_sex",
    "subject_age",
    "subject_description",
)
_LISTS = ("unit_ids", "trial_ids", "input_names")
_CALLED = {"bin_size": "bin size (s)", "window": "window (s)", "n_trials": "trials"}
_SCORES = {
    "bits_per_spike": "Poisson likelihood above that of each unit's mean rate, per spike and in bits; 0 is "
    "no better than the mean",
    "log_likelihood_per_bin": "in nats, by the particle filter, per observed bin",
    "co_smoothing_bits_per_spike": "bits per spike of units that were hidden, predicted from the others",
    "r2": "variance of the recorded channels explained by the smoothed expectation",
    "co_smoothing_r2": "variance explained of channels that were hidden",
}


@dataclass(frozen=True)
class Table:
    """A heading for each column, the rows, and what was left out of them."""

    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str = ""


def key_numbers(stored: Stored) -> list[tuple[str, str]]:
    """(what, value) of the few things to know first."""
    model, described = stored.model, stored.model.data_description
    config = model.configuration
    found = [("model", stored.about["kind"])]
    sizes = [name for name in ("rank", "units") if config.get(name) is not None]
    found += [(name, number(config[name])) for name in sizes]
    if described.get("unit_ids"):
        found.append(("recorded units", str(len(described["unit_ids"]))))
    if stored.latents is not None:
        found.append(("trials", str(stored.latents.sizes["trial"])))
    elif "n_trials" in described:
        found.append(("trials", number(described["n_trials"])))
    if described.get("bin_size"):
        found.append(("bin", f"{number(1000 * float(described['bin_size']))} ms"))
    found += [(_score_name(name), number(value)) for name, value in list(model.scores.items())[:2]]
    for points in list(stored.points.values())[:1]:
        found.append(("fixed points", f"{len(points)}{', all' if points.complete else ''}"))
    return found


def scores(stored: Stored) -> Table:
    """Every stored score, and what it means where that is known."""
    rows = [
        (_score_name(name), number(value, 5), _SCORES.get(name, ""))
        for name, value in stored.model.scores.items()
    ]
    return Table(("score", "value", "meaning"), rows)


def _score_name(name: str) -> str:
    words = shown(name).replace("_", " ")
    return re.sub(r"\br2$", "R²", words).replace("log likelihood per bin", "log-likelihood per bin (nats)")


def fixed_points(points: FixedPoints) -> Table:
    """Place, kind, slowest time constant and frequency of each fixed point."""
    rank = points.location.shape[1]
    rows = []
    for k in range(min(len(points), POINTS_SHOWN)):
        place = ", ".join(number(value, 3) for value in points.location[k, :8]) + (", …" if rank > 8 else "")
        leading = int(np.argmax(np.abs(points.eigenvalues[k])))
        rows.append(
            (
                str(k + 1),
                shown(points.kind[k]),
                f"({place})",
                number(points.unstable_directions[k]),
                f"{number(abs(points.eigenvalues[k, leading]), 4)}",
                number(points.time_constants[k, leading], 3),
                number(points.frequencies[k, leading], 3),
            )
        )
    head = (
        "",
        "kind",
        "latents",
        "unstable directions",
        "largest |λ|",
        "time constant (s)",
        "frequency (Hz)",
    )
    note = f"{len(points) - POINTS_SHOWN} more are in the file. " if len(points) > POINTS_SHOWN else ""
    note += "A negative time constant is that of growth."
    return Table(head, rows, note)


def proof(points: FixedPoints) -> str:
    """Whether these are all, in a sentence."""
    certain = "Proved to be all there are" if points.complete else "Not proved to be all there are"
    where = "" if points.inputs is None else f", for the input {compact(np.asarray(points.inputs).tolist())}"
    return f"{certain}{where} (method: {shown(points.method)}). {shown(points.proof, 400)}"


def configuration(stored: Stored) -> Table:
    """Every choice that was made before the fit."""
    return Table(
        ("setting", "value"), [(shown(k), compact(v)) for k, v in stored.model.configuration.items()]
    )


def data(stored: Stored) -> Table:
    """What the model was fitted to."""
    rows = []
    for name, value in stored.model.data_description.items():
        if name in ("source", "dropped"):
            continue
        if name in _LISTS and isinstance(value, list):
            listed = f"{', '.join(shown(v, 30) for v in value[:12])}{', …' * (len(value) > 12)}"
            value = f"{len(value)}: {listed}" if value else "none"
        rows.append((_CALLED.get(name, shown(name).replace("_", " ")), compact(value)))
    rows += [("left out", compact(line)) for line in _dropped(stored)]
    return Table(("", "value"), rows)


def _dropped(stored: Stored) -> list[str]:
    lines = stored.model.data_description.get("dropped")
    if not isinstance(lines, list) or not lines:
        return ["nothing"]
    return [
        f"{_many(line)}{line.get('reason', '')}" if isinstance(line, dict) else str(line) for line in lines
    ]


def _many(line: dict) -> str:
    """How many of what; nothing for what has no ids, such as the rest of a recording."""
    return f"{line['count']} {line.get('what', '')}: " if line.get("count") else ""


def session(stored: Stored) -> Table:
    """What the file says about the recorded session."""
    texts: dict[str, Any] = {} if stored.recording is None else dict(stored.recording.description)
    rows = [(name.replace("_", " "), shown(texts[name], 400)) for name in _SESSION if texts.get(name)]
    return Table(("", "value"), rows)


def provenance(stored: Stored, file_name: str) -> Table:
    """Which file this is, what the model was fitted to, and what software made it."""
    about = stored.about
    source = stored.model.data_description.get("source")
    source = source if isinstance(source, dict) else {}
    rows = [
        ("file", shown(file_name)),
        ("identifier of the file", about["identifier"]),
        ("object id of the file", about["object_id"]),
        ("model in the file", about["name"]),
        ("fitted to", about["source_location"] or source.get("location", "")),
        ("identifier of the source", about["source_identifier"] or source.get("identifier", "")),
        ("object id of the source", about["source_object_id"] or source.get("object_id", "")),
    ]
    rows += [(f"software: {name}", version) for name, version in stored.model.software.items()]
    return Table(("", "value"), [(shown(what), shown(value)) for what, value in rows if str(value)])
