"""A model with the trials, latents and fixed points that belong to it, out of the file that holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nwb_rnn.cli.job import SIMULATED_TRIALS
from nwb_rnn.errors import InputError

if TYPE_CHECKING:
    import xarray as xr

    from nwb_rnn.dynamics.fixed_points import FixedPoints
    from nwb_rnn.estimators.low_rank_rnn import LowRankRNN
    from nwb_rnn.recordings.recording import Recording


def everything(
    model_file: str, source: str | None, name: str | None
) -> tuple[LowRankRNN, xr.Dataset, xr.Dataset, xr.Dataset, FixedPoints]:
    """Model, trials, latents, simulated trials and fixed points, read or, where not stored, made again.

    Parameters
    ----------
    model_file : what `nwb_rnn.write` wrote
    source : the recording; the copy of it inside `model_file` when None
    name : of the model

    Raises
    ------
    InputError : the recording does not have the trials that the latents belong to
    """
    import nwb_rnn
    from nwb_rnn.dynamics import FixedPoints
    from nwb_rnn.storage import load_fixed_points, load_latents

    model = nwb_rnn.load(model_file, name)
    latents = load_latents(model_file, name)
    trials = same_trials(nwb_rnn.read(source or model_file), latents)
    simulated = model.simulate(trials=max(SIMULATED_TRIALS, trials.sizes["trial"]), like=trials)
    points = FixedPoints.from_dict(load_fixed_points(model_file, name))
    return model, trials, latents, simulated, points


def same_trials(recording: Recording, latents: xr.Dataset) -> xr.Dataset:
    """The trials of a recording that latents belong to, cut and masked in the same way."""
    import numpy as np

    attrs = latents.attrs
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
