"""The dominated hypervolume compiled with Numba, and what each point contributes to it.

Every method sweeps the points in order of their last objective and asks by how much the volume in the
other objectives grows with each:

* two objectives: by a rectangle beside the previous one, O(N log N);
* three: the dominated area of the first two is a staircase, into which steps are inserted by bisection;
* four: what a point adds to the volume of the first three is found by a second sweep, along the third,
  over the few points that reach into its own box. After Guerreiro and Fonseca, "Computing and updating
  hypervolume contributions in up to four dimensions", IEEE Trans. Evol. Comput. 22(3), 2018, with sorted
  arrays in place of linked lists: O(N**2) steps, of which most are one comparison;
* more: what a point adds is its own box less the part that others reach, too. That part is again a
  hypervolume, of the points limited to the box, in one objective less: the WFG algorithm (While,
  Bradstreet, Barone, "A fast way of calculating exact hypervolumes", IEEE Trans. Evol. Comput. 16(1), 2012).
  Before that the box is cut where a point that is worse in a single objective ends it, which leaves few.

All compiled functions want their rows in ascending order of the last column.
"""

import numpy as np
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit

__all__ = ["contributions_of_points", "volume_of_points"]

_INSERTION_SORT_TO = 24
"""Below so many rows a plain insertion sort is faster than a call of NumPy's."""


def volume_of_points(points: NDArray[np.float64], ref: NDArray[np.float64]) -> float:
    """Measure the volume between points and a reference point.

    Parameters
    ----------
    points
        Finite points (N, M), each smaller than `ref` in every objective; C-contiguous.
    ref
        Reference point (M,).

    Returns
    -------
    float
        The volume; 0.0 for no point.
    """
    count, objectives = points.shape
    if count == 0:
        return 0.0
    if objectives == 1:
        return float(ref[0] - points.min())
    # Each of these compiles on its own: two objectives need not wait for the recursion.
    measure = {2: _area, 3: _volume_of_three, 4: _volume_of_four}.get(objectives, _volume)
    return float(measure(points.take(np.argsort(points[:, -1]), axis=0), count, ref))


def contributions_of_points(points: NDArray[np.float64], ref: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure for each point the volume that only it dominates; parameters as in `volume_of_points`.

    Returns
    -------
    numpy.ndarray
        Volumes, at least 0, float64 (N,).
    """
    if points.shape[1] == 1:
        # A second objective in which all have length 1 changes nothing.
        points, ref = np.hstack([points, np.zeros_like(points)]), np.append(ref, 1.0)
    order = np.argsort(points[:, -1])
    own = np.empty(len(points))
    own[order] = _contributions(np.ascontiguousarray(points[order]), ref)
    return own


# ------------------------------------------------------------------------------------- small helpers


@jit()
def _box(points, i, ref):
    volume = 1.0
    for m in range(points.shape[1]):
        volume *= ref[m] - points[i, m]
    return volume


@jit()
def _union_of_two(points, ref):
    """Measure the first two rows: their boxes less the common part."""
    first, second, common = 1.0, 1.0, 1.0
    for m in range(points.shape[1]):
        a, b = ref[m] - points[0, m], ref[m] - points[1, m]
        first *= a
        second *= b
        common *= min(a, b)
    return first + second - common


@jit()
def _order_by(points, count, column):
    """Return the first `count` rows in ascending order of a column."""
    if count > _INSERTION_SORT_TO:
        return np.argsort(points[:count, column].copy())
    order = np.empty(count, np.int64)
    for i in range(count):
        value = points[i, column]
        k = i
        while k > 0 and points[order[k - 1], column] > value:
            order[k] = order[k - 1]
            k -= 1
        order[k] = i
    return order


@jit()
def _insert_nondominated(rows, kept):
    """Make row `kept` a member of the mutually non-dominated rows before it; return how many there are.

    Members stay in their order, the new one is last.
    """
    objectives = rows.shape[1]
    at = 0
    for i in range(kept):
        worse, better = False, False  # row i than the new one, in some objective
        for m in range(objectives):
            if rows[i, m] > rows[kept, m]:
                worse = True
            elif rows[i, m] < rows[kept, m]:
                better = True
            if worse and better:
                break
        if not worse:
            # So none before row i was dominated by the new one: all are still in their places.
            return kept
        if better:
            if at < i:
                rows[at] = rows[i]
            at += 1
    if at < kept:
        rows[at] = rows[kept]
    return at + 1


# ------------------------------------------------------------------------- two and three objectives


@jit()
def _area(points, count, ref):
    area, end = 0.0, ref[0]
    for i in range(count):
        if points[i, 0] < end:
            area += (end - points[i, 0]) * (ref[1] - points[i, 1])
            end = points[i, 0]
    return area


@jit()
def _volume_of_three(points, count, ref):
    """Sweep in order of the third objective, with the dominated area of the other two as a staircase."""
    x, y = np.empty(count + 2), np.empty(count + 2)
    steps = _start_staircase(x, y, ref[0], ref[1])
    volume, area = 0.0, 0.0
    z = points[0, 2]
    for i in range(count):
        volume += area * (points[i, 2] - z)
        z = points[i, 2]
        added, steps = _add_step(x, y, steps, points[i, 0], points[i, 1])
        area += added
    return volume + area * (ref[2] - z)


@jit()
def _start_staircase(x, y, ref_x, ref_y):
    """Make a staircase without steps: sentinels at both ends stand for the reference point."""
    x[0], y[0] = -np.inf, ref_y
    x[1], y[1] = ref_x, -np.inf
    return 2


@jit()
def _add_step(x, y, steps, new_x, new_y):
    """Insert a point into the staircase; return by how much the area grows, and the number of steps."""
    low, at = 0, steps - 1  # x[low] < new_x <= x[at]
    while at - low > 1:
        middle = (low + at) // 2
        if x[middle] < new_x:
            low = middle
        else:
            at = middle
    if y[low] <= new_y or (x[at] == new_x and y[at] <= new_y):
        return 0.0, steps
    added = 0.0
    left, height = new_x, y[low]
    end = at
    while y[end] >= new_y:
        added += (x[end] - left) * (height - new_y)
        left, height = x[end], y[end]
        end += 1
    added += (x[end] - left) * (height - new_y)
    # Steps at..end-1 vanish behind the new one.
    shift = at + 1 - end
    if shift > 0:
        for k in range(steps - 1, end - 1, -1):
            x[k + 1], y[k + 1] = x[k], y[k]
    elif shift < 0:
        for k in range(end, steps):
            x[k + shift], y[k + shift] = x[k], y[k]
    x[at], y[at] = new_x, new_y
    return added, steps + shift


# ------------------------------------------------------------------------------------ four objectives


@jit()
def _volume_of_four(points, count, ref):
    """Sweep in order of the fourth objective, with the volume of the other three growing point by point."""
    if count == 1:
        return _box(points, 0, ref)
    if count == 2:
        return _union_of_two(points, ref)
    room = np.empty((5, count + 2))
    # The points so far in order of the third objective, but for those that a later one dominates there.
    x, y, z = room[0], room[1], room[2]
    step_x, step_y = room[3], room[4]
    members = 0
    hypervolume, volume = 0.0, 0.0
    level = points[0, 3]
    for i in range(count):
        hypervolume += volume * (points[i, 3] - level)
        level = points[i, 3]
        new_x, new_y, new_z = points[i, 0], points[i, 1], points[i, 2]
        added, above = _added_volume(x, y, z, members, new_x, new_y, new_z, ref, step_x, step_y)
        if added > 0.0:
            volume += added
            members = _insert_member(x, y, z, members, above, new_x, new_y, new_z)
    return hypervolume + volume * (ref[3] - level)


@jit()
def _added_volume(x, y, z, members, new_x, new_y, new_z, ref, step_x, step_y):
    """Return the volume that a point adds to that of the members, and how many of these are not above it.

    Members are in ascending order of z.
    """
    # A member with y and z not above the new point's ends the new volume at its x; likewise in y and z.
    end_x, end_y, end_z = ref[0], ref[1], ref[2]
    above = 0
    while above < members and z[above] <= new_z:
        if y[above] <= new_y and x[above] < end_x:
            end_x = x[above]
        if x[above] <= new_x and y[above] < end_y:
            end_y = y[above]
        above += 1
    if end_x <= new_x or end_y <= new_y:
        return 0.0, above
    steps = _start_staircase(step_x, step_y, end_x, end_y)
    covered = 0.0
    for k in range(above):
        if x[k] < end_x and y[k] < end_y:
            area, steps = _add_step(step_x, step_y, steps, x[k], y[k])
            covered += area
    full = (end_x - new_x) * (end_y - new_y)
    added, level = 0.0, new_z
    for k in range(above, members):
        if x[k] < end_x and y[k] < end_y:
            added += (full - covered) * (z[k] - level)
            level = z[k]
            if x[k] <= new_x and y[k] <= new_y:
                return added, above
            area, steps = _add_step(step_x, step_y, steps, max(x[k], new_x), max(y[k], new_y))
            covered += area
    return added + (full - covered) * (end_z - level), above


@jit()
def _insert_member(x, y, z, members, above, new_x, new_y, new_z):
    """Insert a point before the members above it, drop those that it dominates; return how many there are."""
    at = above
    for k in range(above, members):
        next_x, next_y, next_z = x[k], y[k], z[k]
        if next_x >= new_x and next_y >= new_y:
            continue
        x[at], y[at], z[at] = new_x, new_y, new_z
        new_x, new_y, new_z = next_x, next_y, next_z
        at += 1
    x[at], y[at], z[at] = new_x, new_y, new_z
    return at + 1


# ------------------------------------------------------------------------------------- more objectives


@jit()
def _volume(points, count, ref):
    """Measure the volume of the first `count` rows of `points`, which has two columns or more."""
    if count == 1:
        return _box(points, 0, ref)
    if count == 2:
        return _union_of_two(points, ref)
    last = points.shape[1] - 1
    if last == 1:
        return _area(points, count, ref)
    if last == 2:
        return _volume_of_three(points, count, ref)
    if last == 3:
        return _volume_of_four(points, count, ref)
    # All points before this one are better in the last objective, so what they share with it has its last
    # value, and the recursion needs one objective less. The order by the objective before the last, found
    # once, puts the shared points in the order that the recursion wants: limits do not change it.
    order = _order_by(points, count, last - 1)
    shared, end = np.empty((count, last)), np.empty(last)
    volume = 0.0
    for i in range(count):
        if _ends_of_box(points, i, i, ref, end):
            continue
        # The recursion has to be in this very function: Numba cannot link two that call each other.
        own, kept = _box_and_intruders(points, order, i, i, end, shared)
        if kept > 0:
            own -= _volume(shared, kept, end)
        volume += own * (ref[last] - points[i, last])
    return volume


@jit()
def _box_and_intruders(points, order, others, i, end, shared):
    """Measure the box from point i to `end`; put who reaches into it into `shared`, and count them.

    Who may: the first `others` points but i. They are taken in an `order`, that of their last value.
    """
    volume = 1.0
    for m in range(end.size):
        volume *= end[m] - points[i, m]
    kept = 0
    for j in order:
        if j >= others or j == i:
            continue
        inside = True
        for m in range(end.size):
            value = max(points[i, m], points[j, m])
            shared[kept, m] = value
            inside = inside and value < end[m]
        if inside:
            # Up to four objectives are measured so fast that looking for dominated points does not pay.
            kept = kept + 1 if end.size <= 4 else _insert_nondominated(shared, kept)
    return volume, kept


@jit()
def _ends_of_box(points, others, i, ref, end):
    """Find how far the box of point i reaches without being dominated, objective by objective.

    Of the first `others` points, one that is worse than point i in a single objective ends the box there.
    Returns whether one is nowhere worse: then nothing of the box is left. Only as many objectives count as
    `end` has room for.
    """
    last = end.size
    for m in range(last):
        end[m] = ref[m]
    for j in range(others):
        if j == i:
            continue
        worse, where = 0, 0
        for m in range(last):
            if points[j, m] > points[i, m]:
                worse += 1
                where = m
                if worse > 1:
                    break
        if worse == 0:
            return True
        if worse == 1 and points[j, where] < end[where]:
            end[where] = points[j, where]
    return False


# -------------------------------------------------------------------------------------- contributions


@jit()
def _contributions(points, ref):
    count = points.shape[0]
    own, end, shared = np.zeros(count), np.empty(ref.size), np.empty_like(points)
    order = np.arange(count)
    for i in range(count):
        if not _ends_of_box(points, count, i, ref, end):
            own[i], kept = _box_and_intruders(points, order, count, i, end, shared)
            if kept > 0:
                own[i] = max(0.0, own[i] - _volume(shared, kept, end))
    return own
