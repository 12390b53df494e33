"""The demo: the main job on a simulated session, compared with the truth, or on a file of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwb_rnn.cli.fit import job_from
from nwb_rnn.cli.job import Done, Job, run
from nwb_rnn.cli.steps import listed

if TYPE_CHECKING:
    from nwb_rnn.teachers.session import SimulatedSession

SESSION_FILE = "sub-teacher01_ses-simulated_ecephys.nwb"
DEFAULTS = {"event": "start_time", "until": "stop_time", "bin_size": 0.01, "units": 64, "iterations": 120}
_FREQUENCY_TRIALS, _FREQUENCY_SECONDS = 20, 10.0


@dataclass(frozen=True)
class Recovery:
    """What was found against what is true.

    Attributes
    ----------
    latent_r2 : variance of the true latents explained, after the best affine map, on `trials` trials
    trials : how many trials that was computed on
    held_out : True where those trials were not used for the fit
    frequency, true_frequency : of the oscillation, Hz
    fixed_points, true_fixed_points : how many of which kind, in words
    rate_correlation : of the mean rates of the units, simulated from the fit against recorded
    """

    latent_r2: float
    trials: int
    held_out: bool
    frequency: float
    true_frequency: float
    fixed_points: str
    true_fixed_points: str
    rate_correlation: float

    def __str__(self) -> str:
        trials = f"{self.trials} {'held-out' if self.held_out else 'fitted'} trials"
        rows = (
            ("What was recovered", "fitted", "truth"),
            (f"  latents, R² on {trials}", f"{self.latent_r2:.3f}", "1 (after the best affine map)"),
            ("  frequency of the oscillation", f"{self.frequency:.2f} Hz", f"{self.true_frequency:.2f} Hz"),
            ("  fixed points", self.fixed_points, self.true_fixed_points),
            ("  mean rates, correlation with recorded", f"{self.rate_correlation:.3f}", "1"),
        )
        return "\n".join(f"{what:<41} {fitted:<20} {truth}" for what, fitted, truth in rows)


def simulated_session(
    values: dict[str, Any], given: set[str], folder: Path, say: Callable[[str], None]
) -> tuple[Done, Recovery]:
    """Simulate a session, write it as NWB, do the main job on the file, and compare with the truth.

    Parameters
    ----------
    values : options of the command
    given : names of those that the user chose; the others give way to `DEFAULTS`
    """
    from nwb_rnn.storage.session import write_session
    from nwb_rnn.teachers.session import simulate_session

    values = values | {name: value for name, value in DEFAULTS.items() if name not in given}
    session = simulate_session(seed=values["seed"])
    path = folder / SESSION_FILE
    write_session(
        path,
        session.recording,
        overwrite=True,
        experimenter="Computer, Simulation",
        keywords=["simulation", "latent dynamics"],
    )
    say(f"simulated  a session of a rank-2 network that oscillates -> {path}")
    done = own_file(job_from(str(path), values), folder, say)
    found = recovery(session, done)
    say("")
    say(str(found))
    return done, found


def own_file(job: Job, folder: Path, say: Callable[[str], None]) -> Done:
    """The main job, with all that it writes in one folder, where it replaces what an earlier demo left."""
    done = run(replace(job, output=folder, overwrite=True), say)
    say("")
    say(f"The model, its latents and fixed points are in {done.output}")
    say(f"The picture is {done.picture}")
    return done


def recovery(session: SimulatedSession, done: Done) -> Recovery:
    """Compare a fit to a simulated session with what made it."""
    import numpy as np

    from nwb_rnn.dynamics import find_fixed_points
    from nwb_rnn.metrics.comparison import affine_map, aligned_r2, mapped, mean_rate_correlation
    from nwb_rnn.teachers.oscillator import cycle_frequency
    from nwb_rnn.teachers.session import draw_latents

    compared = done.trials if done.held_out is None else done.held_out
    chosen = done.latents.sel(trial=compared["trial"].values)
    found = [
        path[seen] for path, seen in zip(chosen["latent_mean"].values, chosen["mask"].values, strict=True)
    ]
    truth = [session.latents[trial] for trial in compared["trial"].values]
    found, truth = np.concatenate(found), np.concatenate(truth)
    bins = round(_FREQUENCY_SECONDS / session.bin_size)
    simulated = done.model.simulate(trials=_FREQUENCY_TRIALS, bins=bins)["latents"].values
    rng = np.random.default_rng(0)
    teacher = np.stack([draw_latents(session.arrays, bins, rng) for _ in range(_FREQUENCY_TRIALS)])
    return Recovery(
        latent_r2=aligned_r2(found, truth),
        trials=compared.sizes["trial"],
        held_out=done.held_out is not None,
        frequency=cycle_frequency(mapped(simulated, affine_map(found, truth)), session.bin_size),
        true_frequency=cycle_frequency(teacher, session.bin_size),
        fixed_points=listed(done.points),
        true_fixed_points=listed(find_fixed_points(session.network)),
        rate_correlation=mean_rate_correlation(done.trials, done.simulated),
    )
