"""Dominated volumes in three objectives and more, by sweeps over ranks.

A point is given by its ranks, one for each objective: how many points have a smaller value there. Comparing
ranks is comparing values, and 64 of them are compared at once (`emoref_kernels.cpu.pareto_masks`); values
are looked up where lengths are multiplied. The points of a set lie in order of their third objective.

`covered_volume` measures what a set covers of the box from a corner to its ends, in the first m objectives.
It takes the points in order of the last of them and adds what each covers besides, in one objective less.
That is the box of the point less what the others cover of it: the same question, for the points limited
to that box, in one objective less. Three things make the sets small:

* the box of a point ends at another that is larger in a single objective, so only points inside matter;
* points that the limit moves onto the corner in the last objective need no sweep along it. They are half
  of all on average, and are measured as one set in one objective less;
* points that the new one dominates are left out from then on.

In three objectives the points, in their order, add steps to a staircase: the area that is covered of the
first two. With four, what a point adds is found without copies of limited points, by one staircase.

Sources: While, Bradstreet, Barone, "A fast way of calculating exact hypervolumes", IEEE Trans. Evol. Comput.
16(1), 2012, for the limited sets; Guerreiro and Fonseca, "Computing and updating hypervolume contributions in
up to four dimensions", IEEE Trans. Evol. Comput. 22(3), 2018, for sweeps in three and four objectives, there
on linked lists, O(N**2) for four. Ranks, masks, and the set on the corner are emoref's.
"""

import numpy as np

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pareto_limits import box_and_intruders
from emoref_kernels.cpu.pareto_masks import BITS, LAST, at_most, least, lowest_bit
from emoref_kernels.cpu.pareto_space import (
    CAPACITY,
    CORNER,
    COUNT,
    ENDS,
    HEIGHT,
    IDLE,
    LATER,
    LEVEL,
    MASK,
    OBJECTIVES,
    PLACES,
    PRESENT,
    SLOTS,
    STEPS,
    STRIDE,
    SUMS,
    TOTAL,
    VOLUME,
    WORD,
    add_step,
    start_staircase,
    words_of,
)

__all__ = ["covered_volume"]


@jit()
def covered_volume(columns, numbers, floats, level, m, count):
    """Measure what the present points of a level cover of its box.

    Parameters
    ----------
    columns, numbers, floats
        What `emoref_kernels.cpu.pareto_space.ranked_space` made.
    level
        Which set.
    m
        How many objectives count, at least 3. The points are those that are present for objective m - 1.
    count
        Number of slots of the set.

    Returns
    -------
    float
        The volume. The marks of who is present have changed.
    """
    # A recursion written as a loop: the sweep along each objective has its own state in PLACES and SUMS.
    # Numba compiles functions that call themselves more than once, and cannot link two that call each other.
    outermost, down, result = m, True, 0.0
    places = numbers[PLACES]
    sums = numbers[SUMS]
    while True:
        if down and m > 4:
            down = _begin_sweep(columns, numbers, floats, level, m - 1, count)
            m, result = m - 1, 0.0
            if down:
                continue
        if down:
            result = (
                _sweep_four(columns, numbers, floats, level, count)
                if m == 4
                else _sweep_three(columns, numbers, floats, level, count)
            )
        if m == outermost:
            return result
        if numbers[places + 4 * m + LEVEL] == level:
            floats[sums + 3 * m + VOLUME] = result  # of the points on the corner
            _drop_idle(numbers, level, m, count)
        else:
            floats[sums + 3 * m + VOLUME] -= result  # limited to the box of a point
        level, count = numbers[places + 4 * m + LEVEL], numbers[places + 4 * m + COUNT]
        intruders = _advance(columns, numbers, floats, level, m, count)
        if intruders > 0:
            level, count, down = level + 1, intruders, True
        else:
            result, down = floats[sums + 3 * m + TOTAL], False
            m += 1


@jit()
def _begin_sweep(columns, numbers, floats, level, m, count):
    """Prepare the sweep along objective m; return whether any points are on the corner."""
    objectives = numbers[OBJECTIVES]
    places = numbers[PLACES]
    sums = numbers[SUMS]
    box = level * objectives + m
    start = max(np.int64(0), numbers[numbers[CORNER] + box])
    left = _set_later_aside(columns, numbers, level, m, count)
    numbers[places + 4 * m + LEVEL] = level
    numbers[places + 4 * m + COUNT] = count
    numbers[places + 4 * m + WORD] = start >> BITS
    numbers[places + 4 * m + MASK] = numbers[LATER + box * (numbers[CAPACITY] >> BITS) + (start >> BITS)]
    floats[sums + 3 * m + VOLUME] = 0.0
    floats[sums + 3 * m + TOTAL] = 0.0
    floats[sums + 3 * m + HEIGHT] = floats[m * numbers[STRIDE] + start]
    return left


@jit()
def _advance(columns, numbers, floats, level, m, count):
    """Sweep along objective m up to a point whose box is still to be measured, or to the end.

    Returns how many points reach into that box; they are on the next level. 0 stands for the end.
    """
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    places = numbers[PLACES]
    sums = numbers[SUMS]
    slots = numbers[SLOTS]
    column = (level * objectives + m) * capacity
    offset = m * numbers[STRIDE]
    place, total = 4 * m, floats[sums + 3 * m + TOTAL]
    volume, height = floats[sums + 3 * m + VOLUME], floats[sums + 3 * m + HEIGHT]
    word, mask = numbers[places + place + WORD], numbers[places + place + MASK]
    while True:
        while mask != 0:
            bit = lowest_bit(mask)
            mask ^= np.int64(1) << bit
            k = np.int64(columns[slots + column + (word << BITS) + bit])
            next_height = floats[offset + columns[column + k]]
            total += volume * (next_height - height)
            height = next_height
            added, intruders = box_and_intruders(columns, numbers, floats, level, m, count, k, m)
            volume += added
            if intruders > 2:
                numbers[places + place + WORD], numbers[places + place + MASK] = word, mask
                floats[sums + 3 * m + VOLUME] = volume
                floats[sums + 3 * m + TOTAL] = total
                floats[sums + 3 * m + HEIGHT] = height
                return intruders
        word += 1
        if word == capacity >> BITS:
            break
        mask = numbers[LATER + (column >> BITS) + word]
    end = floats[offset + numbers[numbers[ENDS] + level * objectives + m]]
    floats[sums + 3 * m + TOTAL] = total + volume * (end - height)
    return 0


@jit()
def _sweep_four(columns, numbers, floats, level, count):
    """Measure the volume in four objectives: the volume of the first three grows along the fourth."""
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    slots = numbers[SLOTS]
    column = (level * objectives + 3) * capacity
    offset = 3 * numbers[STRIDE]
    start = max(np.int64(0), numbers[numbers[CORNER] + level * objectives + 3])
    height = floats[offset + start]
    volume, total = 0.0, 0.0
    if _set_later_aside(columns, numbers, level, 3, count):
        volume = _sweep_three(columns, numbers, floats, level, count)
        _drop_idle(numbers, level, 3, count)
    for word in range(start >> BITS, capacity >> BITS):
        mask = numbers[LATER + (column >> BITS) + word]
        while mask != 0:
            bit = lowest_bit(mask)
            mask ^= np.int64(1) << bit
            k = np.int64(columns[slots + column + (word << BITS) + bit])
            next_height = floats[offset + columns[column + k]]
            total += volume * (next_height - height)
            height = next_height
            volume += _added_in_three(columns, numbers, floats, level, count, k)
    return total + volume * (floats[offset + numbers[numbers[ENDS] + level * objectives + 3]] - height)


@jit()
def _set_later_aside(columns, numbers, level, m, count):
    """List the points beyond the corner in objective m by rank; the others are present, for m - 1 too.

    Returns whether there are others.
    """
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    slots = numbers[SLOTS]
    present = numbers[PRESENT]
    words = capacity >> BITS
    first = (level * objectives + m) * capacity
    corner = numbers[numbers[CORNER] + level * objectives + m]
    for w in range(max(np.int64(0), corner) >> BITS, words):
        numbers[LATER + (first >> BITS) + w] = 0
    left = np.int64(0)
    for w in range(words_of(count)):
        here = numbers[present + (first >> BITS) + w]
        mask = here & ~at_most(columns, first + (w << BITS), corner)
        here &= ~mask
        numbers[present + (first >> BITS) + w] = here
        numbers[present + (first >> BITS) - words + w] = here
        left |= here
        while mask != 0:
            bit = lowest_bit(mask)
            mask ^= np.int64(1) << bit
            k = (w << BITS) + bit
            # Equal ranks are followed by as many free ones.
            rank = np.int64(columns[first + k])
            while numbers[LATER + (first >> BITS) + (rank >> BITS)] >> np.int64(rank & LAST) & 1:
                rank += 1
            numbers[LATER + (first >> BITS) + (rank >> BITS)] |= np.int64(1) << np.int64(rank & LAST)
            columns[slots + first + rank] = k
    return left != 0


@jit()
def _drop_idle(numbers, level, m, count):
    words, idle = numbers[CAPACITY] >> BITS, numbers[IDLE] + level * (numbers[CAPACITY] >> BITS)
    present = numbers[PRESENT] + (level * numbers[OBJECTIVES] + m) * words
    for w in range(words_of(count)):
        numbers[present + w] &= ~numbers[idle + w]


@jit()
def _sweep_three(columns, numbers, floats, level, count):
    """Measure the volume in three objectives: the staircase of the first two grows along the third."""
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    present = numbers[PRESENT]
    ends = numbers[ENDS]
    stride = numbers[STRIDE]
    x = level * objectives * capacity
    y, z = x + capacity, x + 2 * capacity
    step_x = numbers[STEPS]
    step_y = step_x + capacity + 2
    box = level * objectives
    steps = start_staircase(
        floats, step_x, step_y, floats[numbers[ends + box]], floats[stride + numbers[ends + box + 1]]
    )
    volume, area, height = 0.0, 0.0, 0.0
    for w in range(words_of(count)):
        mask = numbers[present + (level * objectives + 2) * (capacity >> BITS) + w]
        while mask != 0:
            bit = lowest_bit(mask)
            mask ^= np.int64(1) << bit
            k = (w << BITS) + bit
            next_height = floats[2 * stride + columns[z + k]]
            volume += area * (next_height - height)
            height = next_height
            added, steps = add_step(
                floats, step_x, step_y, steps, floats[columns[x + k]], floats[stride + columns[y + k]]
            )
            area += added
            if added == 0.0:
                numbers[numbers[IDLE] + level * (capacity >> BITS) + w] |= np.int64(1) << bit
    return volume + area * (floats[2 * stride + numbers[ends + box + 2]] - height)


@jit(inline="always")
def _added_in_three(columns, numbers, floats, level, count, k):
    """Measure what a point adds to the volume of the present ones in three objectives; make it present.

    A dominated point stays out, and those that the new one dominates leave.
    """
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    present = numbers[PRESENT]
    ends = numbers[ENDS]
    idle = numbers[IDLE]
    stride = numbers[STRIDE]
    x = level * objectives * capacity
    y, z = x + capacity, x + 2 * capacity
    first = (level * objectives + 3) * (capacity >> BITS)
    rank_x, rank_y = np.int64(columns[x + k]), np.int64(columns[y + k])
    end_x, end_y = numbers[ends + level * objectives], numbers[ends + level * objectives + 1]
    own, own_bit = k >> BITS, np.int64(1) << np.int64(k & LAST)
    before = ~(np.int64(-1) << np.int64(k & LAST))
    # A point before this one that is smaller in y, too, ends its volume at its x; likewise in y.
    for w in range(own + 1):
        here = numbers[present + first + w] & (before if w == own else np.int64(-1))
        left = at_most(columns, x + (w << BITS), rank_x) & here
        low = at_most(columns, y + (w << BITS), rank_y) & here
        if left & low != 0:
            numbers[idle + level * (capacity >> BITS) + own] |= own_bit
            return 0.0
        end_x = least(columns, x + (w << BITS), low, end_x)
        end_y = least(columns, y + (w << BITS), left, end_y)
    step_x = numbers[STEPS]
    step_y = step_x + capacity + 2
    steps = start_staircase(floats, step_x, step_y, floats[end_x], floats[stride + end_y])
    new_x, new_y = floats[rank_x], floats[stride + rank_y]
    full = (floats[end_x] - new_x) * (floats[stride + end_y] - new_y)
    height = floats[2 * stride + columns[z + k]]
    covered, added = 0.0, 0.0
    for w in range(words_of(count)):
        mask = (
            at_most(columns, x + (w << BITS), end_x - 1) & at_most(columns, y + (w << BITS), end_y - 1)
        ) & numbers[present + first + w]
        while mask != 0:
            bit = lowest_bit(mask)
            mask ^= np.int64(1) << bit
            j = (w << BITS) + bit
            other_x, other_y = floats[columns[x + j]], floats[stride + columns[y + j]]
            if j > k:
                next_height = floats[2 * stride + columns[z + j]]
                added += (full - covered) * (next_height - height)
                height = next_height
                if other_x <= new_x:
                    if other_y <= new_y:
                        numbers[present + first + own] |= own_bit
                        return added
                    other_x = new_x
                elif other_y < new_y:
                    other_y = new_y
                else:
                    numbers[present + first + w] ^= np.int64(1) << bit
            area, steps = add_step(floats, step_x, step_y, steps, other_x, other_y)
            covered += area
    added += (full - covered) * (floats[2 * stride + numbers[ends + level * objectives + 2]] - height)
    numbers[present + first + own] |= own_bit
    return added
