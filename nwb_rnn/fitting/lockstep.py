"""Many fits at once: models of one shape, each with its own trainer, that take every iteration together.

On a GPU the values and gradients of all models come from one pass, in which models × trials are the batch
(`smc.many`). On a CPU, where one model fills a core, they come from one model after the other. Everything
else (random numbers, optimiser, learning rate, validation, recovery from divergence, checkpoints) is each
trainer's own, so that a fit ends where it would have ended alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.interruption import interruptible
from nwb_rnn.fitting.trainable import natural
from nwb_rnn.fitting.trainer import Trainer
from nwb_rnn.smc.many import log_likelihoods
from nwb_rnn.smc.trials import TrialTensors

_ENCODER = "encoder."
_OF_BATCHES = ("particles", "batch_size", "crop", "proposal", "resampling", "backend", "device")


def train_together(trainers: Sequence[Trainer]) -> None:
    """Run every trainer to its end, as `Trainer.run` would.

    Raises
    ------
    InputError : trainers that differ in what `shape` returns.
    DivergenceError : a fit diverged for good; the others stop where they are.
    KeyboardInterrupt : on interruption, after every fit has saved its state to its checkpoint.
    """
    if len({shape(trainer) for trainer in trainers}) > 1:
        raise InputError(
            "fits at once need models and batches of equal shapes (rank, units, observation, "
            f"{', '.join(_OF_BATCHES)}); fit those that differ apart"
        )
    for trainer in trainers:
        trainer.begin()
    with interruptible() as interruption:
        while running := [trainer for trainer in trainers if not trainer.over]:
            for trainer, value in zip(running, _gradients(running), strict=True):
                trainer.advance(value)
                trainer.check_if_due()
            if interruption.asked:
                for trainer in running:
                    trainer.keep()
                raise KeyboardInterrupt
    for trainer in trainers:
        trainer.end()


def shape(trainer: Trainer) -> Hashable:
    """Equal for trainers that can take iterations together; seeds, learning rates and lengths may differ."""
    trials, options = trainer.trials, trainer.options
    sizes = (trials.observed.shape, trials.mask.shape, trials.inputs.shape, trials.patterns.shape)
    how = tuple(getattr(options, name) for name in _OF_BATCHES)
    return replace(trainer.module.config, seed=0), sizes, trials.observed.dtype, how


def _gradients(trainers: Sequence[Trainer]) -> list[float]:
    """What `Trainer.gradient` returns, for each; the optimisers have the gradients."""
    batches = [trainer.batch() for trainer in trainers]
    first = trainers[0]
    if first.generator.device.type == "cuda" or first.options.backend == "cuda":
        return _in_one_pass(trainers, batches)
    return [trainer.gradient(batch) for trainer, batch in zip(trainers, batches, strict=True)]


def _in_one_pass(trainers: Sequence[Trainer], batches: Sequence[TrialTensors]) -> list[float]:
    first = trainers[0]
    masks = [t.encoder_mask(batch, t.generator) for t, batch in zip(trainers, batches, strict=True)]
    flat = torch.stack([trainer.optimiser.flat for trainer in trainers]).requires_grad_()
    raw = _by_name(first, flat)
    state = {name[len(_ENCODER) :]: x for name, x in raw.items() if name.startswith(_ENCODER)}
    values = log_likelihoods(
        natural(first.module.config, raw),
        first.module.config,
        batches,
        first.filter_options(first.options.particles),
        [trainer.generator for trainer in trainers],
        lambda own, observed, mask: functional_call(first.module.encoder, own, (observed, mask)),
        state | _buffers(trainers),
        None if masks[0] is None else torch.stack(masks),
    ).sum(1)
    values = values / torch.stack([(batch.mask.amax(-1) > 0).sum() for batch in batches])
    (gradients,) = torch.autograd.grad(-values.sum(), flat)
    for trainer, gradient in zip(trainers, gradients, strict=True):
        trainer.optimiser.take_flat(gradient)
    return values.tolist()


def _by_name(trainer: Trainer, flat: Tensor) -> dict[str, Tensor]:
    """Parameters by name, each with a leading axis of M, from rows that hold all of a model's."""
    named = dict(trainer.module.named_parameters())
    parts = flat.split([p.numel() for p in named.values()], dim=1)
    return {
        name: part.unflatten(1, p.shape) if p.dim() else part[:, 0]
        for (name, p), part in zip(named.items(), parts, strict=True)
    }


def _buffers(trainers: Sequence[Trainer]) -> dict[str, Tensor]:
    """The encoders' buffers by name, each with a leading axis of M."""
    if trainers[0].module.encoder is None:
        return {}
    each = [dict(trainer.module.encoder.named_buffers()) for trainer in trainers]
    return {name: torch.stack([buffers[name] for buffers in each]) for name in each[0]}
