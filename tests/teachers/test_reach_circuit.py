"""The reaching teacher: states stay prepared, movement passes and turns, muscles follow, files hold it."""

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.metrics.rotations import fit_rotation
from nwb_rnn.storage import validate
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.reach_circuit import gain, muscle_targets, reach_circuit, simulate_reaches


@pytest.fixture(scope="module")
def teacher():
    return reach_circuit()


@pytest.fixture(scope="module")
def session(teacher):
    return simulate_reaches(teacher, repeats=2, seed=4)


def test_the_preparatory_input_holds_the_prepared_state(teacher):
    held = teacher.currents(teacher.prepared, 50, teacher.preparatory_input)
    np.testing.assert_allclose(held[:, -1], teacher.prepared, atol=1e-9)
    reached = teacher.currents(np.zeros_like(teacher.prepared), 300, teacher.preparatory_input)
    np.testing.assert_allclose(reached[:, -1], teacher.prepared, atol=1e-3 * np.abs(teacher.prepared).max())


def test_movement_is_amplified_and_then_dies_out(teacher):
    size = np.linalg.norm(teacher.movement(300), axis=2).mean(axis=0)
    assert 1.5 < size.max() / size[0] < 10
    assert size[-1] < 0.05 * size[0]


def test_movement_rotates_and_units_are_multiphasic(teacher):
    movement = teacher.movement(60)
    wide = movement - movement.mean(axis=0)
    left, values, _ = np.linalg.svd(wide.reshape(-1, 200), full_matrices=False)
    states = (left[:, :6] * values[:6]).reshape(8, 60, 6)
    _, skew, _ = fit_rotation(states[:, :30], teacher.bin_size)
    assert skew > 0.3
    crossings = (np.diff(np.sign(movement), axis=1) != 0).sum(axis=1)
    assert np.mean(crossings >= 1) > 0.5


def test_muscles_follow_their_commands(teacher):
    wanted = muscle_targets(teacher.directions, 6, 80, teacher.bin_size)
    made = teacher.muscles(teacher.movement())
    assert 1 - np.square(made - wanted).sum() / np.square(wanted - wanted.mean((0, 1))).sum() > 0.98


def test_rates_stay_in_range_and_gain_has_slope_one(teacher):
    far = teacher.rates(np.array([-1e6, 0.0, 1e6]))
    np.testing.assert_allclose(far, [0, 20, 100])
    assert (gain(np.array([1e-4])) - gain(np.array([-1e-4])))[0] / 2e-4 == pytest.approx(1, rel=1e-6)


def test_noise_comes_from_the_seed_and_has_the_size_that_is_said(teacher):
    one, two, other = (teacher.movement(20, noise=0.5, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_aligned_to_go_the_spikes_follow_the_movement(session, teacher):
    """Counts in 0.1 s correlate with the rates behind them; shuffled ones would with 0 ± 0.01."""
    trials = session.recording.align("go_time", window=(0.0, 0.4), bin_size=0.1)
    table = session.recording.intervals["trials"].columns
    before = np.round((table["go_time"] - table["start_time"]) / teacher.bin_size).astype(int)
    rates = np.stack(
        [
            teacher.rates(path)[b : b + 40].reshape(4, 10, -1).mean(axis=1)
            for path, b in zip(session.currents, before, strict=True)
        ]
    )
    counts = trials["counts"].values
    assert counts.shape == rates.shape
    assert np.corrcoef(counts.ravel(), rates.ravel())[0, 1] > 0.3
    assert counts.mean() == pytest.approx(0.1 * rates.mean(), rel=0.02)


def test_a_session_comes_back_from_its_file_with_muscles_and_conditions(session, tmp_path):
    path = write_session(tmp_path / "reach.nwb", session.recording, experimenter="Computer, A")
    back = nr.read(path)
    np.testing.assert_array_equal(back.spikes.times, session.recording.spikes.times)
    np.testing.assert_array_equal(
        back.intervals["trials"].columns["direction"],
        session.recording.intervals["trials"].columns["direction"],
    )
    muscles, written = back.behaviour["muscles"], session.recording.behaviour["muscles"]
    np.testing.assert_array_equal(muscles.values, written.values)
    np.testing.assert_array_equal(muscles.timestamps, written.timestamps)
    assert not [finding for finding in validate(path) if finding.is_severe]


def test_lengths_that_do_not_fit_are_refused(teacher):
    with pytest.raises(InputError, match="shortest <= longest"):
        simulate_reaches(teacher, delays=(0.8, 0.4))
