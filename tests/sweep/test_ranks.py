"""select_rank: the right rank on a teacher, resumption, processes, refusals; fit_many."""

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.sweep.executors import FitJob, fit_many
from nwb_rnn.sweep.ranks import RankScore, RankSelection
from nwb_rnn.teachers.oscillator import oscillator

QUICK = dict(iterations=4, batch_size=4, particles=4, polish=0, progress=False, backend="reference")


@pytest.fixture(scope="module")
def trials():
    teacher = nr.LowRankRNN.from_arrays(**oscillator(units=32, observed=8, observation="gaussian"))
    return teacher.simulate(trials=8, bins=30, seed=1).drop_vars("latents")


def test_the_rank_of_the_teacher_is_chosen():
    arrays = oscillator(units=64, observed=20, observation="gaussian", noise=0.1)
    data = nr.LowRankRNN.from_arrays(**arrays).simulate(trials=40, bins=100, seed=2)
    found = nr.select_rank(
        data,
        ranks=(1, 2, 3),
        seeds=(0, 1),
        network={"units": 32},
        iterations=100,
        batch_size=10,
        polish=2,
        progress=False,
    )
    assert found.chosen == 2, str(found)
    assert found.gap(1) > 5 * found.standard_error(1)
    assert found.table()[1]["co_smoothing"] > found.table()[0]["co_smoothing"]


def score(rank, seed, values):
    return RankScore(rank, seed, tuple(values), 0.0)


def test_one_standard_error_of_paired_differences():
    base = np.array([0.0, 10.0, -10.0, 3.0])  # trials differ far more than ranks do
    wiggle = np.array([0.2, -0.1, -0.1, 0.2])
    scores = (score(1, 0, base - 1 + wiggle), score(2, 0, base - 0.06 + wiggle), score(3, 0, base))
    found = RankSelection(scores, (0, 1, 2, 3), ())
    assert (found.best, found.chosen) == (3, 2)  # rank 2 is 0.01 behind
    assert found.gap(1) == pytest.approx(0.95)
    assert found.standard_error(1) == pytest.approx(wiggle.std(ddof=1) / 2)
    assert "chosen" in str(found).splitlines()[2]


def test_the_standard_error_knows_how_much_fits_of_one_rank_differ():
    base = np.array([0.0, 10.0, -10.0, 3.0])
    scores = [score(1, s, base - 0.5 + shift) for s, shift in enumerate((0.3, -0.3))]
    scores += [score(2, s, base + shift) for s, shift in enumerate((0.4, -0.4))]
    found = RankSelection(tuple(scores), (0, 1, 2, 3), ())
    assert (found.best, found.chosen) == (2, 1)  # 0.5 behind, but fits differ by as much
    between = (2 * 0.3**2 + 2 * 0.4**2) / 2
    assert found.standard_error(1) == pytest.approx(np.sqrt(between))
    assert found.standard_error(2) == 0


def test_finished_results_are_read_back_and_spoiled_ones_refused(trials, tmp_path, monkeypatch):
    options = dict(ranks=(1, 2), seeds=(0,), network={"units": 8}, folder=tmp_path, **QUICK)
    first = nr.select_rank(trials, **options)
    files = sorted(tmp_path.glob("*.json"))
    assert len(files) == 2
    files[1].unlink()
    fitted = []
    honest = nr.LowRankRNN.fit
    monkeypatch.setattr(
        nr.LowRankRNN, "fit", lambda m, *a, **k: fitted.append(m.config.rank) or honest(m, *a, **k)
    )
    assert nr.select_rank(trials, **options) == first
    assert fitted == [2]
    nr.select_rank(trials, **options | {"iterations": 5})
    assert fitted == [2, 1, 2], "other options are other results"
    files[0].write_text("{")
    with pytest.raises(StorageError, match="Delete it"):
        nr.select_rank(trials, **options)


def test_fits_in_processes_are_those_one_at_a_time(trials):
    jobs = [
        FitJob({"rank": rank, "units": 8, "seed": seed, "observation": "gaussian"}, QUICK)
        for rank, seed in ((1, 0), (2, 1))
    ]
    beside = fit_many(jobs, trials, workers=2, progress=False)
    alone = [nr.LowRankRNN(**job.network).fit(trials, **job.training) for job in jobs]
    for a, b in zip(beside, alone, strict=True):
        for name, array in a.to_arrays().items():
            np.testing.assert_array_equal(array, b.to_arrays()[name], err_msg=name)


def test_fits_together_are_those_one_at_a_time(trials):
    """Ranks are groups; a seed and a learning rate are not."""
    jobs = [
        FitJob({"rank": rank, "units": 8, "seed": seed, "observation": "gaussian"}, QUICK | training)
        for rank, seed, training in ((1, 0, {}), (2, 1, {}), (1, 2, {"learning_rate": 1e-2, "iterations": 3}))
    ]
    beside = fit_many(jobs, trials, trials, together=True, progress=False)
    alone = [nr.LowRankRNN(**job.network).fit(trials, trials, **job.training) for job in jobs]
    for a, b in zip(beside, alone, strict=True):
        assert a.config == b.config
        for name, array in a.to_arrays().items():
            np.testing.assert_array_equal(array, b.to_arrays()[name], err_msg=name)
    with pytest.raises(InputError, match="together"):
        fit_many(jobs, trials, together=True, workers=2)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (dict(ranks=()), "ranks and seeds"),
        (dict(test_fraction=1.0), "cannot be held out"),
        (dict(workers=0), "workers=0"),
    ],
)
def test_what_cannot_be_swept_is_refused(trials, options, reason):
    with pytest.raises(InputError, match=reason):
        nr.select_rank(trials, **{"ranks": (1,), "progress": False} | options)


def test_one_long_trial_is_sent_to_segments(trials):
    with pytest.raises(InputError, match="segments"):
        nr.select_rank(trials.isel(trial=[0]))


def test_the_curve_can_be_drawn():
    from matplotlib import pyplot

    axes = RankSelection((score(1, 0, [0.0, 1.0]), score(2, 0, [2.0, 2.0])), (0, 1), ()).plot()
    assert axes.get_xlabel() == "rank"
    pyplot.close(axes.figure)


def test_the_command_line_prints_the_table(tmp_path):
    from click.testing import CliRunner

    from nwb_rnn.cli import main
    from nwb_rnn.teachers.session import simulate_session

    path = tmp_path / "session.nwb"
    session = simulate_session(oscillator(units=32, observed=8), trials=8, shortest=0.5, longest=0.6)
    model = nr.LowRankRNN.from_arrays(**session.arrays)
    nr.write(path, model, source=session.recording)
    words = ["sweep", str(path), "--align", "start_time", "--bin-size", "0.02"]
    words += ["--ranks", "1,2", "--seeds", "1", "--units", "8", "--iterations", "2"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0 and "<- chosen" in done.output
