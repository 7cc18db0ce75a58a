"""The register tile of direct convolutions on maps: pixels anywhere against vectors of filters.

The sums are those of :mod:`~emoref_kernels.cpu.fused_tile`: row m of a tile begins at a place that a table
names, and a sum runs over runs of neighbouring floats::

    sums[m, v] = sum over r, k of  x[x_rows[m] + x_runs[r] + k] * w[(w_runs[r] + k) * w_stride + lanes of v]

Training has no residual, ReLU or pooling behind a layer. Instead, the padding channels of a map must be zero
whatever the pixels hold, also where they are infinite; so each column says whether it is kept. Where there
are registers for it, tiles of six rows by four vectors join the others: 64 filters are then one tile, and
large maps are read and written from one end to the other.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from emoref_kernels.cpu.fused_tile import emit_sums, load_lanes, place_of, store_lanes
from emoref_kernels.cpu.jit import jit
from emoref_kernels.cpu.simd import INTERPRETED, LANES, ROWS, VECTORS, fma, integer

__all__ = ["TILE_VECTORS", "DirectTile", "direct_tile", "direct_tile_loops", "tile_rows"]

_WIDE_ROWS = 6
"""Rows of a tile of four vectors: it has as many sums as one of eight rows by three."""

TILE_VECTORS = 4 if ROWS * VECTORS >= 4 * _WIDE_ROWS else VECTORS
"""Vectors of the widest tile."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_ZERO_VECTOR = ir.Constant(_VECTOR, [0.0] * LANES)


class DirectTile(NamedTuple):
    """What one tile reads and writes: places in arrays, in floats, and places of lists in the tables.

    Attributes
    ----------
    y_rows, x_rows : int
        Where in the tables the places of the rows of y (result) and x (left operand) begin.
    y_base, x_base, w_base : int
        Added to every place in y, x and w (right operand).
    w_stride : int
        Floats from one term of w to the next.
    x_runs, w_runs : int
        Where in the tables the places of the runs begin: floats in x, terms in w.
    runs, run_length : int
        Number of runs, and of terms in each; at least 1.
    bias, keep : int
        Where in the columns' array their summands begin, and the numbers that are 0 in columns whose result
        is 0 whatever x holds.
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
    bias: int
    keep: int


_Y, _X, _W, _COLUMNS, _TABLES, _TILE = range(6)


def _emit_tile(rows: int, vectors: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Emit a tile; the arguments are those of :func:`direct_tile_loops` but the last."""
    data = partial(place_of, context, builder, signature, args)
    tile = DirectTile(*(builder.extract_value(args[_TILE], i) for i in range(len(DirectTile._fields))))

    def rows_of(array: int, table: Any, base: Any) -> list[Any]:
        places, start = data(_TABLES, table), data(array, base)
        return [builder.gep(start, [builder.load(builder.gep(places, [integer(m)]))]) for m in range(rows)]

    offsets = [integer(v * LANES) for v in range(vectors)]
    weights, x_runs, w_runs = data(_W, tile.w_base), data(_TABLES, tile.x_runs), data(_TABLES, tile.w_runs)

    def start_run(run: Any) -> tuple[Any, Any, list[Any]]:
        place = builder.mul(builder.load(builder.gep(w_runs, [run])), tile.w_stride)
        return builder.load(builder.gep(x_runs, [run])), builder.gep(weights, [place]), offsets

    x_rows = rows_of(_X, tile.x_rows, tile.x_base)
    sums = emit_sums(builder, x_rows, start_run, tile.runs, tile.run_length, tile.w_stride, False, vectors)
    bias = [load_lanes(builder, builder.gep(data(_COLUMNS, tile.bias), [offset])) for offset in offsets]
    kept = []
    for offset in offsets:
        keep = load_lanes(builder, builder.gep(data(_COLUMNS, tile.keep), [offset]))
        kept.append(builder.fcmp_unordered("!=", keep, _ZERO_VECTOR))
    for m, target in enumerate(rows_of(_Y, tile.y_rows, tile.y_base)):
        for v, offset in enumerate(offsets):
            value = builder.fadd(sums[m * vectors + v], bias[v])
            store_lanes(builder, builder.select(kept[v], value, _ZERO_VECTOR), builder.gep(target, [offset]))
    return context.get_dummy_value()


@intrinsic
def _tile_1(typingctx, y, x, w, columns, tables, tile):
    return types.void(y, x, w, columns, tables, tile), partial(_emit_tile, ROWS, 1)


@intrinsic
def _tile_2(typingctx, y, x, w, columns, tables, tile):
    return types.void(y, x, w, columns, tables, tile), partial(_emit_tile, ROWS, 2)


@intrinsic
def _tile_3(typingctx, y, x, w, columns, tables, tile):
    return types.void(y, x, w, columns, tables, tile), partial(_emit_tile, ROWS, 3)


@intrinsic
def _tile_4(typingctx, y, x, w, columns, tables, tile):
    return types.void(y, x, w, columns, tables, tile), partial(_emit_tile, _WIDE_ROWS, 4)


@jit(inline="always")
def tile_rows(vectors):
    """Return the rows of a tile of so many vectors."""
    return ROWS if vectors <= VECTORS else _WIDE_ROWS


@jit()
def direct_tile_loops(y, x, w, columns, tables, tile, vectors):
    """Compute a tile in plain loops: the meaning of :func:`direct_tile`.

    Parameters
    ----------
    y, x, w : ndarray of float32, 1-D
        Result, left and right operand.
    columns : ndarray of float32, 1-D
        Summands of the columns, and which of them are kept.
    tables : ndarray of int64, 1-D
        Places of rows and runs.
    tile : DirectTile
        Where everything is.
    vectors : int
        Vectors of a row, up to TILE_VECTORS; :func:`tile_rows` says how many rows they have.
    """
    for m in range(tile_rows(vectors)):
        x_row, y_row = tile.x_base + tables[tile.x_rows + m], tile.y_base + tables[tile.y_rows + m]
        for j in range(vectors * LANES):
            total = np.float32(0.0)
            for r in range(tile.runs):
                for k in range(tile.run_length):
                    term = tables[tile.w_runs + r] + k
                    x_value = x[x_row + tables[tile.x_runs + r] + k]
                    total = fma(x_value, w[tile.w_base + term * tile.w_stride + j], total)
            kept = columns[tile.keep + j] != 0
            y[y_row + j] = total + columns[tile.bias + j] if kept else np.float32(0.0)


@jit(inline="always")
def _tile_compiled(y, x, w, columns, tables, tile, vectors):
    if vectors == 1:
        _tile_1(y, x, w, columns, tables, tile)
    elif vectors == 2:
        _tile_2(y, x, w, columns, tables, tile)
    elif vectors == 4:
        _tile_4(y, x, w, columns, tables, tile)
    else:
        _tile_3(y, x, w, columns, tables, tile)


# As in :mod:`~emoref_kernels.cpu.runs`, kernels call the intrinsics themselves.
direct_tile: Any = direct_tile_loops if INTERPRETED else _tile_compiled
"""One tile in vector registers; :func:`direct_tile_loops` says what each argument is."""
