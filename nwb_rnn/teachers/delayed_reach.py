"""Delayed reaching from the centre out: see a target, wait, go (Kao 2019, 10.1152/jn.00467.2018).

Inputs: the place of the target (x, y) from its onset on, and hold, 1 until go. Outputs: hand velocity, 0
until a reaction time after go, and then a movement of least jerk over the distance d in the time T,

    v(s) = d/T · 30 (s² − 2 s³ + s⁴),      s = (t − t_go − reaction) / T
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from nwb_rnn.errors import InputError
from nwb_rnn.models.task import TaskTrials


@dataclass(frozen=True)
class DelayedReach:
    """
    Attributes
    ----------
    targets : number of directions, evenly spaced from 0
    distance : of the targets, in the unit of the outputs times s
    bin_size : Δ, s
    before : from the start of a trial to the target, s
    shortest, longest : delay between target and go, drawn evenly, s
    reaction, movement : from go to the movement, and how long that takes, s
    after : that the hand stays at the target, s
    catch : share of trials without go, in which the hand stays where it is
    """

    targets: int = 8
    distance: float = 1.0
    bin_size: float = 0.02
    before: float = 0.1
    shortest: float = 0.2
    longest: float = 0.8
    reaction: float = 0.1
    movement: float = 0.5
    after: float = 0.2
    catch: float = 0.1

    input_names = ("target_x", "target_y", "hold")
    output_names = ("velocity_x", "velocity_y")

    def __post_init__(self):
        if self.targets < 1 or not 0 < self.shortest <= self.longest or not 0 <= self.catch < 1:
            raise InputError(
                f"targets={self.targets}, shortest={self.shortest}, longest={self.longest}, "
                f"catch={self.catch}: expected a target, 0 < shortest <= longest, and 0 <= catch < 1"
            )
        if min(self.bin_size, self.movement, self.distance) <= 0 or self.before < 0 or self.after < 0:
            raise InputError(
                "bin_size, movement and distance must be positive, before and after not negative"
            )

    @property
    def description(self) -> str:
        """The task in words."""
        return (
            f"Centre-out delayed reach to {self.targets} targets: inputs are the target's place and hold; "
            f"the outputs are hand velocity, zero until go and then a minimum-jerk movement. Delays of "
            f"{self.shortest:g} to {self.longest:g} s. Correct: the hand ends within 10 % of the distance."
        )

    @property
    def configuration(self) -> dict:
        """Every number of the task."""
        return asdict(self)

    @property
    def directions(self) -> np.ndarray:
        """(targets,) rad."""
        return 2 * np.pi * np.arange(self.targets) / self.targets

    def draw(self, trials: int, rng: np.random.Generator) -> TaskTrials:
        """Random directions and delays; a share of trials without go."""
        direction = self.directions[rng.integers(self.targets, size=trials)]
        delay = rng.integers(self._bins(self.shortest), self._bins(self.longest) + 1, size=trials)
        return self.trials(direction, delay * self.bin_size, goes=rng.random(trials) >= self.catch)

    def conditions(self, delay: float | None = None) -> TaskTrials:
        """One trial of each direction with the same delay (the middle one); time counts from go."""
        delay = 0.5 * (self.shortest + self.longest) if delay is None else delay
        delay = self._bins(delay) * self.bin_size
        found = self.trials(self.directions, np.full(self.targets, delay))
        start = -(self._bins(self.before) * self.bin_size + delay)
        return TaskTrials(found.inputs, found.targets, found.weight, found.columns, start)

    def trials(
        self,
        direction: np.ndarray,
        delay: np.ndarray,
        goes: np.ndarray | None = None,
        distance: np.ndarray | float | None = None,
        switched_to: np.ndarray | None = None,
        switch_before_go: float = 0.1,
    ) -> TaskTrials:
        """Trials of one's own choice.

        Parameters
        ----------
        direction : (B,) rad
        delay : (B,) s
        goes : (B,) bool; all by default
        distance : of the target; the task's own by default
        switched_to : (B,) direction, rad, to which the target jumps `switch_before_go` s before go
        """
        direction, delay = np.asarray(direction, dtype=float), np.asarray(delay, dtype=float)
        count, width = len(direction), self.bin_size
        goes = np.ones(count, dtype=bool) if goes is None else np.asarray(goes)
        far = np.broadcast_to(self.distance if distance is None else distance, count)
        seen = self._bins(self.before)
        go = seen + np.round(delay / width).astype(int)
        bins = int(go.max()) + self._bins(self.reaction) + self._bins(self.movement) + self._bins(self.after)
        step = np.arange(bins)
        place = far[:, None] * np.column_stack([np.cos(direction), np.sin(direction)])
        last = place if switched_to is None else far[:, None] * _unit(switched_to)
        shown = (step >= seen)[None, :, None] * place[:, None]
        if switched_to is not None:
            jumped = step >= (go - self._bins(switch_before_go))[:, None]
            shown = np.where(jumped[..., None], last[:, None], shown)
        hold = (step < go[:, None]) | ~goes[:, None]
        moved = ((step + 0.5 - go[:, None]) * width - self.reaction) / self.movement
        s = np.clip(moved, 0.0, 1.0)
        speed = 30 * (s**2 - 2 * s**3 + s**4) / self.movement * goes[:, None]
        weight = (step < (go + bins - int(go.max()))[:, None]).astype(float)
        columns = {
            "direction": direction if switched_to is None else np.asarray(switched_to, dtype=float),
            "target_x": last[:, 0],
            "target_y": last[:, 1],
            "target_time": np.full(count, seen * width),
            "go_time": go * width,
            "goes": goes.astype(np.int64),
        }
        inputs = np.concatenate([shown, hold[..., None]], axis=2)
        return TaskTrials(inputs, speed[..., None] * last[:, None], weight, columns)

    def end_points(self, trials: TaskTrials, outputs: np.ndarray) -> np.ndarray:
        """(B, 2) where the hand is at the end, from outputs (B, T, 2)."""
        return (outputs * trials.weight[..., None]).sum(axis=1) * self.bin_size

    def performance(self, trials: TaskTrials, outputs: np.ndarray) -> dict[str, float]:
        """Errors relative to the distance: at the end of reaches, and of the hand's place at go.

        Returns
        -------
        reach_error_median, reach_error_max : |end − target| / |target| over trials with go
        reached : share of them within 10 %
        hold_error : largest |place at go| / |target|
        """
        goes = trials.columns["goes"] > 0
        place = np.column_stack([trials.columns["target_x"], trials.columns["target_y"]])
        size = np.linalg.norm(place, axis=1)
        miss = np.linalg.norm(self.end_points(trials, outputs) - place, axis=1)[goes] / size[goes]
        step = np.arange(outputs.shape[1]) < np.round(trials.columns["go_time"] / self.bin_size)[:, None]
        early = np.linalg.norm((outputs * step[..., None]).sum(axis=1) * self.bin_size, axis=1) / size
        return {
            "reach_error_median": float(np.median(miss)) if goes.any() else float("nan"),
            "reach_error_max": float(miss.max()) if goes.any() else float("nan"),
            "reached": float(np.mean(miss < 0.1)) if goes.any() else float("nan"),
            "hold_error": float(early.max()),
        }

    def _bins(self, seconds: float) -> int:
        return round(seconds / self.bin_size)


def _unit(direction: np.ndarray) -> np.ndarray:
    return np.column_stack([np.cos(direction), np.sin(direction)])
