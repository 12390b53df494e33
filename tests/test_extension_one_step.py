"""A reader with pynwb and the types page alone rebuilds the one-step prediction of a fitted model."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from simulated_world import small_session

import nwb_rnn as nr
from nwb_rnn.models import low_rank, observations

PAGE = Path(__file__).resolve().parents[1] / "extensions/ndx-latent-dynamics/docs/README.md"

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
        if model.readout == "one_to_one":
            predictor = model.readout_gain[:] * r[:, : len(d)] + d
        else:
            predictor = z @ model.readout_weights[:].T + d
        if model.readout == "network":
            layers = model.readout_network.parameter_arrays
            A, b = layers["readout_network_input"].data[:], layers["readout_network_bias"].data[:]
            B = layers["readout_network_output"].data[:]
            predictor = predictor + np.tanh(z @ A.T + b) @ B.T
        links = {
            "identity": lambda x: x,
            "softplus": lambda x: np.log(1 + np.exp(x)),
            "exp": np.exp,
        }
        names = model.link.split(",")
        names = names * len(d) if len(names) == 1 else names
        mean = np.stack([links[name](predictor[:, i]) for i, name in enumerate(names)], axis=1)
        variance = mean
        if model.observation == "gaussian":
            variance = np.zeros_like(mean) + model.observation_noise[:]
        if model.observation == "negative_binomial":
            variance = mean + mean**2 / model.dispersion[:]
    np.savez(out, after=after, mean=mean, variance=variance)
"""

CASES = [
    ("relu", "affine", "gaussian", "identity"),
    ("clipped_relu", "affine", "poisson", "softplus"),
    ("tanh", "one_to_one", "poisson", "exp"),
    ("softplus", "one_to_one", "gaussian", "identity"),
    ("identity", "affine", "poisson", "exp"),
    ("clipped_relu", "network", "negative_binomial", "softplus"),
    ("relu", "affine", "poisson", "exp,softplus,exp,exp,softplus"),
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
    arrays |= {"readout_gain": draw(5)} if readout == "one_to_one" else {"readout_weights": draw(5, 3)}
    if readout == "network":
        arrays |= {"readout_network_input": draw(4, 3), "readout_network_bias": draw(4)}
        arrays |= {"readout_network_output": draw(5, 4)}
    if observation == "negative_binomial":
        arrays["dispersion"] = np.arange(1, 6, dtype=np.float32)
    if observation == "gaussian":
        arrays["observation_noise"] = np.ones(5, np.float32)
    settings = {"activation": activation, "readout": readout, "observation": observation, "link": link}
    return nr.LowRankRNN.from_arrays(**arrays, **{k: np.array(v) for k, v in settings.items()})


@pytest.mark.parametrize("case", CASES, ids=["-".join(c[:3]) for c in CASES])
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
        spread = observations.variance(mean, model.config.observation, parameters.spread)
        np.testing.assert_allclose(found["variance"], spread.numpy(), rtol=1e-6, atol=4e-7)


@pytest.mark.parametrize("case", CASES, ids=["-".join(c[:3]) for c in CASES])
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


# Written from the same page: the latents of the file one bin ahead, as the mean of the next.
FITTED_READER = """
    import sys
    sys.modules["nwb_rnn"] = sys.modules["ndx_latent_dynamics"] = sys.modules["torch"] = None
    import numpy as np
    from pynwb import NWBHDF5IO

    path, out = sys.argv[1:]
    with NWBHDF5IO(path, "r") as io:
        latents = io.read().processing["ecephys"]["low_rank_rnn_latents"]
        model = latents.model
        z, inside = latents.latent_mean[:], latents.mask[:] == 1
        assert model.activation == "clipped_relu" and model.readout == "affine" and model.link == "softplus"
        x, h = z @ model.left_vectors[:].T, model.unit_bias[:]
        r = np.maximum(x + h, 0) - np.maximum(x, 0)
        after = model.decay * z + r @ model.right_vectors[:].T
        predictor = after @ model.readout_weights[:].T + model.readout_bias[:]
        mean = np.log(1 + np.exp(predictor))
        starts = latents.trials.to_dataframe()["start_time"].to_numpy()
        units = list(model.observed_units.to_dataframe().index)
    np.savez(out, z=z, inside=inside, after=after, mean=mean, starts=starts, units=units)
"""


def test_a_fitted_model_predicts_the_next_bin_from_the_file_alone(tmp_path):
    """Read, fit, infer and write; then pynwb and the page alone, against the model in memory."""
    source = tmp_path / "session.nwb"
    small_session(source)
    recording = nr.read(source)
    trials = recording.align("start_time", until="stop_time", bin_size=0.01)
    quick = {"particles": 4, "backend": "reference"}
    model = nr.LowRankRNN(rank=2, units=12, seed=0).fit(trials, iterations=3, progress=False, **quick)
    latents = model.infer(trials, **quick)
    path = nr.write(tmp_path / "fitted.nwb", model, latents=latents, source=recording)
    command = [sys.executable, "-c", textwrap.dedent(FITTED_READER), str(path), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True)

    p = model.parameters.map(lambda x: x.double())
    state = torch.tensor(latents["latent_mean"].values.astype(float))
    after = low_rank.transition_mean(p, model.config.activation, state, None)
    predictor = low_rank.predictor(p, model.config.activation, after, None)
    mean = observations.mean(predictor, model.config.observation, model.config.link)
    with np.load(tmp_path / "out.npz") as found:
        inside = latents["mask"].values
        np.testing.assert_array_equal(found["inside"], inside)
        np.testing.assert_allclose(found["after"][inside], after.numpy()[inside], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["mean"][inside], mean.numpy()[inside], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["starts"], recording.intervals["trials"].columns["start_time"])
        assert found["units"].tolist() == recording.units.ids.tolist()


def section(page, kind):
    return re.search(rf"^## {kind}\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]


@pytest.mark.parametrize("reader", [READER, FITTED_READER], ids=["known", "fitted"])
def test_the_readers_use_only_what_the_types_page_names(reader):
    """Each field they take is a row of the page, and each activation and link is defined there."""
    page = PAGE.read_text(encoding="utf-8")
    model = section(page, "LowRankRNN") + section(page, "LatentDynamicsModel")
    for name in re.findall(r"model\.(\w+)", reader):
        assert re.search(rf"^\| {name}[ |(]", model, re.M), f"the page says nothing of {name}"
    for name in set(re.findall(r"latents\.(\w+)", reader)):
        assert re.search(rf"^\| {name}[ |(]", section(page, "TrialAlignedLatents"), re.M)
    if reader is READER:
        for name in re.findall(r'layers\["(\w+)"\]', reader):
            assert name in model, f"the page does not say what {name} is"
    for law in ("relu max(x-h, 0)", "clipped_relu max(x+h, 0) - max(x, 0)", "tanh tanh(x-h)"):
        assert law in model
    assert "softplus log(1+exp(x))" in model and "latents z' = a z + V r" in model


# Written from the section RateRNN of the same page; a TaskRNN extends it and is read in the same way.
RATE_READER = """
    import sys
    sys.modules["nwb_rnn"] = sys.modules["ndx_latent_dynamics"] = sys.modules["torch"] = None
    import numpy as np
    from pynwb import NWBHDF5IO

    path, name, states, out = sys.argv[1:]
    with NWBHDF5IO(path, "r") as io:
        module = io.read().processing["ecephys"]
        model = module[name]
        assert model.cell in (None, "rate")
        u = np.load(states)["u"]
        x = module[name + "_latents"].latent_mean[:] if name == "rate_rnn" else np.load(states)["x"]
        phi = {
            "tanh": np.tanh,
            "relu": lambda x: np.maximum(x, 0),
            "softplus": lambda x: np.log(1 + np.exp(x)),
        }[model.activation]
        drive = phi(x) @ model.recurrent_weights[:].T + u @ model.input_weights[:].T + model.unit_bias[:]
        step = model.bin_size if model.step_size is None else model.step_size
        after = x + step / model.time_constant[:] * (drive - x)
        rates = phi(after)
        if model.observed_weights is not None:
            predicted = rates @ model.observed_weights[:].T + model.observed_bias[:]
        elif model.observed_index is not None:
            predicted = rates[..., model.observed_index[:]]
        else:
            predicted = rates @ model.readout_weights[:].T + model.readout_bias[:]
        if model.rate_gain is not None:
            predicted = model.rate_offset[:] + model.rate_gain[:] * predicted
    np.savez(out, after=after, predicted=predicted)
"""


def read_rates(path, name, **states):
    """What the reader makes of one model in a file."""
    folder = path.parent
    np.savez(folder / "states.npz", **states)
    command = [sys.executable, "-c", textwrap.dedent(RATE_READER)]
    subprocess.run(
        [*command, str(path), name, str(folder / "states.npz"), str(folder / "out.npz")], check=True
    )
    with np.load(folder / "out.npz") as found:
        return found["after"], found["predicted"]


def driven_trials():
    """Rates in spikes/s of a random network of six units under two inputs."""
    rng = np.random.default_rng(0)
    inputs = 0.1 * rng.normal(size=(4, 60, 2)).cumsum(axis=1)
    weights, drive = 1.2 * rng.normal(size=(6, 6)) / 6**0.5, inputs @ rng.normal(size=(2, 6))
    x = np.zeros((4, 60, 6))
    for t in range(59):
        x[:, t + 1] = x[:, t] + 0.2 * (np.tanh(x[:, t]) @ weights.T + drive[:, t] - x[:, t])
    order = ("trial", "time", "unit")
    return xr.Dataset(
        {
            "signal": (order, 20 + 15 * np.tanh(x) + 0.5 * rng.normal(size=x.shape)),
            "inputs": (("trial", "time", "input"), inputs),
            "mask": (order[:2], np.ones((4, 60), dtype=bool)),
        },
        {"trial": np.arange(4), "time": (np.arange(60) + 0.5) * 0.01, "unit": np.arange(6) + 3},
        {"bin_size": 0.01, "align_to": "go", "source": "{}"},
    )


RATE_FITS = [
    ("tanh", "ridge", {}, {}),
    ("relu", "convex", {"unrecorded": 2}, {}),
    ("softplus", "backprop", {}, {"iterations": 3}),
    ("tanh", "full_force", {"unrecorded": 10}, {}),
]


@pytest.mark.parametrize(("activation", "method", "settings", "options"), RATE_FITS)
def test_a_fitted_rate_network_is_stepped_from_the_file_alone(
    tmp_path, activation, method, settings, options
):
    """States in the file, stepped with the page alone, give the rates that the model predicts a bin later."""
    trials = driven_trials()
    model = nr.RateRNN(activation=activation, time_constant=0.05, **settings).fit(trials, method, **options)
    inferred = model.infer(trials)
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "rates.nwb", model, latents=inferred, session_start_time=start, dandi=False)
    _, predicted = read_rates(path, "rate_rnn", u=trials["inputs"].values)
    ahead = inferred["rates"].transpose("trial", "time", "unit").values[:, 1:]
    assert ahead.std() > 1  # spikes/s
    np.testing.assert_allclose(predicted[:, :-1], ahead, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_a_trained_task_network_is_stepped_from_the_file_alone(tmp_path, activation):
    from nwb_rnn.teachers.delayed_reach import DelayedReach

    task = DelayedReach()
    model = nr.TaskRNN(units=12, activation=activation, seed=3)
    model.fit(task, iterations=6, batch_size=4, validate_every=2, progress=False)
    start = "2024-01-01T00:00:00+00:00"
    path = nr.write(tmp_path / "task.nwb", model, session_start_time=start, dandi=False)
    trials = task.conditions()
    x = model.currents(trials, noise=False).numpy()
    outputs = model.simulate(trials, noise=False)["outputs"].transpose("trial", "time", "output").values
    after, predicted = read_rates(path, "task_rnn", x=x[:, :-1], u=trials.inputs[:, 1:])
    assert x.std() > 0.1
    np.testing.assert_allclose(after, x[:, 1:], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predicted, outputs[:, 1:], rtol=1e-4, atol=1e-5)


def test_the_rate_reader_uses_only_what_the_types_page_names():
    page = PAGE.read_text(encoding="utf-8")
    model = section(page, "RateRNN") + section(page, "LatentDynamicsModel")
    for name in re.findall(r"model\.(\w+)", RATE_READER):
        assert re.search(rf"^\| {name}[ |(]", model, re.M), f"the page says nothing of {name}"
    assert "tau dx/dt = -x + J r + W u + b + noise, r = activation(x)" in model
    assert "output = readout_weights r + readout_bias" in model
    assert "rate_offset + rate_gain r" in model
