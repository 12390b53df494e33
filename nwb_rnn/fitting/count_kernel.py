"""`count_sums` as compiled loops, which take blocks of bins, small enough for the cache, through all units.

Numbers of one unit, or of one latent, for all bins stand in a row. Trials follow each other in it, each on
whole vectors of numbers; what fills them up is not seen. Of a symmetric matrix the pairs r ≥ s are kept, in
the order (0, 0), (1, 0), (1, 1), (2, 0) …
"""

from __future__ import annotations

import numpy as np

from nwb_rnn.fitting.count_law import CountLaw
from nwb_rnn.fitting.count_sums import NODES, WEIGHTS, Bins
from nwb_rnn.smc.backends import cpu_counts as counts
from nwb_rnn.smc.backends import cpu_rows as rows
from nwb_rnn.smc.backends.cpu_steps import loop

_BLOCK = 128  # bins
_WHOLE = 8  # numbers: the longest vector of any machine
_LEAST_VARIANCE = 1e-16


class CompiledBins(Bins):
    """As `Bins`; `inside` bins of the trials have `columns` of rows with `length` numbers."""

    def __init__(self, observed: np.ndarray, seen: np.ndarray):
        super().__init__(observed, seen)
        inside = seen.any(-1)
        widths = -(-inside.sum(1) // _WHOLE) * _WHOLE
        last = np.cumsum(widths)
        self._ranges = np.stack([last - widths, last], 1)
        self._columns = (np.cumsum(inside, 1) - 1 + self._ranges[:, :1])[inside]
        self._inside, self._length = np.nonzero(inside), int(widths.sum())
        self._y, self._seen = self._rows(observed), self._rows(seen)
        self._free: np.ndarray | None = None

    def expansion(self, law, readout, bias, path):
        rank = readout.shape[1]
        offset, latents = np.zeros((0, self._length)), np.zeros((rank, 0))
        if path is None:
            offset = self._rows(law.predictor(self.observed + 0.5)) - bias[:, None]
        else:
            latents = self._rows(path)
        found = [np.zeros((n, self._length)) for n in (_pairs(rank), rank, 1)]
        _expand(*_law(law, len(bias)), readout, bias, latents, offset, self._y, self._seen, _room(0), *found)
        precision, linear, constant = (self._bins(x) for x in found)
        return precision[..., _places(rank)], linear, constant.sum((1, 2))

    def log_likelihood(self, law, readout, bias, path, trials):
        found = np.zeros(len(trials))
        law_of = _law(law, len(bias))
        _likelihoods(
            *law_of,
            readout,
            bias,
            self._rows(path),
            self._y,
            self._seen,
            _room(0),
            self._ranges[trials],
            found,
        )
        return found

    def free(self, law):
        if law.dispersion is not None:
            return super().free(law)
        if self._free is None:
            self._free = super().free(law)
        return self._free

    def regression(self, mean, covariance):
        rank = mean.shape[2]
        design = np.ones((1, rank + 1, self._length))
        design[0, :rank] = self._rows(mean)
        r, s = np.tril_indices(rank)
        return CompiledRegression(self._y, self._seen, design, self._rows(covariance[..., r, s]))

    def _rows(self, values: np.ndarray) -> np.ndarray:
        """(n, P') of (B, T, n)."""
        found = np.zeros((values.shape[-1], self._length))
        found[:, self._columns] = values[self._inside].T
        return found

    def _bins(self, found: np.ndarray) -> np.ndarray:
        """(B, T, n) of rows (n, P'), 0 where nothing was observed."""
        values = np.zeros((*self.seen.shape[:2], len(found)))
        values[self._inside] = found.T[self._columns]
        return values


class CompiledRegression:
    """As `Regression`, of rows: observed, seen (D, P'), design (S, I, P'), covariance (pairs, P') or None."""

    def __init__(
        self, observed: np.ndarray, seen: np.ndarray, design: np.ndarray, covariance: np.ndarray | None = None
    ):
        self._counts, self._design = (observed, seen), design
        self._covariance = np.zeros((0, observed.shape[1])) if covariance is None else covariance
        alone = covariance is None
        self._nodes = (np.zeros(1), np.ones(1)) if alone else (NODES, WEIGHTS)

    @classmethod
    def of(cls, observed: np.ndarray, seen: np.ndarray, design: np.ndarray) -> CompiledRegression:
        """Of arrays as those of `Regression`, without a covariance."""
        length = -(-len(observed) // _WHOLE) * _WHOLE

        def row(values):
            found = np.zeros((*values.shape[:-2], values.shape[-1], length))
            found[..., : len(observed)] = values.swapaxes(-1, -2)
            return found

        return cls(row(observed), row(seen), row(design))

    def value(self, law: CountLaw, theta: np.ndarray) -> np.ndarray:
        return self._sums(law, theta, False)[0]

    def derivatives(self, law: CountLaw, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value, slope, pull, information = self._sums(law, theta, True)
        if pull.size:
            rank = self._rank
            slope[:, :rank] += (pull[:, _places(rank)] @ theta[:, :rank, None])[..., 0]
        return value, slope, information[:, _places(theta.shape[1])]

    @property
    def _rank(self) -> int:
        return int(np.sqrt(2 * len(self._covariance)))

    def _sums(self, law: CountLaw, theta: np.ndarray, derivatives: bool):
        units, size = theta.shape
        found = [np.zeros((units, n)) for n in (size, len(self._covariance), _pairs(size))]
        value = np.zeros(units)
        given = self._design, self._covariance, *self._counts, *self._nodes
        theta = np.ascontiguousarray(theta)
        _regress(*_law(law, units), theta, *given, _room(_pairs(size)), derivatives, value, *found)
        return value, *found


def _law(law: CountLaw, units: int) -> tuple[np.ndarray, np.ndarray]:
    """Kind of each unit's law (D,), and dispersions (D,), 1 where there is none."""
    observation = "poisson" if law.dispersion is None else "negative_binomial"
    links = (law.link.split(",") * units)[:units]
    kinds = np.array([counts.KINDS[observation, link] for link in links])
    return kinds, np.ones(units) if law.dispersion is None else np.asarray(law.dispersion, float)


def _pairs(size: int) -> int:
    return size * (size + 1) // 2


def _places(size: int) -> np.ndarray:
    """(size, size), where the number of row r and column s stands among the pairs."""
    r, s = np.indices((size, size))
    high, low = np.maximum(r, s), np.minimum(r, s)
    return high * (high + 1) // 2 + low


def _room(pairs: int) -> np.ndarray:
    return np.zeros((pairs + 9, _BLOCK))


@loop
def _combine(start, weights, vectors, first, last, target):
    """target = start + Σ_r weights[r] · vectors[r, first:last]"""
    rows.fill(target, start)
    for r in range(vectors.shape[0]):
        rows.add_scaled(target, weights[r], vectors[r, first:last])


@loop
def _expand(
    kinds, dispersion, readout, bias, latents, offsets, observed, seen, room, precision, linear, constant
):  # fmt: skip
    """Adds to precision (pairs, P'), linear (R, P') and constant (1, P').

    The path is `latents` (R, P'), or where these have no columns η − d is `offsets` (D, P').
    """
    units, length = observed.shape
    rank, block = linear.shape[0], room.shape[1]
    for first in range(0, length, block):
        last = min(first + block, length)
        width = last - first
        offset, predictor, value = room[0, :width], room[1, :width], room[2, :width]
        score, weight = room[3, :width], room[4, :width]
        for d in range(units):
            if latents.shape[1]:
                _combine(0.0, readout[d], latents, first, last, offset)
            else:
                rows.copy(offset, offsets[d, first:last])
            rows.copy(predictor, offset)
            rows.add(predictor, bias[d])
            k, y, inside = dispersion[d], observed[d, first:last], seen[d, first:last]
            counts.derivatives(kinds[d], value, score, weight, y, predictor, k, np.log(k))
            rows.multiply(score, score, inside)
            rows.multiply(weight, weight, inside)
            rows.add_product(constant[0, first:last], 1.0, value, inside)
            rows.add_product(constant[0, first:last], -1.0, score, offset)
            rows.multiply(value, weight, offset)
            rows.add_product(constant[0, first:last], -0.5, value, offset)
            rows.add_scaled(score, 1.0, value)
            pair = 0
            for r in range(rank):
                rows.add_scaled(linear[r, first:last], readout[d, r], score)
                for s in range(r + 1):
                    rows.add_scaled(precision[pair, first:last], readout[d, r] * readout[d, s], weight)
                    pair += 1


@loop
def _likelihoods(kinds, dispersion, readout, bias, latents, observed, seen, room, ranges, found):
    """found[i] += Σ log p(y | z) over columns ranges[i, 0] … ranges[i, 1] − 1"""
    block = room.shape[1]
    for i in range(ranges.shape[0]):
        for first in range(ranges[i, 0], ranges[i, 1], block):
            last = min(first + block, ranges[i, 1])
            predictor, value = room[0, : last - first], room[1, : last - first]
            for d in range(observed.shape[0]):
                _combine(bias[d], readout[d], latents, first, last, predictor)
                k = dispersion[d]
                counts.terms(kinds[d], value, observed[d, first:last], predictor, k, np.log(k))
                found[i] += rows.dot(value, seen[d, first:last])


@loop
def _products(design, covariance, first, last, products):
    """products = x xᵀ, and the covariance where there is one, pair by pair."""
    pair = 0
    for r in range(design.shape[0]):
        for s in range(r + 1):
            target = products[pair, : last - first]
            rows.multiply(target, design[r, first:last], design[s, first:last])
            if pair < covariance.shape[0]:
                rows.add_scaled(target, 1.0, covariance[pair, first:last])
            pair += 1


@loop
def _spread(theta, covariance, first, last, target):
    """target = √(cᵀ V c)"""
    rows.fill(target, 0.0)
    pair, r = 0, 0
    while pair < covariance.shape[0]:
        for s in range(r + 1):
            share = theta[r] * theta[s] * (1 if r == s else 2)
            rows.add_scaled(target, share, covariance[pair, first:last])
            pair += 1
        r += 1
    rows.square_roots(target, _LEAST_VARIANCE)


@loop
def _regress(
    kinds, dispersion, theta, design, covariance, observed, seen, nodes, node_weights, room, derivatives,
    value, slope, pull, information,
):  # fmt: skip
    """Adds to value (D,), and with `derivatives` to slope (D, I), pull (D, pairs) and information (D, pairs).

    `pull` is the derivative in the entries of the covariance that come in with c cᵀ / 2.
    """
    samples, inputs, length = design.shape
    block, known = room.shape[1], covariance.shape[0] > 0
    for first in range(0, length, block):
        last = min(first + block, length)
        width = last - first
        mean, spread, predictor, terms = room[0, :width], room[1, :width], room[2, :width], room[3, :width]
        score, weight = room[4, :width], room[5, :width]
        on_mean, on_spread, curvature = room[6, :width], room[7, :width], room[8, :width]
        products = room[9:]
        for v in range(samples):
            x = design[v]
            if derivatives:
                _products(x, covariance, first, last, products)
            for d in range(observed.shape[0]):
                _combine(0.0, theta[d], x, first, last, mean)
                if known:
                    _spread(theta[d], covariance, first, last, spread)
                k, y, inside = dispersion[d], observed[d, first:last], seen[d, first:last]
                rows.fill(on_mean, 0.0)
                rows.fill(on_spread, 0.0)
                rows.fill(curvature, 0.0)
                for n in range(nodes.shape[0]):
                    rows.copy(predictor, mean)
                    if known:
                        rows.add_scaled(predictor, nodes[n], spread)
                    w = node_weights[n]
                    if derivatives:
                        counts.derivatives(kinds[d], terms, score, weight, y, predictor, k, np.log(k))
                        rows.add_scaled(on_mean, w, score)
                        rows.add_scaled(on_spread, w * nodes[n], score)
                        rows.add_scaled(curvature, w, weight)
                    else:
                        counts.terms(kinds[d], terms, y, predictor, k, np.log(k))
                    value[d] += w * rows.dot(terms, inside)
                if not derivatives:
                    continue
                rows.multiply(on_mean, on_mean, inside)
                rows.multiply(curvature, curvature, inside)
                for i in range(inputs):
                    slope[d, i] += rows.dot(on_mean, x[i, first:last])
                for pair in range(information.shape[1]):
                    information[d, pair] += rows.dot(curvature, products[pair, :width])
                if known:
                    rows.multiply(on_spread, on_spread, inside)
                    rows.divide(on_spread, on_spread, spread)
                    for pair in range(pull.shape[1]):
                        pull[d, pair] += rows.dot(on_spread, covariance[pair, first:last])
