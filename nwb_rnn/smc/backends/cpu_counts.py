"""The law of counts on rows, for loops over the bins of one unit.

`models.observations` defines the laws. Here a law is a number: one of those of `KINDS`.
"""

from __future__ import annotations

from numba.extending import intrinsic

from nwb_rnn.models.observations import SMALLEST_RATE
from nwb_rnn.smc.backends import cpu_lanes as lanes
from nwb_rnn.smc.backends.cpu_rows import elementwise
from nwb_rnn.smc.backends.cpu_steps import loop

KINDS = {
    ("poisson", "softplus"): 0,
    ("poisson", "exp"): 1,
    ("negative_binomial", "softplus"): 2,
    ("negative_binomial", "exp"): 3,
}


def _softplus(predictor):
    """μ, log μ and dμ/dη."""
    expected, over, under = lanes.softplus(predictor)
    expected = expected + SMALLEST_RATE
    return expected, lanes.log(expected), over / under


def _exp(predictor):
    expected = lanes.exp(predictor)
    return expected, predictor, expected


def _terms(link, overdispersed, y, predictor, dispersion, log_dispersion):
    """log p(y | η) up to terms without η, its slope in η, and the Fisher information of η."""
    expected, log_expected, slope = link(predictor)
    if overdispersed:
        excess = lanes.softplus(log_expected - log_dispersion)[0]
        value = y * log_expected - (y + dispersion) * excess
        weight = slope / (expected + expected * expected / dispersion)
    else:
        value = y * log_expected - expected
        weight = slope / expected if link is _softplus else predictor.constant(1)
    return value, weight * (y - expected), weight * slope


def _values(link, overdispersed):
    @intrinsic
    def values(typingctx, target, observed, predictor, dispersion, log_dispersion):
        def expression(index, row, *given):
            return _terms(link, overdispersed, *given)[0]

        return elementwise(expression, target, observed, predictor, dispersion, log_dispersion)

    return values


def _derivatives(link, overdispersed):
    @intrinsic
    def derivatives(typingctx, value, score, weight, observed, predictor, dispersion, log_dispersion):
        def expression(index, value, score, weight, *given):
            return _terms(link, overdispersed, *given)

        return elementwise(expression, value, score, weight, observed, predictor, dispersion, log_dispersion)

    return derivatives


_values_0, _derivatives_0 = _values(_softplus, False), _derivatives(_softplus, False)
_values_1, _derivatives_1 = _values(_exp, False), _derivatives(_exp, False)
_values_2, _derivatives_2 = _values(_softplus, True), _derivatives(_softplus, True)
_values_3, _derivatives_3 = _values(_exp, True), _derivatives(_exp, True)


@loop
def terms(kind, target, observed, predictor, dispersion, log_dispersion):
    """target = log p(y | η) up to terms without η; the dispersion and its logarithm are numbers."""
    if kind == 0:
        _values_0(target, observed, predictor, dispersion, log_dispersion)
    elif kind == 1:
        _values_1(target, observed, predictor, dispersion, log_dispersion)
    elif kind == 2:
        _values_2(target, observed, predictor, dispersion, log_dispersion)
    else:
        _values_3(target, observed, predictor, dispersion, log_dispersion)


@loop
def derivatives(kind, value, score, weight, observed, predictor, dispersion, log_dispersion):
    """The same into `value`, its slope in η into `score`, and the Fisher information into `weight`."""
    if kind == 0:
        _derivatives_0(value, score, weight, observed, predictor, dispersion, log_dispersion)
    elif kind == 1:
        _derivatives_1(value, score, weight, observed, predictor, dispersion, log_dispersion)
    elif kind == 2:
        _derivatives_2(value, score, weight, observed, predictor, dispersion, log_dispersion)
    else:
        _derivatives_3(value, score, weight, observed, predictor, dispersion, log_dispersion)
