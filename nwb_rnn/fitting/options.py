"""How a fit is run; everything here can be changed without changing what is fitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nwb_rnn.errors import InputError


@dataclass(frozen=True)
class TrainingOptions:
    """
    Attributes
    ----------
    iterations : gradient steps
    batch_size : trials in each step (all of them where there are fewer)
    particles : K
    learning_rate : of Adam at the start; it falls to `final_fraction` of that along a cosine
    proposal : bootstrap, optimal or encoder
    backend : auto, reference, cpu or cuda
    resampling : systematic or multinomial
    resampling_gradient : γ in [0, 1]: how the choice of particles n bins back depends on the parameters
        counts γⁿ in the gradient. 0 leaves it out, which biases the gradient, most for counts; 1 keeps all,
        with a variance that grows with the length of a trial. None takes 0 with the optimal proposal, where
        runs did not favour either clearly, and 0.98 with the others
    crop : bins of a random window of each trial used in a step; None takes whole trials
    clip_norm : largest norm of the gradient of the objective per bin
    validate_every : iterations between checks (history, validation, snapshot, checkpoint)
    patience : checks without a better validation score before training stops
    validation_particles : K of the validation score
    checkpoint : file to save to at every check and on interruption, and to resume from if it is there
    progress : show a progress bar
    callback : called with a dict after every check
    device : a torch device name
    """

    iterations: int = 500
    batch_size: int = 16
    particles: int = 16
    learning_rate: float = 3e-3
    final_fraction: float = 0.05
    proposal: str = "encoder"
    backend: str = "auto"
    resampling: str = "systematic"
    resampling_gradient: float | None = None
    crop: int | None = None
    clip_norm: float = 1.0
    validate_every: int = 50
    patience: int = 8
    validation_particles: int = 64
    checkpoint: Path | None = None
    progress: bool = True
    callback: Callable[[dict], None] | None = None
    device: str = "cpu"

    def __post_init__(self):
        if self.resampling_gradient is None:
            object.__setattr__(self, "resampling_gradient", 0.0 if self.proposal == "optimal" else 0.98)
        for name in ("iterations", "batch_size", "particles", "validate_every", "patience"):
            if int(getattr(self, name)) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate={self.learning_rate} must be positive")
        if self.crop is not None and self.crop < 2:
            raise InputError(f"crop={self.crop} must be at least 2 bins, or None for whole trials")
