"""Training iterations of one or many fits as one sequence of work for the device, which no step waits for.

Draws, batches, gradients and optimiser steps of all models are one pass, in which models × trials are the
batch (`smc.many`). On a GPU the pass is recorded as a CUDA graph once and started again for every iteration;
the host looks at what happened when a fit is due for a check.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.func import functional_call

from nwb_rnn.fitting.trainable import natural
from nwb_rnn.smc.many import log_likelihoods, stacked
from nwb_rnn.smc.resampling import uniforms_per_trial
from nwb_rnn.smc.trials import TrialTensors

_ENCODER = "encoder."
_WARM_UP = 3  # iterations before recording, in which kernels are compiled and libraries find their memory


class OnePass:
    """
    Parameters
    ----------
    trainers : `trainer.Trainer`s of one `lockstep.shape`
    """

    def __init__(self, trainers: Sequence):
        from nwb_rnn.fitting.optimiser_rows import OptimiserRows

        self._trainers, first = trainers, trainers[0]
        self._config, self._options, self._module = first.module.config, first.options, first.module
        self._how = first.filter_options(first.options.particles)
        self._rows = OptimiserRows([t.optimiser for t in trainers], [t.options.clip_norm for t in trainers])
        self._data = stacked([t.trials for t in trainers])
        self._buffers = _buffers(trainers)
        like, (models, trials, bins) = self._data.observed, self._data.pattern.shape
        options = self._options
        batch = options.batch_size if options.crop else min(options.batch_size, trials)
        bins, width = options.crop or bins, uniforms_per_trial(options.resampling, options.particles)
        self._noise = like.new_empty(models, batch, bins, options.particles, self._config.rank)
        self._uniforms = like.new_empty(models, batch, bins, width)
        self._choice = like.new_empty((models, 2, batch) if options.crop else (models, 1, trials))
        self._values = like.new_zeros(models)
        self._taken, self._graph = 0, None

    @staticmethod
    def of(trainers: Sequence) -> OnePass | None:
        """None where nothing is won by it: on a CPU, but for a backend that was asked for by name."""
        first = trainers[0]
        on_gpu = first.generator.device.type == "cuda" and first.options.backend in ("auto", "cuda")
        if not (on_gpu or first.options.backend == "cuda") or importlib.util.find_spec("triton") is None:
            return None
        from nwb_rnn.smc.backends import cuda

        return None if cuda.supports_tensors(first.module.initial_mean) else OnePass(trainers)

    def run(self) -> None:
        """Iterations up to the next check of any fit; every trainer learns how its own went."""
        from nwb_rnn.fitting.optimiser_rows import MOST_STEPS

        steps = min(MOST_STEPS, *(trainer.until_check() for trainer in self._trainers))
        self._rows.plan([trainer.learning_rates(steps) for trainer in self._trainers])
        for _ in range(steps):
            self._step()
        self._rows.took(steps)
        outcome = zip(self._trainers, self._values.tolist(), self._rows.alive.tolist(), strict=True)
        for trainer, value, alive in outcome:
            trainer.took(steps, value if alive else float("nan"))

    def _step(self) -> None:
        if self._graph is not None:
            self._graph.replay()
            return
        self._taken += 1
        if self._taken <= _WARM_UP or not self._recordable():
            self._iterate()
            return
        self._graph = torch.cuda.CUDAGraph()
        for trainer in self._trainers:
            self._graph.register_generator_state(trainer.generator)
        with torch.cuda.graph(self._graph):
            self._iterate()
        self._graph.replay()

    def _recordable(self) -> bool:
        """Whether every part is a kernel that waits for nothing, which the reference backend is not."""
        from nwb_rnn.smc.backends import cuda

        if self._values.device.type != "cuda" or self._how.particles > cuda.MOST_PARTICLES:
            return False
        return self._config.readout != "network" and "," not in self._config.link

    def _iterate(self) -> None:
        for m, trainer in enumerate(self._trainers):
            self._choice[m].uniform_(generator=trainer.generator)
            self._noise[m].normal_(generator=trainer.generator)
            self._uniforms[m].uniform_(generator=trainer.generator)
        batch = self._batch()
        masks = [
            trainer.encoder_mask(TrialTensors(*(x[m] for x in vars(batch).values())), trainer.generator)
            for m, trainer in enumerate(self._trainers)
        ]
        flat = self._rows.flat.detach().requires_grad_()
        raw = self._by_name(flat)
        state = {name[len(_ENCODER) :]: x for name, x in raw.items() if name.startswith(_ENCODER)}
        values = log_likelihoods(
            natural(self._config, raw),
            self._config,
            batch,
            self._how,
            self._noise,
            self._uniforms,
            lambda own, observed, mask: functional_call(self._module.encoder, own, (observed, mask)),
            state | self._buffers,
            None if masks[0] is None else torch.stack(masks),
        ).sum(1)
        values = values / (batch.mask.amax(-1) > 0).sum((1, 2))
        (gradient,) = torch.autograd.grad(-values.sum(), flat)
        self._values.copy_(values.detach())
        self._rows.step(gradient.contiguous(), self._values)

    def _batch(self) -> TrialTensors:
        """Trials of the coming iteration, (M, B, …), chosen by uniform numbers of each model's own."""
        data, crop = self._data, self._options.crop
        models, trials, bins = data.pattern.shape
        batch = self._noise.shape[1]
        if crop is None and batch == trials:
            return data
        if crop is None:
            index = self._choice[:, 0].argsort(dim=1)[:, :batch, None]
            columns = torch.arange(bins, device=index.device)
            lengths = data.lengths.gather(1, index[..., 0])
        else:
            room = (data.lengths - crop + 1).clamp(min=1)
            ends = room.cumsum(1).to(self._choice)
            index = torch.searchsorted(ends, self._choice[:, 0] * ends[:, -1:], right=True)
            index = index.clamp(max=trials - 1)[..., None]
            start = (self._choice[:, 1] * room.gather(1, index[..., 0])).long().clamp(max=bins - crop)
            columns = start[..., None] + torch.arange(crop, device=index.device)
            lengths = (data.lengths.gather(1, index[..., 0]) - start).clamp(min=1, max=crop)
        model = torch.arange(models, device=index.device)[:, None, None]
        names = ("observed", "mask", "inputs", "pattern")
        rows = {name: getattr(data, name)[model, index, columns] for name in names}
        return replace(data, lengths=lengths, **rows)

    def _by_name(self, flat: Tensor) -> dict[str, Tensor]:
        """Parameters by name, each with a leading axis of M, from rows that hold all of a model's."""
        named = dict(self._module.named_parameters())
        parts = flat.split([p.numel() for p in named.values()], dim=1)
        return {
            name: part.unflatten(1, p.shape) if p.dim() else part[:, 0]
            for (name, p), part in zip(named.items(), parts, strict=True)
        }


def _buffers(trainers: Sequence) -> dict[str, Tensor]:
    """The encoders' buffers by name, each with a leading axis of M."""
    if trainers[0].module.encoder is None:
        return {}
    each = [dict(trainer.module.encoder.named_buffers()) for trainer in trainers]
    return {name: torch.stack([buffers[name] for buffers in each]) for name in each[0]}
