"""The general finder: trained networks with known points, torch modules, inputs, regions, honest status."""

import numpy as np
import pytest
import torch
from random_maps import random_map

from nwb_rnn.dynamics import find_fixed_points
from nwb_rnn.dynamics.attractors import match_attractors
from nwb_rnn.dynamics.cycles import find_cycles
from nwb_rnn.dynamics.newton import merge, newton_fixed_points, unseen_points
from nwb_rnn.dynamics.torch_maps import TorchMap, recurrent_map
from nwb_rnn.errors import InputError


def flip_flop(folder, name, kind):
    arrays = dict(np.load(folder / "networks" / f"flipflop_{name}16.npz"))
    starts = arrays.pop("initial_states")
    module = kind(3, 16)
    module.load_state_dict({key: torch.tensor(value) for key, value in arrays.items()})
    return module, starts


def test_all_points_of_the_trained_gru(recordings_folder):
    module, starts = flip_flop(recordings_folder, "gru", torch.nn.GRU)
    found = find_fixed_points(module, starts)
    assert len(found) == 27 and (found.status == "fixed").all()
    assert (found.residual < 1e-20).all()
    assert np.bincount(found.unstable_directions).tolist() == [8, 12, 6, 1]
    assert found.stable.sum() == 8
    assert not found.complete and found.hits.min() > 1 and found.unseen < 0.5


def test_all_points_of_the_trained_tanh_network_and_its_period_two_attractors(recordings_folder):
    module, starts = flip_flop(recordings_folder, "tanh", torch.nn.RNN)
    found = find_fixed_points(module, starts)
    assert len(found) == 27 and not found.stable.any() and (found.residual < 1e-20).all()
    cycles = find_cycles(module, 2, starts)
    stable = [cycle for cycle in cycles if cycle.stable]
    assert stable and all(cycle.name == "period-2 attractor" for cycle in stable)
    for cycle in stable:
        assert cycle.residual < 1e-20
        np.testing.assert_allclose(
            cycle.states[0], recurrent_map(module).step(cycle.states[1:])[0], atol=1e-10
        )
    explained = match_attractors(module, starts[:100], found, cycles)
    assert all(a.explained and a.name.startswith("period-2 attractor") for a in explained)
    unexplained = match_attractors(module, starts[:20], found)
    assert not any(a.explained for a in unexplained) and "unlisted period-2" in unexplained[0].name


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.nn.RNN(2, 5, num_layers=2),
        lambda: torch.nn.RNN(2, 5, nonlinearity="relu"),
        lambda: torch.nn.GRU(2, 5, num_layers=2),
        lambda: torch.nn.LSTM(2, 5, num_layers=2),
        lambda: torch.nn.LSTM(2, 5, bias=False),
    ],
)
def test_recurrent_maps_take_the_same_step_as_torch(make):
    torch.manual_seed(0)
    module, drive = make(), np.array([0.5, -1.0])
    mapping = recurrent_map(module, drive)
    layers, is_lstm = module.num_layers, isinstance(module, torch.nn.LSTM)
    state = torch.randn(3, 5 * layers * (1 + is_lstm), dtype=torch.float64)
    parts = state.reshape(3, -1, 5).transpose(0, 1).contiguous()
    begin = (parts[:layers], parts[layers:]) if is_lstm else parts
    after = module.double()(torch.tensor(drive).expand(1, 3, 2), begin)[1]
    after = torch.cat(after) if is_lstm else after
    expected = after.transpose(0, 1).reshape(3, -1).detach().numpy()
    np.testing.assert_allclose(mapping.step(state.numpy()), expected, atol=1e-12)


@pytest.mark.parametrize("kind", [torch.nn.RNNCell, torch.nn.GRUCell, torch.nn.LSTMCell])
def test_recurrent_cells_take_the_same_step_as_torch(kind):
    torch.manual_seed(1)
    cell, drive = kind(2, 4).double(), torch.tensor([0.3, 0.7], dtype=torch.float64)
    is_lstm = kind is torch.nn.LSTMCell
    state = torch.randn(3, 8 if is_lstm else 4, dtype=torch.float64)
    begin = (state[:, :4], state[:, 4:]) if is_lstm else state
    after = cell(drive.expand(3, 2), begin)
    expected = (torch.cat(after, dim=1) if is_lstm else after).detach().numpy()
    np.testing.assert_allclose(recurrent_map(cell, drive.numpy()).step(state.numpy()), expected, atol=1e-12)


def test_lstm_rests_where_it_settles():
    torch.manual_seed(2)
    module = torch.nn.LSTM(2, 6)
    found = find_fixed_points(module, np.random.default_rng(0).normal(size=(60, 12)), inputs=[0.5, -1.0])
    hidden, cell = module.double()(torch.tensor([0.5, -1.0]).double().expand(800, 1, 2))[1]
    rest = torch.cat([hidden[0, 0], cell[0, 0]]).detach().numpy()
    gaps = np.linalg.norm(found.location - rest, axis=1)
    assert gaps.min() < 1e-9 and found.stable[gaps.argmin()]
    np.testing.assert_array_equal(found.inputs, [0.5, -1.0])


class Pendulum(torch.nn.Module):
    """A user's own step: damped pendulum, fixed at (kπ, 0), stable for even k."""

    def __init__(self):
        super().__init__()
        self.friction = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, state):
        angle, speed = state[:, 0], state[:, 1]
        speed = speed + 0.1 * (-torch.sin(angle) - self.friction * speed)
        return torch.stack([angle + 0.1 * speed, speed], dim=1)


def test_a_users_own_module_inside_a_region():
    found = find_fixed_points(Pendulum(), region=([-7.0, -1.0], [7.0, 1.0]), n_starts=300, bin_size=0.1)
    np.testing.assert_allclose(np.sort(found.location[:, 0]), np.pi * np.arange(-2, 3), atol=1e-9)
    even = np.round(found.location[:, 0] / np.pi).astype(int) % 2 == 0
    assert (found.stable == even).all()
    assert set(found.kind[~even]) == {"saddle"}
    assert (found.time_constants[even] > 0).all() and found.bin_size == 0.1


def test_jacobians_of_modules_match_difference_quotients():
    mapping, z, h = TorchMap(Pendulum()), np.random.default_rng(0).normal(size=(6, 2)), 1e-6
    quotient = np.stack(
        [(mapping.step(z + h * e) - mapping.step(z - h * e)) / (2 * h) for e in np.eye(2)], axis=-1
    )
    np.testing.assert_allclose(mapping.jacobian(z), quotient, atol=1e-9)


def test_a_map_without_fixed_points_says_so():
    found = newton_fixed_points(lambda z: z + 1.0 + 0.1 * torch.tanh(z), np.zeros((20, 1)), keep_all=True)
    assert set(found.status) == {"not converged"}
    assert len(newton_fixed_points(lambda z: z + 1.0, np.zeros((20, 1)))) == 0
    slow = newton_fixed_points(lambda z: z + z**2 + 1e-7, np.linspace(-1, 1, 9)[:, None], slow_below=1e-10)
    assert set(slow.status) == {"slow"}
    np.testing.assert_allclose(slow.residual, 0.5e-14, rtol=1e-6)


def test_smooth_low_rank_maps_bifurcate_as_they_should():
    """One tanh unit of gain g: z = g tanh z has one solution for g < 1 and three above."""
    from nwb_rnn.dynamics import LowRankMap

    for gain, count in ((0.8, 1), (1.7, 3)):
        network = LowRankMap(0.9, np.ones((1, 1)), np.array([[0.1 * gain]]), np.zeros(1), "tanh")
        found = find_fixed_points(network)
        assert len(found) == count
        np.testing.assert_allclose(found.location[:, 0], gain * np.tanh(found.location[:, 0]), atol=1e-9)


def test_results_are_the_same_for_the_same_seed():
    network = random_map(20, 3, 3, "softplus")
    one, two = (find_fixed_points(network, n_starts=50, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.location, two.location)


def test_merging_keeps_the_best_of_each_group():
    ends = np.array([[0.0, 0.0], [1e-9, 0.0], [1.0, 0.0]])
    location, hits = merge(ends, np.array([1e-22, 1e-30, 1e-25]), 1e-6)
    np.testing.assert_array_equal(location, ends[1:])
    assert hits.tolist() == [2, 1]


def test_unseen_points_are_estimated_without_much_bias():
    """500 equally likely points, 600 draws: Chao's estimate is within 60 % of the number not drawn.

    Its standard deviation over seeds is 19 %, so one seed in 500 would fail; the seed is fixed.
    """
    drawn = np.random.default_rng(0).integers(500, size=600)
    hits = np.bincount(drawn, minlength=500)
    missing = (hits == 0).sum()
    assert abs(unseen_points(hits[hits > 0]) - missing) < 0.6 * missing
    assert np.isnan(unseen_points(np.zeros(0, dtype=int)))


def test_what_cannot_be_searched_is_refused_with_advice():
    with pytest.raises(InputError, match="starts"):
        find_fixed_points(lambda z: z)
    with pytest.raises(InputError, match="one start per row"):
        find_fixed_points(lambda z: z, np.zeros(3))
    with pytest.raises(InputError, match="next states"):
        find_fixed_points(lambda z: z[:, :1], np.zeros((4, 3)))
    with pytest.raises(InputError, match="not a map"):
        find_fixed_points(3, np.zeros((4, 3)))
    with pytest.raises(InputError, match="bidirectional"):
        find_fixed_points(torch.nn.GRU(2, 3, bidirectional=True), np.zeros((4, 6)))
    with pytest.raises(InputError, match="expects \\(2,\\)"):
        find_fixed_points(torch.nn.GRU(2, 3), np.zeros((4, 3)), inputs=[1.0])
