"""Register-blocked multiplication of pixels that lie in memory as they are: a sum over places in a table.

The gradient of a convolution's weights is a product whose sum runs over pixels: of the output's gradient,
and of the image under one row of taps. In maps with the channels innermost both are rows of neighbouring
floats, at distances that change from one row of pixels, and from one image, to the next. So here each
operand has a place for every term::

    C[m, j] += sum over k of a[place of k + m] * b[place of k + j]      m < ROWS, j < vectors * LANES

As in :mod:`emoref_kernels.cpu.simd`, each element is one chain of multiply-adds in increasing k, whatever
tile it belongs to, and storing and reloading a sum changes no bit of it.
"""

from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INT64, INTERPRETED, LANES, ROWS, broadcast, fma, integer, multiply_add

__all__ = [
    "LINE",
    "address_of",
    "copy_vectors",
    "copy_vectors_loops",
    "multiply_pixels",
    "multiply_pixels_loops",
    "prefetch",
]

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_FLOATS = types.Array(types.float32, 1, "C")
_INTS = types.Array(types.int64, 1, "C")
LINE = 16
"""Floats of a line of the caches."""

_SIGNATURE = types.void(
    _FLOATS, types.int64, types.int64, _FLOATS, types.int64, _FLOATS, types.int64, _INTS, *[types.int64] * 4
)


def _vector(builder: Any, pointer: Any, index: int) -> Any:
    return builder.bitcast(builder.gep(pointer, [integer(index * LANES)]), _VECTOR.as_pointer())


def prefetch(builder: Any, pointer: Any) -> None:
    """Emit a request to bring a line into the second-level cache; it may lie anywhere."""
    byte = ir.IntType(8).as_pointer()
    number = ir.IntType(32)
    function_type = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
    read, second_level, data = (ir.Constant(number, value) for value in (0, 2, 1))
    builder.call(function, [builder.bitcast(pointer, byte), read, second_level, data])


def _emit(vectors: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit one tile.

    The arguments are those of :func:`multiply_pixels_loops` up to the number of terms, without the panels;
    then what is fetched ahead in the first term, as an address, and its distance from term to term.
    """

    def place(position: int, start: Any) -> Any:
        array = context.make_array(signature.args[position])(context, builder, args[position])
        return builder.gep(array.data, [start])

    a_pointer, b_pointer = place(3, args[4]), place(5, args[6])
    table = place(7, builder.shl(args[8], integer(1)))
    c_rows = [place(0, args[1])]
    for _ in range(1, ROWS):
        c_rows.append(builder.gep(c_rows[-1], [args[2]]))
    cells = [(row, vector) for row in range(ROWS) for vector in range(vectors)]
    before = [builder.load(_vector(builder, c_rows[row], vector), align=4) for row, vector in cells]

    first_fetched = builder.inttoptr(args[10], ir.FloatType().as_pointer())
    from_block = builder.block
    loop_block = builder.function.append_basic_block("pixels.loop")
    end_block = builder.function.append_basic_block("pixels.end")
    builder.branch(loop_block)

    builder.position_at_end(loop_block)
    k = builder.phi(INT64)
    fetched = builder.phi(first_fetched.type)
    sums = [builder.phi(_VECTOR) for _ in cells]
    pair = builder.gep(table, [builder.shl(k, integer(1))])
    a_row = builder.gep(a_pointer, [builder.load(pair)])
    b_row = builder.gep(b_pointer, [builder.load(builder.gep(pair, [integer(1)]))])
    prefetch(builder, fetched)
    b_values = [builder.load(_vector(builder, b_row, vector), align=4) for vector in range(vectors)]
    updated = []
    for row in range(ROWS):
        a_value = broadcast(builder, builder.load(builder.gep(a_row, [integer(row)])), LANES)
        for vector in range(vectors):
            updated.append(multiply_add(builder, a_value, b_values[vector], sums[row * vectors + vector]))
    next_k, next_fetched = builder.add(k, integer(1)), builder.gep(fetched, [args[11]])
    k.add_incoming(integer(0), from_block)
    k.add_incoming(next_k, loop_block)
    fetched.add_incoming(first_fetched, from_block)
    fetched.add_incoming(next_fetched, loop_block)
    for phi, first, value in zip(sums, before, updated, strict=True):
        phi.add_incoming(first, from_block)
        phi.add_incoming(value, loop_block)
    builder.cbranch(builder.icmp_signed("<", next_k, args[9]), loop_block, end_block)

    builder.position_at_end(end_block)
    for (row, vector), value in zip(cells, updated, strict=True):
        builder.store(value, _vector(builder, c_rows[row], vector), align=4)
    return context.get_dummy_value()


@intrinsic
def _tile_1(typingctx, c, c_start, c_stride, a, a_start, b, b_start, places, first, count, fetched, step):
    return _SIGNATURE, partial(_emit, 1)


@intrinsic
def _tile_2(typingctx, c, c_start, c_stride, a, a_start, b, b_start, places, first, count, fetched, step):
    return _SIGNATURE, partial(_emit, 2)


@intrinsic
def _tile_3(typingctx, c, c_start, c_stride, a, a_start, b, b_start, places, first, count, fetched, step):
    return _SIGNATURE, partial(_emit, 3)


@intrinsic
def _address_of(typingctx, values, place):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(builder.gep(data, [args[1]]), INT64)

    return types.int64(_FLOATS, types.int64), emit


@intrinsic
def _copy_vectors(typingctx, out, out_start, x, x_start, count):
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, source = (
            builder.gep(context.make_array(signature.args[i])(context, builder, args[i]).data, [args[i + 1]])
            for i in (0, 2)
        )
        step = integer(LANES)
        with cgutils.for_range_slice(builder, integer(0), args[4], step) as (index, _):
            value = builder.load(_vector(builder, builder.gep(source, [index]), 0), align=4)
            builder.store(value, _vector(builder, builder.gep(target, [index]), 0), align=4)
        return context.get_dummy_value()

    return types.void(_FLOATS, types.int64, _FLOATS, types.int64, types.int64), emit


@jit()
def copy_vectors_loops(out, out_start, x, x_start, count):
    """Copy `count` values, taken up to whole vectors: the meaning of :data:`copy_vectors`."""
    for i in range((count + LANES - 1) // LANES * LANES):
        out[out_start + i] = x[x_start + i]


def _no_address(values: Any, place: int) -> int:
    """Stand for :data:`address_of` where nothing is compiled, and nothing fetched ahead."""
    return 0


address_of: Any = _no_address if INTERPRETED else _address_of
"""``address_of(values, place)`` is the address of a value, which may lie anywhere: nothing is read."""

copy_vectors: Any = copy_vectors_loops if INTERPRETED else _copy_vectors
"""``copy_vectors(out, out_start, x, x_start, count)`` copies a run, and what follows it to a whole vector."""


@jit()
def multiply_pixels_loops(
    c, c_start, c_stride, panels, a, a_start, b, b_start, places, first, count, a_step, b_step, vectors
):
    """Multiply a stack of tiles in plain loops: the meaning of :func:`multiply_pixels`.

    Parameters
    ----------
    c : ndarray of float32, 1-D
        Holds the sums: C[m, j] is ``c[c_start + m * c_stride + j]``.
    c_start, c_stride : int
        Place of row 0, and distance of the rows.
    panels : int
        Tiles below each other: C has `panels` times ROWS rows.
    a : ndarray of float32, 1-D
        Value m of term k is ``a[a_start + places[2 k] + m]``.
    a_start : int
        Added to every place.
    b : ndarray of float32, 1-D
        Value j of term k is ``b[b_start + places[2 k + 1] + j]``.
    b_start : int
        Added to every place.
    places : ndarray of int64, 1-D
        Places of both operands, term by term.
    first, count : int
        First term, and number of terms, at least 1.
    a_step, b_step : int
        Distance of the terms in `a` and `b`, if all places are alike, or nearly so. Then the values of the
        next `count` terms are brought near. 0 if this is of no use.
    vectors : int
        Width of the tiles in vectors, 1 to 3.
    """
    for m in range(panels * ROWS):
        for j in range(vectors * LANES):
            total = c[c_start + m * c_stride + j]
            for k in range(first, first + count):
                a_value = a[a_start + places[2 * k] + m]
                total = fma(a_value, b[b_start + places[2 * k + 1] + j], total)
            c[c_start + m * c_stride + j] = total


@jit()
def multiply_pixels(
    c, c_start, c_stride, panels, a, a_start, b, b_start, places, first, count, a_step, b_step, vectors
):
    """Multiply a stack of tiles in registers; :func:`multiply_pixels_loops` says what each argument is.

    Nothing checks the places: all rows of all panels and all vectors * LANES columns are read and written.
    """
    # One line of each term in a call: those of the left operand first, as far as there are calls.
    a_lines = (panels * ROWS + LINE - 1) // LINE if a_step else 0
    b_lines = (vectors * LANES + LINE - 1) // LINE
    for panel in range(panels):
        c_place, a_place = c_start + panel * ROWS * c_stride, a_start + panel * ROWS
        if panel < a_lines:
            step, line = a_step, a_start + places[2 * first] + count * a_step + panel * LINE
            fetched = address_of(a, line)
        else:
            step, line = b_step, b_start + places[2 * first + 1] + count * b_step
            fetched = address_of(b, line + min(panel - a_lines, b_lines - 1) * LINE)
        if vectors == 1:
            _tile_1(c, c_place, c_stride, a, a_place, b, b_start, places, first, count, fetched, step)
        elif vectors == 2:
            _tile_2(c, c_place, c_stride, a, a_place, b, b_start, places, first, count, fetched, step)
        else:
            _tile_3(c, c_place, c_stride, a, a_place, b, b_start, places, first, count, fetched, step)


if INTERPRETED:
    multiply_pixels = multiply_pixels_loops
