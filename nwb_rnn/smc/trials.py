"""Trials as tensors: what the numerical code reads out of the `xarray.Dataset` of trials."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from nwb_rnn.errors import InputError
from nwb_rnn.models import indicator


@dataclass(frozen=True)
class TrialTensors:
    """
    Attributes
    ----------
    observed : (B, T, D), 0 where not observed
    mask : (B, T, D) or (B, T, 1), 1 where observed
    inputs : (B, T, U); U may be 0
    lengths : (B,) int64, bins up to and including the last observed one
    patterns : (P, D), distinct sets of observed units
    pattern : (B, T) int64, index into `patterns`
    """

    observed: Tensor
    mask: Tensor
    inputs: Tensor
    lengths: Tensor
    patterns: Tensor
    pattern: Tensor

    def select(self, index: Tensor) -> TrialTensors:
        """Some of the trials, cut to the longest of them."""
        bins = int(self.lengths[index].max()) if len(index) else 0
        return self._rows(index, slice(0, max(bins, 1)))

    def crop(self, index: Tensor, start: Tensor, bins: int) -> TrialTensors:
        """A window of `bins` bins of each chosen trial, from its own start bin."""
        columns = start[:, None] + torch.arange(bins, device=start.device)
        cut = self._rows(index[:, None], columns)
        return replace(cut, lengths=(self.lengths[index] - start).clamp(min=1, max=bins))

    def windows(self, bins: int) -> TrialTensors:
        """Every trial cut into windows of `bins` bins, side by side; a last one of a few bins is left out."""
        longest = self.observed.shape[1]
        index, start = [], []
        for trial, length in enumerate(self.lengths.tolist()):
            for first in range(0, max(length - bins // 4, 1), bins):
                index.append(trial)
                start.append(min(first, longest - bins))
        device = self.observed.device
        return self.crop(torch.tensor(index, device=device), torch.tensor(start, device=device), bins)

    def _rows(self, index, columns) -> TrialTensors:
        mask, observed = self.mask[index, columns], self.observed[index, columns]
        inputs, pattern = self.inputs[index, columns], self.pattern[index, columns]
        lengths = self.lengths[index].reshape(-1).clamp(max=observed.shape[1])
        return replace(self, observed=observed, mask=mask, inputs=inputs, pattern=pattern, lengths=lengths)

    def hide_units(self, hidden: Tensor) -> TrialTensors:
        """The same trials with the units where `hidden` (D,) is True not observed at all."""
        keep = (~hidden).to(self.observed.dtype)
        return _with_patterns(self.observed * keep, self.mask.expand_as(self.observed) * keep, self)

    def hide_from(self, hidden: int) -> TrialTensors:
        """The same trials, as long as before, with no bin observed from number `hidden` on."""
        keep = (torch.arange(self.observed.shape[1], device=self.observed.device) < hidden)[None, :, None]
        keep = keep.to(self.observed.dtype)
        return replace(_with_patterns(self.observed * keep, self.mask * keep, self), lengths=self.lengths)

    def innovations(self, decay: Tensor | None) -> TrialTensors:
        """Fluorescence as y_t − g y_{t−1}, see `models.indicator`; the same trials for None."""
        if decay is None:
            return self
        change, both = indicator.innovations(self.observed, self.mask.expand_as(self.observed), decay)
        if not both.any():
            raise InputError(
                "an indicator that decays between bins needs two observed bins in a row, and these trials "
                "have none: give longer trials"
            )
        return _with_patterns(change, both, self)

    def to(self, device: torch.device, dtype: torch.dtype) -> TrialTensors:
        return TrialTensors(
            observed=self.observed.to(device, dtype),
            mask=self.mask.to(device, dtype),
            inputs=self.inputs.to(device, dtype),
            lengths=self.lengths.to(device),
            patterns=self.patterns.to(device, dtype),
            pattern=self.pattern.to(device),
        )


def check_trials(trials: object) -> None:
    """Raise InputError for what is no Dataset of trials, such as a recording that was not aligned."""
    if not isinstance(trials, xr.Dataset):
        raise InputError(
            f"expected trials, the Dataset that align(...) or segments(...) of a recording returns; "
            f"got a {type(trials).__name__}"
        )


def observed_name(trials: xr.Dataset) -> str:
    """ "counts" or "signal", whichever the trials hold."""
    check_trials(trials)
    for name in ("counts", "signal"):
        if name in trials:
            return name
    raise InputError(
        f"the trials hold no 'counts' and no 'signal'; they hold {', '.join(map(str, trials.data_vars))}. "
        "Make them with Recording.align"
    )


def from_dataset(trials: xr.Dataset, dtype: torch.dtype = torch.float32) -> TrialTensors:
    """Read tensors out of trials; NaN, inf or a wrong shape in an observed bin is refused."""
    name = observed_name(trials)
    values = trials[name].transpose("trial", "time", "unit").values
    if 0 in values.shape:
        raise InputError(f"'{name}' has shape {values.shape}: no trials, bins or units are left to work with")
    mask = _mask_of(trials, values.shape)
    bad = ~np.isfinite(values) & np.broadcast_to(mask, values.shape)
    if bad.any():
        b, t, d = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"'{name}' holds {int(bad.sum())} NaN or infinite values in bins that the mask calls observed, "
            f"the first at trial {trials.trial.values[b]}, bin {t}, unit {trials.unit.values[d]}: "
            "set the mask to False there"
        )
    if not mask.any():
        raise InputError("the mask is False everywhere: no bin of these trials was observed")
    values = np.where(mask, values, 0)
    inputs = np.zeros((*values.shape[:2], 0))
    if "inputs" in trials:
        inputs = trials["inputs"].transpose("trial", "time", "input").values
        if not np.isfinite(inputs).all():
            raise InputError("'inputs' hold NaN or infinite values; fill or cut them first")
    largest = torch.finfo(torch.float32).max
    if max(float(np.abs(values).max()), float(np.abs(inputs).max(initial=0))) > largest:
        raise InputError(f"'{name}' or 'inputs' hold numbers beyond {largest:.2g}: give them in larger units")
    base = TrialTensors(
        observed=torch.as_tensor(values, dtype=dtype),
        mask=torch.as_tensor(mask, dtype=dtype),
        inputs=torch.as_tensor(inputs, dtype=dtype),
        lengths=torch.empty(0, dtype=torch.int64),
        patterns=torch.empty(0),
        pattern=torch.empty(0, dtype=torch.int64),
    )
    return _with_patterns(base.observed, base.mask, base)


def _mask_of(trials: xr.Dataset, shape: tuple[int, int, int]) -> np.ndarray:
    if "mask" not in trials:
        return np.ones((*shape[:2], 1), dtype=bool)
    mask = trials["mask"]
    if "unit" in mask.dims:
        return mask.transpose("trial", "time", "unit").values.astype(bool)
    return mask.transpose("trial", "time").values.astype(bool)[..., None]


def _with_patterns(observed: Tensor, mask: Tensor, like: TrialTensors) -> TrialTensors:
    """Find the distinct rows of the mask and each trial's last observed bin."""
    batch, bins, units = observed.shape
    rows = mask.reshape(batch * bins, -1).bool().cpu().numpy()
    packed = np.packbits(rows, axis=1)
    _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    patterns = torch.as_tensor(rows[first], dtype=observed.dtype).expand(-1, units).to(observed.device)
    pattern = torch.as_tensor(inverse.reshape(batch, bins), dtype=torch.int64, device=observed.device)
    seen = mask.amax(-1) > 0
    last = bins - seen.flip(1).to(torch.int64).argmax(dim=1)
    lengths = torch.where(seen.any(1), last, torch.ones_like(last))
    return replace(
        like, observed=observed, mask=mask, lengths=lengths, patterns=patterns.contiguous(), pattern=pattern
    )
