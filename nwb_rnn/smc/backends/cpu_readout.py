"""The likelihood of one bin in the CPU backend, log p(y | z) up to terms without z, and its adjoint.

Rows of the readout's pack: weights (R rows; C, or M for a one-to-one readout), then those of `ROWS`: d, the
gain, h and base of the network (one-to-one), the spread (1 / variance of a Gaussian, dispersion k of a
negative binomial), and the bin's observations and its mask as 0 or 1. The pack of its gradients has the rows
up to the spread.
"""

from __future__ import annotations

from numba.core import types
from numba.extending import intrinsic

from nwb_rnn.models.observations import SMALLEST_RATE
from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_blocks import Kernel, Pack, Scratch, Totals, combine
from nwb_rnn.smc.backends.cpu_units import rate_and_pullback

ROWS = ("bias", "gain", "threshold", "current", "spread", "observed", "seen")
GRADIENT_ROWS = 5


class _Unit:
    """One vector of observed units: its predictor η and log p(y | η)."""

    def __init__(self, kernel: Kernel, pack: Pack):
        self.spec, self.rank = kernel.spec, kernel.rank
        self.weights = [pack[k] for k in range(kernel.rank)]
        names = ["bias", "observed", "seen"]
        if self.spec.readout == "one_to_one":
            names += ["gain", "threshold", "current"]
        if self.spec.observation != "poisson":
            names.append("spread")
        self.rows = {name: pack[kernel.rank + ROWS.index(name)] for name in names}
        # padding has dispersion 0; its observations are not seen
        self.log_spread = lanes.log(self.rows["spread"].at_least(1e-30)) if self._overdispersed else None

    @property
    def _overdispersed(self) -> bool:
        return self.spec.observation == "negative_binomial"

    def predictor(self, z):
        """η, the rate and the pullback of the rate (None for an affine readout)."""
        if self.spec.readout == "affine":
            return combine(self.rows["bias"], z, self.weights), None, None
        x = combine(self.rows["current"], z, self.weights)
        r, pullback = rate_and_pullback(self.spec.activation, x, self.rows["threshold"])
        return r.times_plus(self.rows["gain"], self.rows["bias"]), r, pullback

    def log_likelihood(self, predictor) -> lanes.Lanes:
        y = self.rows["observed"]
        if self.spec.observation == "gaussian":
            residual = y - predictor
            return residual * self.rows["spread"] * residual * -0.5
        if self._overdispersed:
            log_mean = predictor if self.spec.link == "exp" else self._softplus(predictor)[1]
            excess = lanes.softplus(log_mean - self.log_spread)[0]
            return y * log_mean - (y + self.rows["spread"]) * excess
        if self.spec.link == "exp":
            return y * predictor - lanes.exp(predictor)
        expected, log_mean = self._softplus(predictor)[:2]
        return y * log_mean - expected

    def _softplus(self, predictor):
        """The mean, its logarithm, and d log mean / dη as numerator and denominator."""
        expected, over, under = lanes.softplus(predictor)
        expected = expected + SMALLEST_RATE
        return expected, lanes.log(expected), over, expected * under

    def slope(self, predictor):
        """d log p(y | η) / dη, and d log p(y | η) / d spread (times −2 for a Gaussian; None for Poisson)."""
        y = self.rows["observed"]
        if self.spec.observation == "gaussian":
            residual = y - predictor
            return residual * self.rows["spread"], residual * residual
        if self._overdispersed:
            return self._overdispersed_slope(predictor)
        if self.spec.link == "exp":
            return y - lanes.exp(predictor), None
        expected, _, over, under = self._softplus(predictor)
        return (y - expected) * over / under, None

    def _overdispersed_slope(self, predictor):
        y, k = self.rows["observed"], self.rows["spread"]
        log_mean, over, under = predictor, 1.0, 1.0
        if self.spec.link != "exp":
            _, log_mean, over, under = self._softplus(predictor)
        excess, part, whole = lanes.softplus(log_mean - self.log_spread)
        total = (y + k) * part / whole  # (y + k) μ / (μ + k)
        slope = y - total
        if self.spec.link != "exp":
            slope = slope * over / under
        return slope, total / k.at_least(1e-30) - excess


@intrinsic
def score(typingctx, spec, pack, vectors, latents, scores, particles, stride):
    """scores = Σ_d seen · log p(y_d | z), for whole blocks of particles."""

    def generate(context, builder, signature, arguments):
        _, pointer, count, latents, scores, particles, stride = arguments
        kernel = Kernel(builder, signature.args[0].spec, stride)
        with kernel.blocks(particles) as (first, _):
            z, sums = kernel.block_latents(latents, first), kernel.accumulators(1)
            with kernel.each(count) as loop:
                unit = _Unit(kernel, Pack(kernel, pointer, kernel.rank + len(ROWS), loop.index))
                for p in range(kernel.particles):
                    value = unit.log_likelihood(unit.predictor(z[p])[0])
                    kernel.add(sums[p][0], value, unit.rows["seen"])
            kernel.write_sums(scores, first, sums)
        return context.get_dummy_value()

    return types.void(spec, pack, vectors, latents, scores, particles, stride), generate


@intrinsic
def pull_score(typingctx, spec, pack, on_pack, vectors, latents, on_scores, on_latents, particles, stride):
    """Adjoint of `score`: writes `on_latents`, adds to `on_pack`."""

    def generate(context, builder, signature, arguments):
        _, pointer, on_pointer, count, latents, on_scores, on_latents, particles, stride = arguments
        kernel = Kernel(builder, signature.args[0].spec, stride)
        rank = kernel.rank
        sums = Scratch(kernel, rank)
        with kernel.chunks(particles) as (first, size):
            sums.clear(size)
            with kernel.each(count) as loop:
                unit = _Unit(kernel, Pack(kernel, pointer, rank + len(ROWS), loop.index))
                on = Pack(kernel, on_pointer, rank + GRADIENT_ROWS, loop.index)
                totals = Totals(kernel, on, _touched(kernel))
                with kernel.each(size) as inner:
                    particle = builder.add(first, inner.index)
                    z, g = kernel.latents(latents, particle), kernel.splat(kernel.at(on_scores, particle))
                    on_input = _pull_unit(unit, totals, z, g)
                    for k in range(rank):
                        sums.add(inner.index, k, on_input, unit.weights[k])
                        totals.add(k, on_input, z[k])
                totals.write()
            sums.write(on_latents, first, size)
        return context.get_dummy_value()

    return types.void(
        spec, pack, on_pack, vectors, latents, on_scores, on_latents, particles, stride
    ), generate


def _touched(kernel: Kernel) -> list[int]:
    """Rows that get a gradient."""
    names = ["bias"]
    if kernel.spec.observation != "poisson":
        names.append("spread")
    if kernel.spec.readout == "one_to_one":
        names += ["gain", "current"]
        if kernel.spec.activation == "clipped_relu":
            names.append("threshold")
    return [*range(kernel.rank), *(kernel.rank + ROWS.index(name) for name in names)]


def _pull_unit(unit: _Unit, totals: Totals, z, on_score) -> lanes.Lanes:
    """Gradient on weights · z of one particle; everything that is not weights goes into `totals`."""

    def add(name, value, factor=1.0):
        totals.add(unit.rank + ROWS.index(name), value, factor)

    predictor, r, pullback = unit.predictor(z)
    slope, on_spread = unit.slope(predictor)
    seen = on_score * unit.rows["seen"]
    on_predictor = slope * seen
    add("bias", on_predictor)
    if on_spread is not None:
        add("spread", on_spread * seen, -0.5 if unit.spec.observation == "gaussian" else 1.0)
    if pullback is None:
        return on_predictor
    add("gain", on_predictor, r)
    on_current, on_threshold = pullback(on_predictor * unit.rows["gain"])
    add("current", on_current)
    if on_threshold is not None:
        add("threshold", on_threshold)
    return on_current
