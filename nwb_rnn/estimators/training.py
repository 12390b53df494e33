"""From trials to fitted parameters: the path that `LowRankRNN.fit` walks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
import xarray as xr

from nwb_rnn.estimators import left_out, matching
from nwb_rnn.fitting.lockstep import shape, train_together
from nwb_rnn.fitting.options import TrainingOptions
from nwb_rnn.fitting.particle_em import usual_steps
from nwb_rnn.fitting.standardise import Scale
from nwb_rnn.fitting.start import starting_module
from nwb_rnn.fitting.trainable import TrainableLowRank
from nwb_rnn.fitting.trainer import Trainer
from nwb_rnn.models.encoder import ConvEncoder
from nwb_rnn.models.indicator import decay_of, estimated_decay
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc import trials as tensors


@dataclass(frozen=True)
class Fitted:
    """What training reached, in the units of the data; `description` is what a model remembers of them."""

    parameters: LowRankParameters
    encoder: ConvEncoder | None
    history: list[dict]
    description: dict


class Training:
    """A fit that is set up: `run` walks it, alone or with others in `run_together`.

    Parameters
    ----------
    current : the parameters and encoder to go on from where start="current"; they stay as they are
    keep : gets what was reached, also when training is interrupted or diverges
    """

    def __init__(
        self,
        config: LowRankConfig,
        trials: xr.Dataset,
        validation: xr.Dataset | None,
        options: TrainingOptions,
        start: str,
        polish: int | None,
        current: tuple[LowRankParameters, ConvEncoder | None] | None,
        keep: Callable[[Fitted], None],
    ):
        matching.check_observations(trials, config.observation)
        continuous = config.observation == "gaussian"
        # an offset must not cost a signal its digits
        precision = torch.float64 if continuous else torch.float32
        data = tensors.from_dataset(trials, precision)
        description = matching.describe(trials, data.inputs.shape[2])
        held = None
        if validation is not None:
            held = tensors.from_dataset(
                matching.matched(validation, description, data.inputs.shape[2]), precision
            )
        decay = _indicator_decay(config, data, description["bin_size"], current)
        data = data.innovations(decay)
        held = None if held is None else held.innovations(decay)
        scale, gone = None, None
        if continuous:
            scale = Scale.of(data)
            gone = left_out.find(data, scale, description["unit_ids"])
            if gone.notes:
                description["dropped"] = [*description["dropped"], *gone.notes]
            data = gone.hide(scale.apply(data))
            held = None if held is None else gone.hide(scale.apply(held))
        if current is not None:
            current = _copied(*current, scale)
        self._module = starting_module(config, data, options.proposal, start, current)
        self.trainer = Trainer(self._module, data, held, options)
        self._description, self._decay, self._scale, self._gone = description, decay, scale, gone
        self._polish = usual_steps(config) if polish is None else polish
        self._keep = keep
        self._finished: LowRankParameters | None = None

    @property
    def shape(self) -> Hashable:
        """Equal for fits that `run_together` takes."""
        return shape(self.trainer)

    def run(self) -> None:
        """Train, polish, and hand over what was reached."""
        try:
            self.trainer.run()
            self._finished = self.trainer.polished(self._polish)
        finally:
            self._hand_over()

    @staticmethod
    def run_together(fits: Sequence[Training]) -> None:
        """As `run` of each, with the iterations of all side by side; see `fitting.lockstep`."""
        try:
            train_together([fit.trainer for fit in fits])
            for fit in fits:
                fit._finished = fit.trainer.polished(fit._polish)
        finally:
            for fit in fits:
                fit._hand_over()

    def _hand_over(self) -> None:
        parameters, encoder = _reached(self._module, self._finished, self._scale)
        if self._decay is not None:
            parameters = replace(parameters, indicator_decay=self._decay.to(parameters.decay.dtype))
        parameters = parameters if self._gone is None else self._gone.clear(parameters)
        self._keep(Fitted(parameters, encoder, list(self.trainer.progress.history), self._description))


def _indicator_decay(config: LowRankConfig, data: tensors.TrialTensors, bin_size: float, current):
    """g (D,) of fluorescence: that of the model where there is one, known, or estimated; else None."""
    if config.indicator == "none":
        return None
    if current is not None and current[0].indicator_decay is not None:
        return current[0].indicator_decay
    if config.indicator_time_constant is None:
        return estimated_decay(data.observed, data.mask)
    return decay_of(config.indicator_time_constant, bin_size, data.observed.shape[2])


def _copied(parameters: LowRankParameters, encoder: ConvEncoder | None, scale: Scale | None):
    """What training starts from, in standard units; the model keeps its own."""
    encoder = copy.deepcopy(encoder)
    if scale is None:
        return parameters, encoder
    if encoder is not None:
        scale.shrink_encoder(encoder)
    return scale.shrink(parameters), encoder


def _reached(module: TrainableLowRank, finished: LowRankParameters | None, scale: Scale | None):
    """Parameters and encoder in the data's own units."""
    module.cpu()
    with torch.no_grad():
        parameters = module.natural() if finished is None else finished
        parameters = parameters.map(lambda x: x.detach().cpu().clone())
    encoder = module.encoder
    if encoder is not None:
        encoder.requires_grad_(False)
    if scale is not None:
        parameters = scale.restore(parameters)
        if encoder is not None:
            scale.restore_encoder(encoder)
    return parameters, encoder
