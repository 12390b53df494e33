"""The likelihood of one bin in the CPU backend, log p(y | z) up to terms without z, and its adjoint.

Affine readout: `weights` (R, D') is C with units last, `bias` (D',) is d, and `current`, `threshold`, `gain`
are not read. One-to-one: `weights` is M, `current` and `threshold` the network's base and h, `gain` and
`bias` (D',) those of the readout. `inverse_noise` (D',) is 1 / variance (Gaussian). `observed` and `seen`
(D',) are the bin's observations and its mask as 0 or 1.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from nwb_rnn.models.observations import SMALLEST_RATE
from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_blocks import Block, combine
from nwb_rnn.smc.backends.cpu_units import rate_and_pullback

_INPUTS = "weights bias gain current threshold inverse_noise observed seen"


class _Unit:
    """One vector of observed units: what is read for all particles of the block."""

    def __init__(self, block: Block, n):
        self.spec = block.spec
        self.weights = [block.load(pointer, n) for pointer in block.rows("weights")]
        names = ["bias", "observed", "seen"]
        if self.spec.readout == "one_to_one":
            names += ["gain", "current", "threshold"]
        if self.spec.observation == "gaussian":
            names.append("inverse_noise")
        for name in names:
            setattr(self, name, block.load(block.pointer(name), n))

    def predictor(self, z):
        """η, the rate and the pullback of the rate (None for an affine readout)."""
        if self.spec.readout == "affine":
            return combine(self.bias, z, self.weights), None, None
        x = combine(self.current, z, self.weights)
        r, pullback = rate_and_pullback(self.spec.activation, x, self.threshold)
        return r.times_plus(self.gain, self.bias), r, pullback

    def log_likelihood(self, predictor):
        """log p(y | η) without constants, its derivative by η, and the squared residual (Gaussian)."""
        y = self.observed
        if self.spec.observation == "gaussian":
            residual = y - predictor
            weighted = residual * self.inverse_noise
            return weighted * residual * -0.5, weighted, residual * residual
        if self.spec.link == "exp":
            expected = lanes.exp(predictor)
            return y * predictor - expected, y - expected, None
        expected, slope = lanes.softplus(predictor)
        expected = expected + SMALLEST_RATE
        return y * lanes.log(expected) - expected, (y / expected - 1) * slope, None


@intrinsic
def score(
    typingctx,
    spec,
    weights,
    bias,
    gain,
    current,
    threshold,
    inverse_noise,
    observed,
    seen,
    latents,
    first,
    scores,
    first_score,
):
    """scores = Σ_d seen · log p(y_d | z) for one block of particles."""

    def generate(context, builder, signature, arguments):
        names = f"spec {_INPUTS} latents first scores first_score"
        block = Block(context, builder, signature, arguments, names)
        z = block.latents("latents", "first")
        sums = block.accumulators(block.particles)
        with block.loop("observed") as (n, _):
            unit = _Unit(block, n)
            for p in range(block.particles):
                value, _, _ = unit.log_likelihood(unit.predictor(z[p])[0])
                block.add(sums[p], value, unit.seen)
        block.write_sums("scores", "first_score", sums)
        return context.get_dummy_value()

    inputs = (weights, bias, gain, current, threshold, inverse_noise, observed, seen)
    return types.void(spec, *inputs, latents, types.int64, scores, types.int64), generate


@intrinsic
def pull_score(
    typingctx,
    spec,
    weights,
    bias,
    gain,
    current,
    threshold,
    inverse_noise,
    observed,
    seen,
    latents,
    first,
    on_scores,
    first_score,
    on_latents,
    on_weights,
    on_bias,
    on_gain,
    on_current,
    on_threshold,
    on_inverse_noise,
):
    """Adjoint of `score`: writes `on_latents`, adds to the other gradients."""

    def generate(context, builder, signature, arguments):
        gradients = "on_weights on_bias on_gain on_current on_threshold on_inverse_noise"
        names = f"spec {_INPUTS} latents first on_scores first_score on_latents {gradients}"
        block = Block(context, builder, signature, arguments, names)
        rank = block.rank
        z, g = block.latents("latents", "first"), block.weights("on_scores", "first_score")
        sums = block.accumulators(block.particles * rank)
        with block.loop("observed") as (n, _):
            unit, added = _Unit(block, n), _Gradients(block, n)
            for p in range(block.particles):
                predictor, r, pullback = unit.predictor(z[p])
                _, slope, square = unit.log_likelihood(predictor)
                seen = g[p] * unit.seen
                on_predictor = slope * seen
                added.accumulate("on_bias", on_predictor)
                if square is not None:
                    added.accumulate("on_inverse_noise", square * seen, -0.5)
                if r is not None:
                    added.accumulate("on_gain", on_predictor, r)
                    on_predictor, on_h = pullback(on_predictor * unit.gain)
                    added.accumulate("on_current", on_predictor)
                    if on_h is not None:
                        added.accumulate("on_threshold", on_h)
                for k in range(rank):
                    block.add(sums[p * rank + k], on_predictor, unit.weights[k])
                    added.accumulate(k, on_predictor, z[p][k])
            added.write()
        block.write_sums("on_latents", "first", sums)
        return context.get_dummy_value()

    inputs = (weights, bias, gain, current, threshold, inverse_noise, observed, seen)
    gradients = (on_latents, on_weights, on_bias, on_gain, on_current, on_threshold, on_inverse_noise)
    signature = types.void(spec, *inputs, latents, types.int64, on_scores, types.int64, *gradients)
    return signature, generate


class _Gradients:
    """Sums over the block's particles, by the name of an array or the row of `on_weights`."""

    def __init__(self, block: Block, n):
        self.block, self.n, self.totals = block, n, {}
        self.rows = block.rows("on_weights")

    def accumulate(self, key, value: lanes.Lanes, factor=1.0) -> None:
        if key not in self.totals:
            self.totals[key] = self.block.load(self._pointer(key), self.n)
        self.totals[key] = value.times_plus(factor, self.totals[key])

    def write(self) -> None:
        for key, total in self.totals.items():
            self.block.store(self._pointer(key), self.n, total)

    def _pointer(self, key):
        return self.rows[key] if isinstance(key, int) else self.block.pointer(key)
