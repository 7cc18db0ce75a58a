"""Vector loops over rows of channels: the sums and the results of batch normalisation.

Rows are `width` floats long, whole vectors. A group of vectors is taken down all rows of a block, with its
sums in registers: float32 sums, which are added to float64 ones at the end of the block. Written out for the
same reason as in :mod:`~emoref_kernels.cpu.runs`; nothing is checked.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.fused_tile import load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, broadcast, fma, integer, multiply_add

__all__ = [
    "GROUP",
    "LOOPS",
    "add_moments",
    "add_products",
    "write_gradients",
    "write_normalised",
    "write_products",
    "write_sum",
]

GROUP = 4
"""Vectors that are treated side by side."""

_ORIGIN_ROWS = 16
"""Rows of a block whose mean is subtracted before the block is summed.

If the squared deviations of n values sum up to v, the mean of any k of them is at most sqrt(v / k) from the
mean of all, and the squares around it sum up to at most (1 + n / k) v. So little is lost when this sum is
moved to the mean of all, however large that is, and whatever outliers there are.
"""

_ZERO = np.float32(0)

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_WIDE = ir.VectorType(ir.DoubleType(), LANES)
_ZERO_VECTOR = ir.Constant(_VECTOR, [0.0] * LANES)


def _columns(builder: Any, width: Any, body: Any) -> None:
    """Emit ``body(column, vectors)`` for groups of vectors, then for the vectors that are left."""
    group = integer(GROUP * LANES)
    whole = builder.sub(width, builder.srem(width, group))
    zero, lanes = integer(0), integer(LANES)
    with cgutils.for_range_slice(builder, zero, whole, group) as (column, _):
        body(column, GROUP)
    with cgutils.for_range_slice(builder, whole, width, lanes) as (column, _):
        body(column, 1)


def _at(builder: Any, pointer: Any, column: Any, vector: int) -> Any:
    return builder.gep(pointer, [builder.add(column, integer(vector * LANES))])


def _add_wide(builder: Any, value: Any, pointer: Any) -> None:
    """Emit the addition of a vector of doubles to what lies in memory."""
    target = builder.bitcast(pointer, _WIDE.as_pointer())
    builder.store(builder.fadd(builder.load(target, align=8), value), target, align=8)


def _passing(builder: Any, gradient: Any, result: Any, floor: Any) -> Any:
    """Emit the gradient where the result is above the floor; a NaN lets it through."""
    return builder.select(builder.fcmp_ordered("<=", result, floor), _ZERO_VECTOR, gradient)


@intrinsic
def _add_moments(typingctx, x, x_start, rows, width, pivots, sums, sums_start):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source = place_of(context, builder, signature, args, 0, args[1])
        rows, width = args[2], args[3]
        pivots = place_of(context, builder, signature, args, 4)
        first = place_of(context, builder, signature, args, 5, args[6])
        second = builder.gep(first, [width])

        def widen(value: Any) -> Any:
            return builder.fpext(value, _WIDE)

        few = integer(_ORIGIN_ROWS)
        few = builder.select(builder.icmp_signed("<", rows, few), rows, few)
        counts = [broadcast(builder, builder.sitofp(number, ir.FloatType()), LANES) for number in (few, rows)]

        def body(column: Any, vectors: int) -> None:
            totals = [cgutils.alloca_once_value(builder, _ZERO_VECTOR) for _ in range(2 * vectors)]
            with cgutils.for_range(builder, few) as loop:
                place = builder.add(builder.mul(loop.index, width), column)
                for v, total in enumerate(totals[:vectors]):
                    value = load_lanes(builder, _at(builder, source, place, v))
                    builder.store(builder.fadd(builder.load(total), value), total)
            origins = [builder.fdiv(builder.load(total), counts[0]) for total in totals[:vectors]]
            for slot in totals:
                builder.store(_ZERO_VECTOR, slot)
            with cgutils.for_range(builder, rows) as loop:
                place = builder.add(builder.mul(loop.index, width), column)
                for v, origin in enumerate(origins):
                    deviation = builder.fsub(load_lanes(builder, _at(builder, source, place, v)), origin)
                    total, squares = totals[2 * v : 2 * v + 2]
                    builder.store(builder.fadd(builder.load(total), deviation), total)
                    square = multiply_add(builder, deviation, deviation, builder.load(squares))
                    builder.store(square, squares)
            for v, origin in enumerate(origins):
                pivot = load_lanes(builder, _at(builder, pivots, column, v))
                total, squares = (widen(builder.load(slot)) for slot in totals[2 * v : 2 * v + 2])
                # With d = x - origin: the sums of d + shift, and of (d + shift)^2.
                shift = builder.fsub(widen(origin), widen(pivot))
                moved = builder.fmul(widen(counts[1]), shift)
                _add_wide(builder, builder.fadd(moved, total), _at(builder, first, column, v))
                mixed = builder.fadd(builder.fadd(total, total), moved)
                square = builder.fadd(squares, builder.fmul(shift, mixed))
                _add_wide(builder, square, _at(builder, second, column, v))

        _columns(builder, width, body)
        return context.get_dummy_value()

    return types.void(x, x_start, rows, width, pivots, sums, sums_start), emit


def _emit_normalised(
    builder: Any, places: list[Any], rows: Any, width: Any, vectors: Any, floor: Any
) -> None:
    """Emit the loops that write y; `places` are those of y, of x and, where there is one, of the shortcut."""
    target, *sources = places
    factors = builder.gep(vectors, [width])
    shifts = builder.gep(factors, [width])
    floor = broadcast(builder, floor, LANES)

    def body(column: Any, group: int) -> None:
        kinds = [[_at(builder, p, column, v) for p in (vectors, factors, shifts)] for v in range(group)]
        maps = [[load_lanes(builder, place) for place in each] for each in kinds]
        with cgutils.for_range(builder, rows) as loop:
            place = builder.add(builder.mul(loop.index, width), column)
            for v, (centre, factor, shift) in enumerate(maps):
                value, *added = (load_lanes(builder, _at(builder, source, place, v)) for source in sources)
                value = multiply_add(builder, builder.fsub(value, centre), factor, shift)
                for more in added:
                    value = builder.fadd(value, more)
                low = builder.fcmp_ordered("<=", value, floor)
                store_lanes(builder, builder.select(low, floor, value), _at(builder, target, place, v))

    _columns(builder, width, body)


@intrinsic
def _write_normalised(typingctx, y, x, start, rows, width, vectors, floor):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = [place_of(context, builder, signature, args, i, args[2]) for i in (0, 1)]
        vectors = place_of(context, builder, signature, args, 5)
        _emit_normalised(builder, places, args[3], args[4], vectors, args[6])
        return context.get_dummy_value()

    return types.void(y, x, start, rows, width, vectors, floor), emit


@intrinsic
def _write_sum(typingctx, y, x, shortcut, start, rows, width, vectors, floor):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = [place_of(context, builder, signature, args, i, args[3]) for i in (0, 1, 2)]
        vectors = place_of(context, builder, signature, args, 6)
        _emit_normalised(builder, places, args[4], args[5], vectors, args[7])
        return context.get_dummy_value()

    return types.void(y, x, shortcut, start, rows, width, vectors, floor), emit


def _emit_products(
    builder: Any,
    places: list[Any],
    more: list[Any],
    rows: Any,
    width: Any,
    centres: Any,
    floor: Any,
    sums: Any,
) -> None:
    """Emit the loops that sum; `places` are those of dy, x and y, `more` those of another dy and of g."""
    gradient, source, result = places
    second = builder.gep(sums, [width])
    floor = broadcast(builder, floor, LANES)

    def body(column: Any, group: int) -> None:
        means = [load_lanes(builder, _at(builder, centres, column, v)) for v in range(group)]
        totals = [cgutils.alloca_once_value(builder, _ZERO_VECTOR) for _ in range(2 * group)]
        with cgutils.for_range(builder, rows) as loop:
            place = builder.add(builder.mul(loop.index, width), column)
            for v, mean in enumerate(means):
                g, value, above = (
                    load_lanes(builder, _at(builder, p, place, v)) for p in (gradient, source, result)
                )
                if more:
                    g = builder.fadd(g, load_lanes(builder, _at(builder, more[0], place, v)))
                g = _passing(builder, g, above, floor)
                if more:
                    store_lanes(builder, g, _at(builder, more[1], place, v))
                total, products = totals[2 * v : 2 * v + 2]
                builder.store(builder.fadd(builder.load(total), g), total)
                deviation = builder.fsub(value, mean)
                builder.store(multiply_add(builder, g, deviation, builder.load(products)), products)
        for v in range(group):
            for slot, target in zip(totals[2 * v : 2 * v + 2], (sums, second), strict=True):
                value = builder.fpext(builder.load(slot), _WIDE)
                _add_wide(builder, value, _at(builder, target, column, v))

    _columns(builder, width, body)


@intrinsic
def _add_products(typingctx, dy, x, y, start, rows, width, vectors, floor, sums, sums_start):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = [place_of(context, builder, signature, args, i, args[3]) for i in range(3)]
        centres = place_of(context, builder, signature, args, 6)
        sums = place_of(context, builder, signature, args, 8, args[9])
        _emit_products(builder, places, [], args[4], args[5], centres, args[7], sums)
        return context.get_dummy_value()

    return types.void(dy, x, y, start, rows, width, vectors, floor, sums, sums_start), emit


@intrinsic
def _write_products(typingctx, g, dy, more, x, y, start, rows, width, vectors, floor, sums, sums_start):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        result, gradient, more, *others = (
            place_of(context, builder, signature, args, i, args[5]) for i in range(5)
        )
        centres = place_of(context, builder, signature, args, 8)
        sums = place_of(context, builder, signature, args, 10, args[11])
        places = [gradient, *others]
        _emit_products(builder, places, [more, result], args[6], args[7], centres, args[9], sums)
        return context.get_dummy_value()

    return types.void(g, dy, more, x, y, start, rows, width, vectors, floor, sums, sums_start), emit


@intrinsic
def _write_gradients(typingctx, dx, dy, x, x_step, y, start, rows, width, vectors, floor):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, gradient, result = (
            place_of(context, builder, signature, args, i, args[5]) for i in (0, 1, 4)
        )
        # Where x has no say, x_step is 0, and there is only one row.
        whole_step = builder.icmp_signed("!=", args[3], integer(0))
        x_start = builder.select(whole_step, args[5], integer(0))
        source = place_of(context, builder, signature, args, 2, x_start)
        rows, width = args[6], args[7]
        kinds = [place_of(context, builder, signature, args, 8)]
        for _ in range(3):
            kinds.append(builder.gep(kinds[-1], [width]))
        floor = broadcast(builder, args[9], LANES)

        def body(column: Any, vectors: int) -> None:
            maps = [[load_lanes(builder, _at(builder, k, column, v)) for k in kinds] for v in range(vectors)]
            with cgutils.for_range(builder, rows) as loop:
                place = builder.add(builder.mul(loop.index, width), column)
                x_place = builder.add(builder.mul(loop.index, args[3]), column)
                for v, (centre, factor, mean, slope) in enumerate(maps):
                    g, above = (load_lanes(builder, _at(builder, p, place, v)) for p in (gradient, result))
                    deviation = builder.fsub(load_lanes(builder, _at(builder, source, x_place, v)), centre)
                    g = builder.fsub(_passing(builder, g, above, floor), mean)
                    value = multiply_add(builder, builder.fneg(deviation), slope, g)
                    store_lanes(builder, builder.fmul(factor, value), _at(builder, target, place, v))

        _columns(builder, width, body)
        return context.get_dummy_value()

    return types.void(dx, dy, x, x_step, y, start, rows, width, vectors, floor), emit


@jit()
def _moments_loops(x, x_start, rows, width, pivots, sums, sums_start):
    for j in range(width):
        total = squares = _ZERO
        few = min(rows, _ORIGIN_ROWS)
        for r in range(few):
            total += x[x_start + r * width + j]
        origin = total / np.float32(few)
        total = _ZERO
        for r in range(rows):
            deviation = x[x_start + r * width + j] - origin
            total += deviation
            squares = fma(deviation, deviation, squares)
        shift = np.float64(origin) - np.float64(pivots[j])
        moved = rows * shift
        sums[sums_start + j] += moved + np.float64(total)
        mixed = np.float64(total) + np.float64(total) + moved
        sums[sums_start + width + j] += np.float64(squares) + shift * mixed


@jit()
def _normalised_loops(y, x, start, rows, width, vectors, floor):
    for i in range(rows * width):
        j = i % width
        value = fma(x[start + i] - vectors[j], vectors[width + j], vectors[2 * width + j])
        y[start + i] = floor if value <= floor else value


@jit()
def _sum_loops(y, x, shortcut, start, rows, width, vectors, floor):
    for i in range(rows * width):
        j = i % width
        value = fma(x[start + i] - vectors[j], vectors[width + j], vectors[2 * width + j])
        value += shortcut[start + i]
        y[start + i] = floor if value <= floor else value


@jit()
def _products_loops(dy, x, y, start, rows, width, vectors, floor, sums, sums_start):
    for j in range(width):
        total = products = _ZERO
        for r in range(rows):
            place = start + r * width + j
            g = _ZERO if y[place] <= floor else dy[place]
            total += g
            products = fma(g, x[place] - vectors[j], products)
        sums[sums_start + j] += np.float64(total)
        sums[sums_start + width + j] += np.float64(products)


@jit()
def _written_products_loops(g, dy, more, x, y, start, rows, width, vectors, floor, sums, sums_start):
    for place in range(start, start + rows * width):
        g[place] = _ZERO if y[place] <= floor else dy[place] + more[place]
    _products_loops(g, x, g, start, rows, width, vectors, np.float32(np.nan), sums, sums_start)


@jit()
def _gradients_loops(dx, dy, x, x_step, y, start, rows, width, vectors, floor):
    x_start = start if x_step else 0
    for r in range(rows):
        for j in range(width):
            place = start + r * width + j
            g = _ZERO if y[place] <= floor else dy[place]
            deviation = x[x_start + r * x_step + j] - vectors[j]
            value = fma(-deviation, vectors[3 * width + j], g - vectors[2 * width + j])
            dx[place] = vectors[width + j] * value


LOOPS = {
    "add_moments": _moments_loops,
    "write_normalised": _normalised_loops,
    "write_sum": _sum_loops,
    "add_products": _products_loops,
    "write_products": _written_products_loops,
    "write_gradients": _gradients_loops,
}
"""The plain-loop twin of each vector loop: its meaning. It takes rows of any width."""

add_moments: Any = _moments_loops if INTERPRETED else _add_moments
"""``add_moments(x, x_start, rows, width, pivots, sums, sums_start)`` sums a block of rows.

For column j, the sums over the rows of x - pivots[j] and of its square are added to the doubles
``sums[sums_start + j]`` and ``sums[sums_start + width + j]``.
"""

write_normalised: Any = _normalised_loops if INTERPRETED else _write_normalised
"""``write_normalised(y, x, start, rows, width, vectors, floor)`` writes y.

It is the larger of (x - centre) factor + shift and the floor, where `vectors` holds centre, factor and shift,
`width` values each. A NaN goes through.
"""

write_sum: Any = _sum_loops if INTERPRETED else _write_sum
"""``write_sum(y, x, shortcut, start, rows, width, vectors, floor)`` adds a shortcut on the way.

y is the larger of (x - centre) factor + shift + shortcut and the floor.
"""

add_products: Any = _products_loops if INTERPRETED else _add_products
"""``add_products(dy, x, y, start, rows, width, vectors, floor, sums, sums_start)`` sums g and g (x - centre).

g is 0 where y <= floor, else dy; the floor NaN lets all of dy through. The sums are added to doubles as by
:data:`add_moments`.
"""

write_products: Any = _written_products_loops if INTERPRETED else _write_products
"""``write_products(g, dy, more, x, y, start, rows, width, vectors, floor, sums, sums_start)`` writes g too.

The gradient is dy + more here. `g` may be the memory of one of these.
"""

write_gradients: Any = _gradients_loops if INTERPRETED else _write_gradients
"""``write_gradients(dx, dy, x, x_step, y, start, rows, width, vectors, floor)`` writes the gradient.

It is factor (g - mean - (x - centre) slope), where `vectors` holds centre, factor, mean and slope. Rows of x
are `x_step`, that is `width`, apart; with the step 0, one row of `width` values stands for all rows.
"""
