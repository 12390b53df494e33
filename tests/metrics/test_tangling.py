"""Tangling against a double loop and for cases with a known answer."""

import numpy as np
import pytest

from nwb_rnn.errors import InputError
from nwb_rnn.metrics import tangling as module
from nwb_rnn.metrics.tangling import tangling


def test_equals_a_double_loop(monkeypatch):
    states = np.random.default_rng(0).normal(size=(3, 7, 4))
    change = (np.diff(states, axis=1) / 0.02).reshape(-1, 4)
    place = ((states[:, 1:] + states[:, :-1]) / 2).reshape(-1, 4)
    small = 0.1 * np.mean(np.sum((place - place.mean(0)) ** 2, axis=1))
    expected = [
        max(
            np.sum((change[i] - change[j]) ** 2) / (np.sum((place[i] - place[j]) ** 2) + small)
            for j in range(18)
        )
        for i in range(18)
    ]
    np.testing.assert_allclose(tangling(states, 0.02).ravel(), expected)
    monkeypatch.setattr(module, "_BLOCK", 40)
    np.testing.assert_allclose(tangling(states, 0.02).ravel(), expected)


def test_a_circle_is_less_tangled_than_a_figure_of_eight():
    angle = np.arange(201) * 2 * np.pi / 200
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None]
    eight = np.stack([np.cos(angle), np.sin(2 * angle)], axis=-1)[None]
    assert tangling(eight, 0.01).max() > 5 * tangling(circle, 0.01).max()


def test_a_circle_has_a_closed_form():
    """ẋ = ω J x at the midpoints, so Q = ω² d² / (d² + ε), largest for opposite points: d = 2 ρ."""
    bins, step = 200, 0.01
    angle = np.arange(bins + 1) * 2 * np.pi / bins
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None]
    omega, radius = 2 / step * np.tan(np.pi / bins), np.cos(np.pi / bins)
    distance = (2 * radius) ** 2
    expected = omega**2 * distance / (distance + 0.1 * radius**2)
    np.testing.assert_allclose(tangling(circle, step), expected)


def test_missing_values_are_refused():
    with pytest.raises(InputError, match="finite"):
        tangling(np.full((1, 4, 2), np.nan), 0.01)
