"""Max pooling in windows of 2 x 2 at stride 2, and its gradient, in vector instructions.

Two rows of pixels make one row of results. Their even and odd columns are separated by a shuffle, so that
the four pixels of a window lie in four vectors at the same lane. The rules are those of
:mod:`~emoref_kernels.cpu.pool`: among equals the first in scan order wins, and so does the first NaN.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.runs import emit_run
from emoref_kernels.cpu.shares import keep_apart, share
from emoref_kernels.cpu.simd import INTERPRETED, integer

__all__ = ["LOOPS", "max_pool_grad_planes", "max_pool_grad_row", "max_pool_planes", "max_pool_row"]

_FLOAT = ir.FloatType()
_FLOATS = types.Array(types.float32, 1, "C")


def _place(context: Any, builder: Any, signature: Any, args: Any, position: int) -> Any:
    array = context.make_array(signature.args[position])(context, builder, args[position])
    return builder.gep(array.data, [args[position + 1]])


def _mask(lanes: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


def _load_pairs(builder: Any, pointer: Any, width: int) -> tuple[Any, Any]:
    """Load 2 * width neighbours, and return those at even and at odd places."""
    if width == 1:
        return builder.load(pointer), builder.load(builder.gep(pointer, [integer(1)]))
    kind = ir.VectorType(_FLOAT, 2 * width)
    both = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)
    even, odd = (_mask(list(range(first, 2 * width, 2))) for first in (0, 1))
    return builder.shuffle_vector(both, both, even), builder.shuffle_vector(both, both, odd)


def _store_pairs(builder: Any, even: Any, odd: Any, pointer: Any, width: int) -> None:
    if width == 1:
        builder.store(even, pointer)
        builder.store(odd, builder.gep(pointer, [integer(1)]))
        return
    mixed = builder.shuffle_vector(even, odd, _mask([i // 2 + i % 2 * width for i in range(2 * width)]))
    builder.store(mixed, builder.bitcast(pointer, mixed.type.as_pointer()), align=4)


def _beats(builder: Any, value: Any, best: Any) -> Any:
    """Emit whether a value takes over from an earlier one: it is larger, or the first NaN."""
    not_less = builder.fcmp_unordered(">", value, best)
    return builder.and_(not_less, builder.fcmp_ordered("ord", best, best))


def _window(builder: Any, upper: Any, lower: Any, index: Any, width: int) -> tuple[Any, ...]:
    """Return who wins in the upper row, in the lower row and between them, and the largest."""
    place = builder.shl(index, integer(1))
    rows, rights = [], []
    for row in (upper, lower):
        left, right = _load_pairs(builder, builder.gep(row, [place]), width)
        rights.append(_beats(builder, right, left))
        rows.append(builder.select(rights[-1], right, left))
    below = _beats(builder, rows[1], rows[0])
    return rights[0], rights[1], below, builder.select(below, rows[1], rows[0])


@intrinsic
def _max_pool_row(typingctx, y, y_start, x, x_start, x_row, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, upper = (_place(context, builder, signature, args, position) for position in (0, 2))
        lower = builder.gep(upper, [args[4]])

        def body(index: Any, width: int) -> None:
            value = _window(builder, upper, lower, index, width)[-1]
            pointer = builder.gep(target, [index])
            builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=4)

        emit_run(builder, args[5], body, repeatable=True)
        return context.get_dummy_value()

    return types.void(_FLOATS, types.int64, _FLOATS, types.int64, types.int64, types.int64), emit


@intrinsic
def _max_pool_grad_row(typingctx, dx, dx_start, dy, dy_start, x, x_start, x_row, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, gradient, upper = (_place(context, builder, signature, args, i) for i in (0, 2, 4))
        lower, target_lower = builder.gep(upper, [args[6]]), builder.gep(target, [args[6]])

        def body(index: Any, width: int) -> None:
            right_above, right_below, below, _ = _window(builder, upper, lower, index, width)
            kind = _FLOAT if width == 1 else ir.VectorType(_FLOAT, width)
            zero = ir.Constant(kind, 0.0 if width == 1 else [0.0] * width)
            pointer = builder.gep(gradient, [index])
            value = builder.load(builder.bitcast(pointer, kind.as_pointer()), align=4)
            place = builder.shl(index, integer(1))
            portions = builder.select(below, zero, value), builder.select(below, value, zero)
            rights = right_above, right_below
            for row, right, portion in zip((target, target_lower), rights, portions, strict=True):
                even, odd = builder.select(right, zero, portion), builder.select(right, portion, zero)
                _store_pairs(builder, even, odd, builder.gep(row, [place]), width)

        emit_run(builder, args[7], body, repeatable=True)
        return context.get_dummy_value()

    number = types.int64
    return types.void(_FLOATS, number, _FLOATS, number, _FLOATS, number, number, number), emit


@jit()
def _winner(x, x_start, x_row):
    """Return the distance of a window's winner from its first pixel."""
    winner = 0
    for place in (1, x_row, x_row + 1):
        value, best = x[x_start + place], x[x_start + winner]
        if value > best or (value != value and best == best):
            winner = place
    return winner


@jit()
def _max_pool_row_loops(y, y_start, x, x_start, x_row, count):
    for j in range(count):
        place = x_start + 2 * j
        y[y_start + j] = x[place + _winner(x, place, x_row)]


@jit()
def _max_pool_grad_row_loops(dx, dx_start, dy, dy_start, x, x_start, x_row, count):
    for j in range(count):
        winner = _winner(x, x_start + 2 * j, x_row)
        for place in (0, 1, x_row, x_row + 1):
            gradient = dy[dy_start + j] if place == winner else np.float32(0.0)
            dx[dx_start + 2 * j + place] = gradient


LOOPS = {"max_pool_row": _max_pool_row_loops, "max_pool_grad_row": _max_pool_grad_row_loops}
"""The plain-loop twin of each vector loop: its meaning."""

max_pool_row: Any = _max_pool_row_loops if INTERPRETED else _max_pool_row
"""``max_pool_row(y, y_start, x, x_start, x_row, count)`` pools two rows that are `x_row` apart."""

max_pool_grad_row: Any = _max_pool_grad_row_loops if INTERPRETED else _max_pool_grad_row
"""``max_pool_grad_row(dx, dx_start, dy, dy_start, x, x_start, x_row, count)`` hands `dy` to the winners.

The other pixels of the windows get 0; `dx` has rows as long as those of `x`.
"""


@jit()
def _pool_planes(chunk, chunks, n, _, x, y, _c, _d, _e):
    """Pool a run of planes."""
    keep_apart()
    planes, height, width = n[0], n[1], n[2]
    rows, columns = height // 2, width // 2
    for plane in range(planes * chunk // chunks, planes * (chunk + 1) // chunks):
        for i in range(rows):
            source = (plane * height + 2 * i) * width
            max_pool_row(y, (plane * rows + i) * columns, x, source, width, columns)


def max_pool_planes(planes: int, height: int, width: int, x: NDArray[Any], y: NDArray[Any]) -> None:
    """Pool planes of `height` by `width`; what fills no window is left out."""
    numbers = np.array((planes, height, width), np.int64)
    share(_pool_planes, min(numba.get_num_threads(), planes), (numbers,), (x, y))


@jit()
def _grad_planes(chunk, chunks, n, _, dy, x, dx, _d, _e):
    """Hand the gradient of a run of pooled planes to the winners."""
    keep_apart()
    planes, height, width = n[0], n[1], n[2]
    rows, columns = height // 2, width // 2
    for plane in range(planes * chunk // chunks, planes * (chunk + 1) // chunks):
        for i in range(rows):
            place = (plane * height + 2 * i) * width
            max_pool_grad_row(dx, place, dy, (plane * rows + i) * columns, x, place, width, columns)
            if width % 2:
                dx[place + width - 1] = 0.0
                dx[place + 2 * width - 1] = 0.0
        if height % 2:
            for j in range(width):
                dx[(plane * height + height - 1) * width + j] = 0.0


def max_pool_grad_planes(
    planes: int, height: int, width: int, dy: NDArray[Any], x: NDArray[Any], dx: NDArray[Any]
) -> None:
    """Hand the gradient of pooled planes to the winners; what fills no window gets 0."""
    numbers = np.array((planes, height, width), np.int64)
    share(_grad_planes, min(numba.get_num_threads(), planes), (numbers,), (dy, x, dx))
