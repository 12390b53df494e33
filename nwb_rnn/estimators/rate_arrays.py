"""A rate network as a dict of named numpy arrays and back, and trials as rates in φ's range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.constraints import Constraints
from nwb_rnn.fitting.rate_data import RateData
from nwb_rnn.models.rate import RateConfig, RateParameters
from nwb_rnn.smc.trials import check_trials

_NUMBERS = ("time_constant", "bin_size")
_NAMED = ("mask", "unit_sign", "unit_region", "activation", "output_names")
HEADROOM = 0.95  # share of φ's range that the largest recorded rate takes where data are scaled
NOISY_HEADROOM = 0.85  # of denoised data, whose largest rate is partly noise that φ⁻¹ would blow up
PRESMOOTHING = 0.3  # of the time constant


@dataclass(frozen=True, eq=False)
class Scale:
    """recorded = offset + gain · rate, each (D,)."""

    gain: np.ndarray
    offset: np.ndarray

    def rates(self, recorded: np.ndarray) -> np.ndarray:
        return (recorded - self.offset) / self.gain


def scale_of(recorded: np.ndarray, mask: np.ndarray, config: RateConfig, ids: np.ndarray) -> Scale:
    """Where φ's range lies in the units of the recording, from the bins that were recorded.

    "auto" leaves data that lie inside the range as they are, shrinks data that mean to lie in (−1, 1) and
    reach or pass its ends by one factor, and gives each unit its own range otherwise. Data smoothed with
    "auto" keep further from the ends of tanh, and get one factor in either case: a range of its own would
    blow up a unit that is mostly noise.

    Raises
    ------
    InputError : data outside the range with scaling="none", or a unit that never changes
    """
    seen = recorded[mask]
    units = seen.shape[1]
    none = Scale(np.ones(units), np.zeros(units))
    low, high = seen.min(axis=0), seen.max(axis=0)
    tanh = config.activation == "tanh"
    noisy = config.smoothing == "auto"
    headroom = NOISY_HEADROOM if noisy else HEADROOM
    largest = float(np.abs(seen).max())
    inside = bool((low > -1).all() and (high < 1).all()) if tanh else bool((low >= 0).all())
    signed = bool((low < 0).mean() > 0.5)
    fits = inside and signed and not (noisy and largest > headroom)
    if config.scaling == "none" or (config.scaling == "auto" and tanh and fits):
        if not inside:
            raise InputError(
                f"the data reach from {low.min():g} to {high.max():g}, outside the range of "
                f"{config.activation}: use scaling='auto' or 'unit'"
            )
        return none
    if config.scaling == "auto" and tanh and signed and largest < 2:
        return Scale(np.full(units, largest / headroom), np.zeros(units))
    spread = high - low
    if not (spread > 0).all():
        flat = np.asarray(ids)[~(spread > 0)].tolist()
        raise InputError(
            f"the units {', '.join(map(str, flat[:20]))} never change in these trials; leave them out: align "
            "with units=[…], the ids of the others"
        )
    if tanh:
        widest = np.full(units, spread.max()) if noisy else spread
        return Scale(widest / (2 * headroom), (high + low) / 2)
    return Scale(spread, np.minimum(low, 0.0))


def prepared(trials: xr.Dataset, config: RateConfig) -> xr.Dataset:
    """Trials with a `signal` of rates: counts are smoothed, and the step is noted in the attributes.

    Raises
    ------
    InputError : counts without a smoothing width
    """
    from nwb_rnn.recordings.denoising import denoise
    from nwb_rnn.recordings.smoothing import smooth, to_rates

    check_trials(trials)
    if config.smoothing == "auto":
        return denoise(trials, PRESMOOTHING * config.time_constant)
    if "counts" in trials:
        if config.smoothing is None:
            raise InputError(
                "these trials hold spike counts, and a rate network is fitted to rates: give "
                "RateRNN(smoothing=0.05) (s), or smooth them yourself"
            )
        return smooth(to_rates(trials), config.smoothing)
    if config.smoothing is not None:
        return smooth(trials, config.smoothing)
    return trials


def rate_data(trials: xr.Dataset, scale: Scale | None, config: RateConfig, alpha: float):
    """`RateData` of prepared trials, and the scale (made from them where it is None).

    A bin counts as recorded where every unit was.

    Raises
    ------
    InputError : NaN in recorded bins, or fewer than two recorded bins in a row
    """
    recorded = trials["signal"].transpose("trial", "time", "unit").values.astype(np.float64)
    mask = np.ones(recorded.shape[:2], dtype=bool)
    if "mask" in trials:
        given = trials["mask"].values.astype(bool)
        mask = given.all(axis=2) if given.ndim == 3 else given
    if not np.isfinite(recorded[mask]).all():
        raise InputError("recorded bins hold NaN or infinite values: set trials['mask'] to False there")
    if not (mask[:, :-1] & mask[:, 1:]).any():
        raise InputError("no two bins in a row were recorded in all units; check the mask and the units")
    inputs = np.zeros((*mask.shape, 0))
    if "inputs" in trials:
        inputs = trials["inputs"].transpose("trial", "time", "input").values.astype(np.float64)
    scale = scale_of(recorded, mask, config, trials["unit"].values) if scale is None else scale
    rates = np.where(mask[..., None], scale.rates(np.nan_to_num(recorded)), 0.0)
    if config.activation != "tanh":
        rates = np.maximum(rates, 0.0)
    error = None
    if "smoothing_error" in trials.coords:
        level, step = (trials[f"smoothing_{name}"].values for name in ("error", "step_error"))
        error = np.sqrt((1 + config.gain**2) * level**2 + (step / alpha) ** 2) / scale.gain
    return RateData(rates, mask, inputs, alpha, config.activation, error), scale


def to_arrays(
    config: RateConfig,
    p: RateParameters,
    constraints: Constraints,
    regions: np.ndarray | None,
    output_names: Sequence[str],
) -> dict[str, np.ndarray]:
    """Parameters under their own names; τ as (1,), constraints as int8."""
    arrays = p.present()
    arrays["time_constant"] = np.array([float(p.time_constant)])
    if not arrays["input_weights"].shape[1]:
        del arrays["input_weights"]
    if not len(arrays["observed_index"]):
        del arrays["observed_index"]
    arrays["initial_state"] = p.initial_state[None]
    arrays["activation"] = np.array(config.activation)
    if not constraints.mask.all():
        arrays["mask"] = constraints.mask.astype(np.int8)
    if constraints.sign.any():
        arrays["unit_sign"] = constraints.sign.astype(np.int8)
    if regions is not None:
        arrays["unit_region"] = np.asarray(regions, dtype=str)
    if p.readout_weights is not None:
        arrays["output_names"] = np.asarray(output_names, dtype=str)
    return arrays


def from_arrays(arrays: dict[str, np.ndarray]):
    """Parameters, constraints, regions, activation and names of the outputs.

    Only recurrent_weights (N, N) is needed; the rest gets a neutral value: no inputs, bias or noise, τ and
    bin width as in `RateConfig` and a tenth of τ, all units recorded, scale 1, no outputs.

    Raises
    ------
    InputError : an array that is missing, unknown, of the wrong shape or not finite
    """
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    known = set(RateParameters.__dataclass_fields__) | set(_NAMED)
    unknown = sorted(set(arrays) - known)
    if unknown or "recurrent_weights" not in arrays:
        what = f"does not know {', '.join(unknown)}" if unknown else "needs 'recurrent_weights'"
        raise InputError(f"from_arrays {what}; it knows {', '.join(sorted(known))}")
    n = arrays["recurrent_weights"].shape[0]
    read_out = "observed_weights" in arrays
    index = np.asarray(arrays.get("observed_index", np.arange(0 if read_out else n)), dtype=np.int64)
    observed = len(arrays["observed_weights"]) if read_out else len(index)
    tau = float(np.ravel(arrays.get("time_constant", RateConfig.time_constant))[0])
    values = {
        "input_weights": np.zeros((n, 0)),
        "unit_bias": np.zeros(n),
        "noise": np.zeros(n),
        "rate_gain": np.ones(observed),
        "rate_offset": np.zeros(observed),
    } | {
        k: v.astype(np.float64) for k, v in arrays.items() if k not in (*_NAMED, *_NUMBERS, "observed_index")
    }
    values["initial_state"] = np.ravel(values.get("initial_state", np.zeros(n)))
    if read_out:
        values.setdefault("observed_bias", np.zeros(observed))
    outputs = len(values.get("readout_weights", ()))
    if "readout_weights" in values:
        values.setdefault("readout_bias", np.zeros(outputs))
    names = [str(n) for n in arrays.get("output_names", [f"output{m}" for m in range(outputs)])]
    p = RateParameters(
        time_constant=tau,
        bin_size=float(np.ravel(arrays.get("bin_size", tau / 10))[0]),
        observed_index=index,
        **values,
    )
    _check_shapes(p, n, observed, outputs)
    if len(names) != outputs:
        raise InputError(f"output_names holds {len(names)} names; readout_weights makes {outputs} outputs")
    constraints = Constraints.make(n, arrays.get("mask"), arrays.get("unit_sign"))
    regions = np.asarray(arrays["unit_region"], dtype=str) if "unit_region" in arrays else None
    return p, constraints, regions, str(arrays.get("activation", "tanh")), names


def _check_shapes(p: RateParameters, n: int, observed: int, outputs: int) -> None:
    wanted = {
        "recurrent_weights": (n, n),
        "input_weights": (n, p.input_weights.shape[-1]),
        "unit_bias": (n,),
        "noise": (n,),
        "initial_state": (n,),
        "rate_gain": (observed,),
        "rate_offset": (observed,),
        "observed_weights": (observed, n),
        "observed_bias": (observed,),
        "readout_weights": (outputs, n),
        "readout_bias": (outputs,),
    }
    for name, array in p.present().items():
        if name in wanted and array.shape != wanted[name]:
            raise InputError(f"{name} has shape {array.shape}; the other arrays ask for {wanted[name]}")
        if not np.isfinite(array).all():
            raise InputError(f"{name} holds NaN or infinite values")
