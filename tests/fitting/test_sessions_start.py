"""Sessions without a common unit brought into one latent space: exact cases."""

import numpy as np

from nwb_rnn.fitting.sessions_start import SessionStart, alignment, unit_blocks
from nwb_rnn.fitting.subspace import LinearSystem


def system(transition):
    rank = len(transition)
    eye, zero = np.eye(rank), np.zeros(rank)
    return LinearSystem(transition, eye, np.zeros((1, rank)), np.zeros(1), np.ones(1), zero, eye)


def test_units_that_meet_directly_or_through_others_are_one_block():
    mask = np.zeros((4, 3, 7), dtype=bool)
    mask[0][:, [0, 1]] = True
    mask[1][:, [1, 2]] = True
    mask[2:][:, :, [3, 5]] = True
    blocks = [b.tolist() for b in unit_blocks(mask)]
    assert blocks == [[0, 1, 2, 4, 6], [3, 5]] or blocks == [[3, 4, 5, 6], [0, 1, 2]]
    assert sum(b.count(4) for b in blocks) == 1
    assert [b.tolist() for b in unit_blocks(np.ones((2, 3, 1), dtype=bool))] == [[0]]


def test_a_known_turn_is_found():
    """The same system and course seen in another orthogonal basis, for five random ones."""
    rng = np.random.default_rng(1)
    for _ in range(5):
        rank = int(rng.integers(2, 6))
        transition = 0.4 * rng.standard_normal((rank, rank))
        course = rng.standard_normal((30, rank))
        turn = np.linalg.qr(rng.standard_normal((rank, rank)))[0]
        first = SessionStart(system(transition), course, 30)
        other = SessionStart(system(turn.T @ transition @ turn), course @ turn, 30)
        np.testing.assert_allclose(alignment(first, other, rng), turn, atol=1e-3)


def test_without_a_course_the_dynamics_decide():
    """No trial average: T may be any that commutes, and the dynamics agree all the same."""
    rng = np.random.default_rng(2)
    angle = 0.3
    transition = 0.95 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mirror = np.diag([1.0, -1.0])
    first = SessionStart(system(transition), np.zeros((9, 2)), 9)
    other = SessionStart(system(mirror @ transition @ mirror), np.zeros((9, 2)), 9)
    found = alignment(first, other, rng)
    np.testing.assert_allclose(found @ other.system.transition, transition @ found, atol=1e-3)
    assert np.linalg.det(found) < 0
