"""Many fits at once: models of one shape, each with its own trainer, that take every iteration together.

On a GPU the iterations of all models are one pass, in which models × trials are the batch (`one_pass`). On a
CPU, where one model fills a core, they come from one model after the other. Everything else (random numbers,
optimiser, learning rate, validation, recovery from divergence, checkpoints) is each trainer's own, so that a
fit ends where it would have ended alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from nwb_rnn.errors import InputError
from nwb_rnn.fitting.interruption import interruptible
from nwb_rnn.fitting.one_pass import OnePass
from nwb_rnn.fitting.trainer import Trainer

_OF_BATCHES = (
    "particles",
    "batch_size",
    "crop",
    "proposal",
    "resampling",
    "resampling_gradient",
    "backend",
    "device",
)


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
    together, going = None, 0
    with interruptible() as interruption:
        while running := [trainer for trainer in trainers if not trainer.over]:
            if len(running) != going:
                together, going = OnePass.of(running), len(running)
            if together is None:
                for trainer in running:
                    trainer.iterate()
            else:
                together.run()
            for trainer in running:
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
