"""Move a fitted model until its free runs live where the recording does, with the recording's rhythms.

A likelihood asks one bin ahead. Many networks answer that almost equally well and yet differ in where they go
when they run freely: states that a recording visits rarely are worth a hundredth of a nat per bin. Here runs
without data are compared with the recording,

    loss = D_law + weight · D_spectrum

    D_law       KL divergence from the recorded to the simulated law of smoothed latents, with kernels of one
                standard deviation of the channels (D_stsp of Koppe et al. 2019, in the plane of C z)
    D_spectrum  Hellinger distance of the channels' power spectra (D_H of Mikhaeil et al. 2022), that of
                channel d at frequency f from the latents' cross-spectrum S: c_d S(f) c_dᵀ + noise

and M, V, h and Q move down its gradient through the runs. What was recorded are draws of the latents given
the recording. Runs start at recorded states and each step goes on where the last one ended, so that they soon
are where the model itself goes; the gradient stops at the start of a step's window. The readout, its noise
and the decay stay. The result is the mean over the last half of the steps, since two windows differ by more
than a step changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nwb_rnn.errors import DivergenceError, InputError
from nwb_rnn.fitting.optimiser import ScaledAdam
from nwb_rnn.fitting.trainable import cholesky, raw_cholesky
from nwb_rnn.models.low_rank import LowRankConfig, LowRankParameters
from nwb_rnn.smc.free_runs import free_runs

_POINTS, _KERNELS = 400, 1500  # recorded points in each step, and simulated ones that make up a law
_BLOCK = 100  # points at once; their densities stay in the cache
_LEAST = -50.0  # of a log weight: what is far below costs a processor ten times the time of a normal number
_CLIP = 10.0  # largest norm of a gradient
_WARM = 30  # steps until the learning rate is whole: Adam's first ones move all numbers alike
_FINAL = 0.05  # learning rate at the end, of that at the start


@dataclass(frozen=True)
class FreeLawOptions:
    """
    Attributes
    ----------
    iterations : gradient steps
    runs, window : how many free runs a step simulates, and for how many bins they are compared
    smoothing : points of a Hann window that series are smoothed with before they are compared; 1 for none
    weight : of the spectrum
    learning_rate : of Adam at the start, relative to the size of what it moves
    """

    iterations: int = 700
    runs: int = 48
    window: int = 240
    smoothing: int = 1
    weight: float = 10.0
    learning_rate: float = 1e-3

    def __post_init__(self):
        for name, least in (("iterations", 1), ("runs", 2), ("window", 16), ("smoothing", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}={getattr(self, name)} must be at least {least}")
        if self.smoothing > self.window // 2:
            raise InputError(f"smoothing={self.smoothing} must be at most half of window={self.window} bins")
        for name in ("weight", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name}={getattr(self, name)} must be positive")


class _Moved(nn.Module):
    def __init__(self, p: LowRankParameters):
        super().__init__()
        for name in ("left_vectors", "right_vectors", "unit_bias"):
            setattr(self, name, nn.Parameter(getattr(p, name).detach().clone()))
        self.transition_raw = nn.Parameter(raw_cholesky(p.transition_cholesky.detach()))

    def natural(self, like: LowRankParameters, diagonal: bool) -> LowRankParameters:
        raw = self.transition_raw
        if diagonal:  # only variances move
            raw = torch.tril(raw, -1).detach() + torch.diag(torch.diagonal(raw))
        return replace(
            like,
            left_vectors=self.left_vectors,
            right_vectors=self.right_vectors,
            unit_bias=self.unit_bias,
            transition_cholesky=cholesky(raw),
        )


def match_free_law(
    config: LowRankConfig,
    parameters: LowRankParameters,
    paths: list[Tensor],
    options: FreeLawOptions,
    seed: int = 0,
    progress: bool = False,
    callback: Callable[[dict], None] | None = None,
) -> tuple[LowRankParameters, list[dict]]:
    """Parameters whose free runs match `paths`, latents (T, R) drawn given the recording, and the history.

    Raises
    ------
    InputError : no path is as long as the runs are compared.
    DivergenceError : the loss left the finite numbers.
    """
    from tqdm import trange

    recorded = _Recorded(parameters, paths, options)
    module = _Moved(parameters)
    optimiser = ScaledAdam(module, _step_size)
    generator = torch.Generator().manual_seed(2 * seed + 3)
    total, count, history = torch.zeros_like(optimiser.flat), 0, []
    start = recorded.states(options.runs, generator)
    bar = trange(options.iterations, desc="matching free runs", disable=not progress)
    for k in bar:
        p = module.natural(parameters, config.noise == "diagonal")
        white = torch.randn(options.runs, options.window, config.rank, generator=generator).to(start)
        runs = free_runs(p, config.activation, start, white @ p.transition_cholesky.T)
        start = runs[:, -1].detach()
        law, spectrum = recorded.law(runs, generator), recorded.spectrum(runs)
        optimiser.take(torch.autograd.grad(law + options.weight * spectrum, optimiser.parameters))
        learning_rate = options.learning_rate * min(1.0, (k + 1) / _WARM) * _FINAL ** (k / options.iterations)
        norm = optimiser.step(learning_rate, _CLIP)
        if not math.isfinite(norm):
            raise DivergenceError(
                f"matching of free runs diverged in step {k + 1}; the model is as it was. Try "
                f"learning_rate={options.learning_rate / 10:g}"
            )
        history.append({"iteration": k + 1, "law": law.item(), "spectrum": spectrum.item()})
        if k % 10 == 0:
            bar.set_postfix(law=f"{history[-1]['law']:.3f}", spectrum=f"{history[-1]['spectrum']:.3f}")
        if callback is not None:
            callback(dict(history[-1]))
        if k >= options.iterations // 2:
            count += 1
            total += optimiser.flat
    optimiser.flat.copy_(total / count)
    with torch.no_grad():
        found = module.natural(parameters, config.noise == "diagonal")
    return found.map(lambda x: x.detach().clone()), history


def _step_size(name: str, parameter: Tensor) -> float:
    """That of what is moved; biases are in units of currents, and the factor's diagonal is a logarithm."""
    if name in ("unit_bias", "transition_raw"):
        return 1.0
    return float(parameter.detach().square().mean().sqrt().clamp(1e-6, 1.0))


class _Recorded:
    """The recording's side of the comparison."""

    def __init__(self, p: LowRankParameters, paths: list[Tensor], options: FreeLawOptions):
        paths = [path for path in paths if len(path) >= options.window]
        if not paths:
            raise InputError(f"no trial has {options.window} bins on end; give a smaller window")
        window = torch.hann_window(options.smoothing + 1, periodic=True)[1:].to(paths[0])
        self._smoothing = window / window.sum()
        self._states = torch.cat(paths)
        smooth = torch.cat([self._smooth(path[None])[0] for path in paths])
        readout, noise = p.readout_weights.detach(), p.observation_noise.detach()
        centred = smooth - smooth.mean(0)
        explained = torch.einsum("dr,rs,ds->d", readout, centred.T @ centred / len(smooth), readout)
        scaled = readout / torch.sqrt(explained + noise * self._smoothing.square().sum())[:, None]
        # |(z − z') metric| is the distance of C z and C z' in standard deviations of the smoothed channels
        metric, failed = torch.linalg.cholesky_ex((scaled.T @ scaled).double())
        if failed:
            raise InputError(
                f"{readout.shape[0]} channels do not tell {readout.shape[1]} latents apart (C z is the same "
                "for different z), so that their laws cannot be compared; fit a lower rank"
            )
        self._metric = metric.to(readout)
        places = smooth @ self._metric
        blur = torch.randn(places.shape, generator=torch.Generator().manual_seed(0)).to(places)
        self._points = places + blur
        self._log_density = _log_densities(self._points, places[:: math.ceil(len(places) / _KERNELS)])
        self._noise = noise
        self._pairs = (readout[:, :, None] * readout[:, None]).flatten(1).T  # (R R, D)
        self._taper = torch.hann_window(options.window).to(readout)
        gain = torch.fft.rfft(self._smoothing, options.window).abs() ** 2
        self._gain = gain[1:, None]
        step = options.window // 2
        segments = torch.cat([path.unfold(0, options.window, step).transpose(1, 2) for path in paths])
        self._power = self._spectrum_of(segments)

    def states(self, count: int, generator: torch.Generator) -> Tensor:
        """Latents (count, R) at bins all over the recording."""
        return self._states[_spread(len(self._states), count, generator)]

    def law(self, runs: Tensor, generator: torch.Generator) -> Tensor:
        """D_law of runs (B, T, R)."""
        chosen = _spread(len(self._points), _POINTS, generator)
        kernels = (self._smooth(runs) @ self._metric).flatten(0, 1)
        every = math.ceil(len(kernels) / _KERNELS)
        found = _MeanLogDensity.apply(self._points[chosen], kernels[::every])
        return self._log_density[chosen].mean() - found

    def spectrum(self, runs: Tensor) -> Tensor:
        """D_spectrum of runs (B, T, R)."""
        affinity = torch.sqrt(self._power * self._spectrum_of(runs) + 1e-14).sum(0)
        return torch.sqrt((1 - affinity).clamp(min=1e-6)).mean()

    def _spectrum_of(self, latents: Tensor) -> Tensor:
        """Normalised power (F, D) of channels, without frequency 0, from latents (B, T, R)."""
        transformed = torch.fft.rfft((latents - latents.mean((0, 1))) * self._taper[:, None], dim=1)[:, 1:]
        cross = torch.einsum("bfr,bfs->frs", transformed, transformed.conj()).real / len(latents)
        power = cross.flatten(1) @ self._pairs
        power = (power + self._noise * self._taper.square().sum()) * self._gain
        return power / power.sum(0)

    def _smooth(self, latents: Tensor) -> Tensor:
        """(B, T, R) -> (B, T − smoothing + 1, R)"""
        bins = latents.shape[1] - len(self._smoothing) + 1
        found = self._smoothing[0] * latents[:, :bins]
        for k, weight in enumerate(self._smoothing[1:], 1):
            found = found + weight * latents[:, k : k + bins]
        return found


def _spread(length: int, count: int, generator: torch.Generator) -> Tensor:
    """`count` indices at equal distances, shifted at random: steps differ by less than with random ones."""
    shift = torch.rand((), generator=generator, dtype=torch.float64)
    return ((torch.arange(count) + shift) * (length / count)).long()


def _log_densities(points: Tensor, kernels: Tensor) -> Tensor:
    """log of the mean Gaussian kernel at each point, up to the constant of `_MeanLogDensity`."""
    return torch.cat(
        [torch.logsumexp(-0.5 * torch.cdist(block, kernels).square(), 1) for block in points.split(_BLOCK)]
    ) - math.log(len(kernels))


class _MeanLogDensity(torch.autograd.Function):
    """Mean over points (P, R) of the log of the mean Gaussian kernel at each, up to a constant, ().

    The gradient on the kernels (J, R) comes with it, in one pass over blocks that fit into the cache.
    """

    @staticmethod
    def forward(ctx, points, kernels):
        value, half = points.new_zeros(()), 0.5 * kernels.square().sum(1)
        pulled, weight = torch.zeros_like(kernels), torch.zeros_like(half)
        for block in points.split(_BLOCK):
            weights = torch.addmm(-half, block, kernels.T)
            highest = weights.amax(1, keepdim=True)
            weights.sub_(highest).clamp_(min=_LEAST).exp_()
            total = weights.sum(1, keepdim=True)
            value += (highest + torch.log(total)).sum() - 0.5 * block.square().sum()
            if ctx.needs_input_grad[1]:
                weights.div_(total)
                pulled.addmm_(weights.T, block)
                weight += weights.sum(0)
        ctx.save_for_backward((pulled - weight[:, None] * kernels) / len(points))
        return value / len(points) - math.log(len(kernels))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, on_value):
        (on_kernels,) = ctx.saved_tensors
        return None, on_value * on_kernels
