"""Laws, readouts, indicators and links by unit in a file, and what the types compute from them."""

import numpy as np
import pytest
import torch
from pynwb import NWBHDF5IO

import nwb_rnn as nr
from nwb_rnn.models import low_rank, observations
from nwb_rnn.storage import load_latents
from nwb_rnn.teachers.oscillator import oscillator

QUICK = dict(iterations=2, batch_size=4, particles=4, progress=False, backend="reference")


@pytest.mark.parametrize(
    "settings",
    [
        dict(observation="negative_binomial"),
        dict(readout="network", readout_units=3),
        dict(
            observation="negative_binomial", readout="network", readout_units=3, link=["exp", "softplus"] * 3
        ),
    ],
    ids=str,
)
def test_round_trip_bit_for_bit(tmp_path, session_path, fitted, helpers, settings):
    model = nr.LowRankRNN(rank=2, units=16, encoder_channels=4, encoder_kernels=(3, 1), seed=1, **settings)
    model.fit(fitted.trials, **QUICK)
    latents = model.infer(fitted.trials, **fitted.quick)
    path = nr.write(tmp_path / "out.nwb", model, latents=latents, source=nr.read(session_path))
    loaded = nr.load(path)
    assert helpers.same_arrays(model.to_arrays(), loaded.to_arrays())
    assert loaded.config == model.config
    again = loaded.infer(fitted.trials, **fitted.quick)
    np.testing.assert_array_equal(again.rates.values, latents.rates.values)
    z = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    eta = low_rank.predictor(model.parameters, model.config.activation, torch.as_tensor(z), None)
    expected = observations.mean(eta, model.config.observation, model.config.link)
    with NWBHDF5IO(str(path), "r") as io:
        stored = io.read().processing["ecephys"]["low_rank_rnn"]
        np.testing.assert_allclose(stored.expected_observation(z), expected, rtol=1e-5, atol=1e-6)
        assert ("dispersion" in stored.equations) == (model.config.observation == "negative_binomial")
        assert ("readout_network_output" in stored.equations) == (model.config.readout == "network")


def test_the_decay_of_an_indicator_comes_back(tmp_path, session_path, helpers):
    arrays = oscillator(observed=6, units=16, observation="gaussian", frequency=0.5, bin_size=0.05)
    model = nr.LowRankRNN.from_arrays(**arrays, indicator_decay=np.linspace(0.5, 0.9, 6))
    path = nr.write(tmp_path / "out.nwb", model, source=nr.read(session_path))
    loaded = nr.load(path)
    assert helpers.same_arrays(model.to_arrays(), loaded.to_arrays()) and loaded.config == model.config
    drawn = [m.simulate(trials=2, bins=20).signal.values for m in (model, loaded)]
    np.testing.assert_allclose(*drawn, rtol=1e-4, atol=1e-5)


def test_each_session_goes_into_its_own_file(tmp_path, session_path, fitted, helpers):
    """The shared network with one session's readout, and a note of the other without its folder."""
    other = fitted.trials.isel(unit=slice(0, 4)).assign_attrs(source='{"location": "/home/me/other.nwb"}')
    model = nr.LowRankRNN(rank=2, units=16, encoder_channels=4, encoder_kernels=(3, 1), seed=1)
    model.fit([fitted.trials, other], **QUICK)
    own = model.session(0)
    latents = own.infer(fitted.trials, return_samples=True, **fitted.quick)
    path = nr.write(tmp_path / "a.nwb", own, latents=latents, source=nr.read(session_path))
    loaded = nr.load(path)
    np.testing.assert_array_equal(load_latents(path).latent_samples.values, latents.latent_samples.values)
    assert helpers.same_arrays(own.to_arrays(), loaded.to_arrays())
    assert loaded.data_description["shared_with"][0]["source"]["location"] == "other.nwb"
    again = loaded.infer(fitted.trials, **fitted.quick)
    np.testing.assert_array_equal(again.rates.values, latents.rates.values)
