"""A reader with pynwb and the types page alone rebuilds the one-step prediction of a fitted model."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

import nwb_rnn as nr
from nwb_rnn.models import low_rank, observations

# Written from extensions/ndx-latent-dynamics/docs/README.md; no package of ours can be imported.
READER = """
    import sys
    sys.modules["nwb_rnn"] = sys.modules["ndx_latent_dynamics"] = sys.modules["torch"] = None
    import numpy as np
    from pynwb import NWBHDF5IO

    path, states, out = sys.argv[1:]
    z, v = np.load(states)["z"], np.load(states)["v"]
    with NWBHDF5IO(path, "r") as io:
        model = io.read().processing["ecephys"]["low_rank_rnn"]
        h, d = model.unit_bias[:], model.readout_bias[:]
        x = z @ model.left_vectors[:].T + v @ model.input_weights[:].T
        r = {
            "relu": lambda: np.maximum(x - h, 0),
            "clipped_relu": lambda: np.maximum(x + h, 0) - np.maximum(x, 0),
            "tanh": lambda: np.tanh(x - h),
            "softplus": lambda: np.log(1 + np.exp(x - h)),
            "identity": lambda: x - h,
        }[model.activation]()
        after = model.decay * z + r @ model.right_vectors[:].T
        if model.readout == "affine":
            predictor = z @ model.readout_weights[:].T + d
        else:
            predictor = model.readout_gain[:] * r[:, : len(d)] + d
        mean = {
            "identity": lambda: predictor,
            "softplus": lambda: np.log(1 + np.exp(predictor)),
            "exp": lambda: np.exp(predictor),
        }[model.link]()
    np.savez(out, after=after, mean=mean)
"""

CASES = [
    ("relu", "affine", "gaussian", "identity"),
    ("clipped_relu", "affine", "poisson", "softplus"),
    ("tanh", "one_to_one", "poisson", "exp"),
    ("softplus", "one_to_one", "gaussian", "identity"),
    ("identity", "affine", "poisson", "exp"),
]


def make_model(activation, readout, observation, link):
    """A model with known weights, one-to-one or affine, and two inputs."""
    random = np.random.default_rng(3)

    def draw(*shape):
        return random.normal(size=shape).astype(np.float32)

    arrays = {
        "left_vectors": draw(12, 3),
        "right_vectors": draw(3, 12) / 12,
        "input_weights": draw(12, 2),
        "unit_bias": draw(12),
        "decay": np.float32(0.8),
        "readout_bias": draw(5),
        "bin_size": np.array(0.02),
    }
    arrays |= {"readout_weights": draw(5, 3)} if readout == "affine" else {"readout_gain": draw(5)}
    if observation == "gaussian":
        arrays["observation_noise"] = np.ones(5, np.float32)
    settings = {"activation": activation, "readout": readout, "observation": observation, "link": link}
    return nr.LowRankRNN.from_arrays(**arrays, **{k: np.array(v) for k, v in settings.items()})


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_one_step_prediction_is_rebuilt_from_the_file_alone(tmp_path, case):
    model = make_model(*case)
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "model.nwb", model, session_start_time=start, dandi=False)
    random = np.random.default_rng(4)
    z, v = random.normal(size=(7, 3)), random.normal(size=(7, 2))
    np.savez(tmp_path / "states.npz", z=z, v=v)
    command = [sys.executable, "-c", textwrap.dedent(READER)]
    files = [str(path), str(tmp_path / "states.npz"), str(tmp_path / "out.npz")]
    subprocess.run([*command, *files], check=True)

    parameters = model.parameters.map(lambda p: p.double())
    state, inputs = torch.tensor(z), torch.tensor(v)
    expected = low_rank.transition_mean(parameters, model.config.activation, state, inputs)
    predictor = low_rank.predictor(parameters, model.config.activation, state, inputs)
    mean = observations.mean(predictor, model.config.observation, model.config.link)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["after"], expected.numpy(), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(found["mean"], mean.numpy(), rtol=1e-6, atol=2e-7)


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_the_methods_of_the_extension_compute_the_same(tmp_path, case):
    import ndx_latent_dynamics  # noqa: F401
    from pynwb import NWBHDF5IO

    model = make_model(*case)
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "model.nwb", model, session_start_time=start, dandi=False)
    random = np.random.default_rng(4)
    z, v = random.normal(size=(7, 3)), random.normal(size=(7, 2))
    parameters = model.parameters.map(lambda p: p.double())
    expected = low_rank.transition_mean(
        parameters, model.config.activation, torch.tensor(z), torch.tensor(v)
    ).numpy()
    with NWBHDF5IO(str(path), "r") as io:
        stored = io.read().processing["ecephys"]["low_rank_rnn"]
        np.testing.assert_allclose(stored.step(z, v), expected, rtol=1e-6, atol=1e-9)
        assert stored.expected_observation(z, v).shape == (7, 5)
