"""Vector loops over runs of neighbouring floats, and the transposition of small blocks.

Numba lets an index be negative and so puts a comparison before every access, which keeps LLVM from
vectorising loops whose start it does not know. These loops write their vector instructions themselves, use
vectors of half, a quarter, ... of the width for the last few values, and check nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, ROWS, broadcast, fma, integer, multiply_add

__all__ = [
    "add_run",
    "add_strided",
    "copy_run",
    "copy_strided",
    "dot_run",
    "emit_run",
    "fma_run",
    "gather_run",
    "sum_run",
    "transpose_block",
    "transpose_run",
]

_FLOAT = ir.FloatType()
_FLOATS = types.Array(types.float32, 1, "C")
_INTS = types.Array(types.int64, 1, "C")


def _vector_type(width: int) -> Any:
    return _FLOAT if width == 1 else ir.VectorType(_FLOAT, width)


def _data(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    """Return the pointer to element `start` of an array."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [start])


def _load(builder: Any, pointer: Any, width: int) -> Any:
    load = builder.load(builder.bitcast(pointer, _vector_type(width).as_pointer()))
    load.align = 4
    return load


def _store(builder: Any, value: Any, pointer: Any) -> None:
    store = builder.store(value, builder.bitcast(pointer, value.type.as_pointer()))
    store.align = 4


def emit_run(builder: Any, count: Any, body: Callable[[Any, int], None], repeatable: bool) -> None:
    """Emit ``body(index, width)`` for whole vectors, then for the halves, quarters, ... that are left.

    Where it does no harm that some values are treated twice, what is left after the first vector is done
    by one vector that overlaps the one before.
    """
    whole = builder.and_(count, integer(-LANES))
    with cgutils.for_range_slice(builder, integer(0), whole, integer(LANES)) as (
        start,
        _,
    ):
        body(start, LANES)
    remaining = count
    if repeatable:
        with builder.if_then(
            builder.and_(
                builder.icmp_signed("!=", whole, count),
                builder.icmp_signed(">", whole, integer(0)),
            )
        ):
            body(builder.sub(count, integer(LANES)), LANES)
        short = builder.icmp_signed("==", whole, integer(0))
        remaining = builder.select(short, count, integer(0))
    index = cgutils.alloca_once_value(builder, whole)
    width = LANES // 2
    while width:
        step = integer(width)
        with builder.if_then(builder.icmp_signed("!=", builder.and_(remaining, step), integer(0))):
            body(builder.load(index), width)
            builder.store(builder.add(builder.load(index), step), index)
        width //= 2


def _emit_map(operation: str, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit out[i] = f(x[i]) for one run; the arguments are out, out_start, x, x_start, count, and a value."""
    out = _data(context, builder, signature.args[0], args[0], args[1])
    x = _data(context, builder, signature.args[2], args[2], args[3])

    def body(index: Any, width: int) -> None:
        value = _load(builder, builder.gep(x, [index]), width)
        target = builder.gep(out, [index])
        if operation != "copy":
            constant = args[5] if width == 1 else broadcast(builder, args[5], width)
        if operation == "add":
            value = builder.fadd(value, constant)
        elif operation == "fma":
            value = multiply_add(builder, constant, value, _load(builder, target, width))
        _store(builder, value, target)

    emit_run(builder, args[4], body, repeatable=operation != "fma")
    return context.get_dummy_value()


_RUN = (_FLOATS, types.int64, _FLOATS, types.int64, types.int64)


@intrinsic
def _copy_run(typingctx, out, out_start, x, x_start, count):
    return types.void(*_RUN), partial(_emit_map, "copy")


@intrinsic
def _add_run(typingctx, out, out_start, x, x_start, count, addend):
    return types.void(*_RUN, types.float32), partial(_emit_map, "add")


@intrinsic
def _fma_run(typingctx, out, out_start, x, x_start, count, factor):
    return types.void(*_RUN, types.float32), partial(_emit_map, "fma")


def _emit_sum(product: bool, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit the sum of a run, or of the products of two.

    LANES sums run side by side. Then the upper half is added to the lower half until one is left, and at
    each width the values that did not fill the width before are added.
    """
    a = _data(context, builder, signature.args[0], args[0], args[1])
    b = _data(context, builder, signature.args[2], args[2], args[3]) if product else None
    count = args[4] if product else args[2]

    def extend(total: Any, index: Any, width: int) -> Any:
        value = _load(builder, builder.gep(a, [index]), width)
        if not product:
            return builder.fadd(total, value)
        return multiply_add(builder, value, _load(builder, builder.gep(b, [index]), width), total)

    whole = builder.and_(count, integer(-LANES))
    index = cgutils.alloca_once_value(builder, whole)
    total = cgutils.alloca_once_value(builder, ir.Constant(_vector_type(LANES), [0.0] * LANES))
    with cgutils.for_range_slice(builder, integer(0), whole, integer(LANES)) as (
        start,
        _,
    ):
        builder.store(extend(builder.load(total), start, LANES), total)
    width = LANES // 2
    while width:
        both = builder.load(total)
        halves = []
        for first in (0, width):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(first, first + width)))
            halves.append(builder.shuffle_vector(both, both, mask))
        value = builder.fadd(*halves)
        if width == 1:
            value = builder.extract_element(value, ir.Constant(ir.IntType(32), 0))
        total = cgutils.alloca_once_value(builder, value)
        step = integer(width)
        with builder.if_then(builder.icmp_signed("!=", builder.and_(count, step), integer(0))):
            builder.store(extend(builder.load(total), builder.load(index), width), total)
            builder.store(builder.add(builder.load(index), step), index)
        width //= 2
    return builder.load(total)


@intrinsic
def _sum_run(typingctx, a, a_start, count):
    return types.float32(_FLOATS, types.int64, types.int64), partial(_emit_sum, False)


@intrinsic
def _dot_run(typingctx, a, a_start, b, b_start, count):
    return types.float32(_FLOATS, types.int64, _FLOATS, types.int64, types.int64), partial(_emit_sum, True)


def _emit_copies(gathered: bool, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit out[i] = x[place of i], where the places are equally spaced or come from a table."""
    out = _data(context, builder, signature.args[0], args[0], args[1])
    x = _data(context, builder, signature.args[2], args[2], args[3])
    if gathered:
        table = _data(context, builder, signature.args[5], args[5], args[6])
    with cgutils.for_range(builder, args[4]) as loop:
        if gathered:
            place = builder.load(builder.gep(table, [loop.index]))
        else:
            place = builder.mul(loop.index, args[5])
        builder.store(builder.load(builder.gep(x, [place])), builder.gep(out, [loop.index]))
    return context.get_dummy_value()


@intrinsic
def _copy_strided(typingctx, out, out_start, x, x_start, count, stride):
    return types.void(*_RUN, types.int64), partial(_emit_copies, False)


@intrinsic
def _gather_run(typingctx, out, out_start, x, x_start, count, table, table_start):
    return types.void(*_RUN, _INTS, types.int64), partial(_emit_copies, True)


@intrinsic
def _add_strided(typingctx, out, out_start, x, x_start, count, stride, addend):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out = _data(context, builder, signature.args[0], args[0], args[1])
        x = _data(context, builder, signature.args[2], args[2], args[3])
        with cgutils.for_range(builder, args[4]) as loop:
            value = builder.fadd(builder.load(builder.gep(x, [loop.index])), args[6])
            builder.store(value, builder.gep(out, [builder.mul(loop.index, args[5])]))
        return context.get_dummy_value()

    return types.void(*_RUN, types.int64, types.float32), emit


@intrinsic
def _transpose_block(typingctx, out, out_start, out_stride, x, x_start, x_stride):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out_row = _data(context, builder, signature.args[0], args[0], args[1])
        x_row = _data(context, builder, signature.args[3], args[3], args[4])
        rows = []
        for _ in range(ROWS):
            rows.append(_load(builder, x_row, ROWS))
            x_row = builder.gep(x_row, [args[5]])
        # Interleaving row i with row i + ROWS / 2, log2(ROWS) times, transposes a square of ROWS.
        half = ROWS // 2
        for _ in range(ROWS.bit_length() - 1):
            mixed = []
            for i in range(half):
                for first in (0, half):
                    lanes = [place for k in range(half) for place in (first + k, ROWS + first + k)]
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), ROWS), lanes)
                    mixed.append(builder.shuffle_vector(rows[i], rows[i + half], mask))
            rows = mixed
        for row in rows:
            _store(builder, row, out_row)
            out_row = builder.gep(out_row, [args[2]])
        return context.get_dummy_value()

    return types.void(_FLOATS, types.int64, types.int64, _FLOATS, types.int64, types.int64), emit


@jit()
def _copy_loops(out, out_start, x, x_start, count):
    for i in range(count):
        out[out_start + i] = x[x_start + i]


@jit()
def _add_loops(out, out_start, x, x_start, count, addend):
    for i in range(count):
        out[out_start + i] = x[x_start + i] + addend


@jit()
def _fma_loops(out, out_start, x, x_start, count, factor):
    for i in range(count):
        out[out_start + i] = fma(factor, x[x_start + i], out[out_start + i])


@jit()
def _strided_loops(out, out_start, x, x_start, count, stride):
    for i in range(count):
        out[out_start + i] = x[x_start + i * stride]


@jit()
def _add_strided_loops(out, out_start, x, x_start, count, stride, addend):
    for i in range(count):
        out[out_start + i * stride] = x[x_start + i] + addend


@jit()
def _gather_loops(out, out_start, x, x_start, count, table, table_start):
    for i in range(count):
        out[out_start + i] = x[x_start + table[table_start + i]]


@jit()
def _sum_loops(a, a_start, count):
    total = np.float32(0.0)
    for i in range(count):
        total += a[a_start + i]
    return total


@jit()
def _dot_loops(a, a_start, b, b_start, count):
    total = np.float32(0.0)
    for i in range(count):
        total += a[a_start + i] * b[b_start + i]
    return total


@jit()
def _transpose_loops(out, out_start, out_stride, x, x_start, x_stride):
    for i in range(ROWS):
        for j in range(ROWS):
            out[out_start + j * out_stride + i] = x[x_start + i * x_stride + j]


LOOPS = {
    "copy_run": _copy_loops,
    "add_run": _add_loops,
    "fma_run": _fma_loops,
    "copy_strided": _strided_loops,
    "add_strided": _add_strided_loops,
    "gather_run": _gather_loops,
    "sum_run": _sum_loops,
    "dot_run": _dot_loops,
    "transpose_block": _transpose_loops,
}
"""The plain-loop twin of each function of this module: its meaning."""

# Kernels call the intrinsics themselves: a compiled function around one would count a reference to each of
# its arrays in and out, an atomic operation that costs more than a short run.
copy_run: Any = _copy_loops if INTERPRETED else _copy_run
"""``copy_run(out, out_start, x, x_start, count)`` copies a run of `x` to a run of `out` elsewhere."""

add_run: Any = _add_loops if INTERPRETED else _add_run
"""``add_run(out, out_start, x, x_start, count, addend)`` does so with `addend` added to each value."""

fma_run: Any = _fma_loops if INTERPRETED else _fma_run
"""``fma_run(out, out_start, x, x_start, count, factor)`` adds `factor` times `x` to `out`, rounding once."""

copy_strided: Any = _strided_loops if INTERPRETED else _copy_strided
"""``copy_strided(out, out_start, x, x_start, count, stride)`` copies every stride-th value to a run."""

add_strided: Any = _add_strided_loops if INTERPRETED else _add_strided
"""``add_strided(out, out_start, x, x_start, count, stride, addend)`` writes to every stride-th place."""

gather_run: Any = _gather_loops if INTERPRETED else _gather_run
"""``gather_run(out, out_start, x, x_start, count, table, table_start)`` copies values named by a table."""

sum_run: Any = _sum_loops if INTERPRETED else _sum_run
"""``sum_run(a, a_start, count)`` is the sum of a run: LANES partial sums, added in a fixed order."""

dot_run: Any = _dot_loops if INTERPRETED else _dot_run
"""``dot_run(a, a_start, b, b_start, count)`` is the inner product of two runs, summed likewise."""

transpose_block: Any = _transpose_loops if INTERPRETED else _transpose_block
"""``transpose_block(out, out_start, out_stride, x, x_start, x_stride)`` transposes ROWS by ROWS values."""


@jit()
def transpose_run(out, out_start, out_stride, x, x_start, x_stride, count):
    """Write ROWS rows of `count` neighbours side by side.

    Value k of row m, ``x[x_start + m * x_stride + k]``, goes to ``out[out_start + k * out_stride + m]``.
    """
    whole = count // ROWS * ROWS
    for k in range(0, whole, ROWS):
        transpose_block(out, out_start + k * out_stride, out_stride, x, x_start + k, x_stride)
    for k in range(whole, count):
        copy_strided(out, out_start + k * out_stride, x, x_start + k, ROWS, x_stride)
