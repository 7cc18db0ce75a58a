"""Vector loops over the windows of channels-last maps: pooling and its gradients.

All channels of a window are treated at once, one vector after the other: its pixels are vectors that lie next
to each other or a row apart. Written out for the same reason as in :mod:`~emoref_kernels.cpu.runs`; nothing
is checked.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.fused_tile import load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, broadcast, integer

__all__ = ["LOOPS", "add_shares", "clear_run", "hand_on", "take_largest", "take_mean"]

_ZERO = np.float32(0)

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZERO_VECTOR = ir.Constant(_VECTOR, [0.0] * LANES)


def _number(value: int) -> Any:
    return integer(value)


@contextmanager
def _vectors(builder: Any, count: Any, width: Any, x_jump: Any) -> Iterator[tuple[Any, Any]]:
    """Emit loops over windows and their vectors; give the distances of a vector in x and in y."""
    with (
        cgutils.for_range(builder, count) as window,
        cgutils.for_range_slice(builder, _number(0), width, _number(LANES)) as (column, _),
    ):
        x_place = builder.add(builder.mul(window.index, x_jump), column)
        yield x_place, builder.add(builder.mul(window.index, width), column)


def _visit(builder: Any, x_row: Any, x_step: Any, rows: Any, columns: Any, body: Callable[..., None]) -> None:
    """Emit ``body(distance, tap)`` for the pixels of a window in scan order; `tap` counts them."""
    with cgutils.for_range(builder, rows) as row:
        first = builder.mul(row.index, x_row)
        number = builder.mul(row.index, columns)
        with cgutils.for_range(builder, columns) as column:
            distance = builder.add(first, builder.mul(column.index, x_step))
            body(distance, builder.add(number, column.index))


def _corners(builder: Any, x_row: Any, x_step: Any) -> list[Any]:
    """Return the distances of the pixels of a window of 2 x 2 from its first one."""
    return [_number(0), x_step, x_row, builder.add(x_row, x_step)]


def _prefetch(builder: Any, pointer: Any, distance: Any, write: bool) -> None:
    """Emit the request for what lies `distance` behind a pointer; any address will do.

    The four pixels of a window are read, or written, side by side. That is no stream that a processor
    foresees: maps that no cache holds take half as long again without the request.
    """
    number = ir.IntType(32)
    place = builder.bitcast(builder.gep(pointer, [distance]), ir.IntType(8).as_pointer())
    function_type = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    # For reading or writing, to the second level, as data.
    builder.call(function, [place, *(ir.Constant(number, value) for value in (int(write), 2, 1))])


def _is_square(builder: Any, rows: Any, columns: Any) -> Any:
    """Emit whether a window has 2 x 2 pixels."""
    return builder.and_(
        builder.icmp_signed("==", rows, _number(2)), builder.icmp_signed("==", columns, _number(2))
    )


def _beats(builder: Any, value: Any, best: Any) -> Any:
    """Emit where a value takes over from an earlier one: it is larger, or the first NaN."""
    not_less = builder.fcmp_unordered(">", value, best)
    return builder.and_(not_less, builder.fcmp_ordered("ord", best, best))


def _later(builder: Any, value: Any, best: Any) -> Any:
    return builder.select(_beats(builder, value, best), value, best)


@intrinsic
def _take_largest(typingctx, y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_row, x_jump, rows, columns, width, count = args[4:]
        target, source = (place_of(context, builder, signature, args, i, args[i + 1]) for i in (0, 2))

        def pixel(place: Any) -> Any:
            return load_lanes(builder, builder.gep(source, [place]))

        following = builder.mul(rows, x_row)
        with builder.if_else(_is_square(builder, rows, columns)) as (square, other):
            with square, _vectors(builder, count, width, x_jump) as (place, y_place):
                places = [builder.add(place, corner) for corner in _corners(builder, x_row, width)]
                for corner in places:
                    _prefetch(builder, builder.gep(source, [corner]), following, write=False)
                corners = [pixel(corner) for corner in places]
                halves = [_later(builder, corners[i + 1], corners[i]) for i in (0, 2)]
                store_lanes(builder, _later(builder, halves[1], halves[0]), builder.gep(target, [y_place]))
            with other, _vectors(builder, count, width, x_jump) as (place, y_place):
                best = cgutils.alloca_once_value(builder, pixel(place))

                def merge(distance: Any, tap: Any) -> None:
                    value = pixel(builder.add(place, distance))
                    builder.store(_later(builder, value, builder.load(best)), best)

                _visit(builder, x_row, width, rows, columns, merge)
                store_lanes(builder, builder.load(best), builder.gep(target, [y_place]))
        return context.get_dummy_value()

    return types.void(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count), emit


@intrinsic
def _take_mean(typingctx, y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count, scale):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_row, x_jump, rows, columns, width, count = args[4:10]
        target, source = (place_of(context, builder, signature, args, i, args[i + 1]) for i in (0, 2))
        scale = broadcast(builder, args[10], LANES)
        with _vectors(builder, count, width, x_jump) as (place, y_place):
            total = cgutils.alloca_once_value(builder, _ZERO_VECTOR)
            with cgutils.for_range(builder, rows) as row:
                part = cgutils.alloca_once_value(builder, _ZERO_VECTOR)
                first = builder.add(place, builder.mul(row.index, x_row))
                with cgutils.for_range(builder, columns) as tap:
                    pixel = builder.gep(source, [builder.add(first, builder.mul(tap.index, width))])
                    builder.store(builder.fadd(builder.load(part), load_lanes(builder, pixel)), part)
                builder.store(builder.fadd(builder.load(total), builder.load(part)), total)
            value = builder.fmul(builder.load(total), scale)
            store_lanes(builder, value, builder.gep(target, [y_place]))
        return context.get_dummy_value()

    return types.void(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count, scale), emit


@intrinsic
def _hand_on(typingctx, dx, x, x_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, fresh):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_row, x_jump, rows, columns, width, count, fresh = args[5:]
        target, source = (place_of(context, builder, signature, args, i, args[2]) for i in (0, 1))
        gradient = place_of(context, builder, signature, args, 3, args[4])

        def pixel(place: Any) -> Any:
            return load_lanes(builder, builder.gep(source, [place]))

        following = builder.mul(rows, x_row)

        def write_square(place: Any, value: Any) -> None:
            places = [builder.add(place, corner) for corner in _corners(builder, x_row, width)]
            for corner in places:
                _prefetch(builder, builder.gep(source, [corner]), following, write=False)
                _prefetch(builder, builder.gep(target, [corner]), following, write=True)
            corners = [pixel(corner) for corner in places]
            rights = [_beats(builder, corners[i + 1], corners[i]) for i in (0, 2)]
            upper, lower = (builder.select(rights[i], corners[2 * i + 1], corners[2 * i]) for i in (0, 1))
            below = _beats(builder, lower, upper)
            shares = builder.select(below, _ZERO_VECTOR, value), builder.select(below, value, _ZERO_VECTOR)
            for i, (right, share) in enumerate(zip(rights, shares, strict=True)):
                ends = builder.select(right, _ZERO_VECTOR, share), builder.select(right, share, _ZERO_VECTOR)
                for end, corner in zip(ends, places[2 * i : 2 * i + 2], strict=True):
                    store_lanes(builder, end, builder.gep(target, [corner]))

        def add_to_winner(place: Any, value: Any) -> None:
            best = cgutils.alloca_once_value(builder, pixel(place))
            winner = cgutils.alloca_once_value(builder, _ZERO_VECTOR)

            def number(tap: Any) -> Any:
                return broadcast(builder, builder.sitofp(tap, ir.FloatType()), LANES)

            def compare(distance: Any, tap: Any) -> None:
                new = pixel(builder.add(place, distance))
                wins = _beats(builder, new, builder.load(best))
                builder.store(builder.select(wins, new, builder.load(best)), best)
                builder.store(builder.select(wins, number(tap), builder.load(winner)), winner)

            def add(distance: Any, tap: Any) -> None:
                pointer = builder.gep(target, [builder.add(place, distance)])
                won = builder.fcmp_ordered("==", builder.load(winner), number(tap))
                share = builder.select(won, value, _ZERO_VECTOR)
                store_lanes(builder, builder.fadd(load_lanes(builder, pointer), share), pointer)

            _visit(builder, x_row, width, rows, columns, compare)
            _visit(builder, x_row, width, rows, columns, add)

        with builder.if_else(builder.icmp_signed("!=", fresh, _number(0))) as (square, other):
            for branch, write in ((square, write_square), (other, add_to_winner)):
                with branch, _vectors(builder, count, width, x_jump) as (place, y_place):
                    write(place, load_lanes(builder, builder.gep(gradient, [y_place])))
        return context.get_dummy_value()

    return types.void(dx, x, x_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, fresh), emit


@intrinsic
def _add_shares(typingctx, dx, dx_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, scale):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x_row, x_jump, rows, columns, width, count = args[4:10]
        target, gradient = (place_of(context, builder, signature, args, i, args[i + 1]) for i in (0, 2))
        scale = broadcast(builder, args[10], LANES)
        with _vectors(builder, count, width, x_jump) as (place, y_place):
            share = builder.fmul(load_lanes(builder, builder.gep(gradient, [y_place])), scale)

            def add(distance: Any, tap: Any) -> None:
                pointer = builder.gep(target, [builder.add(place, distance)])
                store_lanes(builder, builder.fadd(load_lanes(builder, pointer), share), pointer)

            _visit(builder, x_row, width, rows, columns, add)
        return context.get_dummy_value()

    return types.void(dx, dx_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, scale), emit


@intrinsic
def _clear_run(typingctx, values, start, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target = place_of(context, builder, signature, args, 0, args[1])
        cgutils.memset(builder, target, builder.mul(args[2], _number(4)), 0)
        return context.get_dummy_value()

    return types.void(values, start, count), emit


@jit()
def _winner_of(x, x_start, x_row, rows, columns, width):
    """Return the place of the pixel of a window that wins, in one channel."""
    best = x_start
    for r in range(rows):
        for s in range(columns):
            place = x_start + r * x_row + s * width
            if x[place] > x[best] or (x[place] != x[place] and x[best] == x[best]):
                best = place
    return best


@jit()
def _take_largest_loops(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count):
    for j in range(count):
        for c in range(width):
            place = _winner_of(x, x_start + j * x_jump + c, x_row, rows, columns, width)
            y[y_start + j * width + c] = x[place]


@jit()
def _take_mean_loops(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count, scale):
    for j in range(count):
        for c in range(width):
            total = _ZERO
            for r in range(rows):
                part = _ZERO
                for s in range(columns):
                    part += x[x_start + j * x_jump + r * x_row + s * width + c]
                total += part
            y[y_start + j * width + c] = total * scale


@jit()
def _hand_on_loops(dx, x, x_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, fresh):
    for j in range(count):
        for c in range(width):
            place = x_start + j * x_jump + c
            if fresh:
                for r in range(rows):
                    for s in range(columns):
                        dx[place + r * x_row + s * width] = _ZERO
            dx[_winner_of(x, place, x_row, rows, columns, width)] += dy[dy_start + j * width + c]


@jit()
def _add_shares_loops(dx, dx_start, dy, dy_start, x_row, x_jump, rows, columns, width, count, scale):
    for j in range(count):
        for c in range(width):
            share = dy[dy_start + j * width + c] * scale
            for r in range(rows):
                for s in range(columns):
                    dx[dx_start + j * x_jump + r * x_row + s * width + c] += share


@jit()
def _clear_loops(values, start, count):
    for i in range(count):
        values[start + i] = _ZERO


LOOPS = {
    "take_largest": _take_largest_loops,
    "take_mean": _take_mean_loops,
    "hand_on": _hand_on_loops,
    "add_shares": _add_shares_loops,
    "clear_run": _clear_loops,
}
"""The plain-loop twin of each vector loop: its meaning."""

take_largest: Any = _take_largest_loops if INTERPRETED else _take_largest
"""``take_largest(y, y_start, x, x_start, x_row, x_jump, rows, columns, width, count)`` pools some windows.

They are neighbours. The pixels of window j begin at ``x_start + j x_jump + r x_row + s width``, r < rows and
s < columns; each has `width` channels, whole vectors.
"""

take_mean: Any = _take_mean_loops if INTERPRETED else _take_mean
"""``take_mean(y, ..., width, count, scale)`` is `scale` times the sum, row by row, of a window's pixels."""

hand_on: Any = _hand_on_loops if INTERPRETED else _hand_on
"""``hand_on(dx, x, x_start, dy, dy_start, ..., width, count, fresh)`` hands dy to the pixels that won.

`dx` has the windows at the same places as `x`. With `fresh`, only for windows of 2 x 2, what `dx` held before
is replaced, and the pixels that lose get 0; else dy is added.
"""

add_shares: Any = _add_shares_loops if INTERPRETED else _add_shares
"""``add_shares(dx, dx_start, dy, dy_start, ..., width, count, scale)`` adds `scale` dy to all pixels."""

clear_run: Any = _clear_loops if INTERPRETED else _clear_run
"""``clear_run(values, start, count)`` writes zeros."""
