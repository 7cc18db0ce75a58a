"""Points as columns of ranks, and all the room that sweeps over them need, in three flat arrays.

Arrays of arrays would be counted and uncounted at each use, which costs more than many a step of a sweep. So
there is one array a type, and the head of the integers says where each part begins:

* ``floats``: values by rank (objectives, stride), the last that of the reference point; the steps of a
  staircase (2, capacity + 2) from `STEPS`; sums of each objective's sweep (objectives, 3) from `SUMS`;
* ``columns``: ranks of the points (levels, objectives, capacity); from `SLOTS` on, in the same shape, where
  the point of a rank still to come is;
* ``numbers``: a head; masks of the ranks still to come (levels, objectives, capacity / 64) from `LATER`;
  masks of the points that count so far, in the same shape, from `PRESENT`, row m for a sweep along objective
  m; masks of the points that cover nothing besides others (levels, capacity / 64) from `IDLE`; ranks of the
  corner of each level's box, and where it ends (levels, objectives) from `CORNER` and `ENDS`, the corner of
  level 0 being -1; masks of one point (objectives,) from `MASKS`; where the sweep along each objective is
  (objectives, 4) from `PLACES`.

Level 0 is the set as given; each limited set is one level deeper. The capacity is a multiple of 64.
"""

import numpy as np

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pareto_masks import BITS, LAST

__all__ = ["add_step", "mark_all", "ranked_space", "start_staircase", "words_of"]

OBJECTIVES, CAPACITY, STRIDE, SLOTS, PRESENT, IDLE, CORNER, ENDS, MASKS, PLACES, STEPS, SUMS, LATER = range(
    13
)
"""Places in the head. The part of `LATER` itself begins there."""

LEVEL, COUNT, WORD, MASK = range(4)
"""What `PLACES` says: level and points of a set, and the word and the mask of ranks still to come."""

VOLUME, TOTAL, HEIGHT = range(3)
"""What `SUMS` says: the volume that moves along, its sum so far, and where it is."""

_BISECT_FROM = 16
"""Steps among which a place is found by halving; fewer are looked at one by one."""


@jit()
def ranked_space(points, orders, index, count, ref, levels, columns):
    """Rank points, and make room for sweeps.

    Parameters
    ----------
    points
        Points (M, N), M >= 3.
    orders
        Which point is the smallest, second, ... in each objective, int64 (M, N).
    index
        Numbers of the points that are smaller than `ref` everywhere, from 0; -1 for the others, int64 (N,).
    count
        How many these are, at least 1.
    ref
        Reference point (M,).
    levels
        Number of levels.
    columns
        Room for two times levels * M columns of whole masks, of a type that can hold N.

    Returns
    -------
    tuple
        The numbers and floats that the module describes, with level 0 set up: all points present for a sweep
        along the last objective. And which point is in each slot of it, by number, int64 (count,).
    """
    objectives = np.int64(ref.size)
    rows = levels * objectives
    capacity = columns.size // (2 * rows)
    numbers = _empty_numbers(objectives, count, levels, capacity)
    floats = np.empty(numbers[SUMS] + 3 * objectives)
    slots, order = np.empty(count, np.int64), np.empty(count, np.int64)
    slot = 0
    for place in range(index.size):
        i = index[orders[2, place]]
        if i >= 0:
            slots[i], order[slot] = slot, i
            slot += 1
    for m in range(objectives):
        place, rank, last = np.int64(0), np.int64(0), np.inf
        for k in range(index.size):
            row = orders[m, k]
            if index[row] >= 0:
                value = points[m, row]
                if value != last:
                    rank, last = place, value
                    floats[m * (count + 1) + rank] = value
                columns[m * capacity + slots[index[row]]] = rank
                place += 1
        floats[m * (count + 1) + count] = ref[m]
    mark_all(numbers, numbers[PRESENT] + (objectives - 1) * (capacity >> BITS), count)
    return numbers, floats, order


@jit()
def _empty_numbers(objectives, count, levels, capacity):
    rows, words = levels * objectives, capacity >> BITS
    present = LATER + rows * words
    idle = present + rows * words
    corner = idle + levels * words
    ends = corner + rows
    masks = ends + rows
    places = masks + objectives
    numbers = np.zeros(places + 4 * objectives, np.int64)
    numbers[OBJECTIVES], numbers[CAPACITY], numbers[STRIDE] = objectives, capacity, count + 1
    numbers[SLOTS], numbers[PRESENT], numbers[IDLE] = rows * capacity, present, idle
    numbers[CORNER], numbers[ENDS], numbers[MASKS], numbers[PLACES] = corner, ends, masks, places
    numbers[STEPS] = objectives * (count + 1)
    numbers[SUMS] = numbers[STEPS] + 2 * (capacity + 2)
    for m in range(objectives):
        numbers[corner + m], numbers[ends + m] = -1, count
    return numbers


@jit()
def mark_all(numbers, first, count):
    """Make the set of all of `count` slots, with masks from place `first` on."""
    for w in range(count >> BITS):
        numbers[first + w] = -1
    if count & LAST > 0:
        numbers[first + (count >> BITS)] = ~(np.int64(-1) << np.int64(count & LAST))


@jit()
def words_of(count):
    """Return how many masks there are for `count` points."""
    return (count + LAST) >> BITS


# -------------------------------------------------------------------------------------------- staircase


@jit()
def start_staircase(floats, x, y, end_x, end_y):
    """Make a staircase without steps, with places from x and from y on; return how many steps there are.

    Sentinels at both ends stand for the ends of the box.
    """
    floats[x], floats[y] = -np.inf, end_y
    floats[x + 1], floats[y + 1] = end_x, -np.inf
    return np.int64(2)


@jit(inline="always")
def add_step(floats, x, y, steps, new_x, new_y):
    """Insert a point into a staircase.

    Parameters
    ----------
    floats, x, y
        The steps are ``floats[x + k], floats[y + k]``; the first ascend, the second descend.
    steps
        How many there are, sentinels included; there is room for one more.
    new_x, new_y
        The point, smaller than the ends of the box.

    Returns
    -------
    tuple
        By how much the covered area grows, and the number of steps.
    """
    low, at = np.int64(0), steps - 1  # x of low < new_x <= x of at
    while at - low > _BISECT_FROM:
        middle = (low + at) >> 1
        if floats[x + middle] < new_x:
            low = middle
        else:
            at = middle
    at = low + 1
    while floats[x + at] < new_x:
        at += 1
    height = floats[y + at - 1]
    if height <= new_y or (floats[x + at] == new_x and floats[y + at] <= new_y):
        return 0.0, steps
    added, left = 0.0, new_x
    end = at
    while floats[y + end] >= new_y:
        added += (floats[x + end] - left) * (height - new_y)
        left, height = floats[x + end], floats[y + end]
        end += 1
    added += (floats[x + end] - left) * (height - new_y)
    # Steps at..end-1 vanish behind the new one.
    shift = at + 1 - end
    if shift > 0:
        for k in range(steps - 1, end - 1, -1):
            floats[x + k + 1], floats[y + k + 1] = floats[x + k], floats[y + k]
    elif shift < 0:
        for k in range(end, steps):
            floats[x + k + shift], floats[y + k + shift] = floats[x + k], floats[y + k]
    floats[x + at], floats[y + at] = new_x, new_y
    return added, steps + shift
