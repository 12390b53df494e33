"""Compiled walk over the linear regions of a `ClippedSystem`; see `regions` for the argument."""

from __future__ import annotations

import functools

import numpy as np

from nwb_rnn.dynamics.box_kernels import invert
from nwb_rnn.numba_cache import compiled

INSIDE, BORDER, FLAT = 0, 1, 2
CLOSE = 1e-11

loop = functools.partial(
    compiled, pattern="dynamics/box_kernels.py", cache=True, nogil=True, error_model="numpy"
)


@loop
def next_subset(subset, size, total):
    """Advance an ascending subset in lexicographic order; False after the last."""
    k = size - 1
    while k >= 0 and subset[k] == total - size + k:
        k -= 1
    if k < 0:
        return False
    subset[k] += 1
    for j in range(k + 1, size):
        subset[j] = subset[j - 1] + 1
    return True


@loop
def sign_at_vertex(j, planes, subset, size, inverse, mix, tolerance):
    """(sign of plane j at the vertex of `subset` with its free coordinates at −∞, 1 if within rounding).

    A plane parallel to one of the subset is compared with it by their offsets, without rounding; planes
    through the origin (β = 0 exactly) that meet there are known to meet: no doubt arises in either case.
    """
    normals, offsets, directions = planes
    rank = normals.shape[1]
    free = rank - size
    for a in range(size):
        if directions[j] == directions[subset[a]]:
            return (1.0 if offsets[j] > offsets[subset[a]] else -1.0), 0
    for a in range(size):
        mix[a] = 0.0
        for b in range(size):
            mix[a] += normals[j, free + b] * inverse[b, a]
    doubt = 0
    for k in range(free - 1, -1, -1):
        slope = normals[j, k]
        scale = 1.0
        for a in range(size):
            slope -= mix[a] * normals[subset[a], k]
            scale += abs(mix[a])
        if abs(slope) > tolerance * scale:
            return (-1.0 if slope > 0.0 else 1.0), doubt
        doubt = 1
    value = offsets[j]
    scale = abs(value)
    for a in range(size):
        value -= mix[a] * offsets[subset[a]]
        scale += (1.0 + abs(mix[a])) * abs(offsets[subset[a]])
    if abs(value) > tolerance * scale:
        return (1.0 if value > 0.0 else -1.0), doubt
    doubt = doubt if scale == 0.0 else 1
    for a in range(size):
        if subset[a] > j:
            break
        if abs(mix[a]) > tolerance:
            return (-1.0 if mix[a] > 0.0 else 1.0), doubt
    return 1.0, doubt


@loop
def signs_at_vertex(planes, subset, size, inverse, mix, tolerance, vertex, signs):
    """Signs of all planes for the region whose lowest vertex `subset` makes; counts those within rounding."""
    normals, offsets, _ = planes
    total, rank = normals.shape
    whole = size == rank
    if whole:
        for r in range(rank):
            vertex[r] = 0.0
            for a in range(size):
                vertex[r] -= inverse[r, a] * offsets[subset[a]]
    close = 0
    for j in range(total):
        if whole:
            value = offsets[j]
            scale = abs(value)
            for r in range(rank):
                term = normals[j, r] * vertex[r]
                value += term
                scale += abs(term)
            if abs(value) > 100.0 * tolerance * scale:
                signs[j] = 1.0 if value > 0.0 else -1.0
                continue
        signs[j], doubt = sign_at_vertex(j, planes, subset, size, inverse, mix, tolerance)
        for a in range(size):
            if subset[a] == j:
                signs[j] = 1.0 if inverse[0, a] > 0.0 else -1.0
                doubt = 0
        close += doubt
    return close


@loop
def affine_part(signs, kinks, system, matrix, constant):
    """The affine map H(z) = matrix z + constant of the region with these signs."""
    lower, upper, lower_side, upper_side = kinks
    linear, fixed, normals, offsets, weights, heights = system
    rank = matrix.shape[0]
    for r in range(rank):
        constant[r] = fixed[r]
        for s in range(rank):
            matrix[r, s] = linear[r, s]
    for i in range(lower.shape[0]):
        on = lower_side[i] if lower[i] < 0 else lower_side[i] * signs[lower[i]]
        if on <= 0.0:
            continue
        full = upper_side[i] if upper[i] < 0 else upper_side[i] * signs[upper[i]]
        for r in range(rank):
            if full > 0.0:
                constant[r] += weights[i, r] * heights[i]
            else:
                constant[r] += weights[i, r] * offsets[i]
                for s in range(rank):
                    matrix[r, s] += weights[i, r] * normals[i, s]


@loop
def place_of(z, signs, planes):
    """1 if z lies inside the region by more than rounding, −1 if outside, 0 if on its border."""
    normals, offsets, _ = planes
    result = 1
    for j in range(offsets.shape[0]):
        value = offsets[j]
        scale = abs(value)
        for r in range(z.shape[0]):
            term = normals[j, r] * z[r]
            value += term
            scale += abs(term)
        value *= signs[j]
        if value < -100.0 * CLOSE * scale:
            return -1
        if value <= 100.0 * CLOSE * scale:
            result = 0
    return result


@loop
def solve_region(signs, planes, kinks, system, room, answer):
    """Solve H = 0 in one region. Returns INSIDE, BORDER or FLAT with `answer` set, or −1 for no solution."""
    matrix, constant, inverse, work = room
    rank = matrix.shape[0]
    affine_part(signs, kinks, system, matrix, constant)
    regular = invert(matrix, inverse, work)
    norm, size = 0.0, 0.0
    for r in range(rank):
        for s in range(rank):
            norm = max(norm, abs(matrix[r, s]))
            size = max(size, abs(inverse[r, s])) if regular else size
    if not regular or norm * size > 1e13:
        return FLAT
    for r in range(rank):
        answer[r] = 0.0
        for s in range(rank):
            answer[r] -= inverse[r, s] * constant[s]
    place = place_of(answer, signs, planes)
    if place < 0:
        return -1
    return INSIDE if place > 0 else BORDER


@loop
def visit_regions(planes, kinks, system, size, start, stop, found, flags, flat):
    """Visit the region of every non-singular subset of `size` planes whose first is in start … stop − 1.

    found : (K, R) solutions; flags : (K,) INSIDE or BORDER; flat : (F, H) int8 signs of regions where
    I − J is singular. Returns (regions, decisions within rounding, solutions met, flat regions met).
    """
    normals = planes[0]
    total, rank = normals.shape
    free = rank - size
    subset = np.zeros(max(size, 1), dtype=np.int64)
    for k in range(size):
        subset[k] = start + k
    if size and subset[size - 1] >= total:
        return 0, 0, 0, 0
    square, inverse, work = np.empty((size, size)), np.empty((size, size)), np.empty((size, size))
    room = (np.empty((rank, rank)), np.empty(rank), np.empty((rank, rank)), np.empty((rank, rank)))
    signs, mix, answer = np.empty(total), np.empty(max(size, 1)), np.empty(rank)
    regions, close, kept, level = 0, 0, 0, 0
    while size == 0 or subset[0] < stop:
        for a in range(size):
            for b in range(size):
                square[a, b] = normals[subset[a], free + b]
        regular = invert(square, inverse, work)
        big = 0.0
        for a in range(size if regular else 0):
            for b in range(size):
                big = max(big, abs(inverse[a, b]))
        twins = False
        for a in range(size):
            for b in range(a):
                twins = twins or planes[2][subset[a]] == planes[2][subset[b]]
        regular = regular and big < 1e10 and not twins
        close += 0 if regular or twins else 1
        if regular:
            close += signs_at_vertex(
                planes, subset, size, inverse, mix, max(CLOSE, 1e-14 * big), answer, signs
            )
            regions += 1
            flag = solve_region(signs, planes, kinks, system, room, answer)
            if flag == FLAT:
                if level < flat.shape[0]:
                    for j in range(total):
                        flat[level, j] = np.int8(signs[j])
                level += 1
            elif flag >= 0:
                if kept < flags.shape[0]:
                    found[kept] = answer
                    flags[kept] = flag
                kept += 1
        if size == 0 or not next_subset(subset, size, total):
            break
    return regions, close, kept, level
