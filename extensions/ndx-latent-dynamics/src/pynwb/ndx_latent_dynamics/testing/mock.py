"""Small objects of every type, filled with random numbers; keyword arguments replace any part."""

import numpy as np

from ndx_latent_dynamics import (
    FitHistoryTable,
    FixedPointTable,
    LowRankRNN,
    ParameterArray,
    ParameterGroup,
    RateRNN,
    TaskRNN,
    TrialAlignedLatents,
)


def _draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def mock_parameter_group(name: str = "proposal_network", **changes):
    """Two named arrays and a scalar."""
    group = ParameterGroup(name=name, **{"description": "two layers", **changes})
    for key, data, scalar in (
        ("first_weight", _draw(1, 4, 3, 5), 0),
        ("first_bias", _draw(2, 4), 0),
        ("causal", np.array([True]), 1),
    ):
        group.add_parameter_arrays(ParameterArray(name=key, description=key, data=data, scalar=scalar))
    return group


def mock_fit_history(checks: int = 3, **changes):
    """A falling objective."""
    table = FitHistoryTable(**{"name": "fit_history", "description": "how the fit went", **changes})
    for check in range(checks):
        table.add_row(
            iteration=10 * check, objective=-2.0 + check, validation=np.nan, learning_rate=1e-3, seconds=0.5
        )
    return table


def mock_low_rank_rnn(name: str = "low_rank_rnn", *, units: int = 6, rank: int = 2, **changes):
    """A Poisson network with an affine readout of 3 units, one input, history and a proposal network."""
    parts = {
        "description": "rank-2 network",
        "activation": "clipped_relu",
        "observation": "poisson",
        "readout": "affine",
        "link": "softplus",
        "filter_inputs": 1,
        "seed": 7,
        "source_identifier": "session-1",
        "source_object_id": "00000000-0000-4000-8000-000000000000",
        "source_location": "session-1.nwb",
        "equations": "z' = a z + V r",
        "bin_size": 0.02,
        "configuration": '{"rank": 2}',
        "data_description": '{"n_trials": 4}',
        "software": [["nwb_rnn", "0.1.0"]],
        "score_names": ["bits_per_spike"],
        "score_values": np.array([0.1]),
        "input_names": ["go"],
        "observed_unit_ids": np.arange(3),
        "left_vectors": _draw(3, units, rank),
        "right_vectors": _draw(4, rank, units),
        "input_weights": _draw(5, units, 1),
        "unit_bias": _draw(6, units),
        "decay": np.float32(0.9),
        "transition_cholesky": np.eye(rank, dtype=np.float32),
        "initial_mean": _draw(7, rank),
        "initial_cholesky": np.eye(rank, dtype=np.float32),
        "readout_weights": _draw(8, 3, rank),
        "readout_bias": _draw(9, 3),
        "fit_history": mock_fit_history(),
        "proposal_network": mock_parameter_group(),
        "further_parameters": mock_parameter_group("further_parameters"),
    }
    return LowRankRNN(name=name, **{**parts, **changes})


def _rate_parts(units: int) -> dict:
    return {
        "activation": "tanh",
        "cell": "rate",
        "bin_size": 0.01,
        "step_size": 0.002,
        "recurrent_weights": _draw(1, units, units),
        "input_weights": _draw(2, units, 2),
        "unit_bias": _draw(3, units),
        "readout_weights": _draw(4, 1, units),
        "readout_bias": _draw(5, 1),
        "output_names": ["hand"],
        "time_constant": np.full(units, 0.05, np.float32),
        "noise": np.full(1, 0.1, np.float32),
        "initial_state": _draw(6, 1, units),
        "mask": np.ones((units, units), np.int8),
        "unit_sign": np.ones(units, np.int8),
        "unit_region": ["PMd"] * units,
        "observed_index": np.array([3, 1]),
        "rate_gain": np.array([2.0, 4.0]),
        "rate_offset": np.array([0.5, -1.0]),
    }


def mock_rate_rnn(name: str = "rate_rnn", *, units: int = 5, **changes):
    """A tanh network of 5 units in one region."""
    return RateRNN(name=name, **{**_rate_parts(units), **changes})


def mock_task_rnn(name: str = "task_rnn", *, units: int = 5, **changes):
    """The same network, trained on a task."""
    parts = {
        **_rate_parts(units),
        "task": "hold, then reach",
        "task_configuration": '{"delay": 0.5}',
        "training": "squared error of the hand velocity",
    }
    return TaskRNN(name=name, **{**parts, **changes})


def mock_trial_aligned_latents(name: str = "latents", *, n_trials: int = 4, n_bins: int = 5, **changes):
    """Two latents of a few trials, the last trial one bin shorter than the others."""
    mask = np.ones((n_trials, n_bins), np.int8)
    mask[-1, -1] = 0
    parts = {
        "description": "smoothed latents",
        "align_to": "go_time",
        "kind": "smoothed",
        "particles": 64,
        "seed": 3,
        "latent_mean": _draw(1, n_trials, n_bins, 2),
        "latent_std": np.abs(_draw(2, n_trials, n_bins, 2)),
        "rates": np.abs(_draw(3, n_trials, n_bins, 3)),
        "outputs": _draw(6, n_trials, n_bins, 2),
        "output_names": ["x", "y"],
        "mask": mask,
        "log_likelihood": _draw(4, n_trials),
        "effective_sample_size": np.abs(_draw(5, n_trials, n_bins)),
        "time": 0.02 * (np.arange(n_bins) + 0.5),
        "event_time": np.arange(n_trials, dtype=float),
        "window": np.array([0.0, 0.02 * n_bins]),
        "bin_size": 0.02,
        "latent_names": ["z1", "z2"],
        "trial_ids": np.arange(n_trials),
        "observed_unit_ids": np.arange(3),
        "source": "{}",
        "dropped": "[]",
        "settings": "{}",
    }
    return TrialAlignedLatents(name=name, **{**parts, **changes})


def mock_fixed_point_table(name: str = "fixed_points", *, points: int = 3, rank: int = 2, **changes):
    """Random points with the eigenvalues of random Jacobians."""
    jacobian = np.random.default_rng(0).standard_normal((points, rank, rank))
    eigenvalues, eigenvectors = np.linalg.eig(jacobian)
    parts = {
        "description": "fixed points",
        "id": np.arange(points),
        "method": "exact",
        "complete": 1,
        "proof": "every region solved",
    }
    parts |= {"bin_size": 0.02, "unseen": 0.0}
    table = FixedPointTable(name=name, **{**parts, **changes})
    columns = {
        "location": np.random.default_rng(1).standard_normal((points, rank)),
        "residual": np.zeros(points),
        "status": np.full(points, "fixed"),
        "kind": np.full(points, "saddle"),
        "stable": np.zeros(points, bool),
        "jacobian": jacobian,
        "eigenvalues_real": eigenvalues.real,
        "eigenvalues_imag": np.zeros((points, rank)) + eigenvalues.imag,
        "eigenvectors_real": eigenvectors.real,
        "eigenvectors_imag": np.zeros((points, rank, rank)) + eigenvectors.imag,
        "unstable_directions": (np.abs(eigenvalues) > 1).sum(1),
        "time_constants": np.ones((points, rank)),
        "frequencies": np.zeros((points, rank)),
        "regions": np.ones((points, 6), np.int8),
        "radius": np.full(points, 1e-12),
        "hits": np.ones(points, int),
        "inputs": np.zeros((points, 1)),
    }
    for key, data in columns.items():
        table.add_column(name=key, description=key, data=data)
    return table
