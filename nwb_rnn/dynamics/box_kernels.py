"""Compiled search of a box for the zeros of a `ClippedSystem`: every part is solved or excluded.

**One box.** With centre c and half-widths w, unit i sees x_i ∈ [l_i, u_i] = m_i·c + b_i ± |m_i|·w. Units
with u ≤ 0 give 0, with l ≥ d give d, with 0 ≤ l, u ≤ d give x: these are *decided*, exactly, in this box and
in all boxes inside it, so their affine part is summed once and handed down. An undecided unit is
enclosed by a band, clip(x, 0, d) ∈ α x + β ± δ: for one kink α = u/(u − l) (the chord); for both
α = d/max(d − l, u), the slope whose band is narrowest. So on the whole box

    H(c + p) = G + J p + Σ_i v_i e_i,   |e_i| ≤ δ_i,  |p| ≤ w.

With P ≈ J⁻¹ a zero must satisfy  p ∈ −P G ± (|P J − I| w + Σ_i |P v_i| δ_i):  summing |P v_i| after the
product keeps what cancels between units. The box shrinks to the intersection, or is empty: excluded.
The rows of H itself are tested as well (they still work when J is nearly singular).

**Existence.** The band gives H = 0 ⇔ p = −P(G + …) up to P's regularity; if the right-hand side lies inside
the box for all p in it, Brouwer's theorem gives a zero. **Uniqueness.** For two zeros y, y' in the box,
0 = S (y − y') with S = D + Σ_i σ_i v_i m_iᵀ, σ_i ∈ [0, 1] (1 or 0 where decided); if |P S − I| w < w for
every such S, then S is regular and y = y'. (Krawczyk 1969; Neumaier 1990, "Interval Methods for Systems of
Equations"; chords as in Wong & Kolter 2018.)

**Rounding.** Each sum of n terms is computed to within γ Σ|terms|, γ = (N + 8R + 32)·eps, more than twice
the standard bound (Higham 2002, section 3.1) for sums of N + R products. Σ|terms| is carried along with every
sum and γ times it is added to the radius that belongs to it; results of such radii are inflated by
(1 + 4γ). x_i carries ex_i = 4(R + 4)·eps·(|m_i|·|y|max + |b_i|) plus the error of b_i itself. Interval ends
are widened by 4 eps of their size. So no step relies on round-to-nearest being exact.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import njit

EPS = 2.220446049250313e-16
TINY = 1e-290

SOLVED, CANDIDATE, UNRESOLVED, SINGULAR = 0, 1, 2, 3
EMPTY, SHRUNK, STALLED = 10, 11, 12

System = namedtuple(
    "System", "linear constant normals offsets weights heights linear_error constant_error offset_error"
)
Memory = namedtuple("Memory", "lists counts sum_j sum_b abs_j abs_b")
"""Per level of the tree: undecided units, how many, and the decided units' J, constant and Σ|terms|."""
Local = namedtuple(
    "Local",
    "centre half jac jac_error value value_error raw inverse loose shift spread steep smear alpha delta "
    "square",
)
"""Of the box under study: c, w, J and G with rounding, Σ|v|δ, P, |PJ − I|, P G, radii, slopes, gains."""
Rounding = namedtuple("Rounding", "unit slack gamma inflate projection")
"""Bounds on x_i, on b_i/γ, the factors γ, 1 + 4γ, and 2(R + 2) eps for P v."""


@njit(cache=True, nogil=True, error_model="numpy")
def invert(matrix, inverse, work):
    """Gauss–Jordan with partial pivoting on (R, R); False where a pivot vanishes."""
    size = matrix.shape[0]
    for i in range(size):
        for j in range(size):
            work[i, j] = matrix[i, j]
            inverse[i, j] = 1.0 if i == j else 0.0
    for k in range(size):
        pivot = k
        for i in range(k + 1, size):
            if abs(work[i, k]) > abs(work[pivot, k]):
                pivot = i
        if not abs(work[pivot, k]) > 1e-200:
            return False
        if pivot != k:
            for j in range(size):
                work[k, j], work[pivot, j] = work[pivot, j], work[k, j]
                inverse[k, j], inverse[pivot, j] = inverse[pivot, j], inverse[k, j]
        scale = 1.0 / work[k, k]
        for j in range(size):
            work[k, j] *= scale
            inverse[k, j] *= scale
        for i in range(size):
            factor = work[i, k]
            if i != k and factor != 0.0:
                for j in range(size):
                    work[i, j] -= factor * work[k, j]
                    inverse[i, j] -= factor * inverse[k, j]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def band(low, high, height, error):
    """(α, β, δ) with clip(x, 0, height) within α x + β ± δ for all x in [low, high], low < high.

    `error` bounds the rounding of the x that α will be applied to.
    """
    if high <= height:
        alpha = high / (high - low)
        top = -alpha * low
        bottom = 0.0
        other = high - alpha * high
        top = max(top, other)
        size = alpha * max(abs(low), abs(high)) + high
    elif low >= 0.0:
        alpha = (height - low) / (high - low)
        top = height - alpha * height
        bottom = min(low - alpha * low, height - alpha * high)
        size = alpha * max(abs(low), abs(high)) + height
    else:
        alpha = height / max(height - low, high)
        top = max(-alpha * low, height - alpha * height)
        bottom = min(0.0, height - alpha * high)
        size = alpha * max(abs(low), abs(high)) + height
    middle = 0.5 * (top + bottom)
    half = max(top - middle, middle - bottom)
    return alpha, middle, half * (1.0 + 4.0 * EPS) + 8.0 * EPS * size + alpha * error


@njit(cache=True, nogil=True, error_model="numpy")
def classify_units(box, system, source, target, memory, local, rounding):
    """Sum the units that this box decides into level `target`; band the others. Returns how many are left."""
    rank = box.shape[1]
    left = 0
    for k in range(memory.counts[source]):
        i = memory.lists[source, k]
        x = system.offsets[i]
        radius = 0.0
        for r in range(rank):
            x += system.normals[i, r] * local.centre[r]
            radius += abs(system.normals[i, r]) * local.half[r]
        radius = radius * rounding.inflate + rounding.unit[i]
        if x + radius <= 0.0:
            continue
        if x - radius >= system.heights[i]:
            for r in range(rank):
                term = system.weights[i, r] * system.heights[i]
                memory.sum_b[target, r] += term
                memory.abs_b[target, r] += abs(term)
        elif x - radius >= 0.0 and x + radius <= system.heights[i]:
            for r in range(rank):
                v = system.weights[i, r]
                term = v * system.offsets[i]
                memory.sum_b[target, r] += term
                memory.abs_b[target, r] += abs(term) + abs(v) * rounding.slack[i]
                for s in range(rank):
                    term = v * system.normals[i, s]
                    memory.sum_j[target, r, s] += term
                    memory.abs_j[target, r, s] += abs(term)
        else:
            alpha, beta, delta = band(x - radius, x + radius, system.heights[i], rounding.unit[i])
            memory.lists[target, left] = i
            local.alpha[left] = alpha
            local.delta[left] = delta
            left += 1
            for r in range(rank):
                v = system.weights[i, r]
                local.value[r] += v * (alpha * x + beta)
                local.value_error[r] += abs(v) * (abs(alpha * x) + abs(beta))
                local.raw[r] += abs(v) * delta
                scaled = v * alpha
                for s in range(rank):
                    term = scaled * system.normals[i, s]
                    local.jac[r, s] += term
                    local.jac_error[r, s] += abs(term)
    memory.counts[target] = left
    return left


@njit(cache=True, nogil=True, error_model="numpy")
def open_box(box, source, target, memory, local):
    """Centre and half-widths of the box; clear what is local; hand the decided sums down a level."""
    rank = box.shape[1]
    for r in range(rank):
        local.centre[r] = 0.5 * (box[0, r] + box[1, r])
        reach = max(box[1, r] - local.centre[r], local.centre[r] - box[0, r])
        local.half[r] = reach * (1.0 + 4.0 * EPS) + TINY
        local.value[r] = 0.0
        local.value_error[r] = 0.0
        local.raw[r] = 0.0
        for s in range(rank):
            local.jac[r, s] = 0.0
            local.jac_error[r, s] = 0.0
            if source != target:
                memory.sum_j[target, r, s] = memory.sum_j[source, r, s]
                memory.abs_j[target, r, s] = memory.abs_j[source, r, s]
        if source != target:
            memory.sum_b[target, r] = memory.sum_b[source, r]
            memory.abs_b[target, r] = memory.abs_b[source, r]


@njit(cache=True, nogil=True, error_model="numpy")
def assemble(system, target, memory, local, rounding):
    """G and J with bounds on their rounding; True if some row of H cannot vanish on the box."""
    rank = local.centre.shape[0]
    empty = False
    for r in range(rank):
        total = system.constant[r] + memory.sum_b[target, r] + local.value[r]
        size = abs(system.constant[r]) + memory.abs_b[target, r] + local.value_error[r]
        spread = system.constant_error[r]
        reach = local.raw[r]
        for s in range(rank):
            affine = system.linear[r, s] + memory.sum_j[target, r, s]
            affine_abs = abs(system.linear[r, s]) + memory.abs_j[target, r, s]
            total += affine * local.centre[s]
            size += affine_abs * abs(local.centre[s])
            spread += system.linear_error[r, s] * abs(local.centre[s])
            error = rounding.gamma * (local.jac_error[r, s] + affine_abs) + system.linear_error[r, s]
            local.jac[r, s] += affine
            local.jac_error[r, s] = error
            reach += (abs(local.jac[r, s]) + error) * local.half[s]
        local.value[r] = total
        local.value_error[r] = (rounding.gamma * size + spread) * rounding.inflate
        if abs(total) > (reach + local.value_error[r]) * rounding.inflate:
            empty = True
    return empty


@njit(cache=True, nogil=True, error_model="numpy")
def precondition(local, rounding):
    """P ≈ J⁻¹, P G and |P J − I| with bounds; False where J is not proved regular."""
    rank = local.centre.shape[0]
    if not invert(local.jac, local.inverse, local.square):
        return False
    for r in range(rank):
        shift = 0.0
        spread = 0.0
        for s in range(rank):
            p = local.inverse[r, s]
            shift += p * local.value[s]
            spread += abs(p) * (local.value_error[s] + rounding.gamma * abs(local.value[s]))
        local.shift[r] = shift
        local.spread[r] = spread
        local.steep[r] = 0.0
        local.smear[r] = 0.0
        norm = 0.0
        for s in range(rank):
            entry = -1.0 if r == s else 0.0
            bound = EPS
            for q in range(rank):
                p = local.inverse[r, q]
                entry += p * local.jac[q, s]
                bound += abs(p) * (rounding.gamma * abs(local.jac[q, s]) + local.jac_error[q, s])
            local.loose[r, s] = (abs(entry) + bound) * rounding.inflate
            norm += local.loose[r, s]
        if not norm < 0.5:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def project_bands(system, units, left, local, rounding):
    """Add Σ|P v|δ to radii and Σ|P v| max(α, 1 − α)|m|w to slopes; credit each axis with what it causes."""
    rank = local.centre.shape[0]
    for k in range(left):
        i = units[k]
        reach = 0.0
        for s in range(rank):
            reach += abs(system.normals[i, s]) * local.half[s]
        reach *= max(local.alpha[k], 1.0 - local.alpha[k])
        strength = 0.0
        for r in range(rank):
            projected = 0.0
            size = 0.0
            for s in range(rank):
                term = local.inverse[r, s] * system.weights[i, s]
                projected += term
                size += abs(term)
            projected = abs(projected) + rounding.projection * size
            local.spread[r] += projected * local.delta[k]
            local.steep[r] += projected * reach
            strength += projected / local.half[r]
        strength *= local.delta[k]
        for s in range(rank):
            local.smear[s] += strength * abs(system.normals[i, s])


@njit(cache=True, nogil=True, error_model="numpy")
def intersect(box, local, rounding):
    """Shrink the box to where zeros can be: (empty, exactly one zero inside, share of volume left)."""
    rank = box.shape[1]
    inside, unique = True, True
    share = 1.0
    for r in range(rank):
        radius = local.spread[r]
        steep = local.steep[r]
        for s in range(rank):
            radius += local.loose[r, s] * local.half[s]
            steep += local.loose[r, s] * local.half[s]
        if not steep * rounding.inflate < local.half[r] * (1.0 - 1e-9):
            unique = False
        middle = local.centre[r] - local.shift[r]
        radius = radius * rounding.inflate + TINY
        radius += 4.0 * EPS * (abs(local.centre[r]) + abs(local.shift[r]) + radius)
        if not (middle - radius > box[0, r] and middle + radius < box[1, r]):
            inside = False
        before = box[1, r] - box[0, r]
        box[0, r] = max(box[0, r], middle - radius)
        box[1, r] = min(box[1, r], middle + radius)
        if box[0, r] > box[1, r]:
            return True, False, 0.0
        if before > 0.0:
            share *= (box[1, r] - box[0, r]) / before
    return False, inside and unique, share


@njit(cache=True, nogil=True, error_model="numpy")
def examine(box, system, source, target, memory, local, rounding):
    """Test one box (2, R) and shrink it in place.

    Decided sums and undecided units are read at level `source` and written at `target`. Returns the
    state (EMPTY, SHRUNK, STALLED, SOLVED, CANDIDATE or SINGULAR) and the axis to split.
    """
    open_box(box, source, target, memory, local)
    left = classify_units(box, system, source, target, memory, local, rounding)
    if assemble(system, target, memory, local, rounding):
        return EMPTY, 0
    if not precondition(local, rounding):
        return (SINGULAR if left == 0 else STALLED), widest(local.half)
    project_bands(system, memory.lists[target], left, local, rounding)
    empty, solved, share = intersect(box, local, rounding)
    if empty:
        return EMPTY, 0
    if solved:
        return SOLVED, 0
    if left == 0:
        return CANDIDATE, 0
    if share < 0.5:
        return SHRUNK, 0
    for s in range(box.shape[1]):
        local.smear[s] *= box[1, s] - box[0, s]
    return STALLED, widest(local.smear)


@njit(cache=True, nogil=True, error_model="numpy")
def copy_box(source, target):
    """Copy (2, R) bounds."""
    for r in range(source.shape[1]):
        target[0, r] = source[0, r]
        target[1, r] = source[1, r]


@njit(cache=True, nogil=True, error_model="numpy")
def widest(sizes):
    """Index of the largest entry."""
    best = 0
    for s in range(sizes.shape[0]):
        if sizes[s] > sizes[best]:
            best = s
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def workspace(box, system, levels):
    """Memory of the search, level 0 holding every unit as undecided, and the bounds on rounding."""
    units, rank = system.normals.shape
    gamma = (units + 8 * rank + 32) * EPS
    unit_error, slack = np.empty(units), np.empty(units)
    for i in range(units):
        size = abs(system.offsets[i])
        for r in range(rank):
            size += abs(system.normals[i, r]) * max(abs(box[0, r]), abs(box[1, r]))
        unit_error[i] = 4.0 * (rank + 4) * EPS * size + 2.0 * system.offset_error[i] + TINY
        slack[i] = 2.0 * system.offset_error[i] / gamma
    lists = np.empty((levels, units), dtype=np.int32)
    counts = np.zeros(levels, dtype=np.int64)
    for i in range(units):
        lists[0, i] = i
    counts[0] = units
    square = np.zeros((2, levels, rank, rank))
    line = np.zeros((2, levels, rank))
    memory = Memory(lists, counts, square[0], line[0], square[1], line[1])
    v = np.zeros((9, rank))
    m = np.zeros((5, rank, rank))
    per_unit = np.empty((2, units))
    local = Local(
        v[0],
        v[1],
        m[0],
        m[1],
        v[2],
        v[3],
        v[4],
        m[2],
        m[3],
        v[5],
        v[6],
        v[7],
        v[8],
        per_unit[0],
        per_unit[1],
        m[4],
    )
    return memory, local, Rounding(unit_error, slack, gamma, 1.0 + 4.0 * gamma, 2.0 * (rank + 2) * EPS)


@njit(cache=True, nogil=True, error_model="numpy")
def search_box(root, system, smallest, limits, found, flags):
    """Depth first through one box (2, R). Returns (records kept in `found`, boxes seen, boxes left unseen).

    limits : most boxes to look at, deepest level, most records that are not SOLVED
    found : (K, 2, R) enclosures; flags : (K,) SOLVED, CANDIDATE, UNRESOLVED or SINGULAR
    smallest : (R,) a box no wider than this in every coordinate is recorded as UNRESOLVED; infinite widths
    test the box as it is, without splitting
    """
    max_boxes, depth_limit, max_loose = limits
    memory, local, rounding = workspace(root, system, depth_limit + 2)
    stack = np.empty((depth_limit + 2, 2, root.shape[1]))
    level_of = np.ones(depth_limit + 2, dtype=np.int64)
    rank = root.shape[1]
    box = np.empty((2, rank))
    copy_box(root, stack[0])
    size, kept, seen, loose = 1, 0, 0, 0
    while size > 0 and seen < max_boxes and kept < found.shape[0] and loose <= max_loose:
        size -= 1
        copy_box(stack[size], box)
        level = level_of[size]
        source = level - 1
        state, axis = SHRUNK, 0
        while state == SHRUNK:
            state, axis = examine(box, system, source, level, memory, local, rounding)
            source = level
            seen += 1
        if state == EMPTY:
            continue
        for r in range(rank):
            local.steep[r] = (box[1, r] - box[0, r]) / smallest[r]
        longest = widest(local.steep)
        if state == STALLED and (local.steep[longest] <= 1.0 or level >= depth_limit):
            state = UNRESOLVED
        if state != STALLED:
            copy_box(box, found[kept])
            flags[kept] = state
            kept += 1
            loose += 0 if state == SOLVED else 1
            continue
        if local.steep[axis] <= 1.0:
            axis = longest
        copy_box(box, stack[size])
        copy_box(box, stack[size + 1])
        middle = 0.5 * (box[0, axis] + box[1, axis])
        stack[size, 0, axis] = middle
        stack[size + 1, 1, axis] = middle
        level_of[size] = level_of[size + 1] = level + 1
        size += 2
    return kept, seen, size
