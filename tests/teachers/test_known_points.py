"""Bistable and ring teachers: their fixed points and stability against the exact finder's complete list.

Models keep float32 weights, hence 1e-6 on places and eigenvalues.
"""

import numpy as np
import pytest

import nwb_rnn as nr
from nwb_rnn.errors import InputError
from nwb_rnn.teachers.bistable import bistable
from nwb_rnn.teachers.ring import ring
from nwb_rnn.teachers.saturating import Saturating
from nwb_rnn.teachers.session import simulate_session

TEACHERS = {
    "bistable": lambda **options: bistable(**options),
    "bistable, one kink": lambda **options: bistable(steps=1, angle=2.0, saddle=1.4, **options),
    "ring of 3": lambda **options: ring(directions=3, **options),
    "ring of 9": lambda **options: ring(directions=9, growth=1.2, **options),
    "ring of 12": lambda **options: ring(**options),
}


@pytest.mark.parametrize("observation", ["poisson", "gaussian"])
@pytest.mark.parametrize("name", TEACHERS)
def test_every_fixed_point_is_where_it_is_said_to_be(name, observation):
    known = TEACHERS[name](observation=observation)
    model = nr.LowRankRNN.from_arrays(**known.arrays)
    found = model.fixed_points()
    assert found.complete
    assert len(found) == len(known.fixed_points)
    apart = np.linalg.norm(found.location - known.fixed_points[:, None], axis=2)
    nearest = apart.argmin(axis=1)
    assert sorted(nearest) == list(range(len(found)))
    assert apart.min(axis=1).max() < 1e-6
    assert np.abs(found.eigenvalues[nearest] - known.eigenvalues).max() < 1e-6
    assert (found.stable[nearest] == known.stable).all()


def test_bistable_has_the_eigenvalues_of_its_arguments():
    known = bistable(saddle=1.3, decay=0.8, angle=0.0)
    assert known.fixed_points == pytest.approx(np.array([[1, 0], [-1, 0], [0, 0]]), abs=1e-12)
    assert known.eigenvalues == pytest.approx(np.array([[0.8, 0.4], [0.8, 0.4], [1.3, 0.4]]), abs=1e-12)
    assert known.stable.tolist() == [True, True, False]


def test_the_ring_becomes_a_circle_that_stands_still():
    """The spread of radii and the distance of the tangential eigenvalue from 1 shrink with the directions."""
    spread, apart = [], []
    for directions in (4, 8, 16, 32):
        known = ring(directions=directions)
        assert known.stable.sum() == 2 * directions
        radius = np.linalg.norm(known.fixed_points[:-1], axis=1)
        assert radius.mean() == pytest.approx(1)
        spread.append(np.ptp(radius))
        apart.append(np.abs(known.eigenvalues[:-1, 0] - 1).max())
    assert (np.diff(spread) < 0).all()
    assert spread[-1] < 0.002
    assert (np.diff(apart) < 0).all()
    assert known.eigenvalues[-1] == pytest.approx([1.3, 1.3])


def test_relu_units_make_the_map_that_they_stand_for():
    rng = np.random.default_rng(0)
    turned = rng.uniform(0, np.pi, 5)
    directions = np.column_stack([np.cos(turned), np.sin(turned)])
    network = Saturating(0.7, directions, rng.standard_normal(5), rng.uniform(0.2, 1, 5))
    known = network.network(
        np.zeros((1, 2)),
        start=1.0,
        noise=0.1,
        bin_size=0.01,
        observed=4,
        observation="gaussian",
        mean_rate=1.0,
        modulation=1.0,
        rng=rng,
    )
    latents = 2 * rng.standard_normal((200, 2))
    steps = nr.LowRankRNN.from_arrays(**known.arrays).step_map().step(latents)
    assert np.abs(steps - network.step(latents)).max() < 2e-6


@pytest.mark.parametrize("teacher", [bistable, ring])
def test_spiking_sessions(teacher):
    """Latents stay near the attractors, and the session holds the spikes of every unit."""
    known = teacher(noise=0.03, observed=10)
    session = simulate_session(known.arrays, trials=5, shortest=2.0, longest=2.5, seed=1)
    late = np.concatenate([path[50:] for path in session.latents])
    attractors = known.fixed_points[known.stable]
    apart = np.linalg.norm(late[:, None] - attractors, axis=2).min(axis=1)
    assert np.median(apart) < 0.15
    trials = session.recording.align("start_time", until="stop_time", bin_size=session.bin_size)
    assert trials.sizes["unit"] == 10
    assert float(trials["counts"].sum()) > 0


@pytest.mark.parametrize(
    ("teacher", "options"),
    [
        (bistable, {"saddle": 1.04}),
        (bistable, {"decay": 1.0}),
        (bistable, {"steps": 0}),
        (ring, {"growth": 1.0}),
        (ring, {"directions": 2}),
        (ring, {"observation": "binomial"}),
    ],
)
def test_numbers_without_the_attractor_are_refused(teacher, options):
    with pytest.raises(InputError):
        teacher(**options)
