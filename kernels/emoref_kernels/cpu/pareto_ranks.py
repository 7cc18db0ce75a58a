"""Non-dominated sorting compiled with Numba: the ranks of the reference in O(N log N) to O(M N**2 / 64).

All methods visit the points in lexicographic order, so that none can be dominated by a later one, and put
each into the first front that does not dominate it. That front is found by binary search, since a point
that front k dominates is also dominated by front k - 1 (efficient non-dominated sort: Zhang, Tian, Cheng,
Jin, IEEE Trans. Evol. Comput. 19(2), 2015). They differ in how a front is asked whether it dominates a
point:

* one or two objectives: the front's smallest last value is compared with the point's;
* three: the front's last two objectives are kept as a staircase, which is searched by bisection;
* more, up to some hundred points: the front's members are compared one by one, newest first;
* more objectives and points: the set of a point's dominators is intersected with the set of the front's
  members. Up to some thousand points, these sets are found for all points at once with one running bit set
  an objective, and stay in the cache; beyond that each is put together from stored running sets.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.fronts import finite_rows
from emoref_kernels.cpu.jit import jit
from emoref_kernels.pareto_checks import check_objectives

__all__ = ["nondominated_ranks"]

_BIT_SETS_FROM = 150
_BIT_SETS_TO = 30_000  # points; the sets of the members take N**2 / 8 bytes
_ALL_AT_ONCE_TO = 1_500  # points; the sets of the dominators take N**2 / 8 bytes, too
_TIES_TO = 8  # steps of an insertion in rows that are equal in the first objective
_STORED_SETS = 128  # an objective, at most twice as many


def nondominated_ranks(F: Any) -> NDArray[np.int64]:
    """Rank points by non-dominated sorting; see `emoref_kernels.reference.pareto.nondominated_ranks`.

    Parameters
    ----------
    F
        Objective values (N, M), N >= 1.

    Returns
    -------
    numpy.ndarray
        Ranks from 0, int64 (N,); rows with a non-finite value share the rank after all others.

    Raises
    ------
    ShapeError, DtypeError
        If `F` is no two-dimensional, non-empty array of real numbers.
    """
    F = np.ascontiguousarray(check_objectives(F))
    rows = finite_rows(F)
    if rows.all():
        return _finite_ranks(F)
    ranks = np.zeros(F.shape[0], dtype=np.int64)
    if rows.any():
        ranks[rows] = _finite_ranks(F[rows])
        ranks[~rows] = ranks.max() + 1
    return ranks


def _finite_ranks(F: NDArray[np.float64]) -> NDArray[np.int64]:
    count, objectives = F.shape
    order = np.argsort(F[:, 0])
    if not _break_ties(F, order):
        order = np.lexsort(F.T[::-1])
    if objectives <= 2:
        return _ranks_by_minimum(F, order)
    points = F.take(order, axis=0)
    if objectives == 3:
        return _ranks_by_staircase(points, order)
    if _BIT_SETS_FROM <= count <= _BIT_SETS_TO:
        orders = np.argsort(np.ascontiguousarray(points.T[1:]), axis=1)
        rank = _ranks_by_bit_sets if count <= _ALL_AT_ONCE_TO else _ranks_by_stored_sets
        return rank(points, orders, order)
    return _ranks_by_members(points, order)


@jit()
def _break_ties(F, order):
    """Bring rows of equal first value into lexicographic order by insertion; give up if they are many."""
    for i in range(1, order.size):
        row = order[i]
        k = i
        while k > 0 and F[order[k - 1], 0] == F[row, 0] and _later(F, order[k - 1], row):
            order[k] = order[k - 1]
            k -= 1
        order[k] = row
        if i - k > _TIES_TO:
            return False
    return True


@jit()
def _later(F, a, b):
    """Return whether row a comes after row b in lexicographic order."""
    for m in range(F.shape[1]):
        if F[a, m] != F[b, m]:
            return F[a, m] > F[b, m]
    return False


@jit()
def _equal(P, a, b):
    for m in range(P.shape[1]):  # noqa: SIM110 (Numba compiles loops, not generators)
        if P[a, m] != P[b, m]:
            return False
    return True


@jit()
def _ranks_by_minimum(F, order):
    """Rank one- or two-objective points, given their lexicographic order."""
    count = order.size
    last = F.shape[1] - 1
    ranks = np.empty(count, np.int64)
    smallest = np.empty(count)  # of each front, in the last objective; grows from front to front
    fronts = 0
    for i in range(count):
        row = order[i]
        if i > 0 and _equal(F, order[i - 1], row):
            ranks[row] = ranks[order[i - 1]]
            continue
        value = F[row, last]
        low, high = 0, fronts
        while low < high:
            middle = (low + high) // 2
            if smallest[middle] <= value:
                low = middle + 1
            else:
                high = middle
        if low == fronts:
            fronts += 1
        smallest[low] = value
        ranks[row] = low
    return ranks


@jit()
def _ranks_by_members(P, order):
    """Rank points `P` in lexicographic order; `order` holds their rows in the result."""
    count = P.shape[0]
    ranks = np.empty(count, np.int64)
    # The members of each front as a linked list, newest first: a late point is most likely dominated by
    # one that came shortly before it.
    newest = np.empty(count, np.int64)
    older = np.empty(count, np.int64)
    fronts = 0
    for i in range(count):
        if i > 0 and _equal(P, i - 1, i):
            ranks[order[i]] = ranks[order[i - 1]]
            continue
        low, high = 0, fronts
        while low < high:
            middle = (low + high) // 2
            member = newest[middle]
            while member >= 0 and not _nowhere_larger(P, member, i):
                member = older[member]
            if member >= 0:
                low = middle + 1
            else:
                high = middle
        if low == fronts:
            fronts += 1
            newest[low] = -1
        older[i] = newest[low]
        newest[low] = i
        ranks[order[i]] = low
    return ranks


@jit()
def _nowhere_larger(P, a, b):
    """Return whether a dominates b, for a before b in lexicographic order and different from it."""
    for m in range(1, P.shape[1]):  # noqa: SIM110
        if P[a, m] > P[b, m]:
            return False
    return True


# ------------------------------------------------------------------------------------ three objectives


@jit()
def _ranks_by_staircase(P, order):
    """Rank three-objective points `P` in lexicographic order."""
    count = P.shape[0]
    ranks = np.empty(count, np.int64)
    # The staircase of front f is y[start[f] : start[f] + size[f]] ascending, and z there descending. One
    # that grows beyond its room moves to the end of the pool with twice the room; since every front has
    # at least one point, all rooms together are at most 4 count, and those left behind as much again.
    y, z = np.empty(8 * count), np.empty(8 * count)
    start, size, room = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    used, fronts = 0, 0
    for i in range(count):
        if i > 0 and _equal(P, i - 1, i):
            ranks[order[i]] = ranks[order[i - 1]]
            continue
        new_y, new_z = P[i, 1], P[i, 2]
        low, high = 0, fronts
        while low < high:
            middle = (low + high) // 2
            at = _first_from(y, start[middle], size[middle], new_y, True) - 1
            if at >= start[middle] and z[at] <= new_z:
                low = middle + 1
            else:
                high = middle
        if low == fronts:
            start[low], size[low], room[low] = used, 0, 4
            used += 4
            fronts += 1
        elif size[low] == room[low]:
            for k in range(size[low]):
                y[used + k], z[used + k] = y[start[low] + k], z[start[low] + k]
            start[low] = used
            room[low] *= 2
            used += room[low]
        size[low] = _add_step(y, z, start[low], size[low], new_y, new_z)
        ranks[order[i]] = low
    return ranks


@jit()
def _first_from(y, start, size, value, above):
    """Return the first of `size` places from `start` on whose value is not below `value`, or is above it."""
    low, high = start, start + size
    while low < high:
        middle = (low + high) // 2
        if y[middle] < value or (above and y[middle] == value):
            low = middle + 1
        else:
            high = middle
    return low


@jit()
def _add_step(y, z, start, size, new_y, new_z):
    """Insert a step that no other dominates, drop those that it dominates, and return how many there are."""
    at = _first_from(y, start, size, new_y, False)
    stop = start + size
    end = at
    while end < stop and z[end] >= new_z:
        end += 1
    shift = at + 1 - end
    if shift > 0:
        for k in range(stop - 1, end - 1, -1):
            y[k + 1], z[k + 1] = y[k], z[k]
    elif shift < 0:
        for k in range(end, stop):
            y[k + shift], z[k + shift] = y[k], z[k]
    y[at], z[at] = new_y, new_z
    return size + shift


# -------------------------------------------------------------------------------------------- bit sets


@jit()
def _ranks_by_bit_sets(P, orders, order):
    """Rank points `P` in lexicographic order; `orders` sorts each objective but the first."""
    count = P.shape[0]
    words = (count + 63) // 64
    dominators = _dominators(P, orders)
    members = np.zeros((count, words), np.uint64)
    ranks = np.empty(count, np.int64)
    fronts = 0
    for i in range(count):
        if i > 0 and _equal(P, i - 1, i):
            ranks[order[i]] = ranks[order[i - 1]]
            continue
        front = _front_of(dominators, i, members, fronts, i // 64 + 1)
        fronts = max(fronts, front + 1)
        members[front, i // 64] |= np.uint64(1) << np.uint64(i % 64)
        ranks[order[i]] = front
    return ranks


@jit()
def _ranks_by_stored_sets(P, orders, order):
    """Rank as `_ranks_by_bit_sets` does, with one set of dominators at a time."""
    count = P.shape[0]
    words = (count + 63) // 64
    block = 64
    while block * 2 * _STORED_SETS <= count:
        block *= 2
    not_larger, stored = _stored_sets(P, orders, block)
    dominators, scratch = np.empty((1, words), np.uint64), np.empty(words, np.uint64)
    members = np.zeros((count, words), np.uint64)
    ranks = np.empty(count, np.int64)
    fronts = 0
    for i in range(count):
        if i > 0 and _equal(P, i - 1, i):
            ranks[order[i]] = ranks[order[i - 1]]
            continue
        _find_dominators(i, orders, not_larger, stored, block, dominators, scratch)
        front = _front_of(dominators, 0, members, fronts, i // 64 + 1)
        fronts = max(fronts, front + 1)
        members[front, i // 64] |= np.uint64(1) << np.uint64(i % 64)
        ranks[order[i]] = front
    return ranks


@jit()
def _dominators(P, orders):
    """Return for each point the set of earlier points that are nowhere larger."""
    count = P.shape[0]
    words = (count + 63) // 64
    sets = np.empty((count, words), np.uint64)
    for i in range(count):
        sets[i, : i // 64] = ~np.uint64(0)
        sets[i, i // 64] = (np.uint64(1) << np.uint64(i % 64)) - np.uint64(1)
    not_larger = np.empty(words, np.uint64)
    for m in range(1, P.shape[1]):
        ascending = orders[m - 1]
        not_larger[:] = np.uint64(0)
        first = 0
        while first < count:
            end = first
            while end < count and P[ascending[end], m] == P[ascending[first], m]:
                i = ascending[end]
                not_larger[i // 64] |= np.uint64(1) << np.uint64(i % 64)
                end += 1
            for k in range(first, end):
                i = ascending[k]
                for w in range(i // 64 + 1):
                    sets[i, w] &= not_larger[w]
            first = end
    return sets


@jit()
def _stored_sets(P, orders, block):
    """Return how many points are not larger than each, and the sets of the smallest 0, 1, 2, ... blocks.

    Both in each objective but the first.
    """
    count = P.shape[0]
    objectives, words = orders.shape[0], (count + 63) // 64
    not_larger = np.empty((objectives, count), np.int64)
    stored = np.zeros((objectives, count // block + 1, words), np.uint64)
    for m in range(objectives):
        ascending = orders[m]
        end = count
        for k in range(count - 1, -1, -1):
            not_larger[m, ascending[k]] = end
            if k > 0 and P[ascending[k - 1], m + 1] < P[ascending[k], m + 1]:
                end = k
        for b in range(1, count // block + 1):
            stored[m, b] = stored[m, b - 1]
            for k in range((b - 1) * block, b * block):
                i = ascending[k]
                stored[m, b, i // 64] |= np.uint64(1) << np.uint64(i % 64)
    return not_larger, stored


@jit()
def _find_dominators(i, orders, not_larger, stored, block, dominators, scratch):
    """Make `dominators` the set of earlier points that are nowhere larger than point i."""
    words = i // 64 + 1
    for w in range(words):
        dominators[0, w] = ~np.uint64(0)
    dominators[0, words - 1] = (np.uint64(1) << np.uint64(i % 64)) - np.uint64(1)
    for m in range(orders.shape[0]):
        end = not_larger[m, i]
        whole = end // block
        for w in range(words):
            scratch[w] = stored[m, whole, w]
        # Bits beyond the last word are set, too, and never read: faster than to ask for each.
        for k in range(whole * block, end):
            j = orders[m, k]
            scratch[j // 64] |= np.uint64(1) << np.uint64(j % 64)
        for w in range(words):
            dominators[0, w] &= scratch[w]


@jit()
def _front_of(dominators, i, members, fronts, words):
    """Return the first front without a dominator, set i of `dominators`, by bisection."""
    low, high = 0, fronts
    while low < high:
        middle = (low + high) // 2
        if _intersect(dominators, i, members, middle, words):
            low = middle + 1
        else:
            high = middle
    return low


@jit()
def _intersect(A, i, B, j, words):
    # Indices instead of rows as arrays of their own, here and elsewhere: a reference to an array is
    # counted by atomic operations, which cost more than the few words of a set.
    for w in range(words):  # noqa: SIM110
        if A[i, w] & B[j, w] != np.uint64(0):
            return True
    return False
