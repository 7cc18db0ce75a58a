"""Register-blocked products for fused inference: rows of scalars against vectors of lanes.

Where :mod:`~emoref_kernels.cpu.simd` multiplies packed panels, the tiles here read their left operand where
it lies: row m begins anywhere, at a place that a table names. A sum runs over *runs* of neighbours::

    sums[m, v] = sum over r, k of  x[x_rows[m] + x_runs[r] + k] * w[(w_runs[r] + k) * w_stride + lanes of v]

With rows that are pixels, runs that are rows of the kernel and lanes that are filters, this is a convolution
of channels-last maps without any copy; with rows that are images, a linear layer. What follows a layer is
done before anything is stored: an affine map (bias, batch norm), a residual, ReLU, 2x2 max pooling.

Each sum is one chain of fused multiply-adds in the order of the runs, from zero. Neither the place in the
tile nor the width of the tile changes its bits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INT64, INTERPRETED, LANES, ROWS, broadcast, fma, integer, multiply_add

__all__ = [
    "Tile",
    "at_least",
    "dense_tile",
    "dense_tile_loops",
    "depthwise_tile",
    "depthwise_tile_loops",
    "emit_sums",
    "larger_of",
    "larger_value",
    "load_lanes",
    "place_of",
    "store_lanes",
]

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_FLOATS = types.Array(types.float32, 1, "C")
_INTS = types.Array(types.int64, 1, "C")
_ZERO_VECTOR = ir.Constant(_VECTOR, [0.0] * LANES)


def place_of(context: Any, builder: Any, signature: Any, args: Any, position: int, *starts: Any) -> Any:
    """Return the pointer into the array argument at `position`, advanced by each of `starts`."""
    pointer = context.make_array(signature.args[position])(context, builder, args[position]).data
    for start in starts:
        pointer = builder.gep(pointer, [start])
    return pointer


def load_lanes(builder: Any, pointer: Any) -> Any:
    """Emit the load of a vector that is aligned to 4 bytes, no more."""
    load = builder.load(builder.bitcast(pointer, _VECTOR.as_pointer()))
    load.align = 4
    return load


def store_lanes(builder: Any, value: Any, pointer: Any) -> None:
    """Emit the store of a vector."""
    store = builder.store(value, builder.bitcast(pointer, _VECTOR.as_pointer()))
    store.align = 4


def larger_of(builder: Any, a: Any, b: Any) -> Any:
    """Emit the larger of two vectors, lane by lane; a NaN in either wins."""
    larger = builder.select(builder.fcmp_ordered(">", a, b), a, b)
    return builder.select(builder.fcmp_unordered("uno", a, a), a, larger)


def at_least(builder: Any, value: Any, floor: Any) -> Any:
    """Emit max(value, floor); a NaN goes through."""
    return builder.select(builder.fcmp_ordered("<", value, floor), floor, value)


def emit_sums(
    builder: Any, rows: list[Any], start_run: Callable[[Any], tuple[Any, Any, list[Any]]], runs: Any,
    run_length: Any, stride: Any, elementwise: bool, vectors: int,
) -> list[Any]:  # fmt: skip
    """Emit the loops over runs and their terms and return the sums, row by row.

    `rows` are pointers to the rows' first values. `start_run` emits the beginning of a run, given its number:
    the distance of the run in x, the pointer to its first term in w, and the distances of the vectors there.
    With `elementwise`, the left operand is a vector of its own in each row, not one value for all lanes.
    """
    function = builder.function
    run_block = function.append_basic_block("sums.run")
    term_block = function.append_basic_block("sums.term")
    next_block = function.append_basic_block("sums.next")
    done_block = function.append_basic_block("sums.done")
    cells = len(rows) * vectors
    start_block = builder.block
    builder.branch(run_block)

    builder.position_at_end(run_block)
    run = builder.phi(INT64)
    at_run = [builder.phi(_VECTOR) for _ in range(cells)]
    x_run, w_run, distances = start_run(run)
    builder.branch(term_block)

    builder.position_at_end(term_block)
    k = builder.phi(INT64)
    w_place = builder.phi(_FLOAT.as_pointer())
    at_term = [builder.phi(_VECTOR) for _ in range(cells)]
    x_place = builder.add(x_run, k)
    w_values = [load_lanes(builder, builder.gep(w_place, [vector])) for vector in distances]
    sums = []
    for m, row in enumerate(rows):
        place = builder.gep(row, [x_place])
        x_value = (
            load_lanes(builder, place) if elementwise else broadcast(builder, builder.load(place), LANES)
        )
        for v, w_value in enumerate(w_values):
            sums.append(multiply_add(builder, x_value, w_value, at_term[m * vectors + v]))
    next_k = builder.add(k, integer(1))
    next_place = builder.gep(w_place, [stride])
    builder.cbranch(builder.icmp_signed("<", next_k, run_length), term_block, next_block)

    builder.position_at_end(next_block)
    next_run = builder.add(run, integer(1))
    builder.cbranch(builder.icmp_signed("<", next_run, runs), run_block, done_block)

    run.add_incoming(integer(0), start_block)
    run.add_incoming(next_run, next_block)
    k.add_incoming(integer(0), run_block)
    k.add_incoming(next_k, term_block)
    w_place.add_incoming(w_run, run_block)
    w_place.add_incoming(next_place, term_block)
    for outer, inner, value in zip(at_run, at_term, sums, strict=True):
        outer.add_incoming(_ZERO_VECTOR, start_block)
        outer.add_incoming(value, next_block)
        inner.add_incoming(outer, run_block)
        inner.add_incoming(value, term_block)
    builder.position_at_end(done_block)
    return sums


class Tile(NamedTuple):
    """What one tile reads and writes: places in arrays, in floats, and places of lists in the tables.

    Attributes
    ----------
    y_rows, x_rows, z_rows : int
        Where in the tables the places of the rows of y (result), x (left operand) and z (residual) begin.
    y_base, x_base, z_base, w_base : int
        Added to every place in y, x, z and w (right operand).
    x_runs, w_runs : int
        Where in the tables the places of the runs begin: floats in x, terms in w.
    runs, run_length : int
        Number of runs, and of terms in each; at least 1.
    w_stride : int
        Floats from one term of w to the next.
    scale, shift : int
        Where in the affine map's array the columns' factors and summands begin.
    residual : int
        Not 0: z is added before ReLU.
    pooled : int
        Not 0: each 4 rows are one window, and ROWS / 4 rows of maxima are stored.
    """

    y_rows: int
    y_base: int
    x_rows: int
    x_base: int
    w_base: int
    w_stride: int
    x_runs: int
    w_runs: int
    runs: int
    run_length: int
    scale: int
    shift: int
    z_rows: int
    z_base: int
    residual: int
    pooled: int


_Y, _X, _Z, _W, _AFFINE, _TABLES, _TILE, _FLOOR = range(8)


def _emit_tile(vectors: int, elementwise: bool, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit a tile of ROWS rows; the arguments are those of :func:`dense_tile_loops` but the last."""
    data = partial(place_of, context, builder, signature, args)
    tile = Tile(*(builder.extract_value(args[_TILE], i) for i in range(len(Tile._fields))))

    def rows_of(array: int, table: Any, base: Any, count: int) -> list[Any]:
        places, start = data(_TABLES, table), data(array, base)
        return [builder.gep(start, [builder.load(builder.gep(places, [integer(m)]))]) for m in range(count)]

    offsets = [integer(v * LANES) for v in range(vectors)]
    weights, x_runs, w_runs = data(_W, tile.w_base), data(_TABLES, tile.x_runs), data(_TABLES, tile.w_runs)

    def start_run(run: Any) -> tuple[Any, Any, list[Any]]:
        place = builder.mul(builder.load(builder.gep(w_runs, [run])), tile.w_stride)
        return builder.load(builder.gep(x_runs, [run])), builder.gep(weights, [place]), offsets

    x_rows = rows_of(_X, tile.x_rows, tile.x_base, ROWS)
    sums = emit_sums(
        builder, x_rows, start_run, tile.runs, tile.run_length, tile.w_stride, elementwise, vectors
    )
    scales = [load_lanes(builder, builder.gep(data(_AFFINE, tile.scale), [offset])) for offset in offsets]
    shifts = [load_lanes(builder, builder.gep(data(_AFFINE, tile.shift), [offset])) for offset in offsets]
    values = [
        multiply_add(builder, sums[m * vectors + v], scales[v], shifts[v])
        for m in range(ROWS)
        for v in range(vectors)
    ]

    plain_block = builder.block
    residual_block = builder.function.append_basic_block("tile.residual")
    ready_block = builder.function.append_basic_block("tile.ready")
    builder.cbranch(builder.icmp_signed("!=", tile.residual, integer(0)), residual_block, ready_block)
    builder.position_at_end(residual_block)
    added = []
    for m, row in enumerate(rows_of(_Z, tile.z_rows, tile.z_base, ROWS)):
        for v, offset in enumerate(offsets):
            other = load_lanes(builder, builder.gep(row, [offset]))
            added.append(builder.fadd(values[m * vectors + v], other))
    builder.branch(ready_block)
    builder.position_at_end(ready_block)
    phis = [builder.phi(_VECTOR) for _ in values]
    for phi, value, other in zip(phis, values, added, strict=True):
        phi.add_incoming(value, plain_block)
        phi.add_incoming(other, residual_block)
    floor = broadcast(builder, args[_FLOOR], LANES)
    ready = [at_least(builder, phi, floor) for phi in phis]

    with builder.if_else(builder.icmp_signed("!=", tile.pooled, integer(0))) as (pooled, plain):
        with pooled:
            for group, target in enumerate(rows_of(_Y, tile.y_rows, tile.y_base, ROWS // 4)):
                for v, offset in enumerate(offsets):
                    four = [ready[(4 * group + m) * vectors + v] for m in range(4)]
                    best = larger_of(builder, larger_of(builder, four[0], four[1]), four[2])
                    store_lanes(builder, larger_of(builder, best, four[3]), builder.gep(target, [offset]))
        with plain:
            for m, target in enumerate(rows_of(_Y, tile.y_rows, tile.y_base, ROWS)):
                for v, offset in enumerate(offsets):
                    store_lanes(builder, ready[m * vectors + v], builder.gep(target, [offset]))
    return context.get_dummy_value()


@intrinsic
def _dense_1(typingctx, y, x, z, w, affine, tables, tile, floor):
    return types.void(y, x, z, w, affine, tables, tile, floor), partial(_emit_tile, 1, False)


@intrinsic
def _dense_2(typingctx, y, x, z, w, affine, tables, tile, floor):
    return types.void(y, x, z, w, affine, tables, tile, floor), partial(_emit_tile, 2, False)


@intrinsic
def _dense_3(typingctx, y, x, z, w, affine, tables, tile, floor):
    return types.void(y, x, z, w, affine, tables, tile, floor), partial(_emit_tile, 3, False)


@intrinsic
def _depthwise(typingctx, y, x, z, w, affine, tables, tile, floor):
    return types.void(y, x, z, w, affine, tables, tile, floor), partial(_emit_tile, 1, True)


@jit()
def larger_value(best, value):
    """Return the larger of two values; a NaN in either wins."""
    return value if (value > best) | (value != value) else best


@jit()
def _tile_loops(y, x, z, w, affine, tables, tile, floor, vectors, elementwise):
    for j in range(vectors * LANES):
        best = np.float32(0.0)
        for m in range(ROWS):
            total = np.float32(0.0)
            x_row = tile.x_base + tables[tile.x_rows + m] + j * elementwise
            for r in range(tile.runs):
                for k in range(tile.run_length):
                    term = tables[tile.w_runs + r] + k
                    x_value = x[x_row + tables[tile.x_runs + r] + k]
                    total = fma(x_value, w[tile.w_base + term * tile.w_stride + j], total)
            value = fma(total, affine[tile.scale + j], affine[tile.shift + j])
            if tile.residual:
                value = value + z[tile.z_base + tables[tile.z_rows + m] + j]
            value = floor if value < floor else value
            best = value if m % 4 == 0 else larger_value(best, value)
            if tile.pooled == 0:
                y[tile.y_base + tables[tile.y_rows + m] + j] = value
            elif m % 4 == 3:
                y[tile.y_base + tables[tile.y_rows + m // 4] + j] = best


@jit()
def dense_tile_loops(y, x, z, w, affine, tables, tile, floor, vectors):
    """Compute ROWS rows of `vectors` vectors in plain loops: the meaning of :func:`dense_tile`.

    Parameters
    ----------
    y, x, z, w : ndarray of float32, 1-D
        Result, left operand, residual and right operand; may be one array.
    affine : ndarray of float32, 1-D
        Factors and summands of the columns.
    tables : ndarray of int64, 1-D
        Places of rows and runs.
    tile : Tile
        Where everything is.
    floor : float32
        0 for ReLU, minus infinity for none.
    vectors : int
        Vectors of a row, 1 to 3.
    """
    _tile_loops(y, x, z, w, affine, tables, tile, floor, vectors, 0)


@jit(inline="always")
def _dense_compiled(y, x, z, w, affine, tables, tile, floor, vectors):
    if vectors == 1:
        _dense_1(y, x, z, w, affine, tables, tile, floor)
    elif vectors == 2:
        _dense_2(y, x, z, w, affine, tables, tile, floor)
    else:
        _dense_3(y, x, z, w, affine, tables, tile, floor)


@jit()
def depthwise_tile_loops(y, x, z, w, affine, tables, tile, floor):
    """Compute one vector of ROWS rows whose left operand is a vector too: :func:`depthwise_tile`.

    As :func:`dense_tile_loops` with one vector, but lane j of x meets lane j of w alone; a depthwise
    convolution has runs of one term.
    """
    _tile_loops(y, x, z, w, affine, tables, tile, floor, 1, 1)


# As in :mod:`~emoref_kernels.cpu.runs`, kernels call the intrinsics themselves.
dense_tile: Any = dense_tile_loops if INTERPRETED else _dense_compiled
"""One tile of a dense product in vector registers; :func:`dense_tile_loops` says what each argument is."""

depthwise_tile: Any = depthwise_tile_loops if INTERPRETED else _depthwise
"""One tile of a depthwise product; see :func:`depthwise_tile_loops`."""
