"""Spectra and modes of linear systems under noise, against closed forms and independent sums."""

import numpy as np
import pytest
from scipy.linalg import block_diag, solve_discrete_lyapunov
from scipy.signal import welch

from nwb_rnn.dynamics import Linearisation, noise_spectrum
from nwb_rnn.errors import InputError

BIN = 0.01  # s


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def turning(modulus: float, frequency: float) -> np.ndarray:
    """(2, 2) a rotation at `frequency` Hz that shrinks to `modulus` in each bin."""
    angle = 2 * np.pi * frequency * BIN
    return modulus * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def autoregression(modulus: float, frequency: float, noise: float = 0.0) -> Linearisation:
    """y_t = 2 r cos θ y_{t−1} − r² y_{t−2} + ε_t with Var ε = 0.3, in companion form."""
    theta = 2 * np.pi * frequency * BIN
    matrix = np.array([[2 * modulus * np.cos(theta), -(modulus**2)], [1.0, 0.0]])
    return Linearisation(matrix, np.diag([0.3, 0.0]), np.array([[1.0, 0.0]]), np.array([noise]), BIN)


def pair(rng, modulus: float, frequency: float) -> Linearisation:
    """One damped pair in random coordinates with random noise and two random outputs."""
    change, factor = rng.standard_normal((2, 2, 2))
    matrix = change @ turning(modulus, frequency) @ np.linalg.inv(change)
    return Linearisation(matrix, factor @ factor.T, rng.standard_normal((2, 2)), np.zeros(2), BIN)


def test_noise_spectrum_of_one_latent_is_that_of_an_autoregression():
    """Q Δ · 2 / (1 + a² − 2 a cos ω), whose integral over frequency is the variance Q / (1 − a²)."""
    frequency = np.linspace(0, 50, 20_001)
    found = noise_spectrum(np.array([[0.8]]), np.array([[0.3]]), frequency, 0.01)[:, 0]
    exact = 2 * 0.01 * 0.3 / (1 + 0.64 - 1.6 * np.cos(2 * np.pi * frequency * 0.01))
    np.testing.assert_allclose(found, exact, rtol=1e-10)
    assert np.trapezoid(found, frequency) == pytest.approx(0.3 / (1 - 0.64), rel=1e-4)


def test_noise_spectrum_of_a_damped_rotation_matches_a_simulation():
    """Welch over 400 windows: each bin is within 30 % by six standard errors of 5 %."""
    matrix = turning(0.95, 8)
    factor = np.array([[0.5, 0.0], [0.3, 0.2]])
    noise = np.random.default_rng(0).standard_normal((60_000, 2)) @ factor.T
    states = np.zeros_like(noise)
    for t in range(1, len(states)):
        states[t] = matrix @ states[t - 1] + noise[t]
    frequency, power = welch(states[1000:], fs=100, nperseg=256, axis=0)
    inside = (frequency > 1) & (frequency < 49)
    found = noise_spectrum(matrix, factor @ factor.T, frequency[inside], 0.01)
    np.testing.assert_allclose(power[inside], found, rtol=0.3)
    assert frequency[inside][np.argmax(found.sum(1))] == pytest.approx(8, abs=0.4)


def test_spectrum_of_a_second_order_autoregression_with_observation_noise():
    """2 Δ (Var ε / |1 − φ₁ e^{−iω} − φ₂ e^{−2iω}|² + s)."""
    frequency = np.linspace(0, 50, 301)
    back = np.exp(-2j * np.pi * frequency * BIN)
    theta = 2 * np.pi * 8 * BIN
    exact = 2 * BIN * (0.3 / abs(1 - 2 * 0.9 * np.cos(theta) * back + 0.81 * back**2) ** 2 + 0.7)
    found = autoregression(0.9, 8, noise=0.7).spectrum(frequency)
    np.testing.assert_allclose(found, exact[:, None], rtol=1e-9)


def test_spectrum_is_the_transform_of_the_autocovariance(rng):
    """Three latents, two outputs: 2 Δ Σ_τ C A^|τ| P Cᵀ e^{−iωτ}, summed until nothing is left."""
    matrix = block_diag(turning(0.8, 12), [[0.5]]) + 0.05 * rng.standard_normal((3, 3))
    factor, readout = rng.standard_normal((3, 3)), rng.standard_normal((2, 3))
    covariance = solve_discrete_lyapunov(matrix, factor @ factor.T)
    frequency = np.array([0.0, 3.0, 12.0, 30.0, 50.0])
    exact, power = np.zeros((5, 2)), np.eye(3)
    for lag in range(400):
        term = np.diag(readout @ power @ covariance @ readout.T)
        twice = 1 if lag == 0 else 2
        exact += 2 * BIN * twice * np.cos(2 * np.pi * frequency * BIN * lag)[:, None] * term
        power = matrix @ power
    system = Linearisation(matrix, factor @ factor.T, readout, np.array([0.1, 0.2]), BIN)
    np.testing.assert_allclose(system.spectrum(frequency), exact + 2 * BIN * np.array([0.1, 0.2]), rtol=1e-9)


@pytest.mark.parametrize(("modulus", "frequency"), [(0.9, 8.0), (0.97, 3.0), (0.99, 20.0), (0.8, 24.0)])
def test_peak_of_an_autoregression_is_where_the_textbook_has_it(modulus, frequency):
    """cos ω = cos θ (1 + r²) / (2 r)."""
    cosine = np.cos(2 * np.pi * frequency * BIN) * (1 + modulus**2) / (2 * modulus)
    modes = autoregression(modulus, frequency, noise=0.5).modes()
    assert len(modes) == 1
    assert modes.frequency[0] == pytest.approx(frequency)
    assert modes.modulus[0] == pytest.approx(modulus)
    assert modes.peak[0] == pytest.approx(np.arccos(cosine) / (2 * np.pi * BIN))
    assert modes.variance[0] == pytest.approx(1)


@pytest.mark.parametrize(("modulus", "furthest"), [(0.9, 0.3), (0.998, 0.01)])
def test_peak_of_a_pair_alone_is_that_of_the_spectrum_and_near_its_frequency(rng, modulus, furthest):
    """Its term is then the whole spectrum, whose peak is looked up on a fine grid."""
    frequency = np.linspace(0, 50, 50_001)
    for _ in range(20):
        system = pair(rng, modulus, 10.0)
        found = system.modes().peak[0]
        assert found == pytest.approx(frequency[np.argmax(system.spectrum(frequency).sum(1))], abs=0.001)
        assert found == pytest.approx(10, abs=furthest)


def test_terms_of_two_broad_pairs_under_common_noise_peak_away_from_their_frequencies(rng):
    """The terms from their own autocovariance, tr(C E A^τ P Cᵀ) with E the projector on a pair's plane."""
    frequency = np.linspace(0, 50, 5001)
    lags = np.arange(1, 200)
    waves = np.cos(2 * np.pi * np.outer(frequency, lags) * BIN)
    apart = []
    for _ in range(10):
        factor, change = rng.standard_normal((4, 4)), rng.standard_normal((4, 4))
        matrix = change @ block_diag(turning(0.9, 10.0), turning(0.88, 14.0)) @ np.linalg.inv(change)
        system = Linearisation(matrix, factor @ factor.T, rng.standard_normal((2, 4)), np.zeros(2), BIN)
        modes = system.modes()
        covariance = solve_discrete_lyapunov(matrix, system.noise_covariance)
        for row, keep in enumerate(np.diag(x) for x in ([1, 1, 0, 0], [0, 0, 1, 1])):
            power = change @ keep @ np.linalg.inv(change)
            series = []
            for _ in range(200):
                series.append(np.trace(system.readout @ power @ covariance @ system.readout.T))
                power = matrix @ power
            term = series[0] + 2 * waves @ series[1:]
            assert modes.peak[row] == pytest.approx(frequency[np.argmax(term)], abs=0.01)
            apart.append(abs(modes.peak[row] - modes.frequency[row]))
    assert max(apart) > 1


def test_modes_are_those_of_independent_parts_in_any_coordinates(rng):
    first, second = pair(rng, 0.95, 7.0), pair(rng, 0.9, 20.0)
    third = Linearisation(np.array([[0.7]]), np.eye(1), rng.standard_normal((2, 1)), np.zeros(2), BIN)
    parts = (first, second, third)
    change = rng.standard_normal((5, 5))
    back = np.linalg.inv(change)
    both = Linearisation(
        change @ block_diag(*(p.jacobian for p in parts)) @ back,
        change @ block_diag(*(p.noise_covariance for p in parts)) @ change.T,
        np.hstack([p.readout for p in parts]) @ back,
        np.zeros(2),
        BIN,
    )
    modes = both.modes()
    alone = [p.modes().iloc[0] for p in parts]
    for name in ("frequency", "modulus", "time_constant", "width", "peak"):
        np.testing.assert_allclose(modes[name], [m[name] for m in alone], rtol=1e-6, atol=1e-6)
    stationary = [solve_discrete_lyapunov(p.jacobian, p.noise_covariance) for p in parts]
    power = np.array([np.trace(p.readout @ s @ p.readout.T) for p, s in zip(parts, stationary, strict=True)])
    np.testing.assert_allclose(modes.variance, power / power.sum(), rtol=1e-8)


def test_width_is_that_of_a_narrow_peak_at_half_its_height():
    system = autoregression(0.99, 12)
    frequency = np.linspace(10, 14, 40_001)
    power = system.spectrum(frequency)[:, 0]
    high = frequency[power > power.max() / 2]
    mode = system.modes().iloc[0]
    assert high[-1] - high[0] == pytest.approx(mode.width, rel=0.01)
    assert mode.time_constant == pytest.approx(1 / (np.pi * mode.width))


def test_without_damping_there_is_no_spectrum():
    system = Linearisation(np.eye(1), np.eye(1), np.eye(1), np.zeros(1), BIN)
    for ask in (system.modes, lambda: system.spectrum(np.array([1.0]))):
        with pytest.raises(InputError, match="no stationary spectrum"):
            ask()
