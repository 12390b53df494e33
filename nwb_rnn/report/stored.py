"""A model with the trials, latents and fixed points that belong to it, out of the file that holds them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from nwb_rnn.errors import InputError, NwbRnnError

if TYPE_CHECKING:
    import xarray as xr
    from pynwb import NWBFile

    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.recordings.recording import Recording

SIMULATED_TRIALS = 100
SIMULATED_BINS = 120_000  # of all trials together, where that is fewer trials but not fewer than recorded
_Part = TypeVar("_Part")


@dataclass
class Stored:
    """What a file holds about one model, and what could be made of it.

    Attributes
    ----------
    model : the fitted model
    about : where it is stored and what it was fitted to; see `nwb_rnn.storage.reading.read_about`
    recording : the copy of the session in the file, or the one named as source
    latents, trials, simulated : see `LowRankRNN.infer`, `Recording.align` and `LowRankRNN.simulate`;
        None where they cannot be had
    points : tables of fixed points by their names
    absent : what is not there and why, in sentences
    """

    model: Any
    about: dict[str, Any]
    recording: Recording | None = None
    latents: xr.Dataset | None = None
    trials: xr.Dataset | None = None
    simulated: xr.Dataset | None = None
    points: dict[str, FixedPoints] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def gather(model_file: str, source: str | None = None, name: str | None = None) -> Stored:
    """Read a model and all that belongs to it; what cannot be had is said in `absent`.

    Parameters
    ----------
    model_file : what `nwb_rnn.write` wrote
    source : the recording; the copy of it inside `model_file` when None
    name : of the model, where the file holds several

    Raises
    ------
    SourceError, StorageError : the file cannot be read, or holds no such model
    InputError : `source` was named, and does not have the trials that the latents belong to
    """
    from nwb_rnn.storage.reading import opened

    with opened(model_file) as nwbfile:
        found = _read(nwbfile, model_file, source, name)
    if found.trials is not None:  # what is simulated is shown against what was recorded
        found.simulated = _attempt(found, "simulated activity", lambda: _simulated(found))
    return found


def _read(nwbfile: NWBFile, model_file: str, source: str | None, name: str | None) -> Stored:
    """All that is read, while the file is open."""
    from nwb_rnn.sources import read
    from nwb_rnn.storage.reading import load, load_latents, read_about

    about = read_about(nwbfile, name)
    found = Stored(load(nwbfile, about["name"]), about)
    found.points = _points(nwbfile, about["fixed_points"])
    found.recording = read(source) if source else _copy(found, nwbfile, model_file)
    if not about["latents"]:
        found.absent.append("latents: the file holds none of this model")
        return found
    found.latents = load_latents(nwbfile, about["latents"][0])
    if found.recording is not None:
        recording, latents = found.recording, found.latents
        if source is not None:
            found.trials = same_trials(recording, latents)
        else:
            found.trials = _attempt(found, "recorded activity", lambda: same_trials(recording, latents))
    return found


def _copy(found: Stored, nwbfile: NWBFile, model_file: str) -> Recording | None:
    """The copy of the session in the file, which has none of large signals."""
    from nwb_rnn.sources.nwb import read_open

    try:
        return read_open(nwbfile, model_file)
    except NwbRnnError:  # its reason names the folder of the file, which is not the reader's business
        found.absent.append(
            "recorded activity, and simulated activity to hold against it: the file has no copy of the "
            "recording; name it with --source FILE"
        )
        return None


def _attempt(found: Stored, what: str, make: Callable[[], _Part]) -> _Part | None:
    """What `make` gives; None, and the reason among what is absent, where it cannot be had."""
    try:
        return make()
    except NwbRnnError as error:
        found.absent.append(f"{what}: {error}")
        return None


def _points(nwbfile: NWBFile, names: list[str]) -> dict[str, FixedPoints]:
    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.storage import load_fixed_points

    return {name: FixedPoints.from_dict(load_fixed_points(nwbfile, name)) for name in names}


def _simulated(found: Stored) -> xr.Dataset:
    """Trials simulated with the lengths of those that were inferred, as many or more."""
    if found.model.data_description.get("input_names"):
        raise InputError("the model is driven by inputs, which are not stored with the latents")
    like: Any = found.trials
    enough = min(SIMULATED_TRIALS, SIMULATED_BINS // like.sizes["time"])
    return found.model.simulate(trials=max(enough, like.sizes["trial"]), like=like)


def same_trials(recording: Recording, latents: xr.Dataset) -> xr.Dataset:
    """The trials of a recording that latents belong to, cut and masked in the same way.

    Raises
    ------
    InputError : the recording does not have them
    """
    import numpy as np

    attrs = latents.attrs
    if "event_time" not in latents.coords or len(attrs.get("window", ())) != 2 or attrs.get("warp"):
        raise InputError("the latents do not say where in the session their trials lie")
    events = latents["event_time"].values
    trials = recording.align(
        events,
        window=tuple(attrs["window"]),
        bin_size=attrs["bin_size"],
        units=latents["unit"].values.tolist(),
        signal=attrs.get("signal_name"),
    )
    if trials.sizes["time"] < latents.sizes["time"] or trials.sizes["trial"] != latents.sizes["trial"]:
        raise InputError(
            f"the latents have {latents.sizes['trial']} trials of {latents.sizes['time']} bins, and this "
            f"recording gives {trials.sizes['trial']} of {trials.sizes['time']}: name the recording that "
            "they were inferred from, --source FILE"
        )
    trials = trials.isel(time=slice(0, latents.sizes["time"])).assign_coords(
        trial=latents["trial"].values, time=latents["time"].values
    )
    mask = trials["mask"] & latents["mask"].transpose("trial", "time").values.reshape(
        latents.sizes["trial"], latents.sizes["time"], *[1] * (trials["mask"].ndim - 2)
    )
    name = "counts" if "counts" in trials else "signal"
    trials["mask"] = mask
    trials[name] = trials[name].where(mask, 0).astype(np.float32).transpose("trial", "time", "unit")
    trials.attrs |= {k: attrs[k] for k in ("align_to", "source", "dropped") if k in attrs}
    return trials
