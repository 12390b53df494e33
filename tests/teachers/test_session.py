"""The simulated session is the teacher's own: counts, latents, dynamics, and what stands in its file."""

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.dynamics import find_fixed_points
from nwb_rnn.errors import InputError, StorageError
from nwb_rnn.storage import validate
from nwb_rnn.storage.session import write_session
from nwb_rnn.teachers.oscillator import cycle_frequency, oscillator
from nwb_rnn.teachers.session import lay_out, rates, simulate_session


@pytest.fixture(scope="module")
def session():
    return simulate_session(trials=12, seed=3)


def test_trials_have_unequal_lengths_and_the_latents_fit_them(session):
    table = session.recording.intervals["trials"].columns
    bins = np.array([len(path) for path in session.latents])
    np.testing.assert_allclose(table["stop_time"] - table["start_time"], bins * session.bin_size)
    assert len(set(bins.tolist())) > 3
    assert bins.min() >= 100
    assert bins.max() <= 200


def test_aligning_gives_back_the_counts_that_were_laid_out():
    rng = np.random.default_rng(0)
    counts = [rng.poisson(0.4, size=(bins, 5)) for bins in (30, 41, 17)]
    recording = lay_out(counts, 0.01, rng, background=np.full(5, 20.0))
    trials = recording.align("start_time", until="stop_time", bin_size=0.01)
    assert trials.sizes == {"trial": 3, "time": 41, "unit": 5}
    for i, expected in enumerate(counts):
        np.testing.assert_array_equal(trials["counts"].values[i, : len(expected)], expected)
        assert trials["mask"].values[i].sum() == len(expected)


def test_there_is_a_little_background_in_the_pauses(session):
    spikes = session.recording.spikes
    table = session.recording.intervals["trials"].columns
    inside = sum(
        np.searchsorted(spikes.of(u), table["stop_time"]) - np.searchsorted(spikes.of(u), table["start_time"])
        for u in range(40)
    ).sum()
    assert 0 < len(spikes.times) - inside < 0.5 * len(spikes.times)


def test_spikes_follow_the_rates(session):
    """Σ (n − λ)² / λ has mean and half its variance near the number of bins; 6 s.d. fail once in 10⁹."""
    trials = session.recording.align("start_time", until="stop_time", bin_size=session.bin_size)
    scores, bins = 0.0, 0
    for i, path in enumerate(session.latents):
        expected = rates(session.arrays, path)
        counts = trials["counts"].values[i, : len(path)]
        scores += ((counts - expected) / np.sqrt(expected)).sum()
        bins += expected.size
    assert abs(scores) < 6 * np.sqrt(bins)


def test_the_teacher_turns_at_its_frequency_around_an_unstable_focus():
    session = simulate_session(oscillator(frequency=4.0), trials=10, shortest=1.5, longest=2.0)
    found = [cycle_frequency(path, session.bin_size) for path in session.latents]
    assert np.mean(found) == pytest.approx(4.0, rel=0.1)
    points = find_fixed_points(session.network)
    assert points.complete
    assert points.kind.tolist() == ["unstable focus"]


def test_the_same_seed_gives_the_same_session():
    one, two = simulate_session(trials=3, seed=5), simulate_session(trials=3, seed=5)
    np.testing.assert_array_equal(one.recording.spikes.times, two.recording.spikes.times)
    other = simulate_session(trials=3, seed=6)
    assert len(other.recording.spikes.times) != len(one.recording.spikes.times)


def test_what_cannot_be_simulated_is_refused():
    with pytest.raises(InputError, match="Poisson teacher"):
        simulate_session(oscillator(observation="gaussian"))
    with pytest.raises(InputError, match="do not fit bins"):
        simulate_session(shortest=2.0, longest=1.0)


def test_the_file_comes_back_whole_and_passes_the_inspector(session, tmp_path):
    path = write_session(tmp_path / "session.nwb", session.recording, experimenter="Computer, A")
    back = nr.read(path)
    np.testing.assert_array_equal(back.spikes.times, session.recording.spikes.times)
    np.testing.assert_array_equal(back.units.ids, session.recording.units.ids)
    for name, column in session.recording.intervals["trials"].columns.items():
        np.testing.assert_array_equal(back.intervals["trials"].columns[name], column)
    assert back.description["subject_species"] == "Mus musculus"
    assert not [finding for finding in validate(path) if finding.is_severe]
    with pytest.raises(StorageError, match="exists already"):
        write_session(path, session.recording)
