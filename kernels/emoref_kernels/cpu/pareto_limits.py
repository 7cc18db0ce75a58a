"""The box that only one point may dominate, and the other points limited to it.

Used by `emoref_kernels.cpu.pareto_sweep`, whose sets `emoref_kernels.cpu.pareto_space` describes.
"""

import numpy as np

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.pareto_masks import BITS, LAST, at_most, least, lowest_bit
from emoref_kernels.cpu.pareto_space import (
    CAPACITY,
    CORNER,
    ENDS,
    IDLE,
    MASKS,
    OBJECTIVES,
    PRESENT,
    STRIDE,
    mark_all,
    words_of,
)

__all__ = ["box_and_intruders"]


@jit()
def box_and_intruders(columns, numbers, floats, level, m, count, k, row):
    """Find the box that only a point may dominate, and limit to it the others that reach into it.

    Parameters
    ----------
    columns, numbers, floats, level, m, count
        See `covered_volume`.
    k
        The point's slot; it becomes present.
    row
        The others are those that are present for this objective.

    Returns
    -------
    tuple
        A volume, and how many points the next level holds. Up to two of these are already taken off the
        volume, which is 0 for a dominated point; from three on it is that of the whole box.
    """
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    present = numbers[PRESENT]
    ends = numbers[ENDS]
    corner = numbers[CORNER]
    box = (level + 1) * objectives
    for j in range(m):
        numbers[corner + box + j] = columns[(level * objectives + j) * capacity + k]
        numbers[ends + box + j] = numbers[ends + level * objectives + j]
    words = capacity >> BITS
    own, bit = k >> BITS, np.int64(1) << np.int64(k & LAST)
    if not _find_ends(columns, numbers, level, m, count, row):
        numbers[numbers[IDLE] + level * words + own] |= bit
        return 0.0, 0
    intruders = _limit_intruders(columns, numbers, level, m, count, row)
    numbers[present + (level * objectives + row) * words + own] |= bit
    return _box_less_two(columns, numbers, floats, level + 1, m, intruders), intruders


@jit(inline="always")
def _find_ends(columns, numbers, level, m, count, row):
    """Cut the next level's box where a point ends it; return whether anything of it is left.

    A point that is larger than the corner in a single objective ends the box there.
    """
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    present = numbers[PRESENT]
    ends = numbers[ENDS]
    corner = numbers[CORNER]
    masks = numbers[MASKS]
    words = capacity >> BITS
    box = (level + 1) * objectives
    for w in range(words_of(count)):
        first = level * objectives * capacity + (w << BITS)
        nowhere, once = numbers[present + (level * objectives + row) * words + w], np.int64(0)
        for j in range(m):
            mask = at_most(columns, first + j * capacity, numbers[corner + box + j])
            numbers[masks + j] = mask
            once = (once & mask) | (nowhere & ~mask)
            nowhere &= mask
        if nowhere != 0:
            return False
        if once != 0:
            for j in range(m):
                larger = once & ~numbers[masks + j]
                numbers[ends + box + j] = least(
                    columns, first + j * capacity, larger, numbers[ends + box + j]
                )
    return True


@jit(inline="always")
def _limit_intruders(columns, numbers, level, m, count, row):
    """Make the next level of the present points that reach into its box; return how many they are.

    Those that the corner dominates are no longer present on this level.
    """
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    present = numbers[PRESENT]
    ends = numbers[ENDS]
    corner = numbers[CORNER]
    words = capacity >> BITS
    box = (level + 1) * objectives
    kept = 0
    for w in range(words_of(count)):
        first = level * objectives * capacity + (w << BITS)
        mask = numbers[present + (level * objectives + row) * words + w]
        inner = mask
        for j in range(m):
            mask &= at_most(columns, first + j * capacity, numbers[ends + box + j] - 1)
            inner &= ~at_most(columns, first + j * capacity, numbers[corner + box + j] - 1)
        numbers[present + (level * objectives + row) * words + w] &= ~(inner & mask)
        while mask != 0:
            bit = lowest_bit(mask)
            mask ^= np.int64(1) << bit
            for j in range(m):
                rank = np.int64(columns[first + j * capacity + bit])
                columns[(box + j) * capacity + kept] = max(rank, numbers[corner + box + j])
            kept += 1
    mark_all(numbers, numbers[PRESENT] + (box + m - 1) * words, kept)
    for w in range(words_of(kept)):
        numbers[numbers[IDLE] + (level + 1) * words + w] = 0
    return kept


@jit(inline="always")
def _box_less_two(columns, numbers, floats, level, m, count):
    """Measure a level's box, less what its points cover if they are up to two."""
    objectives = numbers[OBJECTIVES]
    capacity = numbers[CAPACITY]
    ends = numbers[ENDS]
    corner = numbers[CORNER]
    stride = numbers[STRIDE]
    box = level * objectives
    whole, first, second, common = 1.0, 1.0, 1.0, 1.0
    for j in range(m):
        end = floats[j * stride + numbers[ends + box + j]]
        whole *= end - floats[j * stride + numbers[corner + box + j]]
        if count == 1 or count == 2:
            a = end - floats[j * stride + columns[(box + j) * capacity]]
            first *= a
            if count == 2:
                b = end - floats[j * stride + columns[(box + j) * capacity + 1]]
                second *= b
                common *= min(a, b)
    if count == 1:
        return whole - first
    if count == 2:
        return whole - (first + second - common)
    return whole
