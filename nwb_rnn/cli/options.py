"""Options that several commands share, and the plain values that come out of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

ACTIVATIONS = ("clipped_relu", "relu", "tanh", "softplus", "identity")
OBSERVATIONS = ("auto", "poisson", "negative_binomial", "gaussian")
READOUTS = ("affine", "one_to_one")
MODELS = ("low-rank", "rate")
RATE_METHODS = ("auto", "ridge", "convex", "rls", "full_force", "backprop", "unknown_input", "performance")

SUBJECT = ("subject_id", "species", "sex", "age")
SESSION = (
    "session_id",
    "session_start_time",
    "session_description",
    "experimenter",
    "institution",
    "lab",
)


class Column(click.ParamType):
    """A number, or else a text: what a table of units has for ids."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """5 for "5", "left" for "left"."""
        text = str(value)
        return int(text) if text.lstrip("-").isdigit() else text


class Width(click.ParamType):
    """Seconds, or "auto"."""

    name = "s or auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """0.05 for "0.05", "auto" for "auto"."""
        if value == "auto":
            return "auto"
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number of seconds nor 'auto'", param, ctx)


def together(*decorators: Callable) -> Callable:
    """Several click options as one decorator, in this order."""

    def decorate(function: Callable) -> Callable:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


alignment = together(
    click.option(
        "--align",
        "event",
        metavar="COLUMN",
        help="Column of event times, or table of events, that trials are aligned to.",
    ),
    click.option(
        "--segments",
        type=click.FloatRange(0, min_open=True),
        metavar="S",
        help="Instead of --align: equal pieces of S s of the whole recording.",
    ),
    click.option("--until", metavar="COLUMN", help="Column where each trial ends, such as stop_time."),
    click.option(
        "--window",
        nargs=2,
        type=float,
        metavar="A B",
        help="From A to B s after the event (A may be < 0).",
    ),
    click.option("--bin-size", type=float, help="Width of a bin, s.  [default: 0.02 for spikes]"),
    click.option("--table", help="Table that holds the column, where several do."),
    click.option("--where", metavar="CONDITION", help='Trials to take, such as "is_good == 1".'),
    click.option("--select-units", metavar="CONDITION", help="Units to take, such as \"quality == 'good'\"."),
    click.option(
        "--time-reference",
        type=click.Choice(["auto", "session", "start"]),
        default="auto",
        show_default=True,
        help="Whether event times count from the session's or each trial's start.",
    ),
    click.option("--inputs", multiple=True, metavar="NAME", help="What drives the network; may be repeated."),
    click.option("--signal", help="Fit this signal instead of the spikes."),
)


rate = together(
    click.option(
        "--model",
        type=click.Choice(MODELS),
        default=MODELS[0],
        show_default=True,
        help="low-rank: latents behind the recorded units. rate: a network of the recorded units themselves.",
    ),
    click.option("--method", type=click.Choice(RATE_METHODS), help="Of --model=rate.  [default: auto]"),
    click.option(
        "--targets",
        multiple=True,
        metavar="NAME",
        help="Behaviour that the outputs of --model=rate shall match, 'behaviour' for all of it; may be "
        "repeated. Means --method=performance.",
    ),
    click.option(
        "--optimiser", type=click.Choice(["backprop", "rls"]), help="Of --targets.  [default: backprop]"
    ),
    click.option(
        "--start",
        type=click.Choice(["random", "recorded"]),
        help="Of --targets: recorded lets unrecorded units begin as mixtures of what the recorded ones did.  "
        "[default: random]",
    ),
    click.option(
        "--state-noise", type=click.FloatRange(0), help="Noise in the currents while training on --targets."
    ),
    click.option("--regions", metavar="COLUMN", help="Column of the units that names their region (rate)."),
    click.option(
        "--smoothing",
        type=Width(),
        help="Standard deviation, s, that makes rates of spikes, or 'auto' (rate).",
    ),
    click.option("--time-constant", type=float, help="Of the units, s (rate).  [default: 0.1]"),
    click.option("--unrecorded", type=click.IntRange(0), help="Units beside the recorded ones (rate)."),
    click.option("--dale", is_flag=True, help="Each unit excites or inhibits all others (rate)."),
    click.option("--zero-diagonal", is_flag=True, help="No connection of a unit to itself (rate)."),
)

network = together(
    click.option("--rank", type=int, default=2, show_default=True, help="Number of latents."),
    click.option("--units", type=int, default=128, show_default=True, help="Number of network units."),
    click.option("--activation", type=click.Choice(ACTIVATIONS), default=ACTIVATIONS[0], show_default=True),
    click.option(
        "--observation",
        type=click.Choice(OBSERVATIONS),
        default=OBSERVATIONS[0],
        show_default=True,
        help="auto: poisson for spikes, gaussian for signals.",
    ),
    click.option("--readout", type=click.Choice(READOUTS), default=READOUTS[0], show_default=True),
)

training = together(
    click.option("--iterations", type=click.IntRange(1), default=500, show_default=True),
    click.option(
        "--polish",
        type=click.IntRange(0),
        help="Steps of particle EM; by default 8, or for counts 24 with up to 3 latents and else 4.",
    ),
    click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True),
    click.option("--particles", type=click.IntRange(1), default=16, show_default=True),
    click.option("--learning-rate", type=float, default=3e-3, show_default=True),
    click.option("--crop", type=click.IntRange(2), help="Bins of a random window of each trial in a step."),
    click.option("--seed", type=int, default=0, show_default=True),
    click.option(
        "--validation-fraction",
        type=click.FloatRange(0, 0.9),
        default=0.2,
        show_default=True,
        help="Share of the trials that only choose when to stop; scores are computed on them.",
    ),
    click.option("--checkpoint", type=click.Path(dir_okay=False), help="File to save to and to resume from."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda."),
    click.option(
        "--threads",
        type=click.IntRange(1),
        default=1,
        show_default=True,
        help="Of torch; several only help large networks, and wait for each other on a busy machine.",
    ),
    click.option(
        "--backend",
        type=click.Choice(["auto", "reference", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="How the particle filter is computed.",
    ),
)

metadata = together(
    click.option("--subject-id", help="Where the source does not say, or to say it better:"),
    click.option("--species", help='Latin binomial, such as "Mus musculus".'),
    click.option("--sex", type=click.Choice(["M", "F", "U", "O"])),
    click.option("--age", help="ISO 8601 duration, such as P90D."),
    click.option("--session-id"),
    click.option("--session-start-time", help="Such as 2024-03-01T10:30:00+01:00."),
    click.option("--session-description"),
    click.option("--experimenter"),
    click.option("--institution"),
    click.option("--lab"),
    click.option(
        "--dandi/--no-dandi",
        default=True,
        show_default=True,
        help="Refuse to write what DANDI would not accept.",
    ),
)


def take(values: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Take the named options out of `values`; those that were not given are left out."""
    taken = {name: values.pop(name) for name in names}
    return {name: value for name, value in taken.items() if value is not None and value != ()}


def say(text: str = "") -> None:
    """One line, at once, also into a pipe."""
    click.echo(text)
