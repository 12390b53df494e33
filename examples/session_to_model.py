"""The whole walk in Python: a session on disk becomes a fitted network, and the network an NWB file.

Run with `python examples/session_to_model.py [folder] [iterations]`. The session is simulated, so that the
example needs no data; with a file of your own, start at `nr.read`.
"""

import sys
from pathlib import Path

import nwb_rnn as nr
from nwb_rnn import plotting
from nwb_rnn.recordings.splits import split_trials
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.session import simulate_session


def main(folder: str = ".", iterations: str = "150") -> Path:
    """Simulate, read, align, fit, look, write, and load again."""
    source = write_session(Path(folder) / "session.nwb", simulate_session().recording, overwrite=True)

    recording = nr.read(source)
    trials = recording.align("start_time", until="stop_time", bin_size=0.01)
    training, validation, test = split_trials(trials, (0.7, 0.15, 0.15))

    model = nr.LowRankRNN(rank=2, units=64, observation="poisson", seed=0)
    model.fit(training, validation, iterations=int(iterations), progress=sys.stderr.isatty())
    print(model.score(test))  # trials that neither fitted the weights nor chose when to stop

    latents = model.infer(trials)
    points = model.fixed_points()
    print(points)

    output = Path(folder) / "session_desc-rnn.nwb"
    nr.write(output, model, latents=latents, fixed_points=points, source=recording, overwrite=True)
    samples = model.simulate(trials=100, like=trials)
    plotting.report(model, trials, latents, samples, points).savefig(output.with_suffix(".png"), dpi=130)

    again = nr.load(output)
    assert (again.infer(test)["latent_mean"] == model.infer(test)["latent_mean"]).where(test.mask, True).all()
    return output


if __name__ == "__main__":
    main(*sys.argv[1:])
