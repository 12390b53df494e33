"""Smoothing, rates and standardising: right values, masks respected, the future not seen."""

from __future__ import annotations

import numpy as np
import pytest
from recordings.made import small_recording, trace

from nwb_rnn.errors import InputError
from nwb_rnn.recordings import Recording
from nwb_rnn.recordings.smoothing import KERNELS, kernel_weights, smooth, standardise, to_rates


@pytest.fixture
def trials():
    rng = np.random.default_rng(0)
    recording = small_recording(
        [rng.uniform(0, 6, 300), rng.uniform(0, 6, 100)], length=np.array([0.6, 1.0, 0.8])
    )
    return recording.align("start_time", until="stop_time")


def by_hand(values, mask, weights, future):
    result = np.zeros(values.shape)
    for t in range(len(values)):
        total = weight = 0.0
        for k, w in enumerate(weights):
            s = t + future - k
            if 0 <= s < len(values) and mask[s]:
                total, weight = total + w * values[s], weight + w
        result[t] = total / weight if mask[t] else 0
    return result


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("causal", [False, True])
def test_against_a_loop(trials, kernel, causal):
    smoothed = smooth(trials, 0.06, kernel, causal)
    weights, future = kernel_weights(kernel, 0.06, 0.02, causal)
    for i in range(3):
        expected = by_hand(trials["counts"].values[i, :, 1], trials["mask"].values[i], weights, future)
        np.testing.assert_allclose(smoothed["signal"].values[i, :, 1], expected, atol=1e-6)
    assert "counts" not in smoothed
    assert kernel in smoothed.attrs["smoothing"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_causal_kernel_does_not_see_the_future(trials, kernel):
    other = trials.copy(deep=True)
    other["counts"][:, 20:] = 9
    past = smooth(trials, 0.1, kernel, causal=True)["signal"].values[:, :20]
    np.testing.assert_allclose(
        smooth(other, 0.1, kernel, causal=True)["signal"].values[:, :20], past, atol=1e-6
    )


def test_a_constant_stays_constant_to_the_edge_of_the_mask(trials):
    flat = trials.copy(deep=True)
    flat["counts"][:] = 1
    smoothed = smooth(flat, 0.1)["signal"].values
    mask = np.broadcast_to(trials["mask"].values[:, :, None], smoothed.shape)
    np.testing.assert_allclose(smoothed, mask, atol=1e-6)


def test_rates(trials):
    rates = to_rates(trials)
    np.testing.assert_allclose(rates["signal"], trials["counts"] / 0.02)
    assert rates.attrs["physical_unit"] == "spikes/s"
    with pytest.raises(InputError, match="made from counts"):
        to_rates(rates)


def test_standardise_uses_observed_bins_alone(trials):
    signal = standardise(to_rates(trials))
    mask = trials["mask"].values
    np.testing.assert_allclose(signal["signal"].values[mask].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(signal["signal"].values[mask].std(axis=0), 1, atol=1e-5)
    assert (signal["signal"].values[~mask] == 0).all()


def test_standardise_like_others(trials):
    rates = to_rates(trials)
    training = rates.isel(trial=[0, 1])
    applied = standardise(rates, like=training)
    np.testing.assert_allclose(
        applied["signal"].values[:2], standardise(training)["signal"].values, atol=1e-5
    )


def test_refusals(trials):
    with pytest.raises(InputError, match="kernel must be one of"):
        smooth(trials, 0.1, "box")
    with pytest.raises(InputError, match="positive number"):
        smooth(trials, 0)
    with pytest.raises(InputError, match="needs a signal"):
        standardise(trials)
    with pytest.raises(InputError, match="never change"):
        standardise(Recording.build(signals={"x": trace(np.ones(20))}).segments())


def test_notes_add_up(trials):
    assert smooth(smooth(trials, 0.1), 0.05, "exponential").attrs["smoothing"] == (
        "gaussian, 0.1 s, centred; exponential, 0.05 s, causal"
    )
