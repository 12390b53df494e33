"""What a linearised network says of rhythms: spectra of its outputs under noise, mode by mode.

The linear system

    z_{t+1} = A z_t + ε_t,  ε ~ N(0, Q)        y_t = C z_t + ν_t,  ν white, variances s

stands for a network near the states that it visits, with A its Jacobian at a point, or the mean Jacobian
along a simulation: for Gaussian latents that is the linear map nearest to the network (Bussgang 1952).

With eigenvalues λ_k of A, left and right eigenvectors u_k and v_k, and the stationary covariance
P = A P Aᵀ + Q, the covariance of y over a lag τ ≥ 0 is C A^τ P Cᵀ + s [τ = 0], so that the spectrum, summed
over outputs, is exactly one term for each eigenvalue and a floor,

    Σ S(f) = 2 Δ { Σ_k Re[ ρ_k (e^{iω} + λ_k) / (e^{iω} − λ_k) ] + Σ s },   ρ_k = u_kᴴ P Cᵀ C v_k, ω = 2 π f Δ

and Σ_k ρ_k is the variance of y but for ν. A pair alone peaks near its frequency, an autoregression with
λ = r e^{±iθ} where cos ω = cos θ (1 + r²) / 2r. Beside other modes driven by the same noise ρ is not real,
and the pair's term is largest about γ tan(arg ρ / 2) above its frequency, with γ its half width: the narrower
a pair, the better its frequency says where the spectrum peaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwb_rnn.errors import InputError


def noise_spectrum(
    jacobian: np.ndarray,
    covariance: np.ndarray,
    frequency: np.ndarray,
    bin_size: float,
    readout: np.ndarray | None = None,
    observation_noise: np.ndarray | None = None,
) -> np.ndarray:
    """Power spectral density of outputs of a linear system under noise, one-sided, as scipy's `welch` has it.

        S(f) = 2 Δ { diag[ C (e^{iω} I − A)⁻¹ Q (e^{iω} I − A)⁻ᴴ Cᵀ ] + s },   ω = 2 π f Δ

    Parameters
    ----------
    jacobian, covariance : (R, R), A and Q
    frequency : (F,) Hz
    bin_size : Δ, s
    readout : (D, R) C; by default the latents themselves
    observation_noise : (D,) s, variances per bin; none by default

    Returns
    -------
    (F, D) in squared units of y per Hz
    """
    turn = np.exp(2j * np.pi * np.asarray(frequency) * bin_size)[:, None, None]
    response = np.linalg.inv(turn * np.eye(len(jacobian)) - jacobian)
    if readout is not None:
        response = readout @ response
    power = np.einsum("fds,fds->fd", response @ covariance, response.conj()).real
    return 2 * bin_size * (power + (0.0 if observation_noise is None else np.asarray(observation_noise)))


@dataclass(frozen=True, eq=False)
class Linearisation:
    """The linear system above; `LowRankRNN.linearise` makes one of a fitted network.

    Attributes
    ----------
    jacobian : (R, R) A
    noise_covariance : (R, R) Q, per bin
    readout : (D, R) C
    observation_noise : (D,) s, variances per bin
    bin_size : Δ, s
    """

    jacobian: np.ndarray
    noise_covariance: np.ndarray
    readout: np.ndarray
    observation_noise: np.ndarray
    bin_size: float

    def spectrum(self, frequency: np.ndarray) -> np.ndarray:
        """(F, D) power spectral density of each output at `frequency` (F,) Hz; see `noise_spectrum`.

        Raises
        ------
        InputError : an eigenvalue of A is not below 1 in modulus, so there is no stationary spectrum.
        """
        self._check_stable()
        return noise_spectrum(
            self.jacobian,
            self.noise_covariance,
            frequency,
            self.bin_size,
            self.readout,
            self.observation_noise,
        )

    def modes(self):
        """A pandas.DataFrame with one row for each eigenvalue or pair of them, least damped first.

        Columns
        -------
        frequency : |arg λ| / 2πΔ, Hz
        modulus : |λ|
        time_constant : −Δ / ln|λ|, s
        width : −ln|λ| / πΔ, Hz, full width of a narrow peak at half its height
        peak : Hz, where the mode's term of the spectrum, summed over outputs, is largest
        variance : the mode's share of the outputs' variance, observation noise left out. Shares sum to 1; one
            can be negative where eigenvectors are far from orthogonal.

        Outputs of different units of measurement are summed as they are: scale the rows of `readout` first.

        Raises
        ------
        InputError : an eigenvalue of A is not below 1 in modulus.
        """
        import pandas

        values, residues = self._residues()
        kept = np.flatnonzero(values.imag >= 0)
        kept = kept[np.argsort(-np.abs(values[kept]), kind="stable")]
        chosen, weight = values[kept], residues[kept]
        paired = np.where(chosen.imag > 0, 2.0, 1.0)
        with np.errstate(divide="ignore"):
            rate = -np.log(np.abs(chosen)) / self.bin_size
            columns = {
                "frequency": np.angle(chosen) / (2 * np.pi * self.bin_size),
                "modulus": np.abs(chosen),
                "time_constant": 1 / rate,
                "width": rate / np.pi,
                "peak": [
                    _peak(v, w) / (2 * np.pi * self.bin_size) for v, w in zip(chosen, weight, strict=True)
                ],
                "variance": paired * weight.real / residues.real.sum(),
            }
        return pandas.DataFrame(columns).rename_axis("mode")

    def _residues(self) -> tuple[np.ndarray, np.ndarray]:
        """λ_k and ρ_k, each (R,)."""
        from scipy.linalg import solve_discrete_lyapunov

        self._check_stable()
        values, right = np.linalg.eig(self.jacobian)
        stationary = solve_discrete_lyapunov(self.jacobian, self.noise_covariance)
        crossed = stationary @ self.readout.T @ self.readout
        return values.astype(complex), np.diag(np.linalg.solve(right, crossed @ right)).astype(complex)

    def _check_stable(self) -> None:
        largest = np.abs(np.linalg.eigvals(self.jacobian)).max(initial=0.0)
        if not largest < 1:
            raise InputError(
                f"The Jacobian has an eigenvalue of modulus {largest:.4g}, so noise has "
                "no stationary spectrum here; linearise at a stable point or along a simulation."
            )


def _peak(eigenvalue: complex, residue: complex) -> float:
    """Angle in [0, π] where the term of an eigenvalue and of its conjugate is largest, exactly.

    With λ = r e^{iθ}, p = 1 + r², α = (1 − r²) Re ρ, β = 2 r Im ρ, the two terms together are a linear
    function of x = cos ω over the product of (p − 2 r cos(ω − θ)) and (p − 2 r cos(ω + θ)), a quadratic one.
    """
    r, theta = abs(eigenvalue), np.angle(eigenvalue)
    p, alpha, beta = 1 + r * r, (1 - r * r) * residue.real, 2 * r * residue.imag
    a = 2 * alpha * p + 2 * beta * r * np.sin(2 * theta)
    b = -4 * alpha * r * np.cos(theta) - 2 * beta * p * np.sin(theta)
    c, d, e = p * p - 4 * r * r * np.sin(theta) ** 2, -4 * r * p * np.cos(theta), 4 * r * r
    candidates = np.array([1.0, -1.0, *_roots(a * d - b * c, 2 * a * e, b * e)])
    candidates = candidates[np.abs(candidates) <= 1]
    term = (a + b * candidates) / (c + d * candidates + e * candidates**2)
    return float(np.arccos(candidates[np.argmax(term)]))


def _roots(constant: float, linear: float, square: float) -> list[float]:
    """Real roots of a quadratic, without loss where one is far greater than the other, or infinite."""
    inside = linear**2 - 4 * square * constant
    if inside < 0:
        return []
    half = -0.5 * (linear + np.copysign(np.sqrt(inside), linear))
    return [x / y for x, y in ((half, square), (constant, half)) if y != 0]
